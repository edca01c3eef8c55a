package nearcache

import (
	"context"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/nearcache/nearcache-go/internal/ablate"
	"github.com/nearcache/nearcache-go/internal/fence"
	"github.com/nearcache/nearcache-go/internal/l1"
	"github.com/nearcache/nearcache-go/internal/l2"
)

// Cache is a near cache of one namespace. Make one with For; all its methods are safe for concurrent use.
type Cache[K comparable, V any] struct {
	client    *Client
	namespace string
	opt       Options[K, V]
	encode    func(K) (string, error)
	seed      maphash.Seed
	l1        *l1.Cache[entry[K, V]] // nil: switched off
	flights   flights[K, V]
	fresh     flights[K, V] // loads that go to the source alone
	loads     bulkhead
	failures  failures[K]
	watched   bool         // hits are looked at; see watch
	refresher refresher[K] // not running without Options.Refresh
	warmer    warmer[K]    // not running without Options.Warm
	verified  atomic.Bool  // a fill has been decoded again and was the same
	m         *cacheMetrics
}

// For makes the cache of a namespace, which is the first part of its keys' names and the namespace of their version
// events. It has no colon and no brace, and a client has at most one cache of it. K is any comparable type that has a
// name (see Options.EncodeKey).
func For[K comparable, V any](client *Client, namespace string, o Options[K, V]) (*Cache[K, V], error) {
	if err := o.validate(client, namespace); err != nil {
		return nil, err
	}
	c := &Cache[K, V]{client: client, namespace: namespace, opt: o, encode: encodeKey(o.EncodeKey), seed: maphash.MakeSeed(),
		loads: newBulkhead(o.MaxLoads)}
	c.flights.fence, c.flights.lead, c.flights.load = client.fence, c.lead, c.load
	c.fresh.fence, c.fresh.load = client.fence, c.loadFresh
	c.verified.Store(o.Lossy)
	c.watched = o.CheckShared || o.Warm.File != ""
	if o.L1Bytes > 0 {
		near, err := l1.New[entry[K, V]](l1.Config{MaxBytes: o.L1Bytes})
		if err != nil {
			return nil, fmt.Errorf("nearcache: cache %q: %w", namespace, err)
		}
		c.l1 = near
	}
	m, err := client.adopt(namespace, c)
	if err != nil {
		if c.l1 != nil {
			c.l1.Close()
		}
		return nil, err
	}
	c.m = m
	client.remember(o.L1Bytes)
	if o.Refresh.on() {
		c.refresher = refresher[K]{queue: make(chan K, refreshQueue), done: make(chan struct{})}
		go c.refreshing()
	}
	if o.Warm.File != "" {
		c.warmUp()
	}
	return c, nil
}

// Get returns the value of k from the nearest tier that may serve it, and loads it if none may. An absent key is
// ErrNotFound. It is Read without options, and the fastest way to a value: a hit in L1 allocates nothing.
func (c *Cache[K, V]) Get(ctx context.Context, k K) (V, error) {
	on := c.client.mode.Load() == int32(On)
	if on {
		if e, _ := c.hit(k, c.opt.MaxStaleness, false); e != nil {
			if e.absent() {
				var none V
				return none, ErrNotFound
			}
			if c.opt.Clone != nil {
				return c.opt.Clone(e.value), nil
			}
			return e.value, nil // c.out would copy it once more
		}
	}
	r, err := c.read(ctx, k, ReadOptions{}, on)
	return r.Value, err
}

// Read is Get with requirements, and says how the value was obtained. For an absent key it returns ErrNotFound and a
// Result with the absence's version.
func (c *Cache[K, V]) Read(ctx context.Context, k K, ro ReadOptions) (Result[V], error) {
	return c.read(ctx, k, ro, false)
}

// hit is the entry of k if L1 may serve it; with a bound, or if prove is set, also the moment that it is proved to be no
// older than, 0 if none is.
//
// The entry is read first and judged after: its key (the table is addressed by a hash), its deadline by the coarse clock,
// and last its stamp, so that an invalidation which came before this read is seen. With a bound the proof is taken before
// the stamp is checked (see fence.Stamp.Proved) and the real clock is read after: a process that was stopped in
// between finds the proof too old.
func (c *Cache[K, V]) hit(k K, bound time.Duration, prove bool) (e *entry[K, V], proved int64) {
	if c.l1 == nil {
		return nil, 0
	}
	e, ok := c.l1.Get(maphash.Comparable(c.seed, k))
	now := c.client.coarse.Load()
	switch {
	case !ok || e.key != k:
		c.m.l1Misses.absent.Inc()
		return nil, 0
	case e.deadline <= now:
		c.m.l1Misses.expired.Inc()
		return nil, 0
	}
	if bound > 0 || prove {
		return c.hitWithin(e, bound, now)
	}
	if v := e.stamp.Check(c.client.fence); v != fence.Current {
		c.m.l1Miss(v)
		return nil, 0
	}
	if e.rare != nil {
		c.due(e, now)
		if v, _ := e.rare.tags.check(c.client.fence, now, 0); v != fence.Current {
			c.m.l1Misses.tag.Inc()
			return nil, 0
		}
	}
	if c.watched && !c.watch(e) {
		return nil, 0
	}
	c.m.l1Hits.inc()
	return e, 0
}

