package suite

import (
	"context"
	"fmt"
	"strconv"

	"github.com/nearcache/nearcache-go/benchmarks/measure"
	"github.com/nearcache/nearcache-go/benchmarks/peers"
)

// processes is how many worker processes share a load.
const processes = 4

// freshKinds are the peers that keep values in Redis. The others cannot notice another program's write there.
var freshKinds = []string{"nearcache", peers.Bounded.String(), "rueidis DoCache", "go-redis CSC", "go-redis/cache",
	"sturdyc", "hand-rolled", "Redis GET"}

const freshnessNote = "The load is that of the published run of redis-near-cache (.NET, 14 cores: 2.20M reads/s, " +
	"0.33% stale, stalest 105 ms; quoted, not compared). A read is stale if the writer of a newer value had its " +
	"acknowledgement before the read began. Latencies are those of one read in 64. All processes, Redis, the writers " +
	"and the relay share the cores of the machine."

// freshness measures speed and staleness in one run: first undisturbed, then with a quarter of all connections killed
// half-way.
func freshness(ctx context.Context, e *Env) (*measure.Section, error) {
	seconds := 30.0
	if e.Quick {
		seconds = 3
	}
	s := &measure.Section{Title: "Freshness and speed", Figures: map[string]float64{}, Note: freshnessNote,
		Config: fmt.Sprintf("20 instances in %d processes; 160 readers without a pause; 10,000 keys of 512 bytes; 80%% of "+
			"reads and writes go to 500 hot keys; 4 writers of another program, together 2,000 writes/s straight to Redis; "+
			"%.0f s after 2 s of warm-up", processes, seconds)}
	for _, killed := range []bool{false, true} {
		title := "Undisturbed"
		if killed {
			title = "A quarter of the connections killed half-way"
		}
		t := measure.Table{Title: title, Columns: []string{"", "reads/s", "L1 hits", "stale", "stalest",
			"older than 250 ms",
			"p50", "p99", "p99.9", "errors", "writes/s", "Redis commands/s", "MB/s out", "stale after the last write"}}
		speed := measure.Plot{File: "freshness", Title: "Reads per second, with 2,000 foreign writes per second",
			Y: "reads/s"}
		for _, kind := range e.Among(freshKinds) {
			r, err := e.measureFreshness(ctx, kind, seconds, killed)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", kind, err)
			}
			fmt.Fprintf(e.Log, "freshness, %s, killed %v: %.0f reads/s, %.4f%% stale\n", kind, killed, r.perSecond,
				r.stale)
			t.Rows = append(t.Rows, r.row(kind))
			speed.Bars = append(speed.Bars, measure.Bar{Name: kind,
				Stat: measure.Stat{Min: r.perSecond, Median: r.perSecond, Max: r.perSecond}})
			freshFigures(s.Figures, kind, killed, r)
		}
		s.Tables = append(s.Tables, t)
		if !killed {
			s.Plots = append(s.Plots, speed)
		}
	}
	return s, nil
}

// freshFigures records what the goals ask for.
func freshFigures(figures map[string]float64, kind string, killed bool, r freshResult) {
	switch {
	case kind == "nearcache" && !killed:
		figures["reads"], figures["stale_percent"] = r.perSecond, r.stale
		figures["stalest_ms"] = float64(r.Stalest) / 1e6
	case kind == peers.Bounded.String():
		figures["over_bound"] += float64(r.OverBound)
	}
	if kind == "nearcache" || kind == peers.Bounded.String() {
		figures["left_stale"] += float64(r.LeftStale)
	}
}

// row is the result as a line of the table.
func (r *freshResult) row(kind string) []string {
	hits := "unknown"
	if r.hitRatio >= 0 {
		hits = fmt.Sprintf("%.2f%%", 100*r.hitRatio)
	}
	return []string{kind, fmt.Sprintf("%.0f", r.perSecond), hits, fmt.Sprintf("%.4f%%", r.stale),
		Nanos(float64(r.Stalest)), strconv.FormatInt(r.OverBound, 10), Nanos(float64(r.Latency.at(0.5))),
		Nanos(float64(r.Latency.at(0.99))), Nanos(float64(r.Latency.at(0.999))), strconv.FormatInt(r.Errors, 10),
		fmt.Sprintf("%.0f", r.writes), fmt.Sprintf("%.0f", r.commands), fmt.Sprintf("%.1f", r.out/1e6),
		fmt.Sprintf("%d of %d", r.LeftStale, r.Audited)}
}
