package nearcache

import (
	"bytes"
	"context"
	"math"
)

// readInMode answers lookups in a mode other than ModeOn: from the source.
func (c *Cache[K, V]) readInMode(ctx context.Context, mode Mode, ls []*lookup[K, V], ro ReadOptions) {
	switch mode {
	case ModeShadow:
		c.shadow(ctx, ls, ro)
	case ModeOff:
		c.bypass(ctx, ls, ro)
		for _, l := range ls {
			if l.result.Version > 0 { // so that after SetMode(ModeOn) no tier serves less
				c.client.fence.Written(l.want.key, l.result.Version)
			}
		}
	default: // the client was closed meanwhile
		for _, l := range ls {
			l.err = ErrClosed
		}
	}
}

// bypass answers from the Loader alone. A call that began after the read did may be shared.
func (c *Cache[K, V]) bypass(ctx context.Context, ls []*lookup[K, V], ro ReadOptions) {
	now := c.client.now()
	for _, l := range ls {
		l.want.bypass, l.want.since = true, now
	}
	c.sources.doMany(ctx, ls)
	d := demand{atLeast: ro.AtLeast}
	for _, l := range ls {
		l.result, l.err = c.result(l.res, c.wrap("load", l.want.key, verdict(&d, l.res, l.err)))
	}
}

// shadow answers from the source, and counts what the cache would have answered. The cache is read first and works as
// ever, so that it is as warm as it would be in use.
//
// A write between the two reads makes the cache look older than the source although it was right: compare the rate of
// "older" with the rate of writes. "newer" can only be a Loader that reads a replica.
func (c *Cache[K, V]) shadow(ctx context.Context, ls []*lookup[K, V], ro ReadOptions) {
	cached := c.shadowed(ctx, ls)
	c.bypass(ctx, ls, ro)
	for i, l := range ls {
		c.m.shadow(c.compare(cached[i], l)).Inc()
	}
}

// compare is what became of a lookup, beside what the cache would have answered.
func (c *Cache[K, V]) compare(cached *lookup[K, V], l *lookup[K, V]) string {
	r := &l.result
	switch absent := l.err != nil && r.Tier == TierSource; {
	case l.err != nil && !absent:
		return "source_error"
	case cached.err != nil:
		return "cache_error"
	case cached.res.tier == TierSource:
		return "miss"
	case cached.res.version < r.Version:
		return "older"
	case cached.res.version > r.Version:
		return "newer"
	case cached.res.absent != absent:
		return "absence"
	case !absent && !c.same(cached.res.value, r.Value):
		return "value"
	}
	return "match"
}

// shadowed is what the cache would have answered.
func (c *Cache[K, V]) shadowed(ctx context.Context, ls []*lookup[K, V]) []*lookup[K, V] {
	out := make([]*lookup[K, V], len(ls))
	var below []*lookup[K, V]
	for i, l := range ls {
		w := want[K]{k: l.want.k, key: l.want.key, since: math.MinInt64}
		out[i] = &lookup[K, V]{want: w, ctx: ctx}
		if e, _ := c.hit(l.want.k, c.opt.MaxStaleness, asOfUnneeded); e != nil {
			out[i].res = loaded[V]{value: e.value, version: e.version, absent: e.absent(), tier: TierL1}
			continue
		}
		below = append(below, out[i])
	}
	d := demand{bound: c.opt.MaxStaleness, since: math.MinInt64}
	d.below(c.client.now())
	c.descendMany(ctx, below, d)
	return out
}

// same compares values as L2 would see them.
func (c *Cache[K, V]) same(a, b V) bool {
	x, errX := c.encoded(a)
	y, errY := c.encoded(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}
