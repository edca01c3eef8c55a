package nearcache

import (
	"context"
	"errors"
	"math"
)

// GetMany is Get for several keys: it returns the values that are found, by key. Absent keys are left out. If some keys
// failed, the others are returned beside the first error; ReadMany tells which.
func (c *Cache[K, V]) GetMany(ctx context.Context, ks []K) (map[K]V, error) {
	out := make(map[K]V, len(ks))
	var first error
	for i, r := range c.ReadMany(ctx, ks, ReadOptions{}) {
		switch {
		case r.Err == nil:
			out[ks[i]] = r.Value
		case !errors.Is(r.Err, ErrNotFound) && first == nil:
			first = r.Err
		}
	}
	return out, first
}

// ReadMany is Read for several keys; results are in the order of ks, each with its own Err. L1 is asked first, then L2
// in one pipeline for each node, then the leases of what is missing in another, then the source with one LoadMany. Keys
// that another process is loading are waited for together. Keys given twice are read once.
func (c *Cache[K, V]) ReadMany(ctx context.Context, ks []K, ro ReadOptions) []Result[V] {
	out := make([]Result[V], len(ks))
	d, err := c.demanded(ro)
	if unusable := c.client.usable(ctx); unusable != nil {
		err = unusable
	}
	if err != nil {
		for i := range out {
			out[i].Err = err
		}
		return out
	}
	mode := Mode(c.client.mode.Load())
	at := make(map[K][]int, len(ks)) // where a key's result goes
	var below []*lookup[K, V]
	for i, k := range ks {
		if c.oddKeys && !selfEqual(k) {
			out[i].Err = c.oddKey()
			continue
		}
		if at[k] = append(at[k], i); len(at[k]) > 1 {
			continue
		}
		if mode == ModeOn && !ro.Fresh {
			if e, asOf := c.hit(k, d.bound, asOfNeeded); e != nil && e.version >= ro.AtLeast {
				out[i], out[i].Err = c.fromL1(e, asOf)
				continue
			}
		}
		key, err := c.key(k)
		if err != nil {
			out[i].Err = err
			continue
		}
		below = append(below, &lookup[K, V]{want: want[K]{k: k, key: key}, at: i})
	}
	c.traceMany(ctx, below, func(ctx context.Context) {
		if mode == ModeOn {
			c.readManyBelow(ctx, below, ro, d)
		} else {
			c.readInMode(ctx, mode, below, ro)
		}
	})
	for _, l := range below {
		out[l.at] = l.result
		out[l.at].Err = l.err
		if c.audit != nil && mode == ModeOn {
			c.audit.offer(l.want.k, l.result, l.err)
		}
	}
	for _, is := range at {
		for _, i := range is[1:] {
			out[i] = out[is[0]]
			if out[i].Err == nil {
				out[i].Value, out[i].Err = c.out(out[i].Value)
			}
		}
	}
	return out
}

// lookup is one key of a read of several.
type lookup[K comparable, V any] struct {
	want   want[K]
	ctx    context.Context // ends the waiting for this key
	at     int
	seat   seat[K, V]
	res    loaded[V]
	result Result[V]
	err    error
}

// traceMany runs a read of several keys below L1 in a span, which has the deepest tier that answered and the first
// failure.
func (c *Cache[K, V]) traceMany(ctx context.Context, below []*lookup[K, V], read func(context.Context)) {
	if len(below) == 0 {
		return
	}
	ctx, s := c.trace(ctx, opGet, len(below))
	for _, l := range below {
		l.ctx = ctx
	}
	read(ctx)
	if s.Span == nil {
		return
	}
	var deepest Tier
	var first error
	for _, l := range below {
		deepest = max(deepest, l.result.Tier)
		if first == nil && !errors.Is(l.err, ErrNotFound) && !errors.Is(l.err, ErrNotModified) {
			first = l.err
		}
	}
	s.answered(deepest, first)
}

// readManyBelow is readBelow for several keys.
func (c *Cache[K, V]) readManyBelow(ctx context.Context, ls []*lookup[K, V], ro ReadOptions, d demand) {
	if len(ls) == 0 {
		return
	}
	d.below(c.client.now())
	maxStale := c.maxStaleAge(ro)
	if c.opt.FailSafe.SoftTimeout > 0 && maxStale > 0 {
		soft, stop := context.WithTimeout(ctx, c.opt.FailSafe.SoftTimeout)
		defer stop()
		for _, l := range ls {
			l.ctx = soft
		}
	}
	c.descendMany(ctx, ls, d)
	var again []*lookup[K, V]
	for _, l := range ls {
		switch {
		case c.serveStaleOf(ctx, l, ro):
		case l.err != nil && l.ctx.Err() != nil && ctx.Err() == nil: // the soft timeout: nothing to serve instead
			l.ctx = ctx
			again = append(again, l)
		default:
			l.result, l.err = c.result(l.res, l.err)
		}
	}
	if len(again) > 0 {
		c.descendMany(ctx, again, d)
		for _, l := range again {
			if !c.serveStaleOf(ctx, l, ro) {
				l.result, l.err = c.result(l.res, l.err)
			}
		}
	}
}

// serveStaleOf answers one of several keys in place of its error, and reports whether it did.
func (c *Cache[K, V]) serveStaleOf(ctx context.Context, l *lookup[K, V], ro ReadOptions) bool {
	maxStale := c.maxStaleAge(ro)
	if l.err == nil || maxStale <= 0 || errors.Is(ctx.Err(), context.Canceled) {
		return false
	}
	r, ok, err := c.serveStale(ctx, l.want.k, l.res.kept, ro.AtLeast, maxStale)
	if ok {
		l.result, l.err = r, err
	}
	return ok
}

// descendMany is descend for several keys.
func (c *Cache[K, V]) descendMany(ctx context.Context, ls []*lookup[K, V], d demand) {
	source := ls
	if !d.fresh {
		source = nil
		for _, l := range ls {
			l.want.since = math.MinInt64
		}
		c.reads.doMany(ctx, ls)
		for _, l := range ls {
			switch {
			case l.err != nil:
				l.err = c.wrap("get", l.want.key, l.err)
			case l.res.err != nil:
				l.err = c.wrap("load", l.want.key, l.res.err)
			case !d.meets(l.res.version, l.res.asOf):
				l.want.since = d.sourceSince(l.res.version, c.client.now())
				source = append(source, l)
			}
		}
	} else {
		for _, l := range ls {
			l.want.since = d.since
		}
	}
	for _, l := range source {
		l.want.validate = true
	}
	c.sources.doMany(ctx, source)
	for _, l := range source {
		l.err = c.wrap("load", l.want.key, verdict(&d, l.res, l.err))
	}
}
