//go:build unix

package chaos

import "maps"

// Faults are the names of all faults.
func Faults() []string { return faultNames() }

// Exposes are the faults that are most likely to show that a rule of internal/ablate is gone, in the order in which
// they are injected. None are listed for a rule that any fault shows, or for which no good fault is known.
func Exposes(rule string) []string { return exposes[rule] }

// Exposures are those of all rules.
func Exposures() map[string][]string { return maps.Clone(exposes) }

const (
	late    = "link: postgres slow, then the leader stops"
	slow    = "link: every instance, all slow"
	refused = "link: an instance and redis, refused"
	nested  = "instance: nested loads"
	noKafka = "both: kafka: stopped + "
	noRedis = "both: link: no instance has redis + "
)

var exposes = map[string][]string{
	// A load that takes long is overtaken by a write, and an instance that has seen no event does not know better.
	"fill-needs-lease":    {slow, "both: " + slow + " + instance: kill -9", noKafka + slow},
	"apply-drops-lease":   {slow, "both: " + slow + " + instance: kill -9", noKafka + slow},
	"lease-end-wakes":     {"redis: leases evicted", nested, "redis: records evicted"},
	"set-drops-lease":     {slow, "redis: records evicted", "both: " + slow + " + instance: kill -9"},
	"flight-still-stands": {slow, noRedis + slow},
	"fresh-never-joins":   {slow},
	// A clock that is read late claims as much more as the question took.
	"clock-before-sample": {late, slow},
	"clock-before-load":   {slow},
	// Time goes on and the proof does not.
	"clock-on-read":      {"relay: both kill -9", "instance: stopped again and again"},
	"as-of-before-check": {"instance: stopped again and again", slow},
	// L2 loses what it has, or goes back.
	"set-over-value":        {"redis: records evicted", "redis: tracking table of 10"},
	"set-same-incarnation":  {"redis: watermarks evicted", noKafka + "redis: watermarks evicted"},
	"new-incarnation":       {noKafka + "redis: watermarks evicted", noKafka + "redis: restarts from an old dump"},
	"fill-same-incarnation": {noKafka + "redis: watermarks evicted"},
	"read-same-incarnation": {noKafka + "redis: watermarks evicted"},
	"incarnation-session":   {noKafka + "redis: watermarks evicted"},
	"batch-from": {noKafka + "redis: fails over to a lagging replica",
		noKafka + "redis: restarts from an old dump"},
	"batch-in-one-step": {noKafka + "redis: fails over to a lagging replica",
		noKafka + "redis: restarts from an old dump"},
	"min-version": {"link: a relay and redis, blackhole", "redis: fails over to a lagging replica",
		"redis: split brain"},
	"serve-bumps":               {noKafka + "redis: split brain", noKafka + "redis: fails over to a lagging replica"},
	"required-watermark":        {noKafka + "redis: fails over to a lagging replica", noKafka + "redis: split brain"},
	"required-watermark-sample": {noKafka + "redis: fails over to a lagging replica", noKafka + "redis: split brain"},
	"watermark-first": {"both: " + slow + " + redis: fails over to a lagging replica",
		noKafka + "redis: fails over to a lagging replica"},
	"redis-session-watermark": {noKafka + "redis: fails over to a lagging replica", noKafka + "redis: split brain"},
	// Tracking, or the events, miss something.
	"redis-session":       {noKafka + "redis: CLIENT KILL", refused, noKafka + "redis: restarts from an old dump"},
	"dial-is-session":     {noKafka + "redis: CLIENT KILL", refused, "link: all resets"},
	"nil-is-session":      {noKafka + "redis: FLUSHALL"},
	"admit-from-tracking": {refused, "redis: stopped"},
	"event-session":       {noRedis + "kafka: records deleted", noRedis + "kafka: topic made anew"},
	"session-base":        {noRedis + "kafka: records deleted", noRedis + "kafka: topic made anew"},
	"gap-is-session":      {noRedis + "kafka: records deleted", noRedis + "kafka: topic made anew"},
	"barrier-partitions":  {noRedis + "kafka: partitions added", "kafka: partitions added"},
}
