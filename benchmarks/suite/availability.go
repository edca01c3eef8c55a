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

// parallelTrials is how many peers are under load at a time, each with a Redis of its own.
const parallelTrials = 2

// failSafeKind is the near cache for applications that prefer an old value to none.
var failSafeKind = renamed("nearcache, FailSafe", peers.NearcacheKind(peers.Plain,
	func(o *nearcache.Options[string, string]) {
		o.FailSafe = nearcache.FailSafe{MaxAge: time.Minute, SoftTimeout: 100 * time.Millisecond}
	}))

// trial is one peer under one fault, with its result.
type trial struct {
	kind  peers.Kind[string]
	fault fault
	kafka bool // the near cache has Kafka as its second channel
	faultResult
}

const availabilityNote = "Latency counts from the time at which a read should have begun. A read is stale if the " +
	"writer of a newer value had its acknowledgement before the read began. A write is acknowledged when it has " +
	"returned and the source has committed it, even if another part of it failed: a stale answer is no availability, " +
	"unless the application asked for it, as with FailSafe. \"Error-free\" is the time from the end of the fault to " +
	"the beginning of the last read that failed. Values live for a minute under faults of Redis, so that stale " +
	"leftovers show, and for 2 s where the source fails, so that all of them expire meanwhile. \"Left stale\" counts " +
	"all keys that were written, read on each instance a second after the last write.\n\nristretto and otter keep " +
	"nothing in Redis, and nothing informs one instance of another's writes; they take no part in the faults of " +
	"Redis. go-redis obeys the deadline of a read only with ContextTimeoutEnabled, which is off by default. Faults " +
	"of the network happen in a TCP proxy before each instance; for other faults there is no proxy."

// availability runs every peer through every fault.
func availability(ctx context.Context, e *Env) (*measure.Section, error) {
	load := faultLoad{Instances: 2, Keys: 5000, WarmReads: 3000, Rate: 500, FaultTime: 3 * time.Second,
		AfterTime: 2 * time.Second, SettleTime: time.Second, Deadline: 2 * time.Second}
	kinds := []peers.Kind[string]{failSafeKind}
	for _, name := range []string{"rueidis DoCache", "go-redis CSC", "go-redis/cache", "sturdyc", "hand-rolled",
		"Redis GET",
		"ristretto", "otter"} {
		kinds = append(kinds, mustKind[string](name))
	}
	kinds = append([]peers.Kind[string]{mustKind[string]("nearcache"), mustKind[string](peers.Bounded.String())},
		kinds...)
	all := faults
	if e.Quick {
		kinds, all = []peers.Kind[string]{kinds[0], kinds[7]}, []fault{faults[1], faults[5]}
	}
	s := &measure.Section{Title: "Availability", Figures: map[string]float64{}, Config: load.config(),
		Note: availabilityNote}
	var trials []*trial
	for _, f := range all {
		for _, k := range kinds {
			if !(k.LocalOnly && f.affectsRedis) {
				trials = append(trials, &trial{kind: k, fault: f})
			}
		}
	}
	logging.Disable() // go-redis prints a line for every connection that it cannot open
	defer logging.Enable()
	if err := e.runTrials(ctx, load, trials); err != nil {
		return nil, err
	}
	if !e.Quick {
		more, err := e.runKafkaTrials(ctx, load)
		if err != nil {
			return nil, err
		}
		trials, all = append(trials, more...), append(all, kafkaFaults[0])
	}
	reportTrials(s, all, trials)
	return s, nil
}

func (d faultLoad) config() string {
	return fmt.Sprintf("%d instances of a peer; %d operations per second on each, which start on schedule whether or not "+
		"earlier ones have ended; 1%% of them are writes; %d keys by Zipf; a source that takes 5 ms; %v or %v before the "+
		"fault, a fault of %v, %v after it. A read fails if it returns an error or does not end within %v. %d peers at a "+
		"time, each with its own Redis",
		d.Instances, d.Rate, d.Keys, longLead, shortLead, d.FaultTime, d.AfterTime, d.Deadline, parallelTrials)
}

// runTrials runs the trials, several at a time.
func (e *Env) runTrials(ctx context.Context, load faultLoad, trials []*trial) error {
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
		return e.runTrial(ctx, load, trials[i], redis, nil)
	})
}

