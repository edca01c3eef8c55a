package nearcache

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/fence"
	"github.com/nearcache/nearcache-go/internal/l2"
)

// fromSource calls the Loader and fills L2 if a lease was granted. The token is taken anew, since time has passed with L2:
// a later one proves more, and has seen more.
func (c *Cache[K, V]) fromSource(ctx context.Context, k K, key l2.Key, tok *fence.Token, lease *l2.Lease) loaded[V] {
	if lease != nil {
		stop := c.keep(ctx, key, lease)
		defer stop()
	}
	var tags tagged
	var got Entry[V]
	var absent bool
	var known Version
	for again, tries := true, 0; again && tries < 2; tries++ {
		learnt := c.client.tagsLearnt()
		*tok = c.client.fence.Begin(key)
		known = c.client.fence.Floor(key)
		var err error
		if got, absent, err = c.callLoad(ctx, k, c.peek(k)); err != nil {
			c.release(ctx, key, lease)
			return loaded[V]{err: err}
		}
		tags, again = c.loadedTags(ctx, got, learnt)
	}
	res, rec, ttl := c.judgeSource(ctx, k, key, tok, known, lease, got, tags, absent)
	if rec != nil && lease != nil {
		c.fill(ctx, key, lease, *rec, c.keepFor(ttl))
	}
	return res
}

// judgeSource decides what may be done with what the Loader returned, known being the version that was known here before it was
// asked: what is served, and the record that L2 should be
// offered, if any. Without a lease it admits the value to L1, if the fence allows that: L2 was not asked, or could not be.
// With one it does not: the fill would evict it again, and the next Get, which makes Redis track the key, admits it.
func (c *Cache[K, V]) judgeSource(ctx context.Context, k K, key l2.Key, tok *fence.Token, known Version, lease *l2.Lease, got Entry[V],
	tags tagged, absent bool) (res loaded[V], rec *l2.Record, ttl time.Duration) {
	e := newEntry[K, V](k, got.Version, absent)
	e.value = got.Value
	outcome, admit := c.client.fence.FromSource(tok, e.version, &e.stamp)
	res = loaded[V]{value: got.Value, version: got.Version, absent: absent, tier: TierSource, proved: e.stamp.Probe()}
	switch {
	case outcome != fence.Serve && e.version >= known:
		// A write was heard of while the Loader read what was there before it. Whoever waits for this load began to wait before:
		// it is as new as its load proves, and is not kept.
		c.m.rejected("overtaken").Inc()
		c.release(ctx, key, lease)
		return res, nil, 0
	case outcome != fence.Serve:
		// The Loader read less than this instance had seen before: a replica, or a source that lost commits.
		c.m.rejected("loader_behind").Inc()
		c.release(ctx, key, lease)
		res.stale, res.proved = true, 0
		return res, nil, 0
	case len(tags) < c.tagCount(got):
		c.m.rejected("tags").Inc()
		c.release(ctx, key, lease)
		return res, nil, 0
	case lease == nil && (!admit || c.l1 == nil && c.opt.admitted == nil):
		return res, nil, 0
	}
	ttl = c.ttl(got.TTL, absent)
	r, err := c.record(got.Value, absent, got.Version, ttl, time.Duration(c.client.now()-tok.Began()))
	if err != nil {
		c.release(ctx, key, lease)
		return loaded[V]{err: err}, nil, 0
	}
	r.Tags = tags.records()
	if lease == nil {
		if len(tags) > 0 {
			e.with().tags = tags
		}
		e.deadline = tok.Began() + int64(ttl)
		c.setDue(e, &r)
		c.admit(e, len(r.Payload)+l2.HeaderSize)
	}
	return res, &r, ttl
}

// callLoad runs the Loader on a goroutine of its own, because one that ignores its context must not keep the key's flight
// for ever: it ends with the context, and what the Loader returns later is dropped.
func (c *Cache[K, V]) callLoad(ctx context.Context, k K, old *entry[K, V]) (e Entry[V], absent bool, err error) {
	load := ctx
	if old != nil && !old.absent() {
		load = context.WithValue(ctx, oldKey{}, &Entry[V]{Value: c.out(old.value), Version: old.version})
	}
	if c.opt.ErrorTTL > 0 {
		if err := c.failures.get(k, c.client.now()); err != nil {
			c.m.loads("remembered").Inc()
			return Entry[V]{}, false, err
		}
	}
	got, err := bulkheaded(load, c, func() (Entry[V], error) { return c.loadOne(load, k) })
	if err != nil && c.opt.ErrorTTL > 0 && !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrNotModified) && c.client.life.Err() == nil {
		c.failures.put(k, err, c.client.now()+int64(c.opt.ErrorTTL))
	}
	switch {
	case errors.Is(err, ErrNotFound):
		c.m.loads("absent").Inc()
		return got, true, nil
	case errors.Is(err, ErrNotModified) && old != nil && !old.absent():
		if !c.sameHistory(ctx, old) {
			return c.callLoad(ctx, k, nil)
		}
		c.m.loads("not_modified").Inc()
		if got.Tags == nil {
			got.Tags = c.tagsOfEntry(old)
		}
		return Entry[V]{Value: old.value, Version: old.version, TTL: got.TTL, Tags: got.Tags}, false, nil
	}
	c.m.loads(loadResult(err, ctx)).Inc()
	return got, false, err
}

