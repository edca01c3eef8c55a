package nearcache

import (
	"context"
	"maps"
	"sync"
	"time"

	"github.com/nearcache/nearcache-go/internal/l2"
)

// maxRetries bounds the invalidations that wait for Redis to come back.
const maxRetries = 1 << 16

// retry repeats invalidations that could not be sent to L2, one pending change for each key, until L2 takes them.
//
// If more than limit keys are pending, the bucket of the next one is lost: what is pending in it, and whatever fails in
// it from then on, is counted and forgotten, and the bucket itself is remembered, which is a bit. Until L2 has
// started it again this client believes nothing that L2 has of it.
type retry struct {
	limit int
	all   int // buckets of L2
	// Of L2: apply tells it changes, and renew makes every record of a bucket a miss, on all instances.
	apply func(context.Context, []l2.Change) error
	renew func(ctx context.Context, bucket int) error
	// Of the fence: done is called for each change that was sent, quarantine when a bucket is lost, and release when
	// L2 has started it again.
	done                func(l2.Change)
	quarantine, release func(bucket int)
	drop                func(changes int)

	mu      sync.Mutex
	pending map[string]l2.Change // by record
	// sending counts the changes that are on their way now. They count as pending too, so each can be queued again.
	sending int
	lost    l2.BucketSet
	losses  map[int]uint64 // changes forgotten, by bucket
	wake    chan struct{}
}

// add queues a change. Of two changes of a key one that deletes whatever there is wins, and else the newer; one of
// unknown outcome adds to the other.
func (r *retry) add(ch l2.Change) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.put(ch)
	signal(r.wake)
}

// put is add of one who holds r.mu.
func (r *retry) put(ch l2.Change) {
	old, ok := r.pending[ch.Key.Record]
	deletes := func(ch l2.Change) bool { return ch.Version == 0 && !ch.Unconfirmed }
	switch {
	case ok && deletes(old):
		return
	case ok && !deletes(ch):
		old.Version, old.Unconfirmed = max(old.Version, ch.Version), old.Unconfirmed || ch.Unconfirmed
		r.pending[ch.Key.Record] = old
		return
	case r.lost.Has(ch.Key.Bucket) || !ok && len(r.pending)+r.sending >= r.limit:
		r.lose(ch.Key.Bucket)
		return
	}
	r.pending[ch.Key.Record] = ch
}

// lose forgets the changes of a bucket and remembers the bucket. The caller holds r.mu: a caller that learns that its
// change failed finds the bucket in quarantine already.
func (r *retry) lose(bucket int) {
	forgotten := 1
	if !r.lost.Has(bucket) {
		for record, ch := range r.pending {
			if ch.Key.Bucket == bucket {
				delete(r.pending, record)
				forgotten++
			}
		}
		r.lost.Add(bucket)
		r.quarantine(bucket)
	}
	if r.losses == nil {
		r.losses = make(map[int]uint64)
	}
	r.losses[bucket] += uint64(forgotten)
	r.drop(forgotten)
}

// loseAll loses every bucket.
func (r *retry) loseAll() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for b := range r.all {
		r.lose(b)
	}
	signal(r.wake)
}

// len is how many changes are pending.
func (r *retry) len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.pending) + r.sending
}

// has reports whether a change of a key is pending that is known to have happened, so that L2 does not know it yet.
func (r *retry) has(key l2.Key) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	ch, ok := r.pending[key.Record]
	return ok && ch.Certain() || r.lost.Has(key.Bucket)
}

// buckets is how many are lost.
func (r *retry) buckets() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.lost.Len()
}

func (r *retry) idle() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.pending) == 0 && r.lost.IsZero()
}

// batch takes up to n changes, until finishBatch.
func (r *retry) batch(n int) (out []l2.Change) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for k, ch := range r.pending {
		if len(out) == n {
			break
		}
		out = append(out, ch)
		delete(r.pending, k)
	}
	r.sending = len(out)
	return out
}

// finishBatch ends a batch; changes that failed are pending again.
func (r *retry) finishBatch(failed []l2.Change) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, ch := range failed {
		r.sending--
		r.put(ch)
	}
	r.sending = 0
}

// run repeats until ctx ends, more and more slowly while it fails.
func (r *retry) run(ctx context.Context) {
	const least, most = 50 * time.Millisecond, 2 * time.Second
	wait := least
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.wake:
		}
		for !r.idle() {
			if r.flush(ctx) && r.restore(ctx) {
				wait = least
				continue
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(wait):
				wait = min(2*wait, most)
			}
		}
	}
}

// flush repeats some of the changes.
func (r *retry) flush(ctx context.Context) (ok bool) {
	batch := r.batch(256)
	if len(batch) == 0 {
		return true
	}
	if err := r.apply(ctx, batch); err != nil {
		r.finishBatch(batch)
		return false
	}
	for _, ch := range batch {
		r.done(ch)
	}
	r.finishBatch(nil)
	return true
}

// restore starts the lost buckets again. A change that was forgotten meanwhile may have come too late for that:
//
//	restore: starts the bucket again      a reader: loads the old row, and fills it under the new incarnation
//	writer: commits; L2 cannot be reached; its change is forgotten
//	restore: trusts the bucket, and the old row with it
//
// So then the bucket stays lost.
func (r *retry) restore(ctx context.Context) (ok bool) {
	r.mu.Lock()
	lost, losses := r.lost, maps.Clone(r.losses)
	r.mu.Unlock()
	for b := range lost.All() {
		if r.renew(ctx, b) != nil {
			return false
		}
		r.mu.Lock()
		if r.losses[b] == losses[b] {
			r.lost.Remove(b)
			r.release(b)
		}
		r.mu.Unlock()
	}
	return true
}
