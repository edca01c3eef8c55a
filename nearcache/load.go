package nearcache

import (
	"context"
	"errors"
	"math"
	"time"

	"github.com/nearcache/nearcache-go/internal/ablate"
	"github.com/nearcache/nearcache-go/internal/fence"
	"github.com/nearcache/nearcache-go/internal/l2"
)

// loadContext outlives the caller and ends LoadTimeout after the load began, by the client's clock, or when the client is
// closed.
func (c *Cache[K, V]) loadContext(ctx context.Context, began int64) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.opt.LoadTimeout-time.Duration(c.client.now()-began))
	stop := context.AfterFunc(c.client.life, cancel)
	return ctx, func() { stop(); cancel() }
}

// lead is the beginning of a flight, which the reader who begins it does himself: it asks L2, and if that serves, nobody has
// had to wait for another goroutine. It waits for nothing but that one answer, on the reader's own context. Everything else
// must outlive the reader, and is left to load: what L2 had no answer to, and an answer that the reader did not wait for.
func (c *Cache[K, V]) lead(ctx context.Context, k K, key l2.Key, f *flight[V]) (served bool) {
	f.own = f.tok
	f.got = c.fromL2(ctx, k, key, &f.own, true)
	if f.got.served {
		f.res = f.got.loaded
		return true
	}
	f.asked = !f.got.later && ctx.Err() == nil
	return false
}

// load is a flight, or what lead has left of it: L2, then the lease, then the Loader and the fill.
//
// A load that finds the lease taken waits for the holder's fill, which Redis pushes to whoever has read the key. It must
// be armed for the push before the GET that makes Redis track the key, so the first time round it only arms:
//
//	we: GET misses           holder: fills, Redis pushes to nobody who waits
//	we: acquire says busy
//	we: arm; GET again       finds the value; had the fill come later still, its push would wake us
func (c *Cache[K, V]) load(ctx context.Context, k K, key l2.Key, f *flight[V]) loaded[V] {
	began := f.tok.Began()
	ctx, done := c.loadContext(ctx, began)
	defer done()
	var woken <-chan struct{}
	var old *kept[V]
	tok := &f.own
	source := func(lease *l2.Lease) loaded[V] {
		r := c.fromSource(ctx, k, key, tok, lease)
		if r.err != nil {
			r.instead = old
		}
		return r
	}
	var patience *time.Timer // of LeaseWait, counted from the load's beginning; set while woken is
	for round := 0; ; round++ {
		got := f.got
		if round > 0 || !f.asked {
			*tok = c.client.fence.Begin(key)
			got = c.fromL2(ctx, k, key, tok, false)
		}
		if got.served {
			return got.loaded
		}
		old = got.old
		if got.direct {
			return source(nil)
		}
		lease, err := c.acquire(ctx, key, got.unusable)
		switch {
		case err != nil || lease.Status == l2.Writing || lease.Status == l2.Newer:
			return source(nil)
		case lease.Status == l2.Granted:
			return source(&lease)
		case round > 100: // somebody keeps filling and dropping the key
			return source(nil)
		case lease.Status == l2.Present:
			// It was filled since our GET, or under a bucket epoch that we have not heard of: look at both again.
			c.client.fence.Forget(key.Bucket, tok)
		case woken == nil:
			var disarm func()
			woken, disarm = c.client.waiters.arm(key.Hash)
			defer disarm()
			patience = time.NewTimer(c.opt.LeaseWait - time.Duration(c.client.now()-began))
			defer patience.Stop()
		default:
			wait := time.NewTimer(max(lease.Left, time.Millisecond))
			select {
			case <-woken:
			case <-wait.C:
			case <-patience.C:
				wait.Stop()
				c.m.leases("waited_out").Inc()
				return source(nil)
			case <-ctx.Done():
				wait.Stop()
				return loaded[V]{err: context.Cause(ctx)}
			}
			wait.Stop()
		}
	}
}

