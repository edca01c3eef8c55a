package suite

import (
	"context"
	"errors"
	"fmt"
	"math"
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

// scalePlan is what a worker of a cell is told.
type scalePlan struct {
	Redis, Kafka, Topic string
	Truth, Prefix       string
	Records             []string // what the Redis keys of records begin with
	Instances           int      // in each process
	Cell                scaleCell
}

// scaleCell is a point of the sweeps. Rates are of all instances together.
type scaleCell struct {
	Instances, Keys int
	Writes          float64
	Uniform         bool // of writes: all keys alike; else those are written often that are read often
}

// reads are slow on purpose: what is measured is what coherence costs, and not the readers.
const scaleReads = 2000.0

// scaleTTL is that of every value, and so the longest time for which Redis remembers who has read it.
const scaleTTL = time.Hour

// holding is the probability that an instance holds a key after a long time: that it has read it since the key was last
// written, and within the TTL. hits is the part of reads that find it so.
func (c scaleCell) holding() (hold []float64, hits float64) {
	hold = make([]float64, c.Keys)
	sum := 0.0
	for k := range hold {
		hold[k] = math.Pow(float64(k+1), -zipfS)
		sum += hold[k]
	}
	for k, x := range hold {
		share := x / sum
		r, w := scaleReads/float64(c.Instances)*share, c.Writes*share
		if c.Uniform {
			w = c.Writes / float64(c.Keys)
		}
		hold[k] = r / (r + w) * (1 - math.Exp(-(r+w)*scaleTTL.Seconds()))
		hits += share * hold[k]
	}
	return hold, hits
}

// scaleCounts are what the instances of a process have done and got so far.
type scaleCounts struct {
	Reads, Errors, NearHits float64
	Redis, Broadcast        scaleTraffic // of the near cache; of the listener beside it
	Kafka                   scaleTraffic // of the follower: Messages are events and barriers, Keys events
}

type scaleTraffic struct {
	In, Out                float64 // bytes
	Messages, Keys, Pushed float64 // pushes, keys in them, their bytes
}

// plus is c and f times d.
func (c scaleCounts) plus(f float64, d scaleCounts) scaleCounts {
	return scaleCounts{c.Reads + f*d.Reads, c.Errors + f*d.Errors, c.NearHits + f*d.NearHits,
		c.Redis.plus(f, d.Redis), c.Broadcast.plus(f, d.Broadcast), c.Kafka.plus(f, d.Kafka)}
}

func (t scaleTraffic) plus(f float64, d scaleTraffic) scaleTraffic {
	return scaleTraffic{t.In + f*d.In, t.Out + f*d.Out, t.Messages + f*d.Messages, t.Keys + f*d.Keys, t.Pushed + f*d.Pushed}
}

func (m *meter) traffic() scaleTraffic {
	return scaleTraffic{float64(m.in.Load()), float64(m.out.Load()), float64(m.messages.Load()), float64(m.keys.Load()), float64(m.pushed.Load())}
}

// scaleWorker is one process of a cell.
type scaleWorker struct {
	p         scalePlan
	t         *truth
	instances []*peers.Nearcache[string]

	near, broadcast, kafka meter
	reads, errors          atomic.Int64

	reading, listening, following func() // end it
}

func newScaleWorker(ctx context.Context, p scalePlan) (*scaleWorker, error) {
	t, err := openTruth(p.Truth, p.Cell.Keys, smallValue)
	if err != nil {
		return nil, err
	}
	w := &scaleWorker{p: p, t: t}
	for range p.Instances {
		i, err := peers.OpenNearcache(ctx, peers.World[string]{Redis: p.Redis, Source: seeded{t}, Codec: peers.Raw{}, Prefix: p.Prefix, Entries: p.Cell.Keys,
			Bytes: int64(p.Cell.Keys * smallValue), TTL: scaleTTL, Commits: t, Dial: w.near.redis}, peers.Plain)
		if err != nil {
			w.close()
			return nil, err
		}
		w.instances = append(w.instances, i)
	}
	return w, nil
}

func (w *scaleWorker) do(ctx context.Context, order string) (any, error) {
	var err error
	switch order {
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
		err = fmt.Errorf("suite: there is no order %q", order)
	}
	return w.count(), err
}

func (w *scaleWorker) count() scaleCounts {
	c := scaleCounts{Reads: float64(w.reads.Load()), Errors: float64(w.errors.Load()), Redis: w.near.traffic(), Broadcast: w.broadcast.traffic(), Kafka: w.kafka.traffic()}
	for _, i := range w.instances {
		c.NearHits += float64(i.NearHits())
	}
	return c
}

// warm has every instance read what it would hold after a long time.
func (w *scaleWorker) warm(ctx context.Context) error {
	hold, _ := w.p.Cell.holding()
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

// read begins the readers. Each reads at its pace, so that a slow read delays few others.
func (w *scaleWorker) read(ctx context.Context) (end func()) {
	const readers = 4 // of each instance
	reading, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	every := time.Duration(float64(time.Second) * readers * float64(w.p.Cell.Instances) / scaleReads)
	for _, i := range w.instances {
		for range readers {
			wg.Go(func() {
				pick := picker(w.p.Cell.Keys, false)
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

// listen opens a connection beside each instance, that Redis tells of every change of a record.
func (w *scaleWorker) listen(ctx context.Context) (end func(), err error) {
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
		c, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{w.p.Redis}, PipelineMultiplex: -1, ClientTrackingOptions: options,
			OnInvalidations: func([]rueidis.RedisMessage) {}, DialCtxFn: w.broadcast.redis, CacheSizeEachConn: 1 << 10})
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

// follow begins a follower of the topic beside each instance, as one with an event channel has it, and returns when all
// follow every partition.
func (w *scaleWorker) follow(ctx context.Context) (end func(), err error) {
	following, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	end = func() { stop(); wg.Wait() }
	sinks := make([]*countingSink, len(w.instances))
	for i := range sinks {
		s := &countingSink{m: &w.kafka}
		sinks[i] = s
		transport := &kafkago.Transport{Dial: w.kafka.kafka, DialTimeout: time.Second, MetadataTTL: 2 * time.Second, ClientID: "nearcache"}
		wg.Go(func() {
			defer transport.CloseIdleConnections()
			_ = kafka.Tail{Broker: kafka.Broker{Brokers: []string{w.p.Kafka}, Transport: transport}, Topic: w.p.Topic}.Run(following, s)
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

// countingSink counts what a follower is told.
type countingSink struct {
	m                    *meter
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

func (w *scaleWorker) close() {
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
