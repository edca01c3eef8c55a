package l2

import (
	"context"
	"sync"

	"github.com/nearcache/nearcache-go/coherence"
)

// ResetBefore begins a new incarnation of every bucket, at a position, unless the bucket's watermark covers it. Every
// record of those buckets becomes a miss. So of several processes that hear of one event the first does it, and the
// others find it done.
//
// A watermark may claim the position: whatever a bucket has after its reset was loaded after everything up to there had
// been committed. An event without a position resets each bucket that nobody else resets at the same time.
//
// Each node is reset by itself. It returns the buckets that were not reset, and an error of one of them.
func (l *L2) ResetBefore(ctx context.Context, at coherence.Position) (failed BucketSet, err error) {
	var mu sync.Mutex
	var nodes sync.WaitGroup
	for _, part := range l.Nodes() {
		nodes.Go(func() {
			seen, unread, e := l.WatermarksOf(ctx, part.Buckets)
			mu.Lock()
			failed, err = failed.Union(unread), firstOf(err, e)
			mu.Unlock()
			read := part.Buckets.Minus(unread)
			for b := range read.All() {
				if e := l.resetBefore(ctx, b, seen[b], at); e != nil {
					mu.Lock()
					failed.Add(b)
					err = firstOf(err, e)
					mu.Unlock()
				}
			}
		})
	}
	nodes.Wait()
	return failed, err
}

func (l *L2) resetBefore(ctx context.Context, bucket int, seen Watermark, at coherence.Position) error {
	to := at
	if at.IsZero() {
		to = seen.Position
	}
	for !seen.Position.Covers(at) {
		now, err := l.ResetWatermark(ctx, bucket, seen, to)
		if err != nil {
			return err
		}
		if now.Incarnation != seen.Incarnation {
			break
		}
		seen = now // the relay has moved it meanwhile
	}
	return nil
}
