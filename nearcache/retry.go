package nearcache

import (
	"context"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nearcache/nearcache-go/internal/l2"
)

// maxRetries bounds the invalidations that wait for Redis to come back.
const maxRetries = 1 << 16

// Between two attempts at a node that does not answer, or refuses. A heartbeat that the node answers ends the wait.
const (
	leastRetryWait = 50 * time.Millisecond
	mostRetryWait  = 500 * time.Millisecond
	retryBatch     = 256
)

// retry repeats invalidations that could not be sent to L2, one pending change for each key, until L2 takes them. Until
// then L2 is not believed of these keys here. Each node is tried by itself.
//
// If more than limit keys are pending, the bucket of the next one is lost: what is pending in it, and whatever fails in
// it from then on, is counted and forgotten, and the bucket itself is remembered, which is a bit. Until L2 has
// started it again this client believes nothing that L2 has of it.
type retry struct {
	limit int
	// Of L2: apply tells it changes, and returns the error of each; renew makes every record of a bucket a miss, on all
	// instances; node is what the buckets of one node have in common.
	apply func(context.Context, []l2.Change) []error
	renew func(ctx context.Context, bucket int) error
	node  func(bucket int) *l2.Node
	// Of the fence: done is called for each change that was sent, quarantine when a bucket is lost, and release when
	// L2 has started it again.
	done                func(l2.Change)
	quarantine, release func(bucket int)
	drop                func(changes int)

	waiting atomic.Bool // something is pending, on its way, or lost

	mu      sync.Mutex
	pending map[int]map[string]l2.Change // by bucket and record
	sending map[string]l2.Change         // on their way now; they count as pending too, and can be queued again
	queued  int                          // all that are pending and not on their way
	lost    l2.BucketSet
	losses  map[int]uint64 // changes forgotten, by bucket
	lanes   map[*l2.Node]*lane
	wake    chan struct{}
}

// lane is the state of a node.
type lane struct {
	busy  bool
	wait  time.Duration // after the next failure
	until time.Time     // it rests
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
	bucket := ch.Key.Bucket
	old, ok := r.pending[bucket][ch.Key.Record]
	deletes := func(ch l2.Change) bool { return ch.Version == 0 && !ch.Unconfirmed }
	r.waiting.Store(true)
	switch {
	case ok && deletes(old):
		return
	case ok && !deletes(ch):
		old.Version, old.Unconfirmed = max(old.Version, ch.Version), old.Unconfirmed || ch.Unconfirmed
		r.pending[bucket][ch.Key.Record] = old
		return
	case r.lost.Has(bucket) || !ok && r.queued+len(r.sending) >= r.limit:
		r.lose(bucket)
		return
	}
	if r.pending == nil {
		r.pending = make(map[int]map[string]l2.Change)
	}
	if r.pending[bucket] == nil {
		r.pending[bucket] = make(map[string]l2.Change)
	}
	r.pending[bucket][ch.Key.Record] = ch
	if !ok {
		r.queued++
	}
}

// lose forgets the changes of a bucket and remembers the bucket. The caller holds r.mu: a caller that learns that its
// change failed finds the bucket in quarantine already.
func (r *retry) lose(bucket int) {
	forgotten := 1
	r.waiting.Store(true)
	if !r.lost.Has(bucket) {
		forgotten += len(r.pending[bucket])
		r.queued -= len(r.pending[bucket])
		delete(r.pending, bucket)
		r.lost.Add(bucket)
		r.quarantine(bucket)
	}
	if r.losses == nil {
		r.losses = make(map[int]uint64)
	}
	r.losses[bucket] += uint64(forgotten)
	r.drop(forgotten)
}

// loseAll loses buckets.
func (r *retry) loseAll(of l2.BucketSet) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for b := range of.All() {
		r.lose(b)
	}
	signal(r.wake)
}

// len is how many changes are pending.
func (r *retry) len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.queued + len(r.sending)
}

