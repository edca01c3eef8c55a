package suite

import (
	"context"
	"fmt"
	"strconv"

	"github.com/dgraph-io/ristretto/v2"
	"github.com/redis/rueidis"

	"github.com/nearcache/nearcache-go/benchmarks/measure"
	"github.com/nearcache/nearcache-go/benchmarks/peers"
	"github.com/nearcache/nearcache-go/nearcache"
)

type product = peers.Product

// rivals are the peers with a near tier.
var rivals = []string{"otter", "sturdyc", "hand-rolled", "rueidis DoCache", "go-redis CSC", "go-redis/cache"}

// hitPeers is a hit in the near tier, of everybody.
func hitPeers(ctx context.Context, e *Env) (*measure.Section, error) {
	s := &measure.Section{Title: "A hit in L1, against every peer", Config: "10,000 keys, string keys, products of 150 bytes of JSON, all of it near"}
	n := 10_000
	kinds := []peers.Kind[product]{must[product]("ristretto"), peers.NearcacheKind[product](peers.Plain), peers.NearcacheKind[product](peers.Bounded)}
	for _, r := range rivals {
		kinds = append(kinds, must[product](r))
	}
	decoded, closeDecoded, err := stands(ctx, e, products(n, smallValue), kinds...)
	if err != nil {
		return nil, err
	}
	defer closeDecoded()
	raw := data[string]{n, func(i int) string { return fmt.Sprintf("%0150d", i) }, peers.Raw{}, smallValue}
	kept, closeKept, err := stands(ctx, e, raw, named("rueidis DoCache, raw", must[string]("rueidis DoCache")),
		named("go-redis CSC, raw", must[string]("go-redis CSC")))
	if err != nil {
		return nil, err
	}
	defer closeKept()
	for _, workers := range e.pick([]int{1, 8}, []int{8}) {
		var subjects []measure.Subject
		for _, d := range decoded {
			subjects = append(subjects, d.subject(ctx))
		}
		for _, k := range kept {
			subjects = append(subjects, k.subject(ctx))
		}
		c, err := inProcess(ctx, e.plan(workers), fmt.Sprintf("%d goroutines", workers), subjects)
		if err != nil {
			return nil, err
		}
		s.Comparisons = append(s.Comparisons, c)
		if workers == 8 {
			ours := c
			ours.Base = "nearcache"
			plain, raw := ours.Ratio("rueidis DoCache, raw"), ours.Ratio("rueidis DoCache")
			s.Figures = map[string]float64{"docache_raw": plain.Median, "docache_json": raw.Median, "goredis_cache": ours.Ratio("go-redis/cache").Median}
			s.Plots = append(s.Plots, bars("hit-peers", "A hit in the near tier, 8 goroutines", "ns of processor time per hit", c, func(x measure.Series) measure.Stat { return measure.Of(x.CPUPerOp) }, true))
		}
	}
	return s, nil
}

// pick is the full list, or the short one with -quick.
func (e *Env) pick(full, quick []int) []int {
	if e.Quick {
		return quick
	}
	return full
}

func bars(file, title, y string, c measure.Comparison, f func(measure.Series) measure.Stat, log bool) measure.Plot {
	p := measure.Plot{File: file, Title: title, Y: y, LogY: log}
	for _, s := range c.Series {
		p.Bars = append(p.Bars, measure.Bar{Name: s.Name, Stat: f(s)})
	}
	return p
}

// trio are the subjects of most comparisons.
func trio() []peers.Kind[product] {
	return []peers.Kind[product]{must[product]("ristretto"), peers.NearcacheKind[product](peers.Plain), peers.NearcacheKind[product](peers.Bounded)}
}

