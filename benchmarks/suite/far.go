package suite

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/nearcache/nearcache-go/benchmarks/measure"
	"github.com/nearcache/nearcache-go/benchmarks/peers"
	"github.com/nearcache/nearcache-go/internal/fence"
	"github.com/nearcache/nearcache-go/nearcache"
)

// noL1 switches the near tier off, so that every read is Redis's.
func disableL1(o *nearcache.Options[string, product]) { o.L1Bytes = -1 }

// endless is a source that has every key.
type constantSource struct{ v product }

// Load implements peers.Source.
func (s constantSource) Load(context.Context, string) (product, uint64, error) { return s.v, 1, nil }

// Store implements peers.Source.
func (s constantSource) Store(context.Context, string, product) (uint64, error) { return 2, nil }

// Remove implements peers.Source.
func (s constantSource) Remove(context.Context, string) (uint64, error) { return 3, nil }

// bare opens a peer over an endless source with nothing in it.
func openEmpty(ctx context.Context, e *Env, k peers.Kind[product], size, entries int) (peers.Peer[product], string,
	error) {
	addr, err := e.Redis(ctx)
	if err != nil {
		return nil, "", err
	}
	prefix := "s" + strconv.FormatInt(e.names.Add(1), 10)
	p, err := k.Open(ctx, peers.Config[product]{Redis: addr, Source: constantSource{peers.NewProduct(1, size)},
		Codec: peers.JSON[product]{}, Prefix: prefix,
		Entries: entries, Bytes: int64(size * entries), TTL: time.Hour})
	return p, prefix, err
}

// l2Hit reads Redis: the library's GET, its checks and decode, against a bare GET and decode.
func l2Hit(ctx context.Context, e *Env) (*measure.Section, error) {
	s := &measure.Section{Title: "A hit in L2",
		Config:  "10,000 keys, products of 150 bytes of JSON, L1 switched off; the base is rueidis GET and the same decoding",
		Figures: map[string]float64{}}
	d := products(10_000, smallValue)
	get, err := openFilled(ctx, e, mustKind[product]("Redis GET"), "Redis GET", d)
	if err != nil {
		return nil, err
	}
	defer func() { _ = get.peer.Close() }()
	far := peers.NearcacheKind(peers.Plain, disableL1)
	far.NoL1 = true
	near, err := openFilled(ctx, e, far, "nearcache", d)
	if err != nil {
		return nil, err
	}
	defer func() { _ = near.peer.Close(); _ = e.Flush(ctx) }()
	var meds []float64
	for _, workers := range e.pick([]int{1, 8, 64}, []int{8}) {
		a, b := get.subject(ctx), near.subject(ctx)
		b.L1Hits = nil
		loads := near.src.Loads.Load()
		c, err := compareWall(ctx, e.plan(workers), fmt.Sprintf("%d goroutines", workers), []measure.Subject{a, b})
		if err != nil {
			return nil, err
		}
		if more := near.src.Loads.Load() - loads; more > c.Series[1].Ops/1000 {
			return nil, fmt.Errorf("suite: %d of %d reads of L2 went to the source", more, c.Series[1].Ops)
		}
		s.Comparisons = append(s.Comparisons, c)
		meds = append(meds, c.Ratio("nearcache").Median)
	}
	s.Figures["l2"], s.Figures["l2_worst"] = measure.Of(meds).Median, measure.Of(meds).Max
	return s, nil
}

