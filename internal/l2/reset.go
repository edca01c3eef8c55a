package l2

import (
	"context"

	"github.com/nearcache/nearcache-go/coherence"
)

// ResetBefore begins a new incarnation of every bucket, at a position, unless the bucket's watermark covers it. Every
// record of those buckets becomes a miss. So of several processes that hear of one event the first does it, and the
// others find it done.
//
// A watermark may claim the position: whatever a bucket has after its reset was loaded after everything up to there had
// been committed. An event without a position resets each bucket that nobody else resets at the same time.
func (l *L2) ResetBefore(ctx context.Context, at coherence.Position) error {
	all, err := l.Watermarks(ctx)
	if err != nil {
		return err
	}
	for b, seen := range all {
		to := at
		if at.IsZero() {
			to = seen.Position
		}
		for !seen.Position.Covers(at) {
			now, err := l.ResetWatermark(ctx, b, seen, to)
			if err != nil {
				return err
			}
			if now.Incarnation != seen.Incarnation {
				break
			}
			seen = now // the relay has moved it meanwhile
		}
	}
	return nil
}
