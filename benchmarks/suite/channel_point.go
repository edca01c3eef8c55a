package suite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/redis/rueidis"
	kafkago "github.com/segmentio/kafka-go"

	"github.com/nearcache/nearcache-go/benchmarks/peers"
	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/kafka"
	"github.com/nearcache/nearcache-go/coherence/relay"
	"github.com/nearcache/nearcache-go/internal/l2"
)

// The names of processes in the section.
const (
	ofWorkers = "the instances' processes"
	ofRedis   = "Redis"
	ofKafka   = "Kafka"
	ofDriver  = "writer and relay"
)

const channelPartitions = 4 // of the topic

// channelWindow is the result of one state of a point, in units per second.
type channelWindow struct {
	cpuUsage
	channelCounts // of all instances
	redis         redisStats
	relayed       relayed
	published     float64 // bytes from the relay to Kafka
	end           string  // why the curve ends here; "" if it does not
}

// relayed counts the writes that the relay has brought to Redis and to Kafka.
type relayed struct{ redis, kafka float64 }

// channelResult is a point in its states, in the order in which they are measured: idle; under load with tracking only;
// with a BCAST listener beside each instance; with a Kafka follower beside each instance instead. The last two are nil
// if their curve ended earlier, or if all curves end at this point.
type channelResult struct {
	point                            channelPoint
	idle, tracking, broadcast, kafka *channelWindow
}

// channelLines says which of the optional states a point is measured in.
type channelLines struct{ broadcast, kafka bool }

// channelRun is the measurement of one point.
type channelRun struct {
	e         *Env
	point     channelPoint
	config    channelConfig            // of the workers
	own       *peers.Nearcache[string] // the driver's instance, whose L2 the relay uses
	outbox    *memoryOutbox
	shared    *sharedSource
	publisher *kafka.Publisher
	published trafficMeter // what the publisher sends
	stopRelay func()
	workers   *workerGroup
	pids      map[string][]int
	cleanups
}

// measurePoint measures one point in all states.
func (e *Env) measurePoint(ctx context.Context, point channelPoint, lines channelLines) (r channelResult, err error) {
	s := &channelRun{e: e, point: point}
	defer func() { err = errors.Join(err, s.close()) }()
	if err := s.open(ctx); err != nil {
		return r, err
	}
	return s.measureStates(ctx, lines)
}

// open starts the services, the relay and the worker processes, and fills Redis and every L1.
func (s *channelRun) open(ctx context.Context) (err error) {
	workers := min(processes, s.point.Instances)
	s.config = channelConfig{Prefix: fmt.Sprintf("s%d", s.e.names.Add(1)),
		Topic: fmt.Sprintf("channels-%d", s.e.names.Add(1)),
		Point: s.point, Instances: s.point.Instances / workers}
	if s.config.Redis, err = s.e.Redis(ctx); err != nil {
		return err
	}
	if s.config.Kafka, err = s.e.Kafka(ctx); err != nil {
		return err
	}
	if err := s.e.Flush(ctx); err != nil {
		return err
	}
	if err := s.openSource(); err != nil {
		return err
	}
	if err := s.openPublisher(ctx); err != nil {
		return err
	}
	if s.own, err = peers.OpenNearcache(ctx, peers.Config[string]{Redis: s.config.Redis, Source: s.outbox,
		Codec: peers.Raw{}, Prefix: s.config.Prefix, Entries: 10, Bytes: 1 << 20, TTL: channelTTL},
		peers.Plain); err != nil {
		return err
	}
	s.add(s.own.Close)
	s.stopRelay = s.relay(ctx, nil)
	s.add(noError(func() { s.stopRelay() })) // of the relay that runs then
	if s.config.Records, err = s.seed(ctx); err != nil {
		return err
	}
	if s.workers, err = s.e.startWorkers(ctx, workers, "channels", func(int) any { return s.config }); err != nil {
		return err
	}
	s.add(noError(s.workers.stop))
	s.pids = map[string][]int{ofRedis: {s.e.redis.Pid()}, ofKafka: {s.e.kafka.Pid()}, ofDriver: {os.Getpid()},
		ofWorkers: s.workers.pids()}
	return s.workers.run("warm")
}

func (s *channelRun) openSource() error {
	dir, err := s.e.dataDir("shared")
	if err != nil {
		return err
	}
	s.config.Shared = filepath.Join(dir, s.config.Prefix)
	if s.shared, err = openSharedSource(s.config.Shared, s.point.Keys, smallValue); err != nil {
		return err
	}
	s.add(func() error { s.shared.close(); return os.Remove(s.config.Shared) })
	s.outbox = newMemoryOutbox(s.shared, s.config.Prefix, s.point.Keys)
	return nil
}

