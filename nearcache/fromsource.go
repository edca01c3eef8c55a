package nearcache

import (
	"context"
	"math"
	"sync"
	"time"

	"github.com/nearcache/nearcache-go/internal/fence"
	"github.com/nearcache/nearcache-go/internal/l2"
)

// loadSource loads flights from the source, and hands those that have a result to done. A call of the Loader that runs
// already is shared: of a key it may not run twice at a time. What it returns is not filled under our lease then, which
// was granted after the call began.
//
// Keys wait for one another only where one LoadMany brings them. Otherwise each has its result as soon as it is there:
// the Loader of another key of the batch may be waiting for it.
func (c *Cache[K, V]) loadSource(ctx context.Context, batch []*flight[K, V], done func([]*flight[K, V])) {
	switch {
	case len(batch) == 1:
		c.loadOneSource(ctx, batch[0], done)
	case c.opt.LoadMany != nil:
		c.loadManySource(ctx, batch, done)
	default:
		var all sync.WaitGroup
		for _, f := range batch {
			all.Go(func() { c.loadOneSource(ctx, f, done) })
		}
		all.Wait()
	}
}

// loadOneSource is loadSource for one flight.
func (c *Cache[K, V]) loadOneSource(ctx context.Context, f *flight[K, V], done func([]*flight[K, V])) {
	s, err := c.joinCall(ctx, f)
	switch {
	case err != nil:
		f.res = loaded[V]{err: err}
	case s.mine:
		call := s.f
		call.self[0] = call
		c.sources.fly(ctx, call.self[:])
		f.setResult(call.res)
		f.filled = call.filled // the flight is not used again: a Loader that outlived its context may still look at it
	default:
		c.shareCall(ctx, f, &s)
	}
	f.self[0] = f
	done(f.self[:])
}

// loadManySource is loadSource for flights that one LoadMany brings.
func (c *Cache[K, V]) loadManySource(ctx context.Context, batch []*flight[K, V], done func([]*flight[K, V])) {
	var shared sync.WaitGroup
	defer shared.Wait()
	var mine, calls []*flight[K, V]
	for _, f := range batch {
		s, err := c.joinCall(ctx, f)
		switch {
		case err != nil:
			f.res = loaded[V]{err: err}
			done([]*flight[K, V]{f})
		case s.mine:
			mine, calls = append(mine, f), append(calls, s.f)
		default:
			shared.Go(func() {
				c.shareCall(ctx, f, &s)
				done([]*flight[K, V]{f})
			})
		}
	}
	if len(mine) > 0 {
		results := append([]*flight[K, V](nil), calls...) // fly may change the order of its batch
		c.sources.fly(ctx, calls)
		for i, f := range mine {
			f.setResult(results[i].res)
			f.filled = results[i].filled
		}
		done(mine)
	}
}

// joinCall gives a flight its place in a call of the Loader. The call takes the flight's lease, or the lease is given
// back.
func (c *Cache[K, V]) joinCall(ctx context.Context, f *flight[K, V]) (seat[K, V], error) {
	w := want[K]{k: f.k, key: f.key, since: math.MinInt64, lease: f.lease, began: f.began}
	s, err := c.sources.join(ctx, &w)
	if !s.carries {
		c.release(ctx, f.lease)
	}
	f.lease = nil
	if s.mine {
		s.f.reader = f
	}
	return s, err
}

// shareCall waits for a call of the Loader that another flight has begun.
func (c *Cache[K, V]) shareCall(ctx context.Context, f *flight[K, V], s *seat[K, V]) {
	res, err := c.sources.await(ctx, s)
	if err != nil {
		res = loaded[V]{err: context.Cause(ctx)}
	}
	f.setResult(res)
	if err == nil {
		c.reads.answer(f)
		c.sources.awaitEnd(s.f)
		f.filled = s.f.filled
	}
}

// setResult sets what a call of the Loader has brought, unless the flight is answered: then it has that.
func (f *flight[K, V]) setResult(res loaded[V]) {
	if f.answered {
		return
	}
	f.res = res
	if res.err != nil {
		f.res.kept = f.got.kept
	}
}