// bulkheaded runs a Loader when there is a place for it, and gives the place back when it has returned, which may be after
// its context has ended.
func bulkheaded[K comparable, V, T any](ctx context.Context, c *Cache[K, V], f func() (T, error)) (T, error) {
	leave, err := c.loads.enter(ctx)
	if err != nil {
		var none T
		return none, err
	}
	begun := time.Now()
	v, err := within(ctx, func() (T, error) {
		defer leave()
		return f()
	})
	c.m.loadSeconds.Observe(time.Since(begun).Seconds())
	return v, err
}

// sameHistory asks whether the source still is in the epoch that an entry was loaded in: a version that was lost and given
// to another state is no less equal.
func (c *Cache[K, V]) sameHistory(ctx context.Context, e *entry[K, V]) bool {
	if c.client.source == nil {
		return true
	}
	at, err := within(ctx, func() (coherence.Position, error) { return c.client.source.Position(ctx) })
	return err == nil && e.stamp.SameHistory(c.client.fence, at.Epoch)
}

// within runs f on a goroutine of its own and returns what it returns, or why ctx ended before. Its panic is an error.
func within[T any](ctx context.Context, f func() (T, error)) (T, error) {
	type answer struct {
		v   T
		err error
	}
	answered := make(chan answer, 1)
	begun := time.Now()
	go func() {
		a := answer{err: errGoexit} // stands if f never returns
		defer func() { answered <- a }()
		a.v, a.err = safely(f)
	}()
	select {
	case a := <-answered:
		return a.v, a.err
	case <-ctx.Done():
		var none T
		return none, fmt.Errorf("the Loader did not return within %v: %w", time.Since(begun).Round(time.Millisecond), context.Cause(ctx))
	}
}

// loadResult is a load's label in metrics.
func loadResult(err error, ctx context.Context) string {
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, ErrPanic):
		return "panic"
	case ctx.Err() != nil:
		return "timeout"
	}
	return "error"
}

func (c *Cache[K, V]) loadOne(ctx context.Context, k K) (Entry[V], error) {
	if c.opt.Load != nil {
		return c.opt.Load(ctx, k)
	}
	m, err := c.opt.LoadMany(ctx, []K{k})
	if err != nil {
		return Entry[V]{}, err
	}
	e, ok := m[k]
	if !ok {
		return e, ErrNotFound
	}
	return e, nil
}

// safely makes an error of a panic in the caller's code.
func safely[T any](f func() (T, error)) (v T, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v\n%s", ErrPanic, p, debug.Stack())
		}
	}()
	return f()
}

// record encodes what L2 will hold, after a load that took so long.
func (c *Cache[K, V]) record(v V, absent bool, version Version, ttl, took time.Duration) (l2.Record, error) {
	now := time.Now()
	rec := l2.Record{Absent: absent, Schema: c.opt.Schema, Version: version, WrittenAt: now, ExpiresAt: now.Add(ttl),
		SoftExpiry: c.softExpiry(now, ttl, took)}
	if absent {
		return rec, nil
	}
	payload, err := c.encoded(v)
	if err != nil {
		c.m.rejected("codec").Inc()
		return rec, fmt.Errorf("%w: %w", ErrCodec, err)
	}
	rec.Payload = payload
	if !c.verified.Load() {
		if err := c.verify(v, payload); err != nil {
			c.m.rejected("codec").Inc()
			return rec, err
		}
		c.verified.Store(true)
	}
	return rec, nil
}

// fill offers a record to L2.
func (c *Cache[K, V]) fill(ctx context.Context, key l2.Key, lease *l2.Lease, rec l2.Record, ttl time.Duration) {
	res, err := c.client.l2.Fill(ctx, key, lease.Token, lease.Epoch, rec, ttl)
	if err != nil {
		c.m.fills("unavailable").Inc()
		return
	}
	c.m.fills(res.String()).Inc()
}

// keep renews a lease while its load runs, so that LeaseTTL can be short and a load long. A process that is stopped
// renews nothing: its lease expires and its late fill is refused.
func (c *Cache[K, V]) keep(ctx context.Context, key l2.Key, lease *l2.Lease) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		tick := time.NewTicker(c.opt.LeaseTTL / 2)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				if held, err := c.client.l2.Renew(ctx, key, lease.Token, c.opt.LeaseTTL); err == nil && !held {
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	return func() { cancel(); <-finished }
}

// release gives up a lease whose load came to nothing, so that nobody waits for it.
func (c *Cache[K, V]) release(ctx context.Context, key l2.Key, lease *l2.Lease) {
	if lease == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if err := c.client.l2.Release(ctx, key, lease.Token); err != nil {
		c.m.leases("unreleased").Inc() // it expires
	}
}
