package demo

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/nearcache/nearcache-go/internal/product"
	"github.com/nearcache/nearcache-go/nearcache"
)

// The rates of the background.
const (
	gentleReads  = 40   // a second and instance, while the page is looked at
	heavyReads   = 3000 // a second and instance, under load
	heavyWrites  = 30   // a second, all together
	heavyKeys    = 900  // products under load; the watched ones are the hottest
	seededKeys   = 1000 // products that there are
	readTimeout  = 2 * time.Second
	trafficPulse = 10 * time.Millisecond
)

// score counts the answers of one kind of cache. All its fields are atomic.
type score struct {
	reads, stale, loads, over, failed atomic.Int64
	worst                             atomic.Int64 // nanoseconds
}

func (s *score) answer(stale, bound time.Duration) {
	s.reads.Add(1)
	if stale > 0 {
		s.stale.Add(1)
	}
	if stale > bound {
		s.over.Add(1)
	}
	for {
		worst := s.worst.Load()
		if int64(stale) <= worst || s.worst.CompareAndSwap(worst, int64(stale)) {
			return
		}
	}
}

// answer is what a read of an instance returned, and how old it was in truth.
type answer struct {
	version product.Version
	tier    nearcache.Tier
	proved  time.Duration // 0: nothing is proved
	stale   time.Duration // since its value had been replaced, when the read began; 0: it had not been
	took    time.Duration
}

