package suite

import (
	"context"

	"github.com/nearcache/nearcache-go/benchmarks/measure"
)

// Bench is one section of the report.
type Bench struct {
	ID string
	// Long says that -quick leaves it out.
	Long bool
	Run  func(context.Context, *Env) (*measure.Section, error)
}

// All are the benchmarks in the report's order.
var All = []Bench{
	{"peers", false, peerFacts},
	{"hit-peers", false, hitPeers},
	{"hit-goroutines", false, hitGoroutines},
	{"hit-keys", false, hitKeys},
	{"hit-shapes", false, hitShapes},
	{"hit-options", false, hitOptions},
	{"l2-hit", false, l2Hit},
	{"tiers", false, tiers},
	{"miss", false, miss},
	{"writes", false, writes},
	{"flush", false, flush},
	{"many", false, many},
	{"memory", false, memory},
	{"article", true, article},
	{"freshness", true, freshness},
	{"propagation", true, propagation},
	{"stampede", true, stampede},
	{"channels", true, channels},
	{"scale", true, scale},
	{"availability", true, availability},
}
