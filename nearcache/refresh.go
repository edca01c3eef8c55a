package nearcache

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/nearcache/nearcache-go/internal/fence"
	"github.com/nearcache/nearcache-go/internal/l2"
)

const (
	refreshQueue = 1 << 12     // keys that wait to be refreshed
	refreshBatch = 100         // keys of one round
	refreshAgain = time.Second // until a read asks again for what was not refreshed
)

// refresher loads keys again whose entries are due. It is one goroutine for each cache: a round that takes long makes
// the next one larger.
type refresher[K comparable] struct {
	queue chan K
	done  chan struct{}
}

// due asks for a refresh of an entry that is due when it is read. One of its readers asks, and one of the processes
// that ask is granted the lease. Until the refresh has ended no other reader asks.
func (c *Cache[K, V]) due(k K, x *extras, now int64) {
	was := x.refresh.Load()
	if was == 0 || was > now || !x.refresh.CompareAndSwap(was, now+int64(c.opt.LoadTimeout)) {
		return
	}
	select {
	case c.refresher.queue <- k:
	default:
		c.m.refreshes("dropped").Inc()
		x.refresh.Store(now + int64(refreshAgain))
	}
}

// refreshLater makes an entry due again that was not refreshed.
func (c *Cache[K, V]) refreshLater(k K) {
	e := c.peek(k)
	if e == nil {
		return
	}
	if x := e.extras(); x != nil && x.refresh.Load() != 0 {
		x.refresh.Store(c.client.now() + int64(refreshAgain))
	}
}

// dueAt is when an entry of L1 is to be refreshed, by the client's clock; 0: never. The record's soft expiry is by the
// options of the process that filled it. With Beta it says how far before the expiry the mean of the distribution lies.
func (c *Cache[K, V]) dueAt(rec *l2.Record, deadline int64) int64 {
	if !c.opt.Refresh.on() || rec.SoftExpiry.IsZero() || rec.ExpiresAt.IsZero() {
		return 0
	}
	ahead := rec.ExpiresAt.Sub(rec.SoftExpiry)
	if c.opt.Refresh.Beta > 0 {
		ahead = time.Duration(min(float64(ahead)*rand.ExpFloat64(), float64(maxTTL)))
	}
	return max(1, deadline-int64(ahead))
}

// setDue sets when an entry of L1 is to be refreshed.
func (c *Cache[K, V]) setDue(e *entry[K, V], rec *l2.Record) {
	if due := c.dueAt(rec, e.stamp.Deadline()); due != 0 {
		e.extras().refresh.Store(due)
	}
}

// refreshing runs until the client is closed.
func (c *Cache[K, V]) refreshing() {
	ended := false
	defer func() {
		if ended {
			close(c.refresher.done)
		} else {
			go c.refreshing() // a callback called runtime.Goexit, which only another goroutine survives
		}
	}()
	for {
		var ks []K
		select {
		case k := <-c.refresher.queue:
			ks = append(ks, k)
		case <-c.client.life.Done():
			ended = true
			return
		}
		for more := true; more && len(ks) < refreshBatch; {
			select {
			case k := <-c.refresher.queue:
				ks = append(ks, k)
			default:
				more = false
			}
		}
		c.refreshMany(ks)
	}
}

// refreshMany is a round. The records are read first, since another process may have been quicker. Those that are due
// still are leased, loaded and filled, and the fill's push makes every instance read them again. A key that is leased
// to another process is being loaded there.
func (c *Cache[K, V]) refreshMany(ks []K) {
	if Mode(c.client.mode.Load()) != ModeOn {
		return
	}
	ctx, stop := context.WithTimeout(c.client.life, c.opt.LoadTimeout)
	defer stop()
	batch, unnamed := c.newBatch(ks)
	c.m.refreshes("failed").Add(float64(unnamed))
	if len(batch) == 0 {
		return
	}
	c.readL2(ctx, batch)
	var due, load []*flight[K, V]
	for _, f := range batch {
		// A fill by another process would have invalidated the entry, and its push came before this reply.
		e := c.peek(f.k)
		switch current := e != nil && e.stamp.Check(c.client.fence) == fence.Current; {
		case f.l2.err != nil:
			c.m.refreshes("failed").Inc()
			c.refreshLater(f.k)
		case !current:
			c.m.refreshes("elsewhere").Inc()
			c.evaluateL2(ctx, f, withIO) // admits what is there
		default:
			f.got = fetched[V]{unusable: header(f.l2.raw)}
			due = append(due, f)
		}
	}
	c.acquire(ctx, due)
	for _, f := range due {
		if f.lease != nil {
			load = append(load, f)
		} else {
			c.m.refreshes("elsewhere").Inc()
			c.refreshLater(f.k)
		}
	}
	c.loadSource(ctx, load, func(ended []*flight[K, V]) {
		for _, f := range ended {
			c.m.refreshes(refreshResult(f)).Inc()
			if !f.filled {
				c.refreshLater(f.k)
			}
		}
	})
}

// refreshResult is what became of a key that was loaded.
func refreshResult[K comparable, V any](f *flight[K, V]) string {
	switch {
	case f.res.err != nil:
		return "failed"
	case !f.filled:
		return "unfilled"
	}
	return "loaded"
}

// newBatch makes flights that no reader joins, for a policy of the cache's own. Keys without a name are left out.
func (c *Cache[K, V]) newBatch(ks []K) (batch []*flight[K, V], unnamed int) {
	for _, k := range ks {
		key, err := c.key(k)
		if err != nil {
			unnamed++
			continue
		}
		batch = append(batch, &flight[K, V]{k: k, key: key, began: c.client.now()})
	}
	c.snapshot(batch)
	return batch, unnamed
}