// openPublisher creates the topic. The connections of the publisher are metered.
func (s *channelRun) openPublisher(ctx context.Context) (err error) {
	transport := &kafkago.Transport{Dial: s.published.dialKafka, DialTimeout: time.Second,
		MetadataTTL: 2 * time.Second, ClientID: "nearcache"}
	s.add(noError(transport.CloseIdleConnections))
	s.publisher, err = kafka.NewPublisher(kafka.PublisherConfig{
		Broker: kafka.Broker{Brokers: []string{s.config.Kafka}, Transport: transport}, Topic: s.config.Topic})
	if err != nil {
		return err
	}
	return s.publisher.CreateTopic(ctx, channelPartitions, 1)
}

// measureStates measures the point in one state after the other.
func (s *channelRun) measureStates(ctx context.Context, lines channelLines) (r channelResult, err error) {
	r.point = s.point
	window, settle := 3*time.Second, time.Second
	if s.e.Quick {
		window, settle = 800*time.Millisecond, 500*time.Millisecond
	}
	if r.idle, err = s.measure(ctx, settle/2, window/2, noLoad); err != nil {
		return r, err
	}
	writing, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	wg.Go(func() { s.outbox.run(writing, s.point.Writes, picker(s.point.Keys, s.point.Uniform)) })
	if err := s.workers.run("read"); err != nil {
		return r, err
	}
	if r.tracking, err = s.measure(ctx, settle, window, toRedis); err != nil || r.tracking.end != "" {
		return r, err
	}
	if err := s.requireL1Hits(r.tracking); err != nil {
		return r, err
	}
	if lines.broadcast {
		if err := s.workers.run("listen"); err != nil {
			return r, err
		}
		if r.broadcast, err = s.measure(ctx, settle/2, window, toRedis); err != nil {
			return r, err
		}
		if err := s.workers.run("unlisten"); err != nil {
			return r, err
		}
	}
	if lines.kafka {
		s.stopRelay()
		s.stopRelay = s.relay(ctx, s.publisher)
		if err := s.workers.run("follow"); err != nil {
			return r, err
		}
		if r.kafka, err = s.measure(ctx, settle, window, toBoth); err != nil {
			return r, err
		}
	}
	return r, nil
}

// relay runs a relay that commits wake, as a user has it. It relays to Redis, and to Kafka if publisher is not nil.
func (s *channelRun) relay(ctx context.Context, publisher coherence.Publisher) (stop func()) {
	relaying := relay.Relay{Source: s.outbox, L2: s.own.Client.L2(), Publisher: publisher, Keep: 5 * time.Second}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := relaying.Run(ctx); err != nil {
			fmt.Fprintln(s.e.Log, err)
		}
	})
	return func() { cancel(); wg.Wait() }
}

// seed writes every key to Redis. It returns the prefixes of the Redis keys, for the BCAST listeners.
func (s *channelRun) seed(ctx context.Context) (records []string, err error) {
	// A record belongs to the incarnation of its bucket, which begins with the relay's first round.
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		marks, err := s.own.Client.L2().Watermarks(ctx)
		if err != nil {
			return nil, err
		}
		if len(marks) == l2.DefaultBuckets {
			break
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("suite: the relay has begun %d of %d buckets", len(marks), l2.DefaultBuckets)
		}
	}
	prefixes := make([]map[string]bool, (s.point.Keys+pipeline-1)/pipeline)
	value := s.shared.value(0)
	err = each(ctx, 4, len(prefixes), func(b int) error {
		prefixes[b] = map[string]bool{}
		cmds := make([]rueidis.Completed, 0, pipeline)
		for k := b * pipeline; k < min(s.point.Keys, (b+1)*pipeline); k++ {
			key := keyName(s.outbox.prefix, k)
			at, v := s.own.Stored(key, value, 1)
			prefixes[b][strings.TrimSuffix(at, key)] = true
			cmds = append(cmds, s.e.foreign.B().Set().Key(at).Value(v).Px(channelTTL).Build())
		}
		return s.e.send(ctx, cmds)
	})
	seen := map[string]bool{}
	for _, some := range prefixes {
		for p := range some {
			if !seen[p] {
				seen[p] = true
				records = append(records, p)
			}
		}
	}
	return records, err
}