// loadFresh is a flight that goes to the source alone.
func (c *Cache[K, V]) loadFresh(ctx context.Context, k K, key l2.Key, f *flight[V]) loaded[V] {
	ctx, done := c.loadContext(ctx, f.tok.Began())
	defer done()
	f.own = f.tok
	if r, ok := c.revalidate(ctx, k, key, &f.own); ok {
		return r
	}
	return c.fromSource(ctx, k, key, &f.own, nil)
}

// fetched is what L2 had to say.
type fetched[V any] struct {
	loaded   loaded[V]
	served   bool
	direct   bool     // to the source without a lease: L2 cannot be asked, or is not believed
	later    bool     // it is not judged yet: that takes asking somebody else
	unusable []byte   // the header of a record that may be overwritten although it looks fresh
	old      *kept[V] // a record past its TTL
}

// fromL2 asks L2 and judges its answer, as far as that asks nobody else if alone is set. A value that may be served is
// admitted to L1 if the fence says so.
func (c *Cache[K, V]) fromL2(ctx context.Context, k K, key l2.Key, tok *fence.Token, alone bool) fetched[V] {
	ask := c.mustLearn(tok)
	var raw []byte
	var w l2.Watermark
	err := c.client.breaker.askSince(ctx, tok.Began(), min(c.client.breaker.timeout, c.opt.LoadTimeout), func(ctx context.Context) (err error) {
		raw, w, err = c.client.l2.Get(ctx, key, ask)
		return err
	})
	switch {
	case errors.Is(err, l2.ErrWrongType):
		c.m.l2Misses("corrupt").Inc()
		return fetched[V]{}
	case err != nil && alone && ctx.Err() != nil: // nobody has waited for the answer
		return fetched[V]{later: true}
	case err != nil:
		c.m.l2Misses("unavailable").Inc()
		return fetched[V]{direct: true}
	}
	if ask {
		c.client.fence.Learn(tok, w)
	}
	return c.weigh(ctx, k, key, tok, raw, alone)
}

// mustLearn says whether a load must read the watermark with the record, because the token does not know it, or because it
// proves too little for the cache's bound.
//
// The one that the token knows was read on the same connection before the record will be, and counts only if their session is
// the same: it proves what it proves of the record, as one would that is read now. That one would prove a later moment, by a
// heartbeat's interval at most. So it is asked for when three quarters of the bound are over: the last quarter is for those who
// join the flight, whose demand is as much later as they are, and who would have to go to the source. What is learnt then
// serves all of the bucket's other loads.
func (c *Cache[K, V]) mustLearn(tok *fence.Token) bool {
	bound := int64(c.opt.MaxStaleness)
	return !tok.Known || bound > 0 && tok.Began()-c.client.fence.Proven(tok) > bound-bound/4
}

// judge decides what may be done with what a GET on T returned; nil is a miss.
func (c *Cache[K, V]) judge(ctx context.Context, k K, key l2.Key, tok *fence.Token, raw []byte) fetched[V] {
	return c.weigh(ctx, k, key, tok, raw, false)
}

