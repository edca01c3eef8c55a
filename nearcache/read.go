package nearcache

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/nearcache/nearcache-go/internal/l2"
)

// Read is Get with requirements, and says how the value was obtained. For an absent key it returns ErrNotFound and a
// Result with the absence's version.
func (c *Cache[K, V]) Read(ctx context.Context, k K, ro ReadOptions) (Result[V], error) {
	if c.client.closed.Load() {
		return Result[V]{}, ErrClosed
	}
	d, err := c.demanded(ro)
	if err != nil {
		return Result[V]{}, err
	}
	if Mode(c.client.mode.Load()) == ModeOn && !ro.Fresh {
		var e *entry[K, V]
		var asOf int64
		if c.m.timed.Load() {
			e, asOf = c.timedHit(k, d.bound, asOfNeeded)
		} else {
			e, asOf = c.hit(k, d.bound, asOfNeeded)
		}
		if e != nil && e.version >= ro.AtLeast {
			return c.fromL1(e, asOf)
		}
	}
	return c.readBelow(ctx, k, ro, d)
}

// readBelow is Read below L1: a flight through L2, and then a call of the Loader.
func (c *Cache[K, V]) readBelow(ctx context.Context, k K, ro ReadOptions, d demand) (Result[V], error) {
	if ctx == nil {
		return Result[V]{}, errNilContext
	}
	begun := c.client.now()
	ctx, s := c.trace(ctx, opGet, 1)
	r, err := c.lookBelow(ctx, k, ro, d)
	s.answered(r.Tier, err)
	c.client.observe(ctx, c.m.lookupSeconds[r.Tier], c.client.now()-begun)
	return r, err
}

func (c *Cache[K, V]) lookBelow(ctx context.Context, k K, ro ReadOptions, d demand) (Result[V], error) {
	if c.client.closed.Load() {
		return Result[V]{}, ErrClosed
	}
	key, err := c.key(k)
	if err != nil {
		return Result[V]{}, err
	}
	if mode := Mode(c.client.mode.Load()); mode != ModeOn {
		l := &lookup[K, V]{want: want[K]{k: k, key: key}, ctx: ctx}
		c.readInMode(ctx, mode, []*lookup[K, V]{l}, ro)
		return l.result, l.err
	}
	d.below(c.client.now())
	maxStale := c.maxStaleAge(ro)
	wait := ctx
	if c.opt.FailSafe.SoftTimeout > 0 && maxStale > 0 {
		var stop context.CancelFunc
		wait, stop = context.WithTimeout(ctx, c.opt.FailSafe.SoftTimeout)
		defer stop()
	}
	l, err := c.descend(wait, k, key, d)
	if err != nil && maxStale > 0 && !errors.Is(ctx.Err(), context.Canceled) {
		if r, ok, staleErr := c.serveStale(ctx, k, l.kept, ro.AtLeast, maxStale); ok {
			return r, staleErr
		}
		if wait.Err() != nil && ctx.Err() == nil { // there is nothing to serve instead
			return c.readWithoutSoftTimeout(ctx, k, key, ro, d)
		}
	}
	r, err := c.result(l, err)
	if c.audit != nil {
		c.audit.offer(k, r, err)
	}
	return r, err
}

// readWithoutSoftTimeout goes on waiting for the Loader when the soft timeout is over and no tier has a value that may
// be served instead.
func (c *Cache[K, V]) readWithoutSoftTimeout(ctx context.Context, k K, key l2.Key, ro ReadOptions,
	d demand) (Result[V], error) {
	l, err := c.descend(ctx, k, key, d)
	if err != nil && !errors.Is(ctx.Err(), context.Canceled) {
		if r, ok, staleErr := c.serveStale(ctx, k, l.kept, ro.AtLeast, c.maxStaleAge(ro)); ok {
			return r, staleErr
		}
	}
	return c.result(l, err)
}

// descend asks L2 and the source for one key. A result that falls short of what this reader demands, because L2 cannot
// prove it, or because the flight was begun by a reader that asked for less, sends it to the source.
func (c *Cache[K, V]) descend(ctx context.Context, k K, key l2.Key, d demand) (loaded[V], error) {
	w := want[K]{k: k, key: key, since: math.MinInt64}
	if !d.fresh {
		l, err := c.reads.do(ctx, &w)
		if err != nil {
			return l, c.wrap("get", key, err)
		}
		if l.err != nil || d.meets(l.version, l.asOf) {
			return l, c.wrap("load", key, l.err)
		}
		w.since = d.sourceSince(l.version, c.client.now())
	} else {
		w.since = d.since
	}
	w.validate = true
	l, err := c.sources.do(ctx, &w)
	return l, c.wrap("load", key, verdict(&d, l, err))
}

// fromL1 is an entry of L1 as the caller gets it.
func (c *Cache[K, V]) fromL1(e *entry[K, V], asOf int64) (Result[V], error) {
	now := c.client.now()
	r := Result[V]{Version: e.version, Tier: TierL1, Age: time.Duration(now - e.stamp.Began()), Staleness: age(asOf, now)}
	if e.absent() {
		return r, ErrNotFound
	}
	if c.opt.Clone == nil { // withValue would copy the Result twice
		r.Value = e.value
		return r, nil
	}
	return c.withValue(r, e.value)
}

// result is what a flight has brought back as the caller gets it.
func (c *Cache[K, V]) result(l loaded[V], err error) (Result[V], error) {
	if err != nil {
		return Result[V]{}, err
	}
	r := Result[V]{Version: l.version, Tier: l.tier, Stale: l.stale}
	if l.asOf != 0 {
		r.Staleness = age(l.asOf, c.client.now())
	}
	if l.absent {
		return r, ErrNotFound
	}
	return c.withValue(r, l.value)
}

// withValue is a result with its value as the caller gets it.
func (c *Cache[K, V]) withValue(r Result[V], v V) (Result[V], error) {
	v, err := c.out(v)
	if err != nil {
		return Result[V]{}, err
	}
	r.Value = v
	return r, nil
}

// out is a value as the caller gets it. The error is a panic of Clone.
func (c *Cache[K, V]) out(v V) (V, error) {
	if c.opt.Clone == nil {
		return v, nil
	}
	v, err := safely(func() (V, error) { return c.opt.Clone(v), nil })
	if err != nil {
		var none V
		return none, fmt.Errorf("nearcache: cache %q: Clone: %w", c.namespace, err)
	}
	return v, nil
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
	return fmt.Errorf("nearcache: %s %s: %w", op, keyName(key), err)
}
