package nearcache

import (
	"context"
	"fmt"
	"time"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/tier"
)

// read goes down the tiers: L1, then a flight through L2 and its lease, then the source alone. missed says that L1 has
// been asked already.
func (c *Cache[K, V]) read(ctx context.Context, k K, ro ReadOptions, missed bool) (Result[V], error) {
	if ro.MaxStaleness != 0 {
		return Result[V]{}, fmt.Errorf("%w: ReadOptions.MaxStaleness needs the watermark", ErrUnsupported)
	}
	if c.client.closed.Load() {
		return Result[V]{}, ErrClosed
	}
	mode := Mode(c.client.mode.Load())
	if mode == On && !missed && !ro.Fresh {
		if e := c.hit(k); e != nil && e.version >= ro.AtLeast {
			return c.fromL1(e, false)
		}
	}
	key, err := c.key(k)
	if err != nil {
		return Result[V]{}, err
	}
	switch mode {
	case Off:
		return c.bypass(ctx, k, ro)
	case Shadow:
		return c.shadow(ctx, k, key, ro)
	}
	r, err := c.descend(ctx, k, key, ro)
	if err != nil && ro.ServeStale > 0 && ctx.Err() == nil {
		if e := c.peek(k); e != nil && e.version >= ro.AtLeast && c.client.now()-e.loaded <= int64(ro.ServeStale) {
			c.m.servedStale.Inc()
			return c.fromL1(e, true)
		}
	}
	return c.answer(r, err)
}

// descend asks L2 and the source. A result that falls short of what this reader asked for, because the flight was begun
// by a reader who asked for less, sends it to the source.
func (c *Cache[K, V]) descend(ctx context.Context, k K, key tier.Key, ro ReadOptions) (loaded[V], error) {
	begin := func() coherence.Token { return c.client.fence.Begin(key) }
	if !ro.Fresh {
		r, err := c.flights.do(ctx, k, true, c.client.fence, begin, func(t coherence.Token) loaded[V] {
			return c.load(ctx, k, key, t)
		})
		if err != nil {
			return r, c.wrap("get", key, err)
		}
		if r.err != nil || r.version >= ro.AtLeast {
			return r, c.wrap("load", key, r.err)
		}
	}
	r, err := c.fresh.do(ctx, k, false, c.client.fence, begin, func(t coherence.Token) loaded[V] {
		ctx, done := c.loadContext(ctx)
		defer done()
		return c.fromSource(ctx, k, key, &t, nil)
	})
	if err == nil && r.err == nil && r.version < ro.AtLeast {
		return r, c.wrap("get", key, fmt.Errorf("%w: %d asked for, the source has %d", ErrNotReady, ro.AtLeast, r.version))
	}
	if err == nil {
		err = r.err
	}
	return r, c.wrap("load", key, err)
}

// bypass answers from the Loader alone.
func (c *Cache[K, V]) bypass(ctx context.Context, k K, ro ReadOptions) (Result[V], error) {
	ctx, done := c.loadContext(ctx)
	defer done()
	e, absent, err := c.callLoad(ctx, k, nil)
	r := loaded[V]{value: e.Value, version: e.Version, absent: absent, tier: TierSource}
	if err == nil && e.Version < ro.AtLeast {
		err = fmt.Errorf("%w: %d asked for, the source has %d", ErrNotReady, ro.AtLeast, e.Version)
	}
	return c.answer(r, err)
}

func (c *Cache[K, V]) fromL1(e *entry[K, V], stale bool) (Result[V], error) {
	r := Result[V]{Version: e.version, Tier: TierL1, Age: time.Duration(c.client.now() - e.loaded), Stale: stale}
	if e.absent {
		return r, ErrNotFound
	}
	r.Value = c.out(e.value)
	return r, nil
}

func (c *Cache[K, V]) answer(l loaded[V], err error) (Result[V], error) {
	switch {
	case err != nil:
		return Result[V]{}, err
	case l.absent:
		return Result[V]{Version: l.version, Tier: l.tier, Stale: l.stale}, ErrNotFound
	}
	return Result[V]{Value: c.out(l.value), Version: l.version, Tier: l.tier, Stale: l.stale}, nil
}

// wrap names the operation and the key in an error.
func (c *Cache[K, V]) wrap(op string, key tier.Key, err error) error {
	if err == nil {
		return nil
	}
	name := key.Name
	if len(name) > 64 {
		name = name[:64] + "..."
	}
	return fmt.Errorf("nearcache: %s %s %q: %w", op, c.namespace, name, err)
}
