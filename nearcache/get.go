package nearcache

import (
	"context"
	"hash/maphash"
	"time"

	"github.com/nearcache/nearcache-go/internal/ablate"
	"github.com/nearcache/nearcache-go/internal/fence"
	"github.com/nearcache/nearcache-go/internal/l1"
)

// This file is the hot path: a read that L1 serves. It allocates nothing and takes no lock of this module.

// Get returns the value of k from the nearest tier that may serve it, and loads it if none may. An absent key is
// ErrNotFound. It is Read without options, and the fastest way to a value: a hit in L1 allocates nothing.
func (c *Cache[K, V]) Get(ctx context.Context, k K) (V, error) {
	if c.client.mode.Load() != int32(ModeOn) {
		r, err := c.Read(ctx, k, ReadOptions{})
		return r.Value, err
	}
	var e *entry[K, V]
	if c.m.timed.Load() {
		e, _ = c.timedHit(k, c.opt.MaxStaleness, asOfUnneeded)
	} else {
		e, _ = c.hit(k, c.opt.MaxStaleness, asOfUnneeded)
	}
	if e != nil {
		if e.absent() {
			var none V
			return none, ErrNotFound
		}
		if c.opt.Clone != nil {
			return c.out(e.value)
		}
		return e.value, nil // c.out would copy it once more
	}
	d, _ := c.demanded(ReadOptions{}) // an error is about options
	r, err := c.readBelow(ctx, k, ReadOptions{}, d)
	return r.Value, err
}

// asOfNeed says whether a hit must tell the moment that its entry is proved to be no older than.
type asOfNeed uint8

const (
	asOfUnneeded asOfNeed = iota
	asOfNeeded
)

// hit is the entry of k if L1 may serve it. With a bound, or if need asks for it, it also returns the moment that the
// entry is proved to be no older than, 0 if none is.
//
// The entry is read first and judged after: its key (L1 is addressed by a hash), its deadline by the coarse clock, and
// last its stamp, so that an invalidation which came before this read is seen. With a bound the proof is taken before
// the stamp is checked (see fence.Stamp.AsOf) and the real clock is read after: a process that was stopped in between
// finds the proof too old.
func (c *Cache[K, V]) hit(k K, bound time.Duration, need asOfNeed) (e *entry[K, V], asOf int64) {
	if c.lookup != lookupAny && (c.lookup == lookupNone || !selfEqual(k)) {
		return nil, 0
	}
	hash := maphash.Comparable(c.seed, k)
	var near bool
	if p := c.l1.Near(hash); p != nil {
		e = p[l1.Home(hash)].Load()
		if near = e != nil && e.key == k; !near {
			e = p[l1.Home(hash)^1].Load()
			near = e != nil && e.key == k
		}
	}
	if !near {
		var ok bool
		if e, ok = c.l1.Get(hash); !ok || e.key != k {
			c.m.l1Misses.absent.Inc()
			return nil, 0
		}
	}
	now := c.client.coarseNow()
	if e.stamp.Expired(now) {
		c.m.l1Misses.expired.Inc()
		return nil, 0
	}
	if bound > 0 || need == asOfNeeded {
		var ok bool
		if asOf, ok = c.mayServeAsOf(e, bound, now); !ok {
			return nil, 0
		}
	} else if (!e.stamp.Stands(c.client.fence) || e.stamp.Marked()) && !c.mayServe(e, now) {
		return nil, 0
	}
	if c.watched.Load() != 0 && !c.recordHit(e) {
		return nil, 0
	}
	if n := c.m.hit(); near && c.l1.Counts(n) {
		c.l1.Touch(hash)
	}
	return e, asOf
}

// timedHit is hit, and takes its time.
func (c *Cache[K, V]) timedHit(k K, bound time.Duration, need asOfNeed) (e *entry[K, V], asOf int64) {
	c.m.timed.Store(false)
	begun := time.Now()
	if e, asOf = c.hit(k, bound, need); e != nil {
		c.m.lookupSeconds[TierL1].Observe(time.Since(begun).Seconds())
	}
	return e, asOf
}

// mayServe reports whether an entry may be served without a proof.
func (c *Cache[K, V]) mayServe(e *entry[K, V], now int64) bool {
	if v := e.stamp.Check(c.client.fence); v != fence.Current {
		c.m.l1Miss(v)
		return false
	}
	if x := e.extras(); x != nil {
		c.due(e.key, x, now)
		if v, _ := x.tags.check(c.client.fence, now, 0); v != fence.Current {
			c.m.l1Misses.tag.Inc()
			return false
		}
	}
	return true
}

// mayServeAsOf is mayServe with a proof. With a bound, an entry that is proved to be within it is served whether or not
// a channel vouches for it now: what was proved stays true when the channel is lost.
func (c *Cache[K, V]) mayServeAsOf(e *entry[K, V], bound time.Duration, coarse int64) (asOf int64, ok bool) {
	f := c.client.fence
	asOf = e.stamp.AsOf(f)
	if v := e.stamp.Check(f); v != fence.Current && (bound == 0 || v != fence.Unvouched) {
		c.m.l1Miss(v)
		return 0, false
	}
	if x := e.extras(); x != nil {
		c.due(e.key, x, coarse)
		v, tagsAsOf := x.tags.check(f, coarse, asOf)
		if v != fence.Current && (bound == 0 || v != fence.Unvouched) {
			c.m.l1Misses.tag.Inc()
			return 0, false
		}
		asOf = tagsAsOf
	}
	if ablate.Out(ablate.AsOfBeforeCheck) {
		asOf = e.stamp.AsOf(f)
	}
	if bound > 0 {
		now := c.client.now()
		if ablate.Out(ablate.ClockOnRead) {
			now = c.client.coarse.Load()
		}
		if asOf == 0 || now-asOf > int64(bound) {
			c.m.l1Misses.unproved.Inc()
			return 0, false
		}
	}
	return asOf, true
}

// Why hits are looked at.
const (
	watchShared uint32 = 1 << iota // Options.CheckShared
	watchWarm                      // Options.Warm
	watchAsked                     // DebugHandler was asked for the hottest keys
	watchAudit                     // the auditor wants the next read
)

// recordHit looks at a hit before it is served, where an option or DebugHandler asks for that, and says whether it may
// be.
func (c *Cache[K, V]) recordHit(e *entry[K, V]) bool {
	if !c.intact(e) {
		c.m.l1Misses.mutated.Inc()
		return false
	}
	if c.warmer.hot != nil {
		c.warmer.hot.hit(e.key)
	}
	if h := c.asked.hot.Load(); h != nil {
		h.hit(e.key)
	}
	if c.audit != nil {
		c.audit.hit(e)
	}
	return true
}