// ownRedis starts a Redis that may fail. That of the Env serves the other benchmarks.
func (e *Env) ownRedis(ctx context.Context) (*local.Server, error) {
	dir, err := e.dataDir(fmt.Sprintf("redis-%d", e.names.Add(1)))
	if err != nil {
		return nil, err
	}
	return local.StartRedis(ctx, dir, local.Launch{Started: e.record})
}

// runKafkaTrials runs the near cache with Kafka beside Redis, one trial after the other.
func (e *Env) runKafkaTrials(ctx context.Context, load faultLoad) (trials []*trial, err error) {
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
			t := &trial{kind: renamed(name+", with Kafka", mustKind[string](name)), fault: f, kafka: true}
			if err := e.runTrial(ctx, load, t, redis, e.kafka); err != nil {
				return nil, err
			}
			trials = append(trials, t)
		}
	}
	return trials, nil
}

// runTrial runs one trial, with an empty Redis and names of its own.
func (e *Env) runTrial(ctx context.Context, load faultLoad, t *trial, redis, broker *local.Server) (err error) {
	s := &faultRun{faultLoad: load, prefix: fmt.Sprintf("s%d", e.names.Add(1)), writing: make([]atomic.Bool, load.Keys)}
	s.redis, s.kafka = redis, broker
	defer func() {
		if err = errors.Join(err, s.close()); err != nil {
			err = fmt.Errorf("%s, %s: %w", t.kind.Name, t.fault.name, err)
		}
	}()
	if _, err := local.RedisDo(ctx, redis.Addr, "FLUSHALL"); err != nil {
		return err
	}
	if err := s.open(ctx, t); err != nil {
		return err
	}
	if t.faultResult, err = s.run(ctx, t.fault, t.kind.NoL1); err != nil {
		return err
	}
	during := t.summarize(t.faultStart, t.faultEnd, t.counts)
	fmt.Fprintf(e.Log, "availability, %s, %s: %.1f%% failed, %.2f%% stale, p99 %v\n", t.kind.Name, t.fault.name,
		percent(during.failed, during.reads), percent(during.stale, during.reads), during.p99)
	return nil
}

// open opens the source, the proxies and the instances, and fills Redis.
func (s *faultRun) open(ctx context.Context, t *trial) error {
	s.source, s.truth = s.newSource(s.prefix)
	if t.fault.proxied {
		for range s.Instances {
			p, err := newProxy(s.redis.Addr)
			if err != nil {
				return err
			}
			s.add(noError(p.close))
			s.proxies = append(s.proxies, p)
		}
	}
	config := peers.Config[string]{Source: s.source, Codec: peers.Raw{}, Prefix: s.prefix, Entries: s.Keys,
		Bytes: int64(s.Keys * s.truth.bytes), TTL: t.fault.ttl, Commits: s.source}
	if t.kafka {
		if err := s.openTopic(ctx, &config); err != nil {
			return err
		}
	}
	for i := range s.Instances {
		config.Redis, config.Relay = s.addr(i), i == 0
		p, err := t.kind.Open(ctx, config)
		if err != nil {
			return err
		}
		s.add(p.Close)
		s.peers = append(s.peers, p)
	}
	if t.kind.LocalOnly {
		return nil
	}
	config.Redis, config.Relay = s.redis.Addr, false
	p, err := t.kind.Open(ctx, config)
	if err != nil {
		return err
	}
	if err := errors.Join(s.fillRedis(ctx, p), p.Close()); err != nil {
		return fmt.Errorf("fill: %w", err)
	}
	return nil
}

// openTopic creates a topic and makes Kafka the second channel of the instances.
func (s *faultRun) openTopic(ctx context.Context, config *peers.Config[string]) error {
	b := kafka.Broker{Brokers: []string{s.kafka.Addr}}
	publisher, err := kafka.NewPublisher(kafka.PublisherConfig{Broker: b, Topic: s.prefix})
	if err != nil {
		return err
	}
	s.add(noError(publisher.Close))
	config.Publisher, config.Events = publisher, kafka.Tail{Broker: b, Topic: s.prefix}
	return publisher.CreateTopic(ctx, 2, 1)
}

// counts reports whether the reads of an instance are reported.
func (t *trial) counts(instance int) bool { return !t.fault.lastOnly || instance > 0 }
