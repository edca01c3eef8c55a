//go:build unix

package chaos

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/nearcache/nearcache-go/internal/chaos/history"
)

// fault is one way to break things.
type fault struct {
	name string
	// inject starts the fault. It returns when the fault is active.
	inject func(ctx context.Context, in *injection) error
	// least and most bound how long the fault then stays active.
	least, most time.Duration
}

// injection is one fault while it is active: its random numbers, and how it is healed.
type injection struct {
	*cluster
	rnd   *rand.Rand
	heals []func(context.Context) error
	every []func(context.Context) // repeated while it lasts

	writes    *writeLog                     // of the injection's own writes
	checks    []func(context.Context) error // what must hold when all is well again
	lost      []history.Commit              // acknowledged by a primary that its successor lacks
	congested bool                          // it slows single connections: history.Window
	patience  time.Duration                 // for how long recovery may take, if that is longer than usual
}

// check adds what must hold when all is well again.
func (in *injection) check(f func(context.Context) error) { in.checks = append(in.checks, f) }

// heal adds a step that undoes a part of the fault. The steps run in the order in which they were added. With two
// faults at once, a stopped service must run again before toxics can be removed from its links: removal waits for
// data under way.
func (in *injection) heal(f func(context.Context) error) { in.heals = append(in.heals, f) }

// repeat adds an action that is repeated while the fault is active.
func (in *injection) repeat(f func(context.Context)) { in.every = append(in.every, f) }

// healAll undoes everything.
func (in *injection) healAll(ctx context.Context) (err error) {
	for _, h := range in.heals {
		err = errors.Join(err, h(ctx))
	}
	return err
}

// hold waits until the fault has been active for d.
func (in *injection) hold(ctx context.Context, d time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	if len(in.every) == 0 {
		<-ctx.Done()
		return
	}
	t := time.NewTicker(50 * time.Millisecond)
	defer t.Stop()
	for ctx.Err() == nil {
		for _, f := range in.every {
			f(ctx)
		}
		select {
		case <-ctx.Done():
		case <-t.C:
		}
	}
}

// anInstance is any instance.
func (in *injection) anInstance() string { return in.instances()[in.rnd.IntN(in.cfg.Instances)] }

// faults are all but the heavy ones, by what carries the events.
func faults(channel service) []fault {
	single := slices.Concat(processFaults(), redisFaults(), demotions(), channelFaults(channel), postgresFaults(),
		mariadbFaults(), linkFaults(channel), loadFaults())
	return append(single, pairs(single, channel)...)
}

// channelFaults are those of what carries the events.
func channelFaults(channel service) []fault {
	if channel == natsService {
		return natsFaults()
	}
	return append(kafkaFaults(), poisons()...)
}

// faultsOf are those of a fleet. With several nodes of Redis, a fault of the one Redis, of its links, or of a pair with
// either, has nothing to work on; nor has one of the worker where there is none.
func faultsOf(cfg Config) []fault {
	channel := service(cfg.Events)
	all := faults(channel)
	if cfg.Redis != redisSingle {
		all = slices.Concat(nodeFaults(cfg.Redis), processFaults(), channelFaults(channel), postgresFaults())
	}
	return slices.DeleteFunc(all, func(f fault) bool {
		return strings.HasPrefix(f.name, other[cfg.Source]+": ") ||
			cfg.Server == "" && strings.HasPrefix(f.name, "server: ") ||
			channel != kafkaService && strings.Contains(f.name, "worker")
	})
}

// other is the source that a run does not have, by which the names of its faults begin.
var other = map[string]string{postgresSource: mariadb, mariadb: postgresSource}

// losses are the faults by which the channel loses events.
var losses = map[service][]string{
	kafkaService: {"kafka: records deleted", "kafka: topic made anew", "kafka: partitions added"},
	natsService:  {"nats: messages purged", "nats: stream created again"},
}

// pairs are two faults at the same time. Either channel is enough for a proof, so an error in one channel stays
// hidden while the other one works.
func pairs(single []fault, channel service) (out []fault) {
	named := func(name string) fault {
		return single[slices.IndexFunc(single, func(f fault) bool { return f.name == name })]
	}
	stopped := string(channel) + ": stopped"
	for _, p := range []struct {
		first string
		then  []string
	}{
		{stopped, []string{"redis: restarts empty", "redis: restarts from an old dump",
			"redis: fails over to a lagging replica", "redis: split brain",
			"redis: FLUSHALL", "redis: watermarks evicted", "redis: CLIENT KILL", "relay: a zombie beside its successor", slow}},
		{"link: no instance has redis", append(losses[channel], "relay: both kill -9", slow)},
		{slow, []string{"redis: fails over to a lagging replica", "instance: kill -9"}},
		{"source: a transaction of 20,000 rows", []string{"relay: both kill -9", "relay: a zombie beside its successor",
			"redis: fails over to a lagging replica", stopped}},
	} {
		for _, name := range p.then {
			out = append(out, both(named(p.first), named(name)))
		}
	}
	return out
}

// both is one fault after another, without a heal in between.
func both(a, b fault) fault {
	return fault{"both: " + a.name + " + " + b.name, func(ctx context.Context, in *injection) error {
		if err := a.inject(ctx, in); err != nil {
			return err
		}
		return b.inject(ctx, in)
	}, max(a.least, b.least), max(a.most, b.most)}
}

// faultNames are their names.
func faultNames() (names []string) {
	for _, f := range slices.Concat(faults(kafkaService), heavyFaults(), nodeFaults(redisCluster), natsFaults()) {
		names = append(names, f.name)
	}
	return names
}

// schedule gives one fault after another: those that the Config names, in their order; else all, in rounds of an
// order drawn by chance.
func schedule(rnd *rand.Rand, cfg Config) (func() fault, error) {
	all, only := faultsOf(cfg), cfg.Faults
	if len(only) > 0 || cfg.Heavy {
		all = append(all, heavyFaults()...)
	}
	if len(only) > 0 {
		var chosen []fault
		for _, name := range only {
			i := slices.IndexFunc(all, func(f fault) bool { return f.name == name })
			if i < 0 {
				return nil, errors.New("chaos: no fault " + name)
			}
			chosen = append(chosen, all[i])
		}
		all = chosen
	}
	var left []fault
	return func() fault {
		if len(left) == 0 {
			left = slices.Clone(all)
			if len(only) == 0 {
				rnd.Shuffle(len(left), func(i, j int) { left[i], left[j] = left[j], left[i] })
			}
		}
		f := left[0]
		left = left[1:]
		return f
	}, nil
}