// hitWithin is hit with a proof. With a bound, an entry that is proved to be within it is served whether or not a channel
// vouches for it now: what was proved stays true when the channel is lost.
func (c *Cache[K, V]) hitWithin(e *entry[K, V], bound time.Duration, coarse int64) (*entry[K, V], int64) {
	f := c.client.fence
	proved := e.stamp.Proved(f)
	if v := e.stamp.Check(f); v != fence.Current && (bound == 0 || v != fence.Unvouched) {
		c.m.l1Miss(v)
		return nil, 0
	}
	if e.rare != nil {
		c.due(e, coarse)
		v, since := e.rare.tags.check(f, coarse, proved)
		if v != fence.Current && (bound == 0 || v != fence.Unvouched) {
			c.m.l1Misses.tag.Inc()
			return nil, 0
		}
		proved = since
	}
	if ablate.Out(ablate.ProofBeforeCheck) {
		proved = e.stamp.Proved(f)
	}
	if bound > 0 {
		now := c.client.now()
		if ablate.Out(ablate.ClockOnRead) {
			now = c.client.coarse.Load()
		}
		if proved == 0 || now-proved > int64(bound) {
			c.m.l1Misses.unproved.Inc()
			return nil, 0
		}
	}
	if c.watched && !c.watch(e) {
		return nil, 0
	}
	c.m.l1Hits.inc()
	return e, proved
}

// watch looks at a hit before it is served, where an option asks for that, and says whether it may be.
func (c *Cache[K, V]) watch(e *entry[K, V]) bool {
	if !c.intact(e) {
		c.m.l1Misses.mutated.Inc()
		return false
	}
	if c.warmer.hot != nil {
		c.warmer.hot.hit(e.key)
	}
	return true
}

// peek is the entry that L1 holds of k, whether or not it may be served.
func (c *Cache[K, V]) peek(k K) *entry[K, V] {
	if c.l1 == nil {
		return nil
	}
	e, ok := c.l1.Get(maphash.Comparable(c.seed, k))
	if !ok || e.key != k || !c.intact(e) {
		return nil
	}
	return e
}

// admit offers an entry to L1, which may decline.
// encoded is the size of its record in L2.
func (c *Cache[K, V]) admit(e *entry[K, V], encoded int) {
	if e.deadline <= c.client.now() {
		return
	}
	if c.opt.admitted != nil {
		c.opt.admitted(e)
	}
	if c.l1 == nil {
		return
	}
	cost, err := c.cost(e, encoded)
	if err != nil {
		c.m.rejected("size").Inc()
		return
	}
	if c.opt.CheckShared {
		e.with().sum = c.checksum(e)
	}
	if c.l1.Set(maphash.Comparable(c.seed, e.key), e, cost) {
		c.m.admitted.Inc()
	} else {
		c.m.declined.Inc()
	}
}

// out is a value as the caller gets it.
func (c *Cache[K, V]) out(v V) V {
	if c.opt.Clone != nil {
		return c.opt.Clone(v)
	}
	return v
}

// key places k in L2.
func (c *Cache[K, V]) key(k K) (l2.Key, error) {
	name, err := c.encode(k)
	if err != nil {
		return l2.Key{}, fmt.Errorf("nearcache: cache %q: the key has no name: %w", c.namespace, err)
	}
	return c.client.keyspace.Key(c.namespace, name), nil
}

// ttl is how long an entry may be served.
func (c *Cache[K, V]) ttl(asked time.Duration, absent bool) time.Duration {
	ttl := c.opt.TTL
	switch {
	case asked > 0:
		ttl = asked
	case absent:
		ttl = c.opt.AbsentTTL
	}
	if c.opt.Jitter > 0 {
		ttl -= time.Duration(c.opt.Jitter * rand.Float64() * float64(ttl))
	}
	return max(ttl, time.Millisecond)
}

// keepFor is how long L2 keeps what may be served for a TTL.
func (c *Cache[K, V]) keepFor(ttl time.Duration) time.Duration { return ttl + c.opt.FailSafe.MaxAge }

func (c *Cache[K, V]) l1Stats() l1.Stats {
	if c.l1 == nil {
		return l1.Stats{}
	}
	return c.l1.Stats()
}

func (c *Cache[K, V]) maxStaleness() time.Duration { return c.opt.MaxStaleness }

// close waits for everything that the cache has started; the client calls it.
func (c *Cache[K, V]) close() {
	if c.refresher.done != nil {
		<-c.refresher.done
	}
	c.cool()
	c.flights.close()
	c.fresh.close()
	if c.l1 != nil {
		c.l1.Close()
	}
}
