package suite

import (
	"context"
	"fmt"
	"strconv"

	"github.com/nearcache/nearcache-go/benchmarks/measure"
	"github.com/nearcache/nearcache-go/benchmarks/peers"
)

const processes = 4

// freshKinds are those that keep something in Redis: a foreign write is nothing to the others.
var freshKinds = []string{"nearcache", peers.Bounded.String(), "rueidis DoCache", "go-redis CSC", "go-redis/cache",
	"sturdyc", "hand-rolled", "Redis GET"}

// freshness is speed and staleness in one run, first undisturbed, then with a quarter of all connections killed half-way.
func freshness(ctx context.Context, e *Env) (*measure.Section, error) {
	seconds := 30.0
	if e.Quick {
		seconds = 3
	}
	s := &measure.Section{Title: "Freshness beside speed", Figures: map[string]float64{},
		Config: fmt.Sprintf("20 instances in %d processes, 160 readers as fast as they can, 10,000 keys of 512 bytes, 80%% of reads and writes on 500 hot keys, "+
			"4 writers with 2,000 foreign writes/s together straight to Redis, %.0f s after 2 s of warming",
			processes, seconds),
		Note: "The load of redis-near-cache's published run (.NET, 14 cores: 2.20M reads/s, 0.33% stale, stalest 105 ms; a citation, not a comparison). A read is stale if a newer value had been " +
			"acknowledged to its writer before the read began. Latencies are of one read in 64. Every process, Redis, the writers and the relay share the machine's cores."}
	for _, killed := range []bool{false, true} {
		title := "Undisturbed"
		if killed {
			title = "A quarter of the connections killed half-way"
		}
		t := measure.Table{Title: title, Columns: []string{"", "reads/s", "near", "stale", "stalest",
			"older than 250 ms", "p50", "p99", "p99.9", "errors", "writes/s", "Redis commands/s", "MB/s out",
			"stale after quiescence"}}
		speed := measure.Plot{File: "freshness", Title: "Reads per second, with 2,000 foreign writes per second",
			Y: "reads/s"}
		for _, kind := range e.Among(freshKinds) {
			r, err := e.measureFreshness(ctx, kind, seconds, killed)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", kind, err)
			}
			near := "unknown"
			if r.near >= 0 {
				near = fmt.Sprintf("%.2f%%", 100*r.near)
			}
			t.Rows = append(t.Rows, []string{kind, fmt.Sprintf("%.0f", r.perSecond), near,
				fmt.Sprintf("%.4f%%", r.stale), Nanos(float64(r.Stalest)), strconv.FormatInt(r.OverBound, 10),
				Nanos(float64(r.Latency.at(0.5))), Nanos(float64(r.Latency.at(0.99))),
				Nanos(float64(r.Latency.at(0.999))), strconv.FormatInt(r.Errors, 10),
				fmt.Sprintf("%.0f", r.writes), fmt.Sprintf("%.0f", r.commands), fmt.Sprintf("%.1f", r.out/1e6),
				fmt.Sprintf("%d of %d", r.LeftStale, r.Audited)})
			fmt.Fprintf(e.Log, "freshness, %s, killed %v: %.0f reads/s, %.4f%% stale\n", kind, killed, r.perSecond,
				r.stale)
			speed.Bars = append(speed.Bars, measure.Bar{Name: kind,
				Stat: measure.Stat{Min: r.perSecond, Median: r.perSecond, Max: r.perSecond}})
			switch {
			case kind == "nearcache" && !killed:
				s.Figures["reads"], s.Figures["stale_percent"], s.Figures["stalest_ms"] = r.perSecond, r.stale,
					float64(r.Stalest)/1e6
			case kind == peers.Bounded.String():
				s.Figures["over_bound"] += float64(r.OverBound)
			}
			if kind == "nearcache" || kind == peers.Bounded.String() {
				s.Figures["left_stale"] += float64(r.LeftStale)
			}
		}
		s.Tables = append(s.Tables, t)
		if !killed {
			s.Plots = append(s.Plots, speed)
		}
	}
	return s, nil
}
