package suite

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"
	kafkago "github.com/segmentio/kafka-go"

	"github.com/nearcache/nearcache-go/benchmarks/peers"
	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/kafka"
)

// channelWorker is one worker process.
type channelWorker struct {
	p         channelConfig
	t         *sharedSource
	instances []*peers.Nearcache[string]

	near, broadcast, kafka trafficMeter
	reads, errors          atomic.Int64

	reading, listening, following func() // stop what is going on; nil if it is not
}

func newChannelWorker(ctx context.Context, p channelConfig) (*channelWorker, error) {
	t, err := openSharedSource(p.Shared, p.Point.Keys, smallValue)
	if err != nil {
		return nil, err
	}
	w := &channelWorker{p: p, t: t}
	for range p.Instances {
		i, err := peers.OpenNearcache(ctx, peers.Config[string]{Redis: p.Redis, Source: preloadedSource{t},
			Codec: peers.Raw{}, Prefix: p.Prefix, Entries: p.Point.Keys,
			Bytes: int64(p.Point.Keys * smallValue), TTL: channelTTL, Commits: t, Dial: w.near.dialRedis}, peers.Plain)
		if err != nil {
			w.close()
			return nil, err
		}
		w.instances = append(w.instances, i)
	}
	return w, nil
}

func (w *channelWorker) do(ctx context.Context, command string) (any, error) {
	var err error
	switch command {
	case "warm":
		err = w.warm(ctx)
	case "read":
		w.reading = w.read(ctx)
	case "listen":
		w.listening, err = w.listen(ctx)
	case "unlisten":
		w.listening()
		w.listening = nil
	case "follow":
		w.following, err = w.follow(ctx)
	case "count":
	default:
		err = fmt.Errorf("suite: unknown command %q", command)
	}
	return w.count(), err
}

func (w *channelWorker) count() channelCounts {
	c := channelCounts{Reads: float64(w.reads.Load()), Errors: float64(w.errors.Load()), Redis: w.near.traffic(),
		Broadcast: w.broadcast.traffic(), Kafka: w.kafka.traffic()}
	for _, i := range w.instances {
		c.L1Hits += float64(i.L1Hits())
	}
	return c
}

// warm makes every instance read what it would hold after a long time.
func (w *channelWorker) warm(ctx context.Context) error {
	hold, _ := w.p.Point.holding()
	return each(ctx, 2, len(w.instances), func(i int) error {
		batch := make([]string, 0, 200)
		for k := range hold {
			if rand.Float64() < hold[k] {
				batch = append(batch, keyName(w.p.Prefix, k))
			}
			if len(batch) == cap(batch) || k == len(hold)-1 {
				if _, err := w.instances[i].Cache.GetMany(ctx, batch); err != nil {
					return err
				}
				batch = batch[:0]
			}
		}
		return nil
	})
}

// read starts the readers. There are several for each instance, so that a slow read delays few others.
func (w *channelWorker) read(ctx context.Context) (end func()) {
	const readers = 4 // of each instance
	reading, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	every := time.Duration(float64(time.Second) * readers * float64(w.p.Point.Instances) / channelReads)
	for _, i := range w.instances {
		for range readers {
			wg.Go(func() {
				pick := picker(w.p.Point.Keys, false)
				next := time.Now().Add(rand.N(every))
				for ; reading.Err() == nil; next = next.Add(every) {
					time.Sleep(time.Until(next))
					if _, err := i.Cache.Get(ctx, keyName(w.p.Prefix, pick())); err != nil {
						w.errors.Add(1)
						continue
					}
					w.reads.Add(1)
				}
			})
		}
	}
	return func() { stop(); wg.Wait() }
}

// listen opens a connection beside each instance to which Redis sends every change of a record.
func (w *channelWorker) listen(ctx context.Context) (end func(), err error) {
	options := []string{"BCAST"}
	for _, r := range w.p.Records {
		options = append(options, "PREFIX", r)
	}
	var all []rueidis.Client
	end = func() {
		for _, c := range all {
			c.Close()
		}
	}
	for range w.instances {
		c, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{w.p.Redis}, PipelineMultiplex: -1,
			ClientTrackingOptions: options,
			OnInvalidations:       func([]rueidis.RedisMessage) {}, DialCtxFn: w.broadcast.dialRedis,
			CacheSizeEachConn: 1 << 10})
		if err == nil {
			all = append(all, c)
			err = c.Do(ctx, c.B().Ping().Build()).Error()
		}
		if err != nil {
			end()
			return nil, err
		}
	}
	return end, nil
}

// follow starts a follower of the topic beside each instance, like that of an instance with an event channel. It
// returns when every follower follows all partitions.
func (w *channelWorker) follow(ctx context.Context) (end func(), err error) {
	following, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	end = func() { stop(); wg.Wait() }
	sinks := make([]*countingSink, len(w.instances))
	for i := range sinks {
		s := &countingSink{m: &w.kafka}
		sinks[i] = s
		transport := &kafkago.Transport{Dial: w.kafka.dialKafka, DialTimeout: time.Second,
			MetadataTTL: 2 * time.Second, ClientID: "nearcache"}
		wg.Go(func() {
			defer transport.CloseIdleConnections()
			_ = kafka.Tail{Broker: kafka.Broker{Brokers: []string{w.p.Kafka}, Transport: transport},
				Topic: w.p.Topic}.Run(following, s)
		})
	}
	deadline := time.Now().Add(20 * time.Second)
	for _, s := range sinks {
		for !s.follows() {
			if time.Now().After(deadline) {
				end()
				return nil, errors.New("suite: a follower does not follow")
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
	return end, nil
}

// countingSink counts the messages of a follower.
type countingSink struct {
	m                    *trafficMeter
	partitions, sessions atomic.Int64
}

func (s *countingSink) follows() bool {
	n := s.partitions.Load()
	return n > 0 && s.sessions.Load() >= n
}

// Deliver implements coherence.Sink.
func (s *countingSink) Deliver(_ context.Context, _ int, batch []coherence.Message) error {
	s.m.messages.Add(int64(len(batch)))
	for i := range batch {
		if batch[i].Barrier == nil {
			s.m.keys.Add(1)
		}
	}
	return nil
}

// Session implements coherence.Sink.
func (s *countingSink) Session(int) { s.sessions.Add(1) }

// Partitions implements coherence.Sink.
func (s *countingSink) Partitions(n int) { s.partitions.Store(int64(n)) }

// Lost implements coherence.Sink.
func (s *countingSink) Lost(int) {}

// Resumed implements coherence.Sink.
func (s *countingSink) Resumed(int) {}

// Malformed implements coherence.Sink.
func (s *countingSink) Malformed(int, error) {}
func (s *countingSink) Failed(int, error)    {}

func (w *channelWorker) close() {
	for _, end := range []func(){w.reading, w.listening, w.following} {
		if end != nil {
			end()
		}
	}
	var wg sync.WaitGroup
	for _, i := range w.instances {
		wg.Go(func() { _ = i.Close() })
	}
	wg.Wait()
	w.t.close()
}
