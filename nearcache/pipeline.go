package nearcache

import (
	"context"
	"errors"
	"math"
	"sync"

	"github.com/nearcache/nearcache-go/internal/fence"
	"github.com/nearcache/nearcache-go/internal/l2"
)

// The read pipeline, for one key or several at once. Its steps, downhill:
//
//	snapshot   the fence's state: by it everything that comes back is judged
//	readL2     the records, in one round trip
//	evaluateL2 what may be served and admitted to L1
//	acquire    the leases of what is missing, in one round trip
//	loadSource the Loader, at most once at a time for each key, and the fill, in one round trip
//
// Get, Read and ReadMany go all the way (walk). Refresh skips what another process has refreshed or is refreshing; a
// warm start ends after evaluateL2. A policy says when the pipeline runs and how far, and nothing of how.

// effort says what evaluateL2 may do to come to a verdict.
type effort uint8

const (
	withoutIO effort = iota // nothing: the verdict may be later
	withIO                  // read tags, repair L2
)

// l2Reply is what L2 answered.
type l2Reply struct {
	raw       []byte // nil: no record
	watermark l2.Watermark
	err       error
	learn     bool // the watermark was asked for
	known     known
}

// known is what L2 lacked, as far as this process knew, before it was asked. Afterwards is too late:
//
//	read: its GET returns the old record      retry: sends the pending change, which deletes the record
//	reader: nothing is pending; believes the old record
type known struct {
	pending bool // a change of the key had not been sent
	telling l2.Telling
}

func (c *Client) known(key l2.Key) known { return known{c.retry.has(key), c.l2.Telling(key.Bucket)} }

// fetched is what can be made of an answer of L2.
type fetched[V any] struct {
	loaded   loaded[V]
	served   bool
	direct   bool            // to the source without a lease: L2 cannot be asked, or is not believed
	later    bool            // no verdict without I/O
	unusable []byte          // the header of a record that may be overwritten although it looks usable
	kept     *staleRecord[V] // a record that only fail-safe may serve
}

// snapshot begins to ask for a key: what comes back is judged by the fence's state as of now.
func (c *Cache[K, V]) snapshot(batch []*flight[K, V]) {
	for _, f := range batch {
		f.own = c.client.fence.Begin(f.key)
	}
}

// readL2 asks L2 for the records of a batch, in one pipeline for each node.
func (c *Cache[K, V]) readL2(ctx context.Context, batch []*flight[K, V]) {
	b := &c.client.breaker
	limit := min(b.timeout, c.opt.LoadTimeout)
	ctx, s := c.trace(ctx, opRead, len(batch))
	defer func() { s.end(batch[0].l2.err) }()
	if len(batch) == 1 {
		f := batch[0]
		r := l2Reply{learn: c.mustLearn(&f.own), known: c.client.known(f.key)}
		r.err = b.askSince(ctx, c.node(f.key), f.own.Began(), limit, func(ctx context.Context) (err error) {
			r.raw, r.watermark, err = c.client.l2.Get(ctx, f.key, l2.ReadOptions{Watermark: r.learn, Lease: f.waiter != nil})
			return err
		})
		f.l2 = r
		return
	}
	keys, knowns, o := make([]l2.Key, len(batch)), make([]known, len(batch)), l2.ReadOptions{}
	for i, f := range batch {
		keys[i], knowns[i] = f.key, c.client.known(f.key)
		o.Watermark, o.Lease = o.Watermark || c.mustLearn(&f.own), o.Lease || f.waiter != nil
	}
	replies := askMany(ctx, b, batchOf[l2.GetResponse]{batch[0].own.Began(), limit, c.nodes(batch),
		func(ctx context.Context, at []int) []l2.GetResponse {
			return c.client.l2.GetMany(ctx, pick(keys, at), o)
		}, func(got *l2.GetResponse) *error { return &got.Err }})
	for i, f := range batch {
		f.l2 = l2Reply{replies[i].Raw, replies[i].Watermark, replies[i].Err, o.Watermark, knowns[i]}
	}
}

