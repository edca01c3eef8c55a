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

// What processes are called in the section.
const (
	ofWorkers = "the instances' processes"
	ofRedis   = "Redis"
	ofKafka   = "Kafka"
	ofDriver  = "writer and relay"
)

// scaleWindow is what one state of a cell gave, a second.
type scaleWindow struct {
	cpuUsage
	scaleCounts // of all instances
	redis       redisStats
	relayed     relayed
	published   float64 // bytes from the relay to Kafka
	end         string  // why the curve ends here
}

// relayed is how many writes have come to Redis and to Kafka.
type relayed struct{ redis, kafka float64 }

// scaleResult is a cell in its states, one after the other: nobody reads or writes; with the load, and tracking alone;
// with a broadcast's listener beside each instance; with a follower of Kafka instead. The last two are nil where their
// curve has ended before, or this is where all do.
type scaleResult struct {
	point                            scalePoint
	idle, tracking, broadcast, kafka *scaleWindow
}

// scaleRun is a cell while it runs.
type scaleRun struct {
	e         *Env
	point     scalePoint
	own       *peers.Nearcache[string] // of the driver: its L2 is the relay's
	outbox    *memoryOutbox
	publisher trafficMeter
	workers   *workerGroup
	pids      map[string][]int
}

const scalePartitions = 4 // of the topic

func (e *Env) measurePoint(ctx context.Context, cell scalePoint, broadcast, follow bool) (r scaleResult, err error) {
	r.point = cell
	p := scaleConfig{Prefix: fmt.Sprintf("s%d", e.names.Add(1)), Topic: fmt.Sprintf("scale-%d", e.names.Add(1)),
		Point: cell}
	workers := min(processes, cell.Instances)
	p.Instances = cell.Instances / workers
	if p.Redis, err = e.Redis(ctx); err != nil {
		return r, err
	}
	if p.Kafka, err = e.Kafka(ctx); err != nil {
		return r, err
	}
	if err := e.Flush(ctx); err != nil {
		return r, err
	}
	dir, err := e.dataDir("truth")
	if err != nil {
		return r, err
	}
	p.Truth = filepath.Join(dir, p.Prefix)
	t, err := openSharedSource(p.Truth, cell.Keys, smallValue)
	if err != nil {
		return r, err
	}
	defer func() { t.close(); os.Remove(p.Truth) }()
	s := &scaleRun{e: e, point: cell, outbox: newMemoryOutbox(t, p.Prefix, cell.Keys)}
	transport := &kafkago.Transport{Dial: s.publisher.dialKafka, DialTimeout: time.Second,
		MetadataTTL: 2 * time.Second, ClientID: "nearcache"}
	defer transport.CloseIdleConnections()
	publisher, err := kafka.NewPublisher(kafka.PublisherConfig{Broker: kafka.Broker{Brokers: []string{p.Kafka},
		Transport: transport}, Topic: p.Topic})
	if err != nil {
		return r, err
	}
	if err := publisher.CreateTopic(ctx, scalePartitions, 1); err != nil {
		return r, err
	}
	if s.own, err = peers.OpenNearcache(ctx, peers.Config[string]{Redis: p.Redis, Source: s.outbox,
		Codec: peers.Raw{}, Prefix: p.Prefix, Entries: 10, Bytes: 1 << 20, TTL: scaleTTL}, peers.Plain); err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, s.own.Close()) }()
	stopRelay := s.relay(ctx, nil)
	defer func() { stopRelay() }()
	if p.Records, err = s.seed(ctx, t); err != nil {
		return r, err
	}
	if s.workers, err = e.startWorkers(ctx, workers, "scale", func(int) any { return p }); err != nil {
		return r, err
	}
	defer s.workers.stop()
	s.pids = map[string][]int{ofRedis: {e.redis.Pid()}, ofKafka: {e.kafka.Pid()}, ofDriver: {os.Getpid()}}
	for _, h := range s.workers.processes {
		s.pids[ofWorkers] = append(s.pids[ofWorkers], h.cmd.Process.Pid)
	}
	if err := s.workers.run("warm"); err != nil {
		return r, err
	}

	window, settle := 3*time.Second, time.Second
	if e.Quick {
		window, settle = 800*time.Millisecond, 500*time.Millisecond
	}
	if r.idle, err = s.measure(ctx, settle/2, window/2, noLoad); err != nil {
		return r, err
	}
	writing, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	wg.Go(func() { s.outbox.run(writing, cell.Writes, picker(cell.Keys, cell.Uniform)) })
	if err := s.workers.run("read"); err != nil {
		return r, err
	}
	if r.tracking, err = s.measure(ctx, settle, window, toRedis); err != nil {
		return r, err
	}
	if r.tracking.end != "" {
		return r, nil
	}
	if err := s.hits(r.tracking); err != nil {
		return r, err
	}
	if broadcast {
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
	if follow {
		stopRelay()
		stopRelay = s.relay(ctx, publisher)
		if err := s.workers.run("follow"); err != nil {
			return r, err
		}
		if r.kafka, err = s.measure(ctx, settle, window, toBoth); err != nil {
			return r, err
		}
	}
	return r, nil
}

// relay runs one as a user has it: woken by commits, to Redis, and to Kafka too if there is a publisher.
func (s *scaleRun) relay(ctx context.Context, publisher coherence.Publisher) (stop func()) {
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

// seed puts every key into Redis and returns what the names of records begin with there.
func (s *scaleRun) seed(ctx context.Context, t *sharedSource) (records []string, err error) {
	// Records are of their bucket's epoch, which the relay begins.
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		marks, err := s.own.Client.L2().Watermarks(ctx)
		if err != nil {
			return nil, err
		}
		if len(marks) == l2.Buckets {
			break
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("suite: the relay has begun %d of %d buckets", len(marks), l2.Buckets)
		}
	}
	prefixes := make([]map[string]bool, (s.point.Keys+pipeline-1)/pipeline)
	value := t.value(0)
	err = each(ctx, 4, len(prefixes), func(b int) error {
		prefixes[b] = map[string]bool{}
		cmds := make([]rueidis.Completed, 0, pipeline)
		for k := b * pipeline; k < min(s.point.Keys, (b+1)*pipeline); k++ {
			key := keyName(s.outbox.prefix, k)
			at, v := s.own.Stored(key, value, 1)
			prefixes[b][strings.TrimSuffix(at, key)] = true
			cmds = append(cmds, s.e.foreign.B().Set().Key(at).Value(v).Px(scaleTTL).Build())
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
