package nearcache

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/nearcache/nearcache-go/internal/ablate"
	"github.com/nearcache/nearcache-go/internal/l2"
)

// heldLease is a lease that this process holds while it loads the key. It is renewed until it is settled: by a fill, or
// given back. So LeaseTTL can be short and a load long. A process that was stopped renews nothing: its lease expires,
// and its late fill is refused.
type heldLease struct {
	key   l2.Key
	lease l2.Lease
	count prometheus.Gauge // of leases held

	mu      sync.Mutex
	timer   *time.Timer
	settled bool
}

// hold begins to renew a lease that was granted, until ctx ends at the latest.
func (c *Cache[K, V]) hold(ctx context.Context, key l2.Key, lease l2.Lease) *heldLease {
	h := &heldLease{key: key, lease: lease, count: c.m.leasesHeld}
	h.count.Inc()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.timer = time.AfterFunc(c.opt.LeaseTTL/2, func() { c.renewLease(ctx, h) })
	return h
}

func (c *Cache[K, V]) renewLease(ctx context.Context, h *heldLease) {
	held, err := c.client.l2.Renew(ctx, h.key, h.lease.ID, c.opt.LeaseTTL)
	if err == nil && !held {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.settled && ctx.Err() == nil {
		h.timer.Reset(c.opt.LeaseTTL / 2)
	}
}

// settle ends the renewing.
func (h *heldLease) settle() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.settled {
		h.count.Dec()
	}
	h.settled = true
	h.timer.Stop()
}

// acquire asks for the leases of flights that are missing in L2, in one pipeline for each node. What was answered is in
// each flight's grant.
func (c *Cache[K, V]) acquire(caller context.Context, batch []*flight[K, V]) {
	b := &c.client.breaker
	if len(batch) == 0 {
		return
	}
	ctx, span := c.trace(caller, opAcquire, len(batch))
	defer func() { span.end(batch[0].grantErr) }()
	switch len(batch) {
	case 1:
		f := batch[0]
		f.grantErr = b.ask(ctx, c.node(f.key), func(ctx context.Context) (err error) {
			f.grant, err = c.client.l2.Acquire(ctx, f.key, l2.NewLeaseIDKnowing(c.leaseKnows(f)), c.opt.LeaseTTL,
				c.acquisition(f))
			return err
		})
	default:
		asks := make([]l2.AcquireRequest, len(batch))
		for i, f := range batch {
			asks[i] = l2.AcquireRequest{Key: f.key, Known: c.leaseKnows(f), Options: c.acquisition(f)}
		}
		answers := askMany(ctx, b, batchOf[l2.AcquireResponse]{c.client.now(), b.timeout, c.nodes(batch),
			func(ctx context.Context, at []int) []l2.AcquireResponse {
				return c.client.l2.AcquireMany(ctx, pick(asks, at), c.opt.LeaseTTL)
			}, func(got *l2.AcquireResponse) *error { return &got.Err }})
		for i, f := range batch {
			f.grant, f.grantErr = answers[i].Lease, answers[i].Err
		}
	}
	for _, f := range batch {
		if f.grantErr != nil {
			c.m.leases("unavailable").Inc()
			continue
		}
		c.m.leases(f.grant.Status.String()).Inc()
		if f.grant.Status == l2.Granted {
			f.lease = c.hold(caller, f.key, f.grant)
		}
	}
}

func (c *Cache[K, V]) acquisition(f *flight[K, V]) l2.AcquireOptions {
	return l2.AcquireOptions{Schema: c.opt.Schema, Unusable: f.got.unusable}
}

// leaseKnows is the version that a flight's lease says to exist. It spares the lease where several instances apply one
// event. Where a relay applies each change once, no event does.
func (c *Cache[K, V]) leaseKnows(f *flight[K, V]) Version {
	if c.client.relayed {
		return 0
	}
	return c.client.fence.MinVersion(f.key)
}

// release gives back a lease whose load came to nothing, so that no flight waits for its fill. A nil lease is none.
func (c *Cache[K, V]) release(ctx context.Context, h *heldLease) {
	if h == nil {
		return
	}
	h.settle()
	err := c.client.breaker.ask(context.WithoutCancel(ctx), c.node(h.key), func(ctx context.Context) error {
		return c.client.l2.Release(ctx, h.key, h.lease.ID)
	})
	if err != nil {
		c.m.leases("unreleased").Inc() // it expires
	}
}

// releaseAbandoned gives back what leases of a batch are still held when a callback has panicked or called
// runtime.Goexit on the way to the fill.
func (c *Cache[K, V]) releaseAbandoned(ctx context.Context, batch []*flight[K, V]) {
	for _, f := range batch {
		if !f.over && f.lease.held() {
			c.release(ctx, f.lease)
		}
	}
}

