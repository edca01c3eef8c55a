package report

import (
	"fmt"

	"github.com/nearcache/nearcache-go/benchmarks/measure"
)

// goal is a level that a figure of a section should reach.
type goal struct {
	name            string
	section, figure string
	level           float64
	bound           bound
	unit            string
	obstacle        string // what prevents it, for a goal that is missed
}

// bound says on which side of the level a figure should be.
type bound string

const (
	atMost  bound = "at most "
	atLeast bound = "at least "
)

const (
	hitObstacle = "ristretto is cheap while few readers run at the same moment, and its lock costs most when they do: " +
		"the ratio moves with the load of the machine; a third of a hit is an atomic counter and the comparison of the key"
	clockObstacle = "a bound needs one reading of the clock; the table of the machine has its cost"
	ratioObstacle = "bare ristretto is in the same table: its ratio shows what is possible"
)

var goals = []goal{
	{name: "L1 hit, relative to bare ristretto", section: "hit-goroutines", figure: "plain", level: 0.75, bound: atMost,
		unit: "x", obstacle: hitObstacle},
	{name: "L1 hit, relative to bare ristretto, at the worst number of goroutines", section: "hit-goroutines",
		figure: "plain_worst", level: 0.75, bound: atMost, unit: "x", obstacle: hitObstacle},
	{name: "L1 hit with MaxStaleness, relative to bare ristretto", section: "hit-goroutines", figure: "bounded",
		level: 1.1, bound: atMost, unit: "x", obstacle: clockObstacle},
	{name: "L1 hit of 100 keys, relative to bare ristretto", section: "hit-keys", figure: "even_100", level: 0.5,
		bound: atMost, unit: "x", obstacle: hitObstacle},
	{name: "L1 hit of 1,000,000 keys by Zipf's law, relative to bare ristretto", section: "hit-keys",
		figure: "zipf_1000000", level: 0.8, bound: atMost, unit: "x", obstacle: hitObstacle},
	{name: "L1 hit with metrics and traces, relative to one without", section: "hit-options", figure: "observed",
		level: 1.15, bound: atMost, unit: "x"},
	{name: "allocations of a hit", section: "hit-goroutines", figure: "allocs", level: 0.01, bound: atMost,
		obstacle: "these are misses: with 64 goroutines on two cores one bounded read in 600 finds its proof too late, " +
			"and a miss allocates 15 times; a hit allocates nothing"},
	{name: "rueidis DoCache raw, relative to the near cache", section: "hit-peers", figure: "docache_raw", level: 5,
		bound: atLeast, unit: "x", obstacle: ratioObstacle},
	{name: "rueidis DoCache and JSON, relative to the near cache", section: "hit-peers", figure: "docache_json",
		level: 25, bound: atLeast, unit: "x", obstacle: ratioObstacle + "; only 150 bytes are decoded"},
	{name: "go-redis/cache, relative to the near cache", section: "hit-peers", figure: "goredis_cache", level: 15,
		bound: atLeast, unit: "x", obstacle: ratioObstacle},
	{name: "L2 hit, relative to a bare GET and decode", section: "l2-hit", figure: "l2", level: 1.15, bound: atMost,
		unit: "x", obstacle: "the tables of flights and of requests under way, a header of 56 bytes with a checksum, " +
			"the fence's lock, and an entry for L1"},
	{name: "miss, processor time relative to cache-aside", section: "miss", figure: "processor", level: 2.5, bound: atMost,
		unit: "x", obstacle: "three requests instead of two"},
	{name: "Invalidate, largest L1 relative to the smallest", section: "writes", figure: "invalidate_growth",
		level: 1.2,
		bound: atMost, unit: "x", obstacle: "it does not touch L1"},
	{name: "bytes per entry, more than bare ristretto", section: "memory", figure: "bytes_over", level: 80,
		bound: atMost, unit: " B", obstacle: "64 bytes of key, version and stamp; 16 of the key's own " +
			"bytes; the rest is the allocator's rounding"},
	{name: "direct propagation, p99 relative to Redis's own push", section: "propagation", figure: "direct", level: 3,
		bound: atMost, unit: "x"},
	{name: "propagation through Kafka, p99 relative to produce-to-consume", section: "propagation", figure: "kafka",
		level: 1.5, bound: atMost, unit: "x", obstacle: "one query of the outbox (0.5 ms), and the last of four " +
			"instances against one consumer; the table also has the ratio to the last of four consumers"},
	{name: "freshness: reads/s", section: "freshness", figure: "reads", level: 2.2e6, bound: atLeast, unit: "/s",
		obstacle: "two cores serve the readers, the writers, Redis and the relay: each write makes 20 instances read " +
			"Redis again, 40,000 times per second, which takes cores and caches from the hits"},
	{name: "freshness: stale reads", section: "freshness", figure: "stale_percent", level: 0.05, bound: atMost,
		unit: " %", obstacle: "the time between the answer to a write and its push, on two busy cores; rueidis " +
			"DoCache has the same in the same run"},
	{name: "freshness: stalest read", section: "freshness", figure: "stalest_ms", level: 20, bound: atMost, unit: " ms",
		obstacle: "a reader that is descheduled between its look at the clock and its read"},
	{name: "freshness: bounded reads older than the bound", section: "freshness", figure: "over_bound", bound: atMost},
	{name: "scale: Redis commands of an idle instance with a bound and both channels", section: "scale",
		figure: "after: both channels, an idle instance: redis commands", level: 15, bound: atMost, unit: "/s"},
	{name: "scale: Redis commands of an instance that reads within its bound", section: "scale",
		figure: "after: both channels, a reading instance: redis commands", level: 15, bound: atMost, unit: "/s"},
	{name: "scale: queries of the source by an instance that reads within its bound", section: "scale",
		figure: "after: both channels, a reading instance: postgres statements of instances", level: 0.1, bound: atMost,
		unit: "/s", obstacle: "none with up to 64 instances; with 256 the cores are full, the relay's rounds come late, " +
			"and instances ask the source themselves"},
	{name: "scale: processor time of an idle instance", section: "scale",
		figure: "after: both channels, an idle instance: processor: instances", level: 0.007, bound: atMost,
		unit: " cores", obstacle: "ten barriers a second from Kafka: with Redis alone it is half; the machine was slow " +
			"in this run, and \"before\" moved with it"},
	{name: "scale: Redis commands of the idle relay", section: "scale",
		figure: "after: both channels, idle relay: redis commands", level: 30, bound: atMost, unit: "/s",
		obstacle: "it sends 20 scripts a second; the commands inside them are counted too"},
	{name: "scale: processor time of the idle relay", section: "scale",
		figure: "after: both channels, idle relay: processor: relay", level: 0.01, bound: atMost, unit: " cores",
		obstacle: "a query of the source and two scripts ten times a second, and a barrier for each partition"},
	{name: "article: database reads saved", section: "article", figure: "reads_saved_percent", level: 99,
		bound: atLeast, unit: " %"},
	{name: "article: mean latency saved", section: "article", figure: "mean_saved_percent", level: 95, bound: atLeast,
		unit: " %"},
}

// row is the goal as a line of the report.
func (g goal) row(sections map[string]measure.Section) []string {
	v, measured := sections[g.section].Figures[g.figure]
	if !measured {
		return []string{g.name, g.want(), "not measured", "", ""}
	}
	reached := v <= g.level
	if g.bound == atLeast {
		reached = v >= g.level
	}
	if reached {
		return []string{g.name, g.want(), number(v) + g.unit, "yes", ""}
	}
	verdict := "no"
	if g.level != 0 {
		verdict = fmt.Sprintf("no, by %.0f%%", 100*max(v/g.level-1, 1-v/g.level))
	}
	return []string{g.name, g.want(), number(v) + g.unit, verdict, g.obstacle}
}

func (g goal) want() string { return string(g.bound) + number(g.level) + g.unit }

// number formats a figure.
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