// hitGoroutines is a hit by more and more goroutines.
func hitGoroutines(ctx context.Context, e *Env) (*measure.Section, error) {
	s := &measure.Section{Title: "A hit in L1, by goroutines", Config: "10,000 keys, string keys, products of 150 bytes of JSON", Figures: map[string]float64{}}
	all, closeAll, err := stands(ctx, e, products(10_000, smallValue), trio()...)
	if err != nil {
		return nil, err
	}
	defer closeAll()
	plot := measure.Plot{File: "hit-goroutines", Title: "A hit over bare ristretto, by goroutines", X: "goroutines", Y: "times ristretto (median)", LogX: true,
		Lines: []measure.Line{{Name: "nearcache"}, {Name: "nearcache, MaxStaleness 250ms"}}, Marker: &measure.Mark{Name: "goal for Get", At: 1.25}}
	var plain, bounded []float64
	for _, workers := range e.pick([]int{1, 2, 8, 64}, []int{1, 8}) {
		subjects := []measure.Subject{}
		for _, st := range all {
			subjects = append(subjects, st.subject(ctx))
		}
		bare := all[0].peer.(*peers.Ristretto[product])
		subjects = append(subjects, measure.Subject{Name: "ristretto, pointers alone", MinHit: 0.995, Loop: func(_, from, n int) int { return bare.Pointers(all[0].keys, from, n) }})
		c, err := inProcess(ctx, e.plan(workers), fmt.Sprintf("%d goroutines", workers), subjects)
		if err != nil {
			return nil, err
		}
		s.Comparisons = append(s.Comparisons, c)
		for i := range plot.Lines {
			plot.Lines[i].At = append(plot.Lines[i].At, [2]float64{float64(workers), c.Ratio(plot.Lines[i].Name).Median})
		}
		plain, bounded = append(plain, c.Ratio(plot.Lines[0].Name).Median), append(bounded, c.Ratio(plot.Lines[1].Name).Median)
		s.Figures["allocs"] = max(s.Figures["allocs"], c.Series[1].Allocs, c.Series[2].Allocs)
	}
	s.Figures["plain_worst"], s.Figures["bounded_worst"] = measure.Of(plain).Max, measure.Of(bounded).Max
	s.Figures["plain"], s.Figures["bounded"] = measure.Of(plain).Median, measure.Of(bounded).Median
	s.Plots = append(s.Plots, plot)
	return s, nil
}

// hitKeys is a hit among more and more keys.
func hitKeys(ctx context.Context, e *Env) (*measure.Section, error) {
	s := &measure.Section{Title: "A hit in L1, by keys", Config: "8 goroutines, string keys, products of 150 bytes of JSON",
		Note: "From 10,000 keys on the table outgrows the processor's caches, and both pay for memory."}
	plot := measure.Plot{File: "hit-keys", Title: "A hit over bare ristretto, by keys", X: "keys", Y: "times ristretto (median)", LogX: true,
		Lines: []measure.Line{{Name: "nearcache"}, {Name: "nearcache, MaxStaleness 250ms"}}, Marker: &measure.Mark{Name: "goal for Get", At: 1.25}}
	for _, n := range e.pick([]int{100, 10_000, 1_000_000}, []int{100, 10_000}) {
		all, closeAll, err := stands(ctx, e, products(n, smallValue), trio()...)
		if err != nil {
			return nil, err
		}
		c, err := compare(ctx, e.plan(8), strconv.Itoa(n)+" keys", all)
		closeAll()
		if err != nil {
			return nil, err
		}
		s.Comparisons = append(s.Comparisons, c)
		for i := range plot.Lines {
			plot.Lines[i].At = append(plot.Lines[i].At, [2]float64{float64(n), c.Ratio(plot.Lines[i].Name).Median})
		}
	}
	s.Plots = append(s.Plots, plot)
	return s, nil
}

// hitShapes is a hit by kinds of keys and sizes of values.
func hitShapes(ctx context.Context, e *Env) (*measure.Section, error) {
	s := &measure.Section{Title: "A hit in L1, by keys' type and values' size", Config: "8 goroutines, 10,000 keys"}
	for _, size := range []int{smallValue, largeValue} {
		all, closeAll, err := stands(ctx, e, products(10_000, size), trio()...)
		if err != nil {
			return nil, err
		}
		c, err := compare(ctx, e.plan(8), fmt.Sprintf("string keys, values of %d bytes", size), all)
		closeAll()
		if err != nil {
			return nil, err
		}
		s.Comparisons = append(s.Comparisons, c)
	}
	c, err := integers(ctx, e)
	if err != nil {
		return nil, err
	}
	s.Comparisons = append(s.Comparisons, c)
	return s, nil
}