// has reports whether a change of a key is pending. Of lost buckets the fence knows.
func (r *retry) has(key l2.Key) bool {
	if !r.waiting.Load() {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	_, pending := r.pending[key.Bucket][key.Record]
	_, sending := r.sending[key.Record]
	return pending || sending
}

// hasCertain reports whether a change of a key is pending, or forgotten, that is known to have happened.
func (r *retry) hasCertain(key l2.Key) bool {
	if !r.waiting.Load() {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	pending, ok := r.pending[key.Bucket][key.Record]
	sending, also := r.sending[key.Record]
	return ok && pending.Certain() || also && sending.Certain() || r.lost.Has(key.Bucket)
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
	return r.queued == 0 && r.lost.IsZero()
}

// batch takes up to n changes of some buckets, until finishBatch.
func (r *retry) batch(of l2.BucketSet, n int) (out []l2.Change) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for b := range of.All() {
		for record, ch := range r.pending[b] {
			if len(out) == n {
				return out
			}
			if _, under := r.sending[record]; under {
				continue // its bucket has gone to another node meanwhile
			}
			if r.sending == nil {
				r.sending = make(map[string]l2.Change)
			}
			r.sending[record] = ch
			delete(r.pending[b], record)
			r.queued--
			out = append(out, ch)
		}
	}
	return out
}

// finishBatch ends a batch; changes that failed are pending again.
func (r *retry) finishBatch(batch []l2.Change, errs []error) (ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	ok = true
	for i, ch := range batch {
		delete(r.sending, ch.Key.Record)
		if errs[i] != nil {
			ok = false
			r.put(ch)
		}
	}
	r.settle()
	return ok
}

// settle notes whether anything waits. The caller holds r.mu.
func (r *retry) settle() { r.waiting.Store(r.queued > 0 || len(r.sending) > 0 || !r.lost.IsZero()) }

// run repeats until ctx ends.
func (r *retry) run(ctx context.Context) {
	var lanes sync.WaitGroup
	defer lanes.Wait()
	for {
		var again <-chan time.Time
		if rest := r.start(ctx, &lanes); rest > 0 {
			t := time.NewTimer(rest)
			again = t.C
		}
		select {
		case <-ctx.Done():
			return
		case <-r.wake:
		case <-again:
		}
	}
}

// start tries the nodes that have changes, are not being tried and do not rest. It returns how long the first of those
// that rest still does; 0: none.
func (r *retry) start(ctx context.Context, lanes *sync.WaitGroup) (rest time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	todo := make(map[*l2.Node]l2.BucketSet)
	waits := r.lost
	for b := range r.pending {
		if len(r.pending[b]) > 0 {
			waits.Add(b)
		}
	}
	for b := range waits.All() {
		n := r.node(b)
		of := todo[n]
		of.Add(b)
		todo[n] = of
	}
	for n, l := range r.lanes {
		if _, needed := todo[n]; !needed && !l.busy {
			delete(r.lanes, n)
		}
	}
	for n, of := range todo {
		l := r.lanes[n]
		if l == nil {
			l = &lane{wait: leastRetryWait}
			if r.lanes == nil {
				r.lanes = make(map[*l2.Node]*lane)
			}
			r.lanes[n] = l
		}
		if l.busy {
			continue
		}
		if left := time.Until(l.until); left > 0 {
			if rest == 0 || left < rest {
				rest = left
			}
			continue
		}
		l.busy = true
		lanes.Go(func() { r.try(ctx, l, of) })
	}
	return rest
}

// try sends what is pending in buckets of one node.
func (r *retry) try(ctx context.Context, l *lane, of l2.BucketSet) {
	ok := r.flush(ctx, of) && r.restore(ctx, of)
	r.mu.Lock()
	defer r.mu.Unlock()
	l.busy = false
	if ok {
		l.wait, l.until = leastRetryWait, time.Time{}
	} else {
		l.until = time.Now().Add(l.wait)
		l.wait = min(2*l.wait, mostRetryWait)
	}
	signal(r.wake)
}

// answered says that the node of some buckets answers: what waits for it goes now.
func (r *retry) answered(of l2.BucketSet) {
	if !r.waiting.Load() {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for b := range of.All() {
		if l := r.lanes[r.node(b)]; l != nil {
			l.wait, l.until = leastRetryWait, time.Time{}
		}
	}
	signal(r.wake)
}

// flush repeats some of the changes of buckets.
func (r *retry) flush(ctx context.Context, of l2.BucketSet) (ok bool) {
	batch := r.batch(of, retryBatch)
	if len(batch) == 0 {
		return true
	}
	errs := r.apply(ctx, batch)
	for i, ch := range batch {
		if errs[i] == nil {
			r.done(ch)
		}
	}
	return r.finishBatch(batch, errs)
}

// restore starts the lost ones among buckets again. A change that was forgotten meanwhile may have come too late for
// that:
//
//	restore: starts the bucket again      a reader: loads the old row, and fills it under the new incarnation
//	writer: commits; L2 cannot be reached; its change is forgotten
//	restore: trusts the bucket, and the old row with it
//
// So then the bucket stays lost.
func (r *retry) restore(ctx context.Context, of l2.BucketSet) (ok bool) {
	r.mu.Lock()
	lost, losses := r.lost.Both(of), maps.Clone(r.losses)
	r.mu.Unlock()
	ok = true
	for b := range lost.All() {
		if r.renew(ctx, b) != nil {
			ok = false
			continue
		}
		r.mu.Lock()
		if r.losses[b] == losses[b] {
			r.lost.Remove(b)
			r.release(b)
			r.settle()
		}
		r.mu.Unlock()
	}
	return ok
}
