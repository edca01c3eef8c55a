package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/rueidis"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/kafka"
	"github.com/nearcache/nearcache-go/coherence/postgres"
	"github.com/nearcache/nearcache-go/coherence/relay"
	"github.com/nearcache/nearcache-go/nearcache"
	"github.com/nearcache/nearcache-go/tier"
)

// settings are those of a process.
type settings struct {
	Redis, Postgres string
	Brokers         []string
	Topic, Prefix   string
	Partitions      int
	ToRedis         bool // the relay carries to Redis, and the instance reaches it
}

// counts are the totals of a process, and what it has sampled since it was asked last.
type counts struct {
	Processor         float64 // seconds, of the user and of the system
	Connections       float64 // to Kafka, now
	Requests, Fetches float64
	In, Out           float64   // bytes
	Delays, Bounds    []float64 // milliseconds, sorted
	Sent              []float64 // the part of the delays before the relay sends the event
}

// worker runs a process of a role. The first line of in is its settings, each further line asks for its counts.
func worker(ctx context.Context, role string, in io.Reader, out io.Writer) error {
	lines := bufio.NewReader(in)
	first, err := lines.ReadBytes('\n')
	if err != nil {
		return err
	}
	var s settings
	if err := json.Unmarshal(first, &s); err != nil {
		return err
	}
	r := &requests{}
	broker := kafka.Broker{Brokers: s.Brokers, Transport: r.transport()}
	seen := &samples{}
	start := s.instance
	if role == "relay" {
		start = s.relay
	}
	stop, err := start(ctx, broker, seen)
	if err != nil {
		return err
	}
	defer stop()
	answers := json.NewEncoder(out)
	for {
		c := counts{Processor: processor(), Connections: float64(r.open.Load()), Requests: float64(r.all.Load()),
			Fetches: float64(r.fetches.Load()), In: float64(r.bytesIn.Load()), Out: float64(r.bytesOut.Load())}
		c.Delays, c.Sent, c.Bounds = seen.take()
		if err := answers.Encode(c); err != nil {
			return err
		}
		if _, err := lines.ReadString('\n'); err != nil {
			return nil // nobody asks any more
		}
	}
}

func processor() float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
}

// samples are what an instance sees.
type samples struct {
	mu             sync.Mutex
	delays, bounds []float64
	sent           []float64
}

func (s *samples) delay(written, sent time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.delays, s.sent = append(s.delays, ms(time.Since(written))), append(s.sent, max(0, ms(sent.Sub(written))))
}

func (s *samples) bound(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bounds = append(s.bounds, ms(d))
}

func (s *samples) take() (delays, sent, bounds []float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delays, sent, bounds = s.delays, s.sent, s.bounds
	s.delays, s.sent, s.bounds = nil, nil, nil
	slices.Sort(delays)
	slices.Sort(sent)
	slices.Sort(bounds)
	return delays, sent, bounds
}

func ms(d time.Duration) float64 { return float64(d) / 1e6 }

// sampleEvery is how often an instance looks at what it can prove.
const sampleEvery = 10 * time.Millisecond

// instance is a client that learns positions from Redis or from barriers, and asks no source.
func (s settings) instance(ctx context.Context, broker kafka.Broker, seen *samples) (stop func(), err error) {
	codec := coherence.EventCodec{Decode: func(r coherence.Record) ([]coherence.Event, error) {
		e, err := coherence.DecodeJSON(r.Value)
		if err != nil {
			return nil, err
		}
		if at, err := strconv.ParseInt(strings.TrimPrefix(e.Key, marker), 10, 64); err == nil {
			seen.delay(time.Unix(0, at), r.Time)
		}
		return []coherence.Event{e}, nil
	}}
	opt, err := rueidis.ParseURL(s.Redis)
	if err != nil {
		return nil, err
	}
	if !s.ToRedis {
		opt.DialCtxFn = func(context.Context, string, *net.Dialer, *tls.Config) (net.Conn, error) {
			return nil, errors.New("no Redis in this state")
		}
	}
	client, err := nearcache.New(nearcache.Config{Redis: opt, Prefix: s.Prefix, Relayed: true,
		Events: kafka.Tail{Broker: broker, Topic: s.Topic, Codec: codec}})
	if err != nil {
		return nil, err
	}
	ready, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for client.Status().Bound.Events == 0 {
		if ready.Err() != nil {
			return nil, fmt.Errorf("events prove nothing within a minute: %v", client.Status().Reasons)
		}
		time.Sleep(sampleEvery)
	}
	ctx, end := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(sampleEvery)
		defer tick.Stop()
		for ctx.Err() == nil {
			<-tick.C
			b := client.Status().Bound.Events
			if b == 0 {
				b = time.Minute // nothing is proved
			}
			seen.bound(b)
		}
	})
	return func() { end(); wg.Wait(); _ = client.Close() }, nil
}

// marker is the beginning of a key that says when it was written.
const marker = "at-"

// table is where they are written.
const table = "partitions_rows"

// relay is the relay of the table.
func (s settings) relay(ctx context.Context, broker kafka.Broker, _ *samples) (stop func(), err error) {
	pool, err := pgxpool.New(ctx, s.Postgres)
	if err != nil {
		return nil, err
	}
	src, err := postgres.New(pool, postgres.Config{})
	if err != nil {
		return nil, err
	}
	if err := src.Install(ctx); err != nil {
		return nil, err
	}
	if _, err := pool.Exec(ctx, "create table if not exists "+table+" (id text primary key)"); err != nil {
		return nil, err
	}
	if err := src.InstallTrigger(ctx, postgres.Trigger{Table: table, Namespace: "rows",
		KeyColumns: []string{"id"}}); err != nil {
		return nil, err
	}
	p, err := kafka.NewPublisher(kafka.PublisherConfig{Broker: broker, Topic: s.Topic})
	if err != nil {
		return nil, err
	}
	if err := p.CreateTopic(ctx, s.Partitions, -1); err != nil {
		return nil, err
	}
	work := relay.Relay{Source: src, Publisher: p, Name: s.Topic}
	if s.ToRedis {
		opt, err := rueidis.ParseURL(s.Redis)
		if err != nil {
			return nil, err
		}
		if work.L2, err = tier.Open(tier.Config{Redis: opt, Prefix: s.Prefix}); err != nil {
			return nil, err
		}
	}
	ctx, end := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := work.Run(ctx); err != nil {
			fmt.Fprintln(os.Stderr, "partitions: the relay ended:", err)
		}
	})
	return func() {
		end()
		wg.Wait()
		p.Close()
		if work.L2 != nil {
			work.L2.Close()
		}
		src.Close()
		pool.Close()
	}, nil
}