// miss is a key that neither tier has and the source gives at once: what the protocol adds to a load.
func miss(ctx context.Context, e *Env) (*measure.Section, error) {
	s := &measure.Section{Title: "A miss", Config: "8 goroutines, a new key each time, a source that answers at once",
		Note: "The base is what cache-aside costs at least, a GET and a SET. The near cache takes a lease between the two, and another instance that misses the key waits for it instead of loading as well."}
	var subjects []measure.Subject
	for _, k := range []peers.Kind[product]{mustKind[product]("Redis GET"),
		peers.NearcacheKind[product](peers.Plain), mustKind[product]("hand-rolled"),
		mustKind[product]("rueidis DoCache"), mustKind[product]("go-redis/cache"), mustKind[product]("sturdyc")} {
		p, prefix, err := openEmpty(ctx, e, k, smallValue, 100_000)
		if err != nil {
			return nil, err
		}
		defer func() { _ = p.Close() }()
		var n atomic.Int64
		subjects = append(subjects, measure.Subject{Name: k.Name, MinHit: 0.99, Loop: func(_, _, count int) (hits int) {
			for range count {
				if _, err := p.Get(ctx, prefix+"-"+strconv.FormatInt(n.Add(1), 10)); err == nil {
					hits++
				}
			}
			return hits
		}})
	}
	defer func() { _ = e.Flush(ctx) }()
	c, err := compareWall(ctx, e.plan(8), "8 goroutines", subjects)
	s.Comparisons = append(s.Comparisons, c)
	return s, err
}

// writes are a Set and an Invalidate, and the latter beside an L1 that grows.
func writes(ctx context.Context, e *Env) (*measure.Section, error) {
	s := &measure.Section{Title: "Writes",
		Config:  "8 goroutines, 10,000 keys, products of 150 bytes of JSON, versions that rise",
		Figures: map[string]float64{}}
	near, err := openFilled(ctx, e, peers.NearcacheKind[product](peers.Plain), "nearcache",
		products(10_000, smallValue))
	if err != nil {
		return nil, err
	}
	defer func() { _ = near.peer.Close(); _ = e.Flush(ctx) }()
	cache, v := near.peer.(*peers.Nearcache[product]).Cache, peers.NewProduct(7, smallValue)
	bytes := rueidis.BinaryString(encode(v))
	var version atomic.Uint64
	version.Store(10)
	did := func(f func(key string) error) func(_, from, n int) int {
		return func(_, from, n int) (ok int) {
			for i := range n {
				if f(near.keys[(from+i)%len(near.keys)]) == nil {
					ok++
				}
			}
			return ok
		}
	}
	c, err := compareWall(ctx, e.plan(8), "Set", []measure.Subject{
		{Name: "Redis SET", MinHit: 0.999, Loop: did(func(k string) error {
			return e.foreign.Do(ctx, e.foreign.B().Set().Key(k).Value(bytes).Px(time.Hour).Build()).Error()
		})},
		{Name: "nearcache Set", MinHit: 0.999, Loop: did(func(k string) error {
			return cache.Set(ctx, k, nearcache.Entry[product]{Value: v, Version: nearcache.Version(version.Add(1))})
		})},
	})
	if err != nil {
		return nil, err
	}
	s.Comparisons = append(s.Comparisons, c)
	subjects := []measure.Subject{{Name: "Redis DEL", MinHit: 0.999, Loop: did(func(k string) error {
		return e.foreign.Do(ctx, e.foreign.B().Del().Key(k).Build()).Error()
	})}}
	sizes := e.pick([]int{1_000, 100_000, 1_000_000}, []int{1_000, 100_000})
	var one float64 // bytes that an entry takes
	for _, n := range sizes {
		st, err := e.openHolding(ctx, n, one)
		if err != nil {
			return nil, err
		}
		if one == 0 {
			one = st.peer.(*peers.Nearcache[product]).Metric("nearcache_l1_bytes") / float64(n)
		}
		defer func() { _ = st.peer.Close() }()
		cache := st.peer.(*peers.Nearcache[product]).Cache
		subjects = append(subjects, measure.Subject{Name: st.name, MinHit: 0.999, Loop: func(_, from, n int) (ok int) {
			for i := range n {
				if cache.Invalidate(ctx, st.keys[(from+i)%1000], nearcache.Version(version.Add(1))) == nil {
					ok++
				}
			}
			return ok
		}})
	}
	if c, err = compareWall(ctx, e.plan(8), "Invalidate, by the size of L1", subjects); err != nil {
		return nil, err
	}
	s.Comparisons = append(s.Comparisons, c)
	grown := c
	grown.Base = subjects[1].Name
	s.Figures["invalidate_growth"] = grown.Ratio(subjects[len(subjects)-1].Name).Median
	return s, nil
}

