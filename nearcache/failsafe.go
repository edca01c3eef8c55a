package nearcache

import (
	"time"

	"github.com/nearcache/nearcache-go/internal/fence"
	"github.com/nearcache/nearcache-go/internal/wallclock"
)

// maxStaleAge is how old a value may be that this read gets in place of an error, 0: none may.
func (c *Cache[K, V]) maxStaleAge(ro ReadOptions) time.Duration {
	if ro.ServeStale != 0 {
		return max(0, ro.ServeStale)
	}
	return c.opt.FailSafe.MaxAge
}

// staleRecord is a record of L2 that is past its TTL. Its age is by two wall clocks, and so a label, and no part of any
// bound.
type staleRecord[V any] struct {
	value   V
	version Version
	absent  bool
	written time.Time
}

// serveStale answers a read whose load has failed, or was too slow: from L1, or else from the record that L2 keeps past
// its TTL.
func (c *Cache[K, V]) serveStale(k K, old *staleRecord[V], atLeast Version, most time.Duration) (Result[V], bool, error) {
	if r, ok, err := c.staleFromL1(k, atLeast, most); ok {
		return r, true, err
	}
	if old == nil || old.version < atLeast {
		return Result[V]{}, false, nil
	}
	since := wallclock.At(time.Now()).Sub(old.written)
	if since > most {
		return Result[V]{}, false, nil
	}
	c.m.servedStale.Inc()
	r := Result[V]{Version: old.version, Tier: TierL2, Age: max(0, since), Stale: true}
	if old.absent {
		return r, true, ErrNotFound
	}
	r.Value = c.out(old.value)
	return r, true, nil
}

// staleFromL1 is what L1 holds of a key, whether or not it may be served, if it is old at most so much.
func (c *Cache[K, V]) staleFromL1(k K, atLeast Version, most time.Duration) (Result[V], bool, error) {
	e := c.peek(k)
	if e == nil || e.version < atLeast {
		return Result[V]{}, false, nil
	}
	asOf := e.stamp.AsOf(c.client.fence)
	if v := e.stamp.Check(c.client.fence); v == fence.Invalidated || v == fence.Collided {
		asOf = e.stamp.LoadedAsOf() // what the channels prove holds only of what they have not invalidated
	}
	since := e.stamp.Began()
	if asOf > 0 {
		since = asOf
	}
	if c.client.now()-since > int64(most) {
		return Result[V]{}, false, nil
	}
	c.m.servedStale.Inc()
	r, err := c.fromL1(e, asOf)
	r.Stale = true
	return r, true, err
}
