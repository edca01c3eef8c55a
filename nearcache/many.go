package nearcache

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/nearcache/nearcache-go/internal/fence"
	"github.com/nearcache/nearcache-go/internal/l2"
)

// GetMany is Get for several keys: those that are found, by key. Absent keys are left out. If some keys failed, the
// others are returned beside the first error; ReadMany tells which.
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
// in one pipeline for each node, then the leases of what is missing in another, then the source with one LoadMany. A key
// that another process is loading is waited for on its own. Keys given twice are read once.
func (c *Cache[K, V]) ReadMany(ctx context.Context, ks []K, ro ReadOptions) []Result[V] {
	out := make([]Result[V], len(ks))
	at := make(map[K][]int, len(ks)) // where a key's result goes
	var rest []K
	d, err := c.demanded(ro)
	plain := err == nil && Mode(c.client.mode.Load()) == On && !ro.Fresh && !c.client.closed.Load()
	for i, k := range ks {
		if at[k] = append(at[k], i); len(at[k]) > 1 {
			continue
		}
		if plain {
			if e, proved := c.hit(k, d.bound, true); e != nil && e.version >= ro.AtLeast {
				out[i], out[i].Err = c.fromL1(e, proved, false)
				continue
			}
		}
		rest = append(rest, k)
	}
	most := c.putUpWith(ro)
	give := func(k K, r Result[V], err error) {
		if err != nil && !errors.Is(err, ErrNotFound) && most > 0 && ctx.Err() == nil {
			if stale, staleErr, ok := c.stale(k, ro.AtLeast, most); ok {
				r, err = stale, staleErr
			}
		}
		r.Err = err
		out[at[k][0]] = r
	}
	if plain && len(rest) > 1 {
		d.below(c.client.now())
		rest = c.readBatch(ctx, rest, d, give)
	}
	for _, k := range rest {
		r, err := c.Read(ctx, k, ro)
		give(k, r, err)
	}
	for _, is := range at {
		for _, i := range is[1:] {
			out[i] = out[is[0]]
			if c.opt.Clone != nil && out[i].Err == nil {
				out[i].Value = c.out(out[i].Value)
			}
		}
	}
	return out
}

// batched is a key on its way through readBatch.
type batched[K comparable, V any] struct {
	k     K
	key   l2.Key
	tok   fence.Token
	lease *l2.Lease
	// learnt is how many tags were known when the token was taken
	learnt uint64
	known  Version // before the source was asked
}

// begin takes the tokens of several keys; ask says that their watermarks must be read with them. A key without a name is
// given up.
func (c *Cache[K, V]) begin(ks []K, give func(K, Result[V], error)) (items []*batched[K, V], keys []l2.Key, ask bool) {
	learnt := c.client.tagsLearnt()
	for _, k := range ks {
		key, err := c.key(k)
		if err != nil {
			give(k, Result[V]{}, err)
			continue
		}
		it := &batched[K, V]{k: k, key: key, tok: c.client.fence.Begin(key), learnt: learnt}
		items, keys, ask = append(items, it), append(keys, key), ask || c.mustLearn(&it.tok)
	}
	return items, keys, ask
}

// readBatch answers what it can through give and returns the keys that must be read one at a time.
func (c *Cache[K, V]) readBatch(ctx context.Context, ks []K, d demand, give func(K, Result[V], error)) (alone []K) {
	items, keys, ask := c.begin(ks, give)
	var load []*batched[K, V]
	var asks []l2.Asking
	var asking []*batched[K, V]
	for i, got := range c.getMany(ctx, keys, ask) {
		it := items[i]
		var f fetched[V]
		switch {
		case errors.Is(got.Err, l2.ErrWrongType):
			alone = append(alone, it.k)
			continue
		case got.Err != nil:
			c.m.l2Misses("unavailable").Inc()
			f.direct = true
		default:
			if ask {
				c.client.fence.Learn(&it.tok, got.Watermark)
			}
			f = c.judge(ctx, it.k, it.key, &it.tok, got.Raw)
		}
		switch {
		case f.served && d.meets(f.loaded.version, f.loaded.proved):
			r, err := c.answer(f.loaded, nil)
			give(it.k, r, err)
		case f.served || f.direct:
			load = append(load, it)
		default:
			asks = append(asks, l2.Asking{Key: it.key, Acquire: l2.Acquire{Schema: c.opt.Schema, Unusable: f.unusable}})
			asking = append(asking, it)
		}
	}
	for i, got := range c.acquireMany(ctx, asks) {
		it := asking[i]
		switch {
		case got.Err != nil:
			c.m.leases("unavailable").Inc()
			load = append(load, it)
			continue
		case got.Lease.Status == l2.Granted:
			it.lease = &got.Lease
			load = append(load, it)
		case got.Lease.Status == l2.Writing || got.Lease.Status == l2.Newer:
			load = append(load, it)
		default:
			alone = append(alone, it.k)
		}
		c.m.leases(got.Lease.Status.String()).Inc()
	}
	c.loadBatch(ctx, load, d, give)
	return alone
}

