//go:build unix

package chaos

import "maps"

// Faults are the names of all faults.
func Faults() []string { return faultNames() }

// Exposes are the faults that are most likely to show that a rule of internal/ablate is gone, in the order in which they
// are injected; none: any fault will do, or nobody knows.
func Exposes(rule string) []string { return exposes[rule] }

// Exposures are those of all rules.
func Exposures() map[string][]string { return maps.Clone(exposes) }

const (
	late    = "link: postgres slow, then the leader stops"
	slow    = "link: an instance, all slow"
	refused = "link: an instance and redis, refused"
)

var exposes = map[string][]string{
	// A load that takes long is overtaken by a write.
	"fill-needs-lease":    {slow, "instance: stopped again and again"},
	"apply-drops-lease":   {slow, "instance: stopped again and again"},
	"set-drops-lease":     {slow, "redis: records evicted"},
	"flight-still-stands": {slow},
	"fresh-never-joins":   {slow},
	// A clock that is read late claims as much more as the question took.
	"clock-before-probe": {late, slow},
	"clock-before-load":  {slow},
	// Time goes on and the proof does not.
	"clock-on-read":      {"relay: both kill -9", "instance: stopped again and again"},
	"proof-before-check": {"instance: stopped again and again", slow},
	// L2 loses what it has, or goes back.
	"set-over-value":          {"redis: records evicted", "redis: tracking table of 10"},
	"set-same-epoch":          {"redis: watermarks evicted"},
	"new-epoch":               {"redis: watermarks evicted", "redis: restarts from an old dump"},
	"fill-same-epoch":         {"redis: watermarks evicted"},
	"read-same-epoch":         {"redis: watermarks evicted"},
	"epoch-session":           {"redis: watermarks evicted"},
	"batch-from":              {"redis: fails over to a lagging replica", "redis: restarts from an old dump"},
	"batch-in-one-step":       {"redis: fails over to a lagging replica", "redis: restarts from an old dump"},
	"floor":                   {"link: a relay and redis, blackhole", "redis: fails over to a lagging replica", "redis: split brain"},
	"serve-bumps":             {"redis: split brain", "redis: fails over to a lagging replica"},
	"horizon":                 {"redis: fails over to a lagging replica", "redis: split brain"},
	"horizon-probe":           {"redis: fails over to a lagging replica", "redis: split brain"},
	"watermark-first":         {"redis: fails over to a lagging replica", refused},
	"redis-session-watermark": {"redis: fails over to a lagging replica", "redis: split brain"},
	// Tracking, or the events, miss something.
	"redis-session":     {"redis: CLIENT KILL", refused, "link: all resets"},
	"dial-is-session":   {"redis: CLIENT KILL", refused, "link: all resets"},
	"nil-is-session":    {"redis: FLUSHALL"},
	"admit-from-t":      {refused, "redis: stopped"},
	"event-session":     {"kafka: records deleted", "link: an instance and kafka, refused", "kafka: topic made anew"},
	"session-base":      {"kafka: records deleted", "kafka: topic made anew"},
	"gap-is-session":    {"kafka: records deleted", "kafka: topic made anew"},
	"marker-partitions": {"kafka: partitions added"},
}
