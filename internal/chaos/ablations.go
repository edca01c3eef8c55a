//go:build unix

package chaos

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"

	"github.com/nearcache/nearcache-go/internal/ablate"
	"github.com/nearcache/nearcache-go/internal/chaos/history"
)

// Faults are the names of all faults.
func Faults() []string { return faultNames() }

// Exposes are the faults that are most likely to show that a rule of internal/ablate is gone, in the order in which
// they are injected. None are listed for a rule that any fault shows, or for which no good fault is known.
func Exposes(rule string) []string { return exposes[rule] }

// Exposures are those of all rules.
func Exposures() map[string][]string { return maps.Clone(exposes) }

// Notice runs a fleet without a rule until a guarantee is broken, in as many runs as tries at most: what exposes a
// rule is a matter of chance. It returns the guarantee and the number of the run, or 0 if no run broke one. Of cfg
// the services and the directories count; each run has a directory of its own in cfg.Dir, which stays if nothing was
// noticed.
//
// A run on a busy machine may break the rule of waits by itself. So only a rule that ends waits is noticed by it.
func Notice(ctx context.Context, cfg Config, rule string, tries int) (broken history.Guarantee, run int, err error) {
	faults := Exposes(rule)
	counts := func(g history.Guarantee) bool { return (g == history.Wait) == (rule == string(ablate.LeaseEndWakes)) }
	dirs := cfg.Dir
	cfg.Without, cfg.Faults, cfg.Times = rule, faults, max(3, len(faults))
	cfg.Rate, cfg.Writes, cfg.Keys = 4000, 40, 100
	for run = 1; run <= tries; run++ {
		cfg.Seed, cfg.Dir = uint64(run), filepath.Join(dirs, fmt.Sprintf("%s-%d", rule, run))
		if err := os.MkdirAll(cfg.Dir, 0o755); err != nil {
			return 0, 0, err
		}
		o, err := Run(ctx, cfg)
		if err != nil {
			return 0, 0, err
		}
		o.Print(cfg.Out)
		for g, n := range o.Report.Total.Broken {
			if n > 0 && counts(history.Guarantee(g)) {
				return history.Guarantee(g), run, os.RemoveAll(cfg.Dir)
			}
		}
	}
	return 0, 0, nil
}

const (
	late    = "link: postgres slow, then the leader stops"
	slow    = "link: every instance, all slow"
	refused = "link: an instance and redis, refused"
	nested  = "instance: nested loads"
	// leaseEnds is the fault in which somebody waits for a lease that ends.
	leaseEnds = "instance: a lease ends without a fill"
	noKafka   = "both: kafka: stopped + "
	noRedis   = "both: link: no instance has redis + "
)

var exposes = map[string][]string{
	// Any write shows it, or any open transaction.
	"generation":     {"instance: stopped"},
	"recent-bumps":   {"instance: stopped"},
	"snapshot-guard": {"postgres: a transaction stays open"},
	// A load that takes long is overtaken by a write, and an instance that has seen no event does not know better.
	"fill-needs-lease":    {slow, "both: " + slow + " + instance: kill -9", noKafka + slow},
	"apply-drops-lease":   {slow, "both: " + slow + " + instance: kill -9", noKafka + slow},
	"lease-end-wakes":     {leaseEnds},
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
