package report

import (
	"fmt"

	"github.com/nearcache/nearcache-go/benchmarks/measure"
)

// goal is what the suite wants to see.
type goal struct {
	what    string
	section string
	figure  string
	level   float64
	atLeast bool // the figure must reach the level; else it must not pass it
	unit    string
	floor   string // what stands in the way, where it is missed
}

const clockFloor = "a bound needs one reading of the clock; the machine's table has what that costs here"

var goals = []goal{
	{"L1 hit over bare ristretto", "hit-goroutines", "plain", 1.25, false, "x",
		"ristretto's own Get is inside it; the rest is the comparison of the key, the check of deadline and stamp, and a counter"},
	{"L1 hit over bare ristretto, at the worst number of goroutines", "hit-goroutines", "plain_worst", 1.25, false,
		"x", "as above"},
	{"L1 hit with MaxStaleness, over bare ristretto", "hit-goroutines", "bounded", 1.8, false, "x", clockFloor},
	{"allocations of a hit", "hit-goroutines", "allocs", 0.01, false, "", ""},
	{"rueidis DoCache raw, over us", "hit-peers", "docache_raw", 5, true, "x",
		"what a bare ristretto would reach stands in the same table: its ratio over ours"},
	{"rueidis DoCache and JSON, over us", "hit-peers", "docache_json", 25, true, "x",
		"as above: the decoding is of 150 bytes"},
	{"go-redis/cache, over us", "hit-peers", "goredis_cache", 15, true, "x", "as above"},
	{"L2 hit over a bare GET and decode", "l2-hit", "l2", 1.15, false, "x",
		"a place among the flights and the requests under way, 56 bytes of header with a checksum, the fence's lock, and an entry for L1"},
	{"Invalidate, largest L1 over smallest", "writes", "invalidate_growth", 1.2, false, "x",
		"nothing of L1 is touched"},
	{"bytes an entry over bare ristretto", "memory", "bytes_over", 100, false, " B",
		"80 bytes of key, version, deadline and stamp; 16 of the key's own bytes; what is left is the rounding of the allocator"},
	{"direct propagation, p99 over Redis's own push", "propagation", "direct", 3, false, "x", ""},
	{"propagation through Kafka, p99 over produce-to-consume", "propagation", "kafka", 1.5, false, "x",
		"one query of the outbox (0.5 ms), and the last of four instances against one consumer: over the last of four consumers the table has it too"},
	{"freshness profile: reads/s", "freshness", "reads", 2.2e6, true, "/s",
		"two cores carry the readers, the writers, Redis and the relay: each write makes 20 instances ask Redis again, 40,000 times a second, which takes cores and caches from the hits"},
	{"freshness profile: stale reads", "freshness", "stale_percent", 0.05, false, " %",
		"the time between a write's answer and the push, on two full cores; rueidis DoCache has the same in the same run"},
	{"freshness profile: stalest", "freshness", "stalest_ms", 20, false, " ms",
		"a reader that is not scheduled between looking and being served"},
	{"freshness profile: bounded reads older than the bound", "freshness", "over_bound", 0, false, "", ""},
	{"article: database reads saved", "article", "reads_saved_percent", 99, true, " %", ""},
	{"article: mean latency saved", "article", "mean_saved_percent", 95, true, " %", ""},
}

// judge is a goal's line in the report; measured is false where the section was not run.
func (g goal) row(sections map[string]measure.Section) (line []string, measured bool) {
	s, ok := sections[g.section]
	v, have := s.Figures[g.figure]
	if !ok || !have {
		return []string{g.what, g.want(), "not measured", "", ""}, false
	}
	reached := v <= g.level
	if g.atLeast {
		reached = v >= g.level
	}
	line = []string{g.what, g.want(), number(v) + g.unit, "yes", ""}
	if !reached {
		line[3] = "no"
		if g.level != 0 {
			line[3] = fmt.Sprintf("no, by %.0f%%", 100*max(v/g.level-1, 1-v/g.level))
		}
		line[4] = g.floor
	}
	return line, true
}

func (g goal) want() string {
	sign := "at most "
	if g.atLeast {
		sign = "at least "
	}
	return sign + number(g.level) + g.unit
}

func number(v float64) string {
	switch {
	case v >= 1e6:
		return fmt.Sprintf("%.2fM", v/1e6)
	case v >= 1e4:
		return fmt.Sprintf("%.1fk", v/1e3)
	case v >= 100 || v == float64(int(v)):
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.3g", v)
}
