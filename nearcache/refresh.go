package nearcache

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"time"

	"github.com/nearcache/nearcache-go/internal/fence"
	"github.com/nearcache/nearcache-go/internal/l2"
)

const (
	refreshQueue = 1 << 12     // keys that wait to be refreshed
	refreshBatch = 100         // keys of one round
	refreshAgain = time.Second // until a read tries again what was not refreshed
)

// refresher loads keys anew whose entries are due. It is one goroutine a cache: a round that takes long makes the next one
// larger.
type refresher[K comparable] struct {
	queue chan K
	done  chan struct{}
}

// due asks for a refresh of an entry that is read when it is due. Of the readers that find it so one asks, and of the
// processes that ask one is granted the lease.
func (c *Cache[K, V]) due(e *entry[K, V], now int64) {
	was := e.rare.refresh.Load()
	if was == 0 || was > now || !e.rare.refresh.CompareAndSwap(was, now+int64(refreshAgain)) {
		return
	}
	select {
	case c.refresher.queue <- e.key:
	default:
		c.m.refreshes("dropped").Inc()
	}
}

// dueAt is when an entry of L1 is to be refreshed, by the client's clock; 0: never. The record's soft expiry is by the options
// of whoever filled it; with Beta it says how far before the expiry the mean of the distribution lies.
func (c *Cache[K, V]) dueAt(rec *l2.Record, deadline int64) int64 {
	if !c.opt.Refresh.on() || rec.SoftExpiry.IsZero() || rec.ExpiresAt.IsZero() {
		return 0
	}
	ahead := rec.ExpiresAt.Sub(rec.SoftExpiry)
	if c.opt.Refresh.Beta > 0 {
		ahead = time.Duration(float64(ahead) * rand.ExpFloat64())
	}
	return max(1, deadline-int64(ahead))
}

// setDue sets when an entry of L1 is to be refreshed.
func (c *Cache[K, V]) setDue(e *entry[K, V], rec *l2.Record) {
	if due := c.dueAt(rec, e.deadline); due != 0 {
		e.with().refresh.Store(due)
	}
}

// softExpiry is what a record says of when it is due, after a load that took so long.
func (c *Cache[K, V]) softExpiry(now time.Time, ttl, took time.Duration) (t time.Time) {
	switch r := c.opt.Refresh; {
	case r.After > 0:
		t = now.Add(time.Duration(r.After * float64(ttl)))
	case r.Beta > 0:
		t = now.Add(ttl - min(ttl, max(time.Millisecond, time.Duration(r.Beta*float64(took)))))
	}
	return t
}

// refreshing runs until the client is closed.
func (c *Cache[K, V]) refreshing() {
	defer close(c.refresher.done)
	for {
		var ks []K
		select {
		case k := <-c.refresher.queue:
			ks = append(ks, k)
		case <-c.client.life.Done():
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

// refreshMany is a round: the records are read, since somebody may have been quicker; those that are due still are leased,
// loaded and filled, and the fill's push makes every instance read them anew. What is leased to somebody else is being
// loaded there.
func (c *Cache[K, V]) refreshMany(ks []K) {
	if Mode(c.client.mode.Load()) != On {
		return
	}
	ctx, stop := context.WithTimeout(c.client.life, c.opt.LoadTimeout)
	defer stop()
	failed := func(K, Result[V], error) { c.m.refreshes("failed").Inc() }
	items, keys, withWatermarks := c.begin(ks, failed)
	var asks []l2.Asking
	var asking []*batched[K, V]
	for i, got := range c.getMany(ctx, keys, withWatermarks) {
		it := items[i]
		if got.Err != nil {
			c.m.refreshes("failed").Inc()
			continue
		}
		if withWatermarks {
			c.client.fence.Learn(&it.tok, got.Watermark)
		}
		// A fill by somebody else would have invalidated the entry, and that is known before this reply was.
		if e := c.peek(it.k); e == nil || e.stamp.Check(c.client.fence) != fence.Current {
			c.m.refreshes("elsewhere").Inc()
			c.judge(ctx, it.k, it.key, &it.tok, got.Raw) // admits what is there
			continue
		}
		asks = append(asks, l2.Asking{Key: it.key, Acquire: l2.Acquire{Schema: c.opt.Schema, Unusable: header(got.Raw)}})
		asking = append(asking, it)
	}
	var leased []*batched[K, V]
	for i, got := range c.acquireMany(ctx, asks) {
		if got.Err != nil || got.Lease.Status != l2.Granted {
			c.m.refreshes("elsewhere").Inc()
			continue
		}
		asking[i].lease = &got.Lease
		leased = append(leased, asking[i])
	}
	c.loadBatch(ctx, leased, demand{since: math.MinInt64}, func(k K, r Result[V], err error) {
		if err != nil && !errors.Is(err, ErrNotFound) {
			failed(k, r, err)
			return
		}
		c.m.refreshes("loaded").Inc()
	})
}
