package nearcache

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/nearcache/nearcache-go/internal/l2"
)

// read goes down the tiers: L1, then a flight through L2 and its lease, then the source alone. missed says that L1 has
// been asked already.
func (c *Cache[K, V]) read(ctx context.Context, k K, ro ReadOptions, missed bool) (Result[V], error) {
	if c.client.closed.Load() {
		return Result[V]{}, ErrClosed
	}
	d, err := c.demanded(ro)
	if err != nil {
		return Result[V]{}, err
	}
	mode := Mode(c.client.mode.Load())
	if mode == On && !missed && !ro.Fresh {
		if e, proved := c.hit(k, d.bound, true); e != nil && e.version >= ro.AtLeast {
			return c.fromL1(e, proved, false)
		}
	}
	key, err := c.key(k)
	if err != nil {
		return Result[V]{}, err
	}
	switch mode {
	case Off:
		r, err := c.bypass(ctx, k, ro)
		if r.Version > 0 { // so that after SetMode(On) no tier serves less
			c.client.fence.Written(key, r.Version)
		}
		return r, err
	case Shadow:
		return c.shadow(ctx, k, key, ro)
	}
	if d.fresh || d.bound > 0 {
		d.below(c.client.now())
	}
	most := c.putUpWith(ro)
	wait := ctx
	if c.opt.FailSafe.SoftTimeout > 0 && most > 0 && c.peek(k) != nil { // there is something to serve instead
		var stop context.CancelFunc
		wait, stop = context.WithTimeout(ctx, c.opt.FailSafe.SoftTimeout)
		defer stop()
	}
	r, err := c.descend(wait, k, key, d)
	if err != nil && most > 0 && ctx.Err() == nil {
		if r, err, ok := c.instead(k, r, ro.AtLeast, most); ok {
			return r, err
		}
		if wait.Err() != nil { // what L1 has is too old after all
			r, err = c.descend(ctx, k, key, d)
		}
	}
	return c.answer(r, err)
}

// descend asks L2 and the source. A result that falls short of what this reader demands, because L2 cannot prove it, or
// because the flight was begun by a reader who asked for less, sends it to the source.
func (c *Cache[K, V]) descend(ctx context.Context, k K, key l2.Key, d demand) (loaded[V], error) {
	since := d.since
	if !d.fresh {
		r, err := c.flights.do(ctx, k, key, math.MinInt64)
		if err != nil {
			return r, c.wrap("get", key, err)
		}
		if r.err != nil || d.meets(r.version, r.proved) {
			return r, c.wrap("load", key, r.err)
		}
		if r.version < d.atLeast {
			since = c.client.now()
		}
	}
	r, err := c.fresh.do(ctx, k, key, since)
	if err == nil {
		err = r.err
	}
	if err == nil {
		if unmet := d.unmet(r.version, r.stale); unmet != nil {
			return r, c.wrap("get", key, unmet)
		}
	}
	return r, c.wrap("load", key, err)
}

// bypass answers from the Loader alone.
func (c *Cache[K, V]) bypass(ctx context.Context, k K, ro ReadOptions) (Result[V], error) {
	begun := c.client.now()
	ctx, done := c.loadContext(ctx, begun)
	defer done()
	e, absent, err := c.callLoad(ctx, k, nil)
	r := loaded[V]{value: e.Value, version: e.Version, absent: absent, tier: TierSource, proved: begun}
	if err == nil {
		err = (&demand{atLeast: ro.AtLeast}).unmet(e.Version, false)
	}
	return c.answer(r, err)
}

func (c *Cache[K, V]) fromL1(e *entry[K, V], proved int64, stale bool) (Result[V], error) {
	now := c.client.now()
	r := Result[V]{Version: e.version, Tier: TierL1, Age: time.Duration(now - e.stamp.Began()), Stale: stale, Staleness: age(proved, now)}
	if e.absent() {
		return r, ErrNotFound
	}
	r.Value = c.out(e.value)
	return r, nil
}

func (c *Cache[K, V]) answer(l loaded[V], err error) (Result[V], error) {
	if err != nil {
		return Result[V]{}, err
	}
	r := Result[V]{Version: l.version, Tier: l.tier, Stale: l.stale}
	if l.proved != 0 {
		r.Staleness = age(l.proved, c.client.now())
	}
	if l.absent {
		return r, ErrNotFound
	}
	r.Value = c.out(l.value)
	return r, nil
}

// age is how long ago a moment was, 0 if there is none.
func age(since, now int64) time.Duration {
	if since == 0 {
		return 0
	}
	return time.Duration(max(1, now-since))
}

// wrap names the operation and the key in an error.
func (c *Cache[K, V]) wrap(op string, key l2.Key, err error) error {
	if err == nil {
		return nil
	}
	name := key.Name
	if len(name) > 64 {
		name = name[:64] + "..."
	}
	return fmt.Errorf("nearcache: %s %s %q: %w", op, c.namespace, name, err)
}
