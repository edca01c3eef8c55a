package nearcache

import (
	"context"
	"math"
	"time"

	"github.com/nearcache/nearcache-go/internal/fence"
	"github.com/nearcache/nearcache-go/internal/l2"
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
	key     l2.Key
	tags    []l2.Tag
	judged  fence.Outcome // what the fence says of its version
}

// serveStale answers a read whose load has failed, or was too slow: from L1, or else from the record that L2 keeps past
// its TTL. What has expired may be served. What this instance knows to be removed or replaced may not: by a version, an
// invalidation, a tag or Clear; see FailSafe.
func (c *Cache[K, V]) serveStale(ctx context.Context, k K, old *staleRecord[V], atLeast Version,
	most time.Duration) (Result[V], bool, error) {
	if r, ok, err := c.staleFromL1(k, atLeast, most); ok {
		return r, true, err
	}
	if old == nil || old.version < atLeast || time.Since(old.written) > most {
		return Result[V]{}, false, nil
	}
	if !c.opt.FailSafe.Invalidated && c.recordGone(ctx, old) {
		c.m.staleRefused.Inc()
		return Result[V]{}, false, nil
	}
	c.m.servedStale.Inc()
	r := Result[V]{Version: old.version, Tier: TierL2, Age: max(0, time.Since(old.written)), Stale: true}
	if old.absent {
		return r, true, ErrNotFound
	}
	r, err := c.withValue(r, old.value)
	return r, true, err
}

// staleFromL1 is what L1 holds of a key, whether or not it may be served, if it is old at most so much.
func (c *Cache[K, V]) staleFromL1(k K, atLeast Version, most time.Duration) (Result[V], bool, error) {
	e := c.peek(k)
	if e == nil || e.version < atLeast {
		return Result[V]{}, false, nil
	}
	asOf := e.stamp.AsOf(c.client.fence)
	gone := c.entryGone(e)
	if gone {
		asOf = e.stamp.LoadedAsOf() // what the channels prove holds only of what they have not invalidated
	}
	since := e.stamp.Began()
	if asOf > 0 {
		since = asOf
	}
	if c.client.now()-since > int64(most) {
		return Result[V]{}, false, nil
	}
	if gone && !c.opt.FailSafe.Invalidated {
		c.m.staleRefused.Inc()
		return Result[V]{}, false, nil
	}
	c.m.servedStale.Inc()
	r, err := c.fromL1(e, asOf)
	r.Stale = true
	return r, true, err
}

// entryGone reports whether an entry of L1 is known to be removed or replaced: its key was invalidated, or a tag of it
// was. If so much was invalidated since that the fence cannot decide, it counts as gone.
func (c *Cache[K, V]) entryGone(e *entry[K, V]) bool {
	if v := e.stamp.Check(c.client.fence); v == fence.Invalidated || v == fence.Collided {
		return true
	}
	v, _ := e.tags().check(c.client.fence, math.MinInt64, 0) // a tag that has expired has not changed
	return v == fence.Invalidated
}

// recordGone is entryGone for a record of L2. One that L2 may hold only because it could not be reached counts as gone;
// a tag whose version cannot be read does not.
func (c *Cache[K, V]) recordGone(ctx context.Context, old *staleRecord[V]) bool {
	if old.judged != fence.Serve || c.client.retry.has(old.key) {
		return true
	}
	if len(old.tags) == 0 {
		return false
	}
	t, err := c.client.openTags()
	if err != nil {
		return false
	}
	for _, tag := range old.tags {
		if e, _, err := t.settle(ctx, tag.Name, 0); err == nil && e.value != uint64(tag.Version) {
			return true
		}
	}
	return false
}
