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
	usage
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
	cell                             scaleCell
	idle, tracking, broadcast, kafka *scaleWindow
}

// scaleRun is a cell while it runs.
type scaleRun struct {
	e         *Env
	cell      scaleCell
	own       *peers.Nearcache[string] // of the driver: its L2 is the relay's
	outbox    *outbox
	publisher meter
	crew      *crew
	pids      map[string][]int
}

const scalePartitions = 4 // of the topic

func (e *Env) scaleCell(ctx context.Context, cell scaleCell, broadcast, follow bool) (r scaleResult, err error) {
	r.cell = cell
	p := scalePlan{Prefix: fmt.Sprintf("s%d", e.names.Add(1)), Topic: fmt.Sprintf("scale-%d", e.names.Add(1)), Cell: cell}
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
	dir, err := e.data("truth")
	if err != nil {
		return r, err
	}
	p.Truth = filepath.Join(dir, p.Prefix)
	t, err := openTruth(p.Truth, cell.Keys, smallValue)
	if err != nil {
		return r, err
	}
	defer func() { t.close(); os.Remove(p.Truth) }()
	s := &scaleRun{e: e, cell: cell, outbox: newOutbox(t, p.Prefix, cell.Keys)}
	transport := &kafkago.Transport{Dial: s.publisher.kafka, DialTimeout: time.Second, MetadataTTL: 2 * time.Second, ClientID: "nearcache"}
	defer transport.CloseIdleConnections()
	publisher, err := kafka.NewPublisher(kafka.PublisherConfig{Broker: kafka.Broker{Brokers: []string{p.Kafka}, Transport: transport}, Topic: p.Topic})
	if err != nil {
		return r, err
	}
	if err := publisher.CreateTopic(ctx, scalePartitions, 1); err != nil {
		return r, err
	}
	if s.own, err = peers.OpenNearcache(ctx, peers.World[string]{Redis: p.Redis, Source: s.outbox, Codec: peers.Raw{}, Prefix: p.Prefix, Entries: 10, Bytes: 1 << 20, TTL: scaleTTL}, peers.Plain); err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, s.own.Close()) }()
	stopRelay := s.relay(ctx, nil)
	defer func() { stopRelay() }()
	if p.Records, err = s.seed(ctx, t); err != nil {
		return r, err
	}
	if s.crew, err = e.hire(ctx, workers, "scale", func(int) any { return p }); err != nil {
		return r, err
	}
	defer s.crew.dismiss()
	s.pids = map[string][]int{ofRedis: {e.redis.Pid()}, ofKafka: {e.kafka.Pid()}, ofDriver: {os.Getpid()}}
	for _, h := range s.crew.hands {
		s.pids[ofWorkers] = append(s.pids[ofWorkers], h.cmd.Process.Pid)
	}
	if err := s.crew.tell("warm"); err != nil {
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
	if err := s.crew.tell("read"); err != nil {
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
		if err := s.crew.tell("listen"); err != nil {
			return r, err
		}
		if r.broadcast, err = s.measure(ctx, settle/2, window, toRedis); err != nil {
			return r, err
		}
		if err := s.crew.tell("unlisten"); err != nil {
			return r, err
		}
	}
	if follow {
		stopRelay()
		stopRelay = s.relay(ctx, publisher)
		if err := s.crew.tell("follow"); err != nil {
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
	carrying := relay.Relay{Source: s.outbox, L2: s.own.Client.L2(), Publisher: publisher, Keep: 5 * time.Second}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := carrying.Run(ctx); err != nil {
			fmt.Fprintln(s.e.Log, err)
		}
	})
	return func() { cancel(); wg.Wait() }
}

// seed puts every key into Redis and returns what the names of records begin with there.
func (s *scaleRun) seed(ctx context.Context, t *truth) (records []string, err error) {
	// Records are of their bucket's incarnation, which the relay begins.
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
	prefixes := make([]map[string]bool, (s.cell.Keys+pipeline-1)/pipeline)
	value := t.value(0)
	err = each(ctx, 4, len(prefixes), func(b int) error {
		prefixes[b] = map[string]bool{}
		cmds := make([]rueidis.Completed, 0, pipeline)
		for k := b * pipeline; k < min(s.cell.Keys, (b+1)*pipeline); k++ {
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

// scaleSample is what has been counted up to a moment.
type scaleSample struct {
	readings
	counts    scaleCounts
	redis     redisStats
	relayed   relayed
	published float64 // bytes
}

func (s *scaleRun) sample(ctx context.Context) (p scaleSample, err error) {
	var all []scaleCounts
	if err := s.crew.ask("count", &all); err != nil {
		return p, err
	}
	for _, c := range all {
		p.counts = p.counts.plus(1, c)
	}
	p.redis = s.e.redisStats(ctx)
	// A round brings every bucket with changes to where it has read; the others follow ten times a second.
	marks, err := s.own.Client.L2().Watermarks(ctx)
	if err != nil {
		return p, err
	}
	for _, m := range marks {
		p.relayed.redis = max(p.relayed.redis, float64(m.Position.N))
	}
	p.relayed.kafka, p.published = s.outbox.published(), float64(s.publisher.out.Load())
	p.readings, err = readProcessors(s.pids)
	return p, err
}

// load is what goes on in a window.
type load int

const (
	noLoad  load = iota
	toRedis      // reads, and writes that are relayed to Redis
	toBoth       // and to Kafka
)

// measure waits until things have settled and counts for a while.
func (s *scaleRun) measure(ctx context.Context, settle, window time.Duration, l load) (*scaleWindow, error) {
	time.Sleep(settle)
	a, err := s.sample(ctx)
	if err != nil {
		return nil, err
	}
	time.Sleep(window)
	b, err := s.sample(ctx)
	if err != nil {
		return nil, err
	}
	per := 1 / b.at.Sub(a.at).Seconds()
	w := &scaleWindow{usage: a.until(b.readings), scaleCounts: scaleCounts{}.plus(per, b.counts).plus(-per, a.counts),
		redis:     redisStats{commands: per * (b.redis.commands - a.redis.commands), in: per * (b.redis.in - a.redis.in), out: per * (b.redis.out - a.redis.out)},
		relayed:   relayed{per * (b.relayed.redis - a.relayed.redis), per * (b.relayed.kafka - a.relayed.kafka)},
		published: per * (b.published - a.published)}
	var paces []pace
	writes := s.cell.Writes - per // few of them in a short window are a count with an error of one
	if l >= toRedis {
		paces = append(paces, pace{"reads", scaleReads, w.Reads}, pace{"writes relayed to Redis", writes, w.relayed.redis})
	}
	if l >= toBoth {
		paces = append(paces, pace{"writes relayed to Kafka", writes, w.relayed.kafka})
	}
	full := fullCores
	if s.e.Quick {
		full = 1 // a quick run shows that it works, on a machine that may be busy with other things
	}
	w.end = w.ends(full, paces...)
	return w, nil
}

// hits says that a run is void if L1 was idle. Where hardly any read can hit, since keys are written more often than each
// instance reads them, how many do is a figure of the run: an entry comes near by two reads of Redis without a write between them,
// and the expectation counts one.
func (s *scaleRun) hits(w *scaleWindow) error {
	_, want := s.cell.holding()
	if got := w.NearHits / w.Reads; got < want/2 && want >= 0.1 || w.Redis.Keys == 0 {
		return fmt.Errorf("suite: scale: %+v: %.1f%% of reads hit near, %.1f%% were to; %.1f keys/s were pushed: the run is void", s.cell, 100*got, 100*want, w.Redis.Keys)
	}
	return nil
}
