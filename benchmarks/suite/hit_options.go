package suite

import (
	"context"

	"github.com/nearcache/nearcache-go/benchmarks/measure"
	"github.com/nearcache/nearcache-go/benchmarks/peers"
	"github.com/nearcache/nearcache-go/nearcache"
)

// hitOptions switches on what costs something, one at a time.
func hitOptions(ctx context.Context, e *Env) (*measure.Section, error) {
	s := &measure.Section{Title: "What each option costs a hit",
		Config: "8 goroutines, 10,000 keys, string keys, products of 150 bytes of JSON"}
	d := products(10_000, smallValue)
	near := peers.NearcacheKind[product]
	plain, err := openFilled(ctx, e, near(peers.Plain), "Get", d)
	if err != nil {
		return nil, err
	}
	all := []*fixture[product]{plain}
	defer func() {
		for _, s := range all {
			_ = s.peer.Close()
		}
		_ = e.Flush(ctx)
	}()
	alone := near(peers.Plain)
	alone.Open = func(ctx context.Context, w peers.Config[product]) (peers.Peer[product], error) {
		w.Commits = nil
		return peers.OpenNearcache(ctx, w, peers.Plain)
	}
	for _, k := range []peers.Kind[product]{
		renamed("Get, no Source", alone),
		renamed("Get, Clone", near(peers.Plain, func(o *nearcache.Options[string,
			product]) {
			o.Clone = func(p product) product { return p }
		})),
		renamed("Get, MaxStaleness", near(peers.Bounded)),
	} {
		st, err := openFilled(ctx, e, k, k.Name, d)
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
		subjects = append(subjects, measure.Subject{Name: r.name, MinHit: 0.995, L1Hits: n.L1Hits,
			Loop: func(_, from, count int) (hits int) {
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
	c, err := compareCPU(ctx, e.plan(8), "8 goroutines", subjects)
	if err != nil {
		return nil, err
	}
	s.Comparisons = append(s.Comparisons, c)
	s.Plots = append(s.Plots, bars("hit-options", "What each option costs a hit (times Get)", "times Get", c,
		func(x measure.Series) measure.Stat { return c.Ratio(x.Name) }, false))
	return s, nil
}