// read reads a product on an instance through its near cache, within the demo's bound.
func (d *Demo) read(ctx context.Context, i int, id string) (answer, error) {
	m := d.members[i]
	if err := m.awake.wait(ctx.Done()); err != nil {
		return answer{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	began := time.Now()
	res, err := m.Cache.Read(ctx, id, nearcache.ReadOptions{MaxStaleness: d.cfg.Bound})
	now := time.Now()
	if err != nil && !errors.Is(err, nearcache.ErrNotFound) {
		if ctx.Err() == nil || errors.Is(ctx.Err(), context.DeadlineExceeded) {
			d.scores[0].failed.Add(1)
		}
		return answer{}, err
	}
	a := answer{version: res.Version, tier: res.Tier, proved: res.Staleness, took: now.Sub(began),
		stale: d.truth.staleness(id, res.Version, began)}
	m.latency.add(now, a.took)
	m.stale.add(now, a.stale)
	d.scores[0].answer(a.stale, d.cfg.Bound)
	return a, nil
}

// ask reads a product on an instance through one of the plain caches.
func (d *Demo) ask(ctx context.Context, i, which int, id string) (answer, error) {
	m := d.members[i]
	if err := m.awake.wait(ctx.Done()); err != nil {
		return answer{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	began := time.Now()
	v, err := m.rivals[which].get(ctx, id)
	if err != nil {
		return answer{}, err
	}
	a := answer{version: v, took: time.Since(began), stale: d.truth.staleness(id, v, began)}
	d.scores[which+1].answer(a.stale, d.cfg.Bound)
	return a, nil
}

// gentle keeps the values in use while somebody looks at the page.
func (d *Demo) gentle(ctx context.Context) {
	var all []func(context.Context)
	for i := range d.members {
		all = append(all, func(ctx context.Context) {
			d.readers(ctx, i, gentleReads, func() string { return watchedIDs[rand.IntN(len(watchedIDs))] })
		})
	}
	together(ctx, all...)
}

// heavy is the load of the button.
func (d *Demo) heavy(ctx context.Context) {
	zipf := func() func() string {
		z := rand.NewZipf(rand.New(rand.NewPCG(rand.Uint64(), 1)), 1.1, 1, heavyKeys-1)
		return func() string { return productID(int(z.Uint64()) + 1) }
	}
	all := []func(context.Context){func(ctx context.Context) { d.writers(ctx, zipf()) }}
	for i := range d.members {
		const readers = 2 // so that one that waits for the database leaves the other
		for range readers {
			all = append(all, func(ctx context.Context) { d.readers(ctx, i, heavyReads/readers, zipf()) })
		}
	}
	together(ctx, all...)
}

// readers reads at a rate, one read after the other.
func (d *Demo) readers(ctx context.Context, i, rate int, next func() string) {
	tick := time.NewTicker(trafficPulse)
	defer tick.Stop()
	for due := 0; ; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		due += rate
		for ; due >= int(time.Second/trafficPulse) && ctx.Err() == nil; due -= int(time.Second / trafficPulse) {
			id := next()
			if quiet := d.quiet.Load(); quiet != nil && *quiet == id {
				continue // a step of the tour is about it
			}
			_, _ = d.read(ctx, i, id) // a failure is counted
			if d.compare.running() {
				_, _ = d.ask(ctx, i, rivalTTLOnly, id)
				_, _ = d.ask(ctx, i, rivalPubSub, id)
			}
		}
	}
}

// writers changes prices at a rate, on one instance after the other.
func (d *Demo) writers(ctx context.Context, next func() string) {
	tick := time.NewTicker(time.Second / heavyWrites)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			i := int(d.writer.Add(1)) % Instances
			if !d.members[i].awake.isShut() {
				_, _ = d.change(ctx, i, next(), nil) // a failed write shows in the instance's reasons
			}
		case <-ctx.Done():
			return
		}
	}
}

// change gives a product a new price, through an instance's near cache. began, if it is not nil, gets the product's
// new state before the write begins.
func (d *Demo) change(ctx context.Context, i int, id string, began func(product.Product)) (product.Version, error) {
	m := d.members[i]
	if err := m.awake.wait(ctx.Done()); err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	p, _, err := d.cfg.Store.Find(ctx, id)
	if err != nil {
		return 0, err
	}
	p.Price = newPrice(p.Price)
	if began != nil {
		began(p)
	}
	store := d.Store(d.cfg.Store)
	return m.Cache.WriteEntry(ctx, id, func(ctx context.Context) (nearcache.Entry[product.Product], error) {
		v, _, err := store.Replace(ctx, p, nil)
		return nearcache.Entry[product.Product]{Value: p, Version: v}, err
	})
}

// newPrice is another price of the same order.
func newPrice(old product.Price) product.Price {
	for {
		if p := product.Price(1900+rand.IntN(980)*50) + 90; p != old {
			return p
		}
	}
}

// write changes a product and follows the write to every instance.
func (d *Demo) write(ctx context.Context, from int, id string) (*journey, error) {
	d.writing.Lock() // the page shows one journey at a time
	defer d.writing.Unlock()
	var w *journey
	v, err := d.change(ctx, from, id, func(p product.Product) { w = d.journeys.begin(p, from+1) })
	if err != nil && v == 0 {
		if w != nil {
			d.journeys.end(w, err)
		}
		return nil, err
	}
	d.journeys.at(id, v, stageRedis, time.Now())
	d.follow(ctx, w, id, v)
	d.journeys.end(w, nil)
	return d.journeys.latest(), nil
}

// followFor bounds how long a write is followed: an instance that is paused or cut off may not learn of it.
const followFor = 2 * time.Second

// follow reads on each instance every millisecond until the new version is served there, and waits for Kafka's events.
func (d *Demo) follow(ctx context.Context, w *journey, id string, v product.Version) {
	ctx, cancel := context.WithTimeout(ctx, followFor)
	defer cancel()
	all := make([]func(context.Context), 0, Instances)
	for i, m := range d.members {
		if m.awake.isShut() {
			continue
		}
		all = append(all, func(ctx context.Context) {
			for ctx.Err() == nil {
				if a, err := d.read(ctx, i, id); err == nil && a.version >= v {
					d.journeys.at(id, v, stage{Instance: i + 1, By: "read"}, time.Now())
					break
				}
				pause(ctx, time.Millisecond)
			}
			for ctx.Err() == nil && !m.kafka.IsCut() && !m.awake.isShut() && d.relay.running() {
				if _, ok := d.journeys.latest().time(stage{Instance: i + 1, By: "kafka"}); ok {
					return
				}
				pause(ctx, 5*time.Millisecond)
			}
		})
	}
	together(ctx, all...)
}