// holding is a near cache with n entries in L1, by the bytes that L1 says it holds where it is known what one takes. Hits
// would say less: of a million keys that are filled one after the other, most entries are in L1 and are not served, since
// the fills of others have passed their slots' journals.
func (e *Env) openHolding(ctx context.Context, n int, bytes float64) (*fixture[product], error) {
	kind, name, d := peers.NearcacheKind[product](peers.Plain), fmt.Sprintf("Invalidate, %d entries in L1", n),
		products(n, smallValue)
	if bytes == 0 {
		return openFilled(ctx, e, kind, name, d)
	}
	s, err := openUnfilled(ctx, e, kind, name, d)
	if err != nil {
		return nil, err
	}
	var holds float64
	for range 3 { // what was declined the first time
		if err = s.readAll(ctx); err != nil {
			break
		}
		if holds = s.peer.(*peers.Nearcache[product]).Metric("nearcache_l1_bytes") / bytes; holds >= 0.99*float64(n) {
			return s, nil
		}
	}
	if err == nil {
		err = fmt.Errorf("suite: L1 holds %.0f of %d entries", holds, n)
	}
	return nil, errors.Join(fmt.Errorf("%s: %w", name, err), s.peer.Close())
}

func encode(p product) []byte {
	b, err := peers.JSON[product]{}.Append(nil, p)
	if err != nil {
		panic(err)
	}
	return b
}

// flush is what emptying a near tier takes, which is what a lost connection comes to.
func flush(ctx context.Context, e *Env) (*measure.Section, error) {
	n := e.pick([]int{1_000_000}, []int{100_000})[0]
	s := &measure.Section{Title: "Dropping all of L1", Config: fmt.Sprintf("%d entries; medians of 5", n),
		Note:    "The near cache begins a session: entries of the last one are passed over when they are read. It is one call on the fence, whatever L1 holds; ristretto and otter walk their tables.",
		Figures: map[string]float64{}}
	fences := fence.New(fence.Config{Now: func() int64 { return 1 }})
	once := func(f func()) float64 {
		begun := time.Now()
		f()
		return float64(time.Since(begun).Nanoseconds())
	}
	var session, ristretto, otter []float64
	for range 5 {
		session = append(session, once(func() {
			for range 1000 {
				fences.RedisSession()
			}
		})/1000)
		for _, r := range []struct {
			name  string
			into  *[]float64
			clear func(peers.Peer[product])
		}{
			{"ristretto", &ristretto, func(p peers.Peer[product]) { p.(*peers.Ristretto[product]).Cache.Clear() }},
			{"otter", &otter, func(p peers.Peer[product]) { p.(*peers.Otter[product]).Cache.InvalidateAll() }},
		} {
			p, _, err := openEmpty(ctx, e, mustKind[product](r.name), smallValue, n)
			if err != nil {
				return nil, err
			}
			for i := range n {
				if _, err := p.Get(ctx, strconv.Itoa(i)); err != nil {
					return nil, err
				}
			}
			*r.into = append(*r.into, once(func() { r.clear(p) }))
			if err := p.Close(); err != nil {
				return nil, err
			}
		}
	}
	t := measure.Table{Title: "Time to drop everything", Columns: []string{"", "min", "median", "max",
		"times the session"}}
	base := measure.Of(session)
	for _, r := range []struct {
		name string
		xs   []float64
	}{{"nearcache, session", session}, {"ristretto Clear", ristretto}, {"otter InvalidateAll", otter}} {
		st := measure.Of(r.xs)
		t.Rows = append(t.Rows, []string{r.name, Nanos(st.Min), Nanos(st.Median), Nanos(st.Max),
			fmt.Sprintf("%.0f", st.Median/base.Median)})
	}
	s.Tables = append(s.Tables, t)
	return s, nil
}