// held reports whether the lease has not been settled. A nil lease is none.
func (h *heldLease) held() bool {
	if h == nil {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return !h.settled
}

// uncacheableTTL is how long L2 remembers that the value of a key cannot be kept there.
const uncacheableTTL = 30 * time.Second

// declareUncacheable gives back a lease whose value L2 will never take: it is too large, or has tags that cannot be
// kept. A hold takes the lease's place for a while: it sends the key's readers on all instances to the source
// at once. Otherwise each of them would be granted the lease in turn, while all others waited for a fill that cannot
// come.
func (c *Cache[K, V]) declareUncacheable(ctx context.Context, h *heldLease) {
	if h == nil {
		return
	}
	h.settle()
	err := c.client.breaker.ask(context.WithoutCancel(ctx), c.node(h.key), func(ctx context.Context) error {
		return c.client.l2.PlaceHold(ctx, h.key, h.lease.ID, uncacheableTTL)
	})
	if err != nil {
		c.m.leases("unreleased").Inc() // it expires
	}
}

// step is what a flight does next, after it has asked for its lease.
type step uint8

const (
	stepLoad step = iota
	stepAsk       // L2 again
	stepWait      // for the holder's fill
)

// maxRounds bounds how often a flight asks L2: another process may keep filling and dropping the key.
const maxRounds = 100

// fillWait is the wait of a batch's flights for the fills of other processes. It ends when the lease in the way ends,
// whether by a fill or because no fill can come any more: the lease was given back, dropped by an invalidation,
// replaced by a writer's intent, evicted or flushed. Redis pushes all of that to every client that has read the lease.
// A lease that expires because its holder is dead ends the wait by the clock, and a lost connection ends all waits.
//
// Without tracking nothing is pushed: the flights ask again and again; see patience.
//
// A flight must be armed for the push before the GETs that make Redis track the record and the lease, so the first time
// round it only arms:
//
//	we: GET misses             holder: fills; Redis pushes to no flight that waits
//	we: acquire answers busy
//	we: arm; GET again         finds the value; had the fill come later still, its push would wake us
type fillWait[K comparable, V any] struct {
	c       *Cache[K, V]
	until   int64         // LeaseWait is over
	woken   chan struct{} // receives when one of the waiting flights is pushed; set while one is armed
	armed   []*flight[K, V]
	waiting []*flight[K, V]
}

// next decides what a flight does after its question for a lease.
func (w *fillWait[K, V]) next(f *flight[K, V]) step {
	switch status := f.grant.Status; {
	case f.grantErr != nil || status == l2.Writing || status == l2.Newer || status == l2.Granted:
		return stepLoad
	case f.rounds > maxRounds:
		return stepLoad
	case status == l2.Present:
		// It was filled since our GET, or under an incarnation of the bucket that we have not heard of: look at both
		// again.
		w.c.client.fence.Forget(f.key.Bucket, &f.own)
		return stepAsk
	case w.c.client.fillsNothing(f.key.Bucket):
		return stepLoad
	case w.c.client.nesting.isWanted(f.key):
		return stepLoad // the holder may be waiting for the load that waits for this one
	case f.waiter == nil:
		if w.woken == nil {
			w.woken = make(chan struct{}, 1)
		}
		hashes := []uint64{f.key.Hash, f.key.LeaseHash()}
		if ablate.Out(ablate.LeaseEndWakes) {
			hashes = hashes[:1]
		}
		f.waiter = w.c.client.waiters.arm(w.woken, hashes...)
		w.armed = append(w.armed, f)
		if !w.c.client.untracked {
			return stepAsk
		}
	}
	f.retry = w.c.client.now() + int64(w.patience(f))
	w.waiting = append(w.waiting, f)
	return stepWait
}

// wait waits until some of the flights can be asked for again: their keys were pushed, or the leases in the way have
// expired. When LeaseWait is over it hands out all of them, to be loaded; when ctx has ended, none.
func (w *fillWait[K, V]) wait(ctx context.Context) (ask, load []*flight[K, V]) {
	ctx, s := w.c.trace(ctx, opWait, len(w.waiting))
	defer func() { s.end(ctx.Err()) }()
	for {
		first := w.until
		for _, f := range w.waiting {
			first = min(first, f.retry)
		}
		t := time.NewTimer(time.Duration(first - w.c.client.now()))
		select {
		case <-w.woken:
		case <-t.C:
		case <-ctx.Done():
		}
		t.Stop()
		now := w.c.client.now()
		rest := w.waiting[:0]
		for _, f := range w.waiting {
			switch {
			case ctx.Err() != nil:
				f.res = loaded[V]{err: context.Cause(ctx)}
				w.c.reads.finish([]*flight[K, V]{f})
			case f.waiter.take() || f.retry <= now:
				ask = append(ask, f)
			case w.until <= now:
				w.c.m.leases("waited_out").Inc()
				load = append(load, f)
			default:
				rest = append(rest, f)
			}
		}
		w.waiting = rest
		if len(ask)+len(load) > 0 || len(rest) == 0 {
			return ask, load
		}
	}
}

// end disarms all flights.
func (w *fillWait[K, V]) end() {
	for _, f := range w.armed {
		w.c.client.waiters.disarm(f.waiter)
	}
}
