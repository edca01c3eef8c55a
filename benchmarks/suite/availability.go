package suite

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9/logging"

	"github.com/nearcache/nearcache-go/benchmarks/measure"
	"github.com/nearcache/nearcache-go/benchmarks/peers"
	"github.com/nearcache/nearcache-go/coherence/kafka"
	"github.com/nearcache/nearcache-go/internal/services/local"
	"github.com/nearcache/nearcache-go/nearcache"
)

// lanes are how many peers are under load at a time, each on a Redis of its own.
const parallelTrials = 2

// withFailSafe is the near cache for whom an old value is better than none.
var failSafeKind = renamed("nearcache, FailSafe", peers.NearcacheKind(peers.Plain,
	func(o *nearcache.Options[string, string]) {
		o.FailSafe = nearcache.FailSafe{MaxAge: time.Minute, SoftTimeout: 100 * time.Millisecond}
	}))

// trial is a peer and a fault.
type trial struct {
	kind  peers.Kind[string]
	fault fault
	kafka bool // the near cache has it as its second channel
	faultResult
}

// availability has every peer live through every fault.
func availability(ctx context.Context, e *Env) (*measure.Section, error) {
	d := faultLoad{Instances: 2, Keys: 5000, WarmReads: 3000, Rate: 500, FaultTime: 3 * time.Second,
		AfterTime: 2 * time.Second, SettleTime: time.Second, Deadline: 2 * time.Second}
	kinds := []peers.Kind[string]{mustKind[string]("nearcache"), mustKind[string](peers.Bounded.String()),
		failSafeKind, mustKind[string]("rueidis DoCache"), mustKind[string]("go-redis CSC"),
		mustKind[string]("go-redis/cache"), mustKind[string]("sturdyc"), mustKind[string]("hand-rolled"),
		mustKind[string]("Redis GET"), mustKind[string]("ristretto"), mustKind[string]("otter")}
	all := faults
	if e.Quick {
		kinds, all = []peers.Kind[string]{kinds[0], kinds[7]}, []fault{faults[1], faults[5]}
	}
	s := &measure.Section{Title: "Availability", Figures: map[string]float64{},
		Config: fmt.Sprintf("%d instances of a peer, %d operations a second each, begun at their times whether or not earlier ones have ended, 1%% of them writes, over %d keys by Zipf; a source that takes 5 ms; "+
			"%v or %v before the fault, %v of it, %v after; a read has failed if it gives an error or has not ended within %v. %d peers at a time, each on its own Redis",
			d.Instances, d.Rate, d.Keys, longLead, shortLead, d.FaultTime, d.AfterTime, d.Deadline, parallelTrials),
		Note: "Latency is from when a read should have begun. A read is stale if a newer value had been acknowledged to its writer before it began, and a write is acknowledged when it has returned and the source has committed it, " +
			"whatever else of it failed: to be served what is old is no availability, unless one has asked for it, as FailSafe does. " +
			"\"Error-free\" is the time from the fault's end to the beginning of the last read that failed. Values live for a minute under faults of Redis, so that what those leave stale shows; for 2 s where the source fails, " +
			"so that each of them expires meanwhile. Left stale: of all keys written, read on each instance, a second after the last write. " +
			"ristretto and otter keep nothing in Redis, and nothing tells one instance of the other's writes: they have no part in Redis's faults. go-redis heeds a read's deadline only with ContextTimeoutEnabled, whose default is off. Faults of the network are those of a TCP proxy before each instance; with the others there is none."}
	var trials []*trial
	for _, f := range all {
		for _, k := range kinds {
			if !(k.LocalOnly && f.affectsRedis) {
				trials = append(trials, &trial{kind: k, fault: f})
			}
		}
	}
	logging.Disable() // go-redis prints a line for every connection that it does not get
	defer logging.Enable()
	if err := e.runTrials(ctx, d, trials); err != nil {
		return nil, err
	}
	if !e.Quick {
		more, err := e.runKafkaTrials(ctx, d)
		if err != nil {
			return nil, err
		}
		trials, all = append(trials, more...), append(all, kafkaFaults[0])
	}
	reportTrials(s, all, trials)
	return s, nil
}