// Nanos is a time of so many nanoseconds with a unit.
func Nanos(ns float64) string {
	switch {
	case ns < 1e3:
		return fmt.Sprintf("%.1f ns", ns)
	case ns < 1e6:
		return fmt.Sprintf("%.2f us", ns/1e3)
	case ns < 1e9:
		return fmt.Sprintf("%.2f ms", ns/1e6)
	}
	return fmt.Sprintf("%.2f s", ns/1e9)
}

// many reads several keys at once.
func many(ctx context.Context, e *Env) (*measure.Section, error) {
	s := &measure.Section{Title: "GetMany",
		Config: "8 goroutines, 10,000 keys, products of 150 bytes of JSON; an operation is one call"}
	d := products(10_000, smallValue)
	near, err := openFilled(ctx, e, peers.NearcacheKind[product](peers.Plain), "near", d)
	if err != nil {
		return nil, err
	}
	defer func() { _ = near.peer.Close(); _ = e.Flush(ctx) }()
	k := peers.NearcacheKind(peers.Plain, disableL1)
	k.NoL1 = true
	far, err := openFilled(ctx, e, k, "far", d)
	if err != nil {
		return nil, err
	}
	defer func() { _ = far.peer.Close() }()
	get, err := openFilled(ctx, e, mustKind[product]("Redis GET"), "get", d)
	if err != nil {
		return nil, err
	}
	defer func() { _ = get.peer.Close() }()
	batch := func(keys []string, from, n int) []string {
		at := from % (len(keys) - n)
		return keys[at : at+n]
	}
	calls := func(f func(from int) bool) func(_, from, n int) int {
		return func(_, from, n int) (ok int) {
			for i := range n {
				if f((from + i) * 7) {
					ok++
				}
			}
			return ok
		}
	}
	nearCache, farCache := near.peer.(*peers.Nearcache[product]).Cache, far.peer.(*peers.Nearcache[product]).Cache
	client := get.peer.(*peers.PlainRedis[product]).Client
	for _, n := range []int{1, 10, 100} {
		c, err := compareCPU(ctx, e.plan(8), fmt.Sprintf("%d keys in L1", n), []measure.Subject{
			{Name: fmt.Sprintf("%d Gets", n), MinHit: 0.999, Loop: calls(func(from int) bool {
				for _, k := range batch(near.keys, from, n) {
					if _, err := nearCache.Get(ctx, k); err != nil {
						return false
					}
				}
				return true
			})},
			{Name: "GetMany", MinHit: 0.999, Loop: calls(func(from int) bool {
				got, err := nearCache.GetMany(ctx, batch(near.keys, from, n))
				return err == nil && len(got) == n
			})},
		})
		if err != nil {
			return nil, err
		}
		s.Comparisons = append(s.Comparisons, c)
		if c, err = compareWall(ctx, e.plan(8), fmt.Sprintf("%d keys in L2", n), []measure.Subject{
			{Name: "MGET and decode", MinHit: 0.999, Loop: calls(func(from int) bool {
				all, err := client.Do(ctx, client.B().Mget().Key(batch(get.keys, from, n)...).Build()).AsStrSlice()
				for _, b := range all {
					if _, bad := (peers.JSON[product]{}).Decode([]byte(b)); bad != nil {
						return false
					}
				}
				return err == nil && len(all) == n
			})},
			{Name: "GetMany", MinHit: 0.999, Loop: calls(func(from int) bool {
				got, err := farCache.GetMany(ctx, batch(far.keys, from, n))
				return err == nil && len(got) == n
			})},
		}); err != nil {
			return nil, err
		}
		s.Comparisons = append(s.Comparisons, c)
	}
	return s, nil
}