// integers compares caches that are keyed by integers.
func integers(ctx context.Context, e *Env) (c measure.Comparison, err error) {
	const n = 10_000
	addr, err := e.Redis(ctx)
	if err != nil {
		return c, err
	}
	client, err := nearcache.New(nearcache.Config{Redis: rueidis.ClientOption{InitAddress: []string{addr}}, Prefix: "integers"})
	if err != nil {
		return c, err
	}
	defer client.Close()
	if err := client.Ready(ctx); err != nil {
		return c, err
	}
	cache, err := nearcache.NewCache(client, "i", nearcache.Options[int64, product]{Load: nearcache.Unversioned(func(_ context.Context, k int64) (product, error) {
		return peers.NewProduct(int(k), smallValue), nil
	})})
	if err != nil {
		return c, err
	}
	bare, err := ristretto.NewCache(&ristretto.Config[int64, *product]{NumCounters: 10 * n, MaxCost: 2 * n, BufferItems: 64, IgnoreInternalCost: true})
	if err != nil {
		return c, err
	}
	defer bare.Close()
	for i := range int64(n) {
		p := peers.NewProduct(int(i), smallValue)
		for !bare.Set(i, &p, 1) {
			bare.Wait()
		}
	}
	bare.Wait()
	near := func(_, from, count int) (hits int) {
		i := int64(from % n)
		for range count {
			if _, err := cache.Get(ctx, i); err == nil {
				hits++
			}
			if i++; i == n {
				i = 0
			}
		}
		return hits
	}
	for range 5 {
		near(0, 0, n)
	}
	return inProcess(ctx, e.plan(8), "integer keys, values of 150 bytes", []measure.Subject{
		{Name: "ristretto", MinHit: 0.995, Loop: func(_, from, count int) (hits int) {
			i := int64(from % n)
			for range count {
				if _, ok := bare.Get(i); ok {
					hits++
				}
				if i++; i == n {
					i = 0
				}
			}
			return hits
		}},
		{Name: "nearcache", MinHit: 0.995, Loop: near},
	})
}

// hitOptions switches on what costs something, one at a time.
func hitOptions(ctx context.Context, e *Env) (*measure.Section, error) {
	s := &measure.Section{Title: "What each option costs a hit", Config: "8 goroutines, 10,000 keys, string keys, products of 150 bytes of JSON"}
	d := products(10_000, smallValue)
	near := peers.NearcacheKind[product]
	plain, err := open(ctx, e, near(peers.Plain), "Get", d)
	if err != nil {
		return nil, err
	}
	all := []*stand[product]{plain}
	defer func() {
		for _, s := range all {
			_ = s.peer.Close()
		}
		_ = e.Flush(ctx)
	}()
	alone := near(peers.Plain)
	alone.Open = func(ctx context.Context, w peers.World[product]) (peers.Peer[product], error) {
		w.Commits = nil
		return peers.OpenNearcache(ctx, w, peers.Plain)
	}
	for _, k := range []peers.Kind[product]{
		named("Get, no Source", alone),
		named("Get, Clone", near(peers.Plain, func(o *nearcache.Options[string, product]) { o.Clone = func(p product) product { return p } })),
		named("Get, MaxStaleness", near(peers.Bounded)),
	} {
		st, err := open(ctx, e, k, k.Name, d)
		if err != nil {
			return nil, err
		}
		all = append(all, st)
	}
	subjects := []measure.Subject{}
	for _, st := range all {
		subjects = append(subjects, st.subject(ctx))
	}
	n := plain.peer.(*peers.Nearcache[product])
	for _, r := range []struct {
		name string
		ro   nearcache.ReadOptions
	}{
		{"Read", nearcache.ReadOptions{}},
		{"Read, AtLeast", nearcache.ReadOptions{AtLeast: 1}},
		{"Read, MaxStaleness", nearcache.ReadOptions{MaxStaleness: peers.Bound}},
	} {
		subjects = append(subjects, measure.Subject{Name: r.name, MinHit: 0.995, Near: n.NearHits, Loop: func(_, from, count int) (hits int) {
			i := from % len(plain.keys)
			for range count {
				if _, err := n.Cache.Read(ctx, plain.keys[i], r.ro); err == nil {
					hits++
				}
				if i++; i == len(plain.keys) {
					i = 0
				}
			}
			return hits
		}})
	}
	c, err := inProcess(ctx, e.plan(8), "8 goroutines", subjects)
	if err != nil {
		return nil, err
	}
	s.Comparisons = append(s.Comparisons, c)
	s.Plots = append(s.Plots, bars("hit-options", "What each option costs a hit (times Get)", "times Get", c, func(x measure.Series) measure.Stat { return c.Ratio(x.Name) }, false))
	return s, nil
}