// getMany is L2's GetMany through the breaker.
func (c *Cache[K, V]) getMany(ctx context.Context, keys []l2.Key, withWatermarks bool) []l2.Got {
	return askMany(ctx, &c.client.breaker, len(keys), func(ctx context.Context) []l2.Got {
		return c.client.l2.GetMany(ctx, keys, withWatermarks)
	}, func(got *l2.Got) *error { return &got.Err })
}

// acquireMany is L2's AcquireMany through the breaker.
func (c *Cache[K, V]) acquireMany(ctx context.Context, asks []l2.Asking) []l2.Answered {
	if len(asks) == 0 {
		return nil
	}
	return askMany(ctx, &c.client.breaker, len(asks), func(ctx context.Context) []l2.Answered {
		return c.client.l2.AcquireMany(ctx, asks, c.opt.LeaseTTL)
	}, func(got *l2.Answered) *error { return &got.Err })
}

// loadBatch loads keys with one LoadMany, or one by one without it, and fills those whose lease was granted.
func (c *Cache[K, V]) loadBatch(ctx context.Context, items []*batched[K, V], d demand, give func(K, Result[V], error)) {
	if len(items) == 0 {
		return
	}
	load, done := c.loadContext(ctx, c.client.now())
	defer done()
	for _, it := range items {
		it.known = c.client.fence.Floor(it.key)
	}
	entries, err := c.callLoadMany(load, items)
	var fills []l2.Filling
	for _, it := range items {
		a, ok := entries[it.k]
		if err == nil && !ok {
			a.err = ErrNotFound
		} else if err != nil {
			a.err = err
		}
		l, rec, ttl := c.settle(load, it, a)
		if rec != nil && it.lease != nil {
			fills = append(fills, l2.Filling{Key: it.key, Token: it.lease.Token, Epoch: it.lease.Epoch, Record: *rec, TTL: c.keepFor(ttl)})
		}
		if l.err == nil {
			l.err = d.unmet(l.version, l.stale)
		}
		r, err := c.answer(l, c.wrap("load", it.key, l.err))
		give(it.k, r, err)
	}
	for _, f := range c.client.l2.FillMany(load, fills) {
		if f.Err != nil {
			c.m.fills("unavailable").Inc()
		} else {
			c.m.fills(f.Result.String()).Inc()
		}
	}
}

type answer[V any] struct {
	e   Entry[V]
	err error
}

// callLoadMany is callLoad for several keys.
func (c *Cache[K, V]) callLoadMany(ctx context.Context, items []*batched[K, V]) (map[K]answer[V], error) {
	out := make(map[K]answer[V], len(items))
	if c.opt.LoadMany == nil {
		var wg sync.WaitGroup
		var mu sync.Mutex
		for _, it := range items {
			wg.Go(func() {
				e, absent, err := c.callLoad(ctx, it.k, c.peek(it.k))
				if absent {
					err = ErrNotFound
				}
				mu.Lock()
				defer mu.Unlock()
				out[it.k] = answer[V]{e, err}
			})
		}
		wg.Wait()
		return out, nil
	}
	ks := make([]K, len(items))
	for i, it := range items {
		ks[i] = it.k
	}
	got, err := bulkheaded(ctx, c, func() (map[K]Entry[V], error) { return c.opt.LoadMany(ctx, ks) })
	c.m.loads(loadResult(err, ctx)).Inc()
	for k, e := range got {
		out[k] = answer[V]{e: e}
	}
	return out, err
}

// settle judges one loaded entry: what is served, and what L2 should be offered, if anything.
func (c *Cache[K, V]) settle(ctx context.Context, it *batched[K, V], a answer[V]) (l loaded[V], rec *l2.Record, ttl time.Duration) {
	absent := errors.Is(a.err, ErrNotFound)
	if a.err != nil && !absent {
		c.release(ctx, it.key, it.lease)
		return loaded[V]{err: a.err}, nil, 0
	}
	tags, _ := c.loadedTags(ctx, a.e, it.learnt) // if they were not known, the next read caches it
	return c.judgeSource(ctx, it.k, it.key, &it.tok, it.known, it.lease, a.e, tags, absent)
}