// mustLearn says whether a flight must read the watermark with the record: because its snapshot has none, or one that
// proves too little for the cache's bound.
//
// The snapshot's watermark was read earlier on this connection. If the Redis session has not changed, it covers the
// record that is about to be read just as a fresh read would, only for a slightly earlier moment: one heartbeat at
// most. So it is read again when three quarters of the bound are over. The last quarter is for readers that join the
// flight: their bounds end later, and without it they would have to ask the source. All other flights of the bucket
// then use what this one has learnt.
func (c *Cache[K, V]) mustLearn(tok *fence.Snapshot) bool {
	bound := int64(c.opt.MaxStaleness)
	return !tok.WatermarkKnown || bound > 0 && tok.Began()-c.client.fence.SnapshotAsOf(tok) > bound-bound/4
}

// evaluateL2 decides what may be done with the answer of L2. It admits a value to L1 if the fence allows that.
func (c *Cache[K, V]) evaluateL2(ctx context.Context, f *flight[K, V], io effort) fetched[V] {
	switch err := f.l2.err; {
	case errors.Is(err, l2.ErrWrongType):
		c.m.l2Misses("corrupt").Inc()
		c.audit.refused(f.key, missCorrupt, nil)
		return fetched[V]{}
	case err != nil && io == withoutIO && ctx.Err() != nil: // the reader did not wait for the answer
		return fetched[V]{later: true}
	case err != nil:
		c.m.l2Misses("unavailable").Inc()
		return fetched[V]{direct: true}
	case f.l2.known.pending || c.client.retry.has(f.key): // L2 lacks a change that this process knows of
		c.m.l2Misses("pending").Inc()
		return fetched[V]{direct: true}
	}
	if f.l2.learn {
		c.client.fence.Learn(&f.own, f.l2.watermark)
		f.l2.learn = false
	}
	if !f.l2.known.telling.Done(f.own.Incarnation()) {
		c.m.l2Misses(fence.Behind.String()).Inc()
		return fetched[V]{direct: true}
	}
	d := c.decode(f.k, f.key.Hash, f.own.Incarnation(), f.l2.raw)
	if d.miss != "" {
		c.m.l2Misses(string(d.miss)).Inc()
	}
	switch d.miss {
	case "":
		return c.evaluateRecord(ctx, f, &d, io)
	case missNewer:
		return fetched[V]{direct: true}
	case missCorrupt, missKey:
		c.audit.refused(f.key, d.miss, f.l2.raw)
		return fetched[V]{unusable: header(f.l2.raw)}
	case missShape:
		return fetched[V]{unusable: header(f.l2.raw)}
	case missExpired, missUnconfirmed:
		old := &staleRecord[V]{value: d.e.value, version: d.e.version, absent: d.rec.Absent,
			written: d.rec.WrittenAt, key: f.key, tags: d.rec.Tags, unconfirmed: d.miss == missUnconfirmed}
		old.judged, _ = c.client.fence.FromL2(&f.own, d.e.version, &d.e.stamp)
		f.kept.Store(old)
		return fetched[V]{unusable: header(f.l2.raw), kept: old}
	}
	return fetched[V]{}
}

// evaluateRecord is evaluateL2 for a record that can be decoded: its tags, and then the fence, decide.
func (c *Cache[K, V]) evaluateRecord(ctx context.Context, f *flight[K, V], d *decoded[K, V],
	io effort) fetched[V] {
	rec, e, asOf := &d.rec, d.e, int64(math.MaxInt64)
	if len(rec.Tags) > 0 || c.opt.Clearable {
		if io == withoutIO && !c.tagsKnown(rec) {
			return fetched[V]{later: true}
		}
		// The record was read before: a version that is the record's now was so all the time.
		tags, tagsAsOf, ok := c.tagsOf(ctx, rec, asOf)
		if !ok {
			c.m.l2Misses("tag").Inc()
			return fetched[V]{unusable: header(f.l2.raw)}
		}
		e.extras().tags, asOf = tags, tagsAsOf
	}
	outcome, admit := c.client.fence.FromL2(&f.own, rec.Version, &e.stamp)
	switch {
	case outcome == fence.BelowMinVersion && io == withoutIO:
		return fetched[V]{later: true}
	case outcome == fence.BelowMinVersion:
		c.m.l2Misses(outcome.String()).Inc()
		return fetched[V]{direct: c.repairL2(ctx, f.key) != nil}
	case outcome == fence.Behind:
		c.m.l2Misses(outcome.String()).Inc()
		return fetched[V]{direct: true}
	}
	c.m.l2Hits.Add(1)
	if admit {
		e.stamp.SetDeadline(d.until)
		c.setDue(e, rec)
		c.admit(e, len(f.l2.raw))
	}
	return fetched[V]{served: true, loaded: loaded[V]{value: e.value, version: e.version, absent: rec.Absent,
		tier: TierL2, asOf: min(asOf, e.stamp.LoadedAsOf())}}
}