// weigh is judge, and stops, if alone is set, where somebody else would have to be asked.
func (c *Cache[K, V]) weigh(ctx context.Context, k K, key l2.Key, tok *fence.Token, raw []byte, alone bool) fetched[V] {
	if raw == nil {
		c.m.l2Misses("absent").Inc()
		return fetched[V]{}
	}
	rec, e, err := c.decode(k, raw)
	switch {
	case errors.Is(err, l2.ErrNewerFormat) || err == nil && (rec.Schema > c.opt.Schema):
		c.m.l2Misses("newer").Inc()
		return fetched[V]{direct: true}
	case err == nil && rec.Schema < c.opt.Schema:
		c.m.l2Misses("schema").Inc()
		return fetched[V]{}
	case err == nil && rec.Epoch != tok.Epoch() && !ablate.Out(ablate.ReadSameEpoch):
		c.m.l2Misses("epoch").Inc()
		return fetched[V]{}
	case err != nil:
		c.m.l2Misses("corrupt").Inc()
		return fetched[V]{unusable: header(raw)}
	case c.expired(rec):
		c.m.l2Misses("expired").Inc()
		return fetched[V]{unusable: header(raw), old: &kept[V]{e.value, e.version, rec.Absent, rec.WrittenAt}}
	}
	since := int64(math.MaxInt64)
	if len(rec.Tags) > 0 || c.opt.Clearable {
		if alone && !c.tagsKnown(&rec) {
			return fetched[V]{later: true}
		}
		// After the record was read: a version that is the record's now was so all the time.
		tags, proved, ok := c.tagsOf(ctx, &rec, since)
		if !ok {
			c.m.l2Misses("tag").Inc()
			return fetched[V]{unusable: header(raw)}
		}
		e.with().tags, since = tags, proved
	}
	outcome, admit := c.client.fence.FromL2(tok, rec.Version, &e.stamp)
	switch {
	case outcome == fence.BelowFloor && alone:
		return fetched[V]{later: true}
	case outcome == fence.BelowFloor:
		// L2 missed an invalidation that is certain to have happened: repeat it, so that the key can be filled again.
		c.m.l2Misses(outcome.String()).Inc()
		if err := c.client.l2.Apply(ctx, key, c.client.fence.Floor(key)); err != nil {
			return fetched[V]{direct: true}
		}
		return fetched[V]{}
	case outcome == fence.Behind:
		c.m.l2Misses(outcome.String()).Inc()
		return fetched[V]{direct: true}
	}
	c.m.l2Hits.Inc()
	if admit {
		c.admit(e, len(raw))
	}
	return fetched[V]{served: true, loaded: loaded[V]{value: e.value, version: e.version, absent: rec.Absent, tier: TierL2, proved: min(since, e.stamp.Probe())}}
}

func header(raw []byte) []byte { return raw[:min(len(raw), l2.HeaderSize)] }

// expired says whether a record is past its TTL, and kept for FailSafe alone.
func (c *Cache[K, V]) expired(rec l2.Record) bool {
	return c.opt.FailSafe.MaxAge > 0 && !rec.ExpiresAt.IsZero() && time.Until(rec.ExpiresAt) <= 0
}

// decode parses a record into an entry. The entry's deadline never passes the record's own: Redis does not push an
// expiry when it falls due. That deadline is by the writer's wall clock, a backstop and no part of any bound.
func (c *Cache[K, V]) decode(k K, raw []byte) (l2.Record, *entry[K, V], error) {
	rec, err := l2.DecodeRecord(raw)
	if err != nil || rec.Schema != c.opt.Schema {
		return rec, nil, err
	}
	wall := time.Now()
	now := c.client.at(wall)
	e := newEntry[K, V](k, rec.Version, rec.Absent)
	left := c.ttl(0, rec.Absent)
	if !rec.ExpiresAt.IsZero() {
		// A clock that is behind the writer's must not make it longer than the writer meant.
		left = min(rec.ExpiresAt.Sub(wall), max(0, rec.ExpiresAt.Sub(rec.WrittenAt)))
	}
	e.deadline = now + int64(left)
	c.setDue(e, &rec)
	if !rec.Absent {
		if e.value, err = safely(func() (V, error) { return c.opt.Codec.Decode(rec.Payload) }); err != nil {
			return rec, nil, err
		}
	}
	return rec, e, nil
}

func (c *Cache[K, V]) acquire(ctx context.Context, key l2.Key, unusable []byte) (l2.Lease, error) {
	var lease l2.Lease
	err := c.client.breaker.ask(ctx, func(ctx context.Context) (err error) {
		lease, err = c.client.l2.Acquire(ctx, key, l2.NewToken(), c.opt.LeaseTTL, l2.Acquire{Schema: c.opt.Schema, Unusable: unusable})
		return err
	})
	if err != nil {
		c.m.leases("unavailable").Inc()
		return lease, err
	}
	c.m.leases(lease.Status.String()).Inc()
	return lease, nil
}