// lanes has the trials run, as many at a time as there are lanes.
func (e *Env) runTrials(ctx context.Context, d faultLoad, trials []*trial) error {
	servers := make(chan *local.Server, parallelTrials)
	for range parallelTrials {
		redis, err := e.ownRedis(ctx)
		if err != nil {
			return err
		}
		defer redis.Discard()
		servers <- redis
	}
	return each(ctx, parallelTrials, len(trials), func(i int) error {
		redis := <-servers
		defer func() { servers <- redis }()
		return e.runTrial(ctx, d, trials[i], redis, nil)
	})
}

// ownRedis is one that may fail: the run's own serves the other benchmarks.
func (e *Env) ownRedis(ctx context.Context) (*local.Server, error) {
	dir, err := e.dataDir(fmt.Sprintf("redis-%d", e.names.Add(1)))
	if err != nil {
		return nil, err
	}
	return local.StartRedis(ctx, dir, local.Launch{Started: e.record})
}

// withKafka are the trials of the near cache with Kafka beside Redis, one after the other.
func (e *Env) runKafkaTrials(ctx context.Context, d faultLoad) (trials []*trial, err error) {
	if _, err := e.Kafka(ctx); err != nil {
		return nil, err
	}
	redis, err := e.ownRedis(ctx)
	if err != nil {
		return nil, err
	}
	defer redis.Discard()
	for _, f := range kafkaFaults {
		for _, name := range []string{"nearcache", peers.Bounded.String()} {
			t := &trial{kind: renamed(name+", Kafka too", mustKind[string](name)), fault: f, kafka: true}
			if err := e.runTrial(ctx, d, t, redis, e.kafka); err != nil {
				return nil, err
			}
			trials = append(trials, t)
		}
	}
	return trials, nil
}

// try is one trial, in a state that nobody has used before.
func (e *Env) runTrial(ctx context.Context, d faultLoad, t *trial, redis, broker *local.Server) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("%s, %s: %w", t.kind.Name, t.fault.name, err)
		}
	}()
	if _, err := local.RedisDo(ctx, redis.Addr, "FLUSHALL"); err != nil {
		return err
	}
	s := &faultRun{faultLoad: d, prefix: fmt.Sprintf("s%d", e.names.Add(1)), writing: make([]atomic.Bool, d.Keys)}
	s.redis, s.kafka = redis, broker
	s.source, s.truth = d.newSource(s.prefix)
	if t.fault.proxied {
		for range d.Instances {
			w, err := newProxy(redis.Addr)
			if err != nil {
				return err
			}
			defer w.close()
			s.proxies = append(s.proxies, w)
		}
	}
	w := peers.Config[string]{Source: s.source, Codec: peers.Raw{}, Prefix: s.prefix, Entries: d.Keys,
		Bytes: int64(d.Keys * s.truth.bytes), TTL: t.fault.ttl, Commits: s.source}
	if t.kafka {
		b := kafka.Broker{Brokers: []string{broker.Addr}}
		publisher, err := kafka.NewPublisher(kafka.PublisherConfig{Broker: b, Topic: s.prefix})
		if err != nil {
			return err
		}
		defer publisher.Close()
		if err := publisher.CreateTopic(ctx, 2, 1); err != nil {
			return err
		}
		w.Publisher, w.Events = publisher, kafka.Tail{Broker: b, Topic: s.prefix}
	}
	for i := range d.Instances {
		w.Redis, w.Relay = s.addr(i), i == 0
		p, err := t.kind.Open(ctx, w)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, p.Close()) }()
		s.peers = append(s.peers, p)
	}
	if !t.kind.LocalOnly {
		w.Redis, w.Relay = redis.Addr, false
		p, err := t.kind.Open(ctx, w)
		if err != nil {
			return err
		}
		if err := errors.Join(s.fillRedis(ctx, p), p.Close()); err != nil {
			return fmt.Errorf("fill: %w", err)
		}
	}
	if t.faultResult, err = s.run(ctx, t.fault, t.kind.NoL1); err != nil {
		return err
	}
	during := t.summarize(t.faultStart, t.faultEnd, t.counts)
	fmt.Fprintf(e.Log, "availability, %s, %s: %.1f%% failed, %.2f%% stale, p99 %v\n", t.kind.Name, t.fault.name,
		percent(during.failed, during.reads), percent(during.stale, during.reads), during.p99)
	return nil
}

// counts says whose reads are reported.
func (t *trial) counts(instance int) bool { return !t.fault.lastOnly || instance > 0 }