// repairL2 repeats an invalidation that L2 has missed although it is certain to have happened, so that the key can be
// filled again.
func (c *Cache[K, V]) repairL2(ctx context.Context, key l2.Key) error {
	return c.client.breaker.ask(ctx, c.node(key), func(ctx context.Context) error {
		return c.client.l2.Apply(ctx, key, c.client.fence.MinVersion(key))
	})
}

func header(raw []byte) []byte { return raw[:min(len(raw), l2.HeaderSize)] }

// tryL2 is the part of new flights that their reader does itself: L2 is asked once, and what can be answered without
// any further I/O is. It returns how many flights are finished with that, and moves them to the front.
func (c *Cache[K, V]) tryL2(ctx context.Context, batch []*flight[K, V]) (finished int) {
	for _, f := range batch {
		f.own = f.snap
	}
	c.readL2(ctx, batch)
	for i, f := range batch {
		f.got, f.tried = c.evaluateL2(ctx, f, withoutIO), true
		if f.got.served {
			f.res = f.got.loaded
			batch[i], batch[finished] = batch[finished], f
			finished++
		}
	}
	return finished
}

// walk is the pipeline for readers: it takes flights from L2, or from where tryL2 has left them, to a result. Those
// that find their lease taken wait for its holder's fill; see fillWait.
func (c *Cache[K, V]) walk(ctx context.Context, batch []*flight[K, V]) {
	ctx, done := c.loadContext(ctx, batch[0].began)
	defer done()
	var loading sync.WaitGroup
	defer loading.Wait()
	w := fillWait[K, V]{c: c, until: batch[0].began + int64(c.opt.LeaseWait)}
	defer w.end()
	for ask := batch; ; {
		missing, load := c.askAgain(ctx, ask)
		c.acquire(ctx, missing)
		ask = nil
		for _, f := range missing {
			switch w.next(f) {
			case stepLoad:
				load = append(load, f)
			case stepAsk:
				ask = append(ask, f)
			}
		}
		for len(ask) == 0 && len(w.waiting) > 0 {
			c.startLoad(ctx, &loading, load)
			ask, load = w.wait(ctx)
		}
		if len(ask) == 0 {
			c.loadSource(ctx, load, c.reads.finish)
			return
		}
		c.startLoad(ctx, &loading, load)
	}
}

// startLoad loads flights beside those that go on.
func (c *Cache[K, V]) startLoad(ctx context.Context, loading *sync.WaitGroup, batch []*flight[K, V]) {
	if len(batch) > 0 {
		loading.Go(func() { c.loadSource(ctx, batch, c.reads.finish) })
	}
}

// askAgain asks L2 for flights that have no answer yet, and finishes those that are served. The others are missing in
// L2, or must be loaded without a lease.
func (c *Cache[K, V]) askAgain(ctx context.Context, batch []*flight[K, V]) (missing, load []*flight[K, V]) {
	var ask, served []*flight[K, V]
	for _, f := range batch {
		switch {
		case !f.tried || f.got.later && f.l2.err != nil:
			ask = append(ask, f)
		case f.got.later:
			f.got = c.evaluateL2(ctx, f, withIO)
		}
	}
	if len(ask) > 0 {
		c.snapshot(ask)
		c.readL2(ctx, ask)
	}
	for _, f := range ask {
		f.got = c.evaluateL2(ctx, f, withIO)
	}
	for _, f := range batch {
		f.tried = false
		f.rounds++
		switch {
		case f.got.served:
			f.res = f.got.loaded
			served = append(served, f)
		case f.got.direct:
			load = append(load, f)
		default:
			missing = append(missing, f)
		}
	}
	c.reads.finish(served)
	return missing, load
}
