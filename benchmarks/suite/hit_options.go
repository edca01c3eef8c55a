package suite

import (
	"context"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/nearcache/nearcache-go/benchmarks/measure"
	"github.com/nearcache/nearcache-go/benchmarks/peers"
	"github.com/nearcache/nearcache-go/nearcache"
	"github.com/nearcache/nearcache-go/nearcache/otel"
)

// The near caches with all that can be seen of a hit, and with nothing.
const (
	observed   = "Get, metrics and traces"
	unobserved = "Get, no metrics"
)

// hitOptions measures a hit with one option at a time.
func hitOptions(ctx context.Context, e *Env) (*measure.Section, error) {
	s := &measure.Section{Title: "The cost of each option for a hit",
		Config: "8 goroutines, 10,000 keys, string keys, products of 150 bytes of JSON"}
	all, closeAll, err := openFixtures(ctx, e, products(10_000, smallValue), optionKinds()...)
	if err != nil {
		return nil, err
	}
	defer closeAll()
	var subjects []measure.Subject
	for _, f := range all {
		subjects = append(subjects, f.subject(ctx))
	}
	for _, r := range []struct {
		name    string
		options nearcache.ReadOptions
	}{
		{"Read", nearcache.ReadOptions{}},
		{"Read, AtLeast", nearcache.ReadOptions{AtLeast: 1}},
		{"Read, MaxStaleness", nearcache.ReadOptions{MaxStaleness: peers.Bound}},
	} {
		subjects = append(subjects, readSubject(ctx, r.name, all[0], r.options))
	}
	c, err := compareCPU(ctx, e.plan(8), "8 goroutines", subjects)
	if err != nil {
		return nil, err
	}
	s.Comparisons = append(s.Comparisons, c)
	s.Figures = map[string]float64{"observed": c.Ratio(observed).Median / c.Ratio(unobserved).Median}
	s.Plots = append(s.Plots, bars("hit-options", "The cost of each option for a hit (times Get)", "times Get", c,
		func(x measure.Series) measure.Stat { return c.Ratio(x.Name) }))
	return s, nil
}

// optionKinds are near caches that differ in one option. The first is the base.
func optionKinds() []peers.Kind[product] {
	near := peers.NearcacheKind[product]
	noSource := configured(near(peers.Plain), func(w *peers.Config[product]) { w.Commits = nil })
	unseen := configured(near(peers.Plain), func(w *peers.Config[product]) {
		w.Configure = func(c *nearcache.Config) { c.Registerer = nil }
	})
	traced := configured(near(peers.Plain), func(w *peers.Config[product]) {
		w.Configure = func(c *nearcache.Config) { c.Tracer = otel.NewTracer(sdktrace.NewTracerProvider()) }
	})
	clone := func(o *nearcache.Options[string, product]) { o.Clone = func(p product) product { return p } }
	return []peers.Kind[product]{renamed("Get", near(peers.Plain)), renamed("Get, no Source", noSource),
		renamed(unobserved, unseen), renamed(observed, traced),
		renamed("Get, Clone", near(peers.Plain, clone)), renamed("Get, MaxStaleness", near(peers.Bounded))}
}

// configured is a kind whose near cache has another configuration.
func configured(k peers.Kind[product], change func(*peers.Config[product])) peers.Kind[product] {
	open := k.Open
	k.Open = func(ctx context.Context, w peers.Config[product]) (peers.Peer[product], error) {
		change(&w)
		return open(ctx, w)
	}
	return k
}

// readSubject calls Read with options on a fixture of the near cache.
func readSubject(ctx context.Context, name string, f *fixture[product], o nearcache.ReadOptions) measure.Subject {
	n := f.peer.(*peers.Nearcache[product])
	return measure.Subject{Name: name, MinHit: 0.995, L1Hits: n.L1Hits, Loop: func(_, from, count int) (hits int) {
		i := from % len(f.keys)
		for range count {
			if _, err := n.Cache.Read(ctx, f.keys[i], o); err == nil {
				hits++
			}
			if i++; i == len(f.keys) {
				i = 0
			}
		}
		return hits
	}}
}