// callSource is the end of the pipeline: calls of the Loader, of which each key has one at most.
//
// A value whose tags were not known here before its load is loaded once more; see tagsBefore.
func (c *Cache[K, V]) callSource(ctx context.Context, batch []*flight[K, V]) {
	if len(batch) > 1 && c.opt.LoadMany == nil { // see loadSource
		var wg sync.WaitGroup
		for _, f := range batch {
			wg.Go(func() { c.sources.fly(ctx, []*flight[K, V]{f}) })
		}
		wg.Wait()
		return
	}
	ctx, done := c.loadContext(ctx, batch[0].began)
	defer done()
	defer c.releaseAbandoned(ctx, batch)
	if len(batch) == 1 && c.revalidate(ctx, batch[0]) {
		c.sources.finish(batch)
		return
	}
	for tries := 0; len(batch) > 0; tries++ {
		learnt := c.client.tagsLearnt()
		c.snapshot(batch) // time has passed with L2: a later snapshot proves more, and has seen more
		for _, f := range batch {
			f.minVersion = c.client.fence.MinVersion(f.key)
		}
		c.callLoaders(ctx, batch)
		c.decodeLossy(batch)
		var ended, again []*flight[K, V]
		var fills []fill[K, V]
		for _, f := range batch {
			var tags tagged
			if f.answer.err == nil && !f.bypass {
				var unknown bool
				if tags, unknown = c.loadedTags(ctx, f.answer.e, learnt); unknown && tries == 0 {
					again = append(again, f)
					continue
				}
			}
			if rec, ttl := c.evaluateLoaded(ctx, f, tags); rec != nil && f.lease != nil {
				fills = append(fills, fill[K, V]{f, rec, c.l2TTL(ttl)})
			}
			ended = append(ended, f)
		}
		for _, x := range fills {
			c.answer(x.f)
		}
		c.traceFills(ctx, fills)
		c.sources.finish(ended)
		batch = again
	}
}

// answer gives what a call of the Loader has brought to its readers, and to those of the flight that has begun it.
func (c *Cache[K, V]) answer(f *flight[K, V]) {
	c.sources.answer(f)
	if f.reader != nil {
		f.reader.setResult(f.res)
		c.reads.answer(f.reader)
	}
}

// evaluateLoaded decides whether a loaded value may be served, and sets the flight's result. It returns what may be
// offered to L2.
//
// A value without a lease is admitted to L1 if the fence allows it: L2 was not asked, or could not be. One with a lease
// is not: the fill would evict it again, and the next Get, which makes Redis track the key, admits it.
func (c *Cache[K, V]) evaluateLoaded(ctx context.Context, f *flight[K, V], tags tagged) (*l2.Record, time.Duration) {
	a := &f.answer
	refuse := func(reason string) (*l2.Record, time.Duration) {
		if reason != "" {
			c.m.rejected(reason).Inc()
		}
		c.release(ctx, f.lease)
		return nil, 0
	}
	switch {
	case a.err != nil:
		f.res = loaded[V]{err: a.err}
		return refuse("")
	case f.bypass:
		f.res = loaded[V]{value: a.e.Value, version: a.e.Version, absent: a.absent, tier: TierSource, asOf: f.own.Began()}
		return refuse("")
	}
	e := c.entryOf(f.k, a.e.Version, a.absent, len(tags))
	e.value = a.e.Value
	outcome, admit := c.client.fence.FromSource(&f.own, e.version, &e.stamp)
	if outcome != fence.Serve && e.version < f.minVersion && c.client.questionVersion(ctx, f.key, e.version) {
		outcome, admit = c.client.fence.FromSource(&f.own, e.version, &e.stamp)
	}
	f.res = loaded[V]{value: e.value, version: e.version, absent: a.absent, tier: TierSource, asOf: e.stamp.LoadedAsOf()}
	switch {
	case outcome != fence.Serve && e.version >= f.minVersion:
		// A write was heard of while the Loader read the state before it. The readers of this flight began to wait
		// before that. So the value is as new as its load proves: it is served, and not kept.
		return refuse("overtaken")
	case outcome != fence.Serve:
		// The Loader read less than this instance had seen before: a replica, or a source that lost commits.
		f.res.stale, f.res.asOf = true, 0
		return refuse("loader_behind")
	case a.e.TTL < 0:
		return refuse("expired")
	case !c.tagsFit(a.e) || len(tags) < c.tagCount(a.e) && c.tagsUnproved():
		c.m.rejected("tags").Inc()
		c.declareUncacheable(ctx, f.lease)
		return nil, 0
	case len(tags) < c.tagCount(a.e):
		return refuse("tags")
	case f.lease == nil && (!admit || c.opt.L1Bytes < 0 && c.opt.admitted == nil):
		return nil, 0
	}
	ttl := c.ttl(a.e.TTL, a.absent)
	rec, err := c.record(a.e.Value, a.absent, e.version, ttl, time.Duration(c.client.now()-f.own.Began()))
	if c.mayBypass(err) {
		c.m.rejected("lossy").Inc()
		c.declareUncacheable(ctx, f.lease)
		return nil, 0
	}
	if err != nil {
		f.res = loaded[V]{err: err}
		return refuse("codec")
	}
	rec.Tags = tags.records()
	if f.lease == nil {
		if len(tags) > 0 {
			e.extras().tags = tags
		}
		e.stamp.SetDeadline(f.own.Began() + int64(ttl))
		c.setDue(e, &rec)
		c.admit(e, len(rec.Payload)+l2.HeaderSize)
	}
	return &rec, ttl
}
