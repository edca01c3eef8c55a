package nearcache_test

import (
	"context"
	"net"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/kafka"
	"github.com/nearcache/nearcache-go/coherence/relay"
	"github.com/nearcache/nearcache-go/nearcache"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
)

// cursors make a source one that a relay can publish from.
type cursors struct {
	*commits
	mu sync.Mutex
	by map[string]coherence.Cursor
}

func (c *cursors) LoadCursor(_ context.Context, name string) (coherence.Cursor, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.by[name], nil
}

func (c *cursors) SaveCursor(_ context.Context, name string, cur coherence.Cursor) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.by[name] = cur
	return nil
}

// link is a network that can be cut.
type link struct {
	dial func(ctx context.Context, network, addr string) (net.Conn, error)

	mu    sync.Mutex
	down  bool
	conns []net.Conn
}

func (l *link) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.down {
		return nil, syscall.EHOSTUNREACH
	}
	c, err := l.dial(ctx, network, addr)
	if err == nil {
		l.conns = append(l.conns, c)
	}
	return c, err
}

func (l *link) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = true
	for _, c := range l.conns {
		_ = c.Close()
	}
}

func (l *link) mend() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = false
}

// TestBound_EitherChannelIsEnough runs the real clients, kafka-go's and rueidis, over pipes on fake time: with Redis
// gone L1 goes on for what Kafka proves, without a flush; with Kafka gone too, each key is loaded once for each bound;
// and all of it comes back by itself.
func TestBound_EitherChannelIsEnough(t *testing.T) { // C1, and the failure table's rows Redis, Kafka, both
	synctest.Test(t, func(t *testing.T) {
		src := &cursors{commits: &commits{source: newSource()}, by: map[string]coherence.Cursor{}}
		redis, err := nearcachetest.StartRedis("")
		if err != nil {
			t.Fatal(err)
		}
		defer redis.Close()
		k, err := nearcachetest.StartKafkaOnPipes(2, "events")
		if err != nil {
			t.Fatal(err)
		}
		defer k.Close()
		link := &link{dial: k.Dial}
		tr := &kafkago.Transport{DialTimeout: time.Second, MetadataTTL: time.Second, Dial: link.Dial}
		defer tr.CloseIdleConnections()
		broker := kafka.Broker{Brokers: k.Brokers(), Transport: tr}
		publisher, err := kafka.NewPublisher(kafka.PublisherConfig{Broker: broker, Topic: "events"})
		if err != nil {
			t.Fatal(err)
		}
		client, err := nearcache.New(nearcache.Config{Redis: redis.PipeOption(), Source: src, Heartbeat: 25 * time.Millisecond,
			Events: kafka.Tail{Broker: broker, Topic: "events", MaxWait: 25 * time.Millisecond, Silence: 500 * time.Millisecond}})
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		ctx, stop := context.WithCancel(t.Context())
		var carrying sync.WaitGroup
		carrying.Go(func() {
			_ = relay.Relay{Source: src, L2: client.L2(), Publisher: publisher, Interval: 25 * time.Millisecond}.Run(ctx)
		})
		defer carrying.Wait()
		defer stop()
		src.write("a", "one")
		b := &bounded{Cache: newCache(t, client, nearcache.Options[string, string]{Load: src.load, MaxStaleness: delta}), src: src.commits, client: client}
		if err := client.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		b.warm(t)
		if s := client.Status(); s.Bound.Redis == 0 || s.Bound.Events == 0 {
			t.Fatalf("both channels prove: %+v", s)
		}

		loads := src.loads.Load()
		redis.Stop()
		for range 200 {
			if r := b.read(t, nearcache.ReadOptions{}); r.Tier != nearcache.TierL1 {
				t.Fatalf("without Redis: %+v", r)
			}
			time.Sleep(5 * time.Millisecond)
		}
		if n := src.loads.Load() - loads; n != 0 {
			t.Errorf("%d loads: Kafka vouches for what L1 holds", n)
		}
		if s := client.Status(); s.Bound.Channel != "events" || !s.Caches["t"].Open {
			t.Errorf("%+v", s.Bound)
		}
		src.write("a", "two")
		time.Sleep(delta)
		if r := b.read(t, nearcache.ReadOptions{}); r.Value != "two" {
			t.Errorf("the write is not noticed by Kafka alone: %+v", r)
		}

		// A tag's version comes by the same channel.
		tagged, err := nearcache.NewCache(client, "u", nearcache.Options[string, string]{MaxStaleness: delta, Load: func(ctx context.Context, k string) (nearcache.Entry[string], error) {
			e, err := src.load(ctx, k)
			e.Tags = []string{"shop"}
			return e, err
		}})
		if err != nil {
			t.Fatal(err)
		}
		resident(t, tagged, "a")
		src.set(func() { src.put("a", "by its tag") })
		if _, err := src.BumpKey(t.Context(), nearcache.TagNamespace, nearcache.TagKey("u", "shop")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(delta / 2) // the event is here; the bound is not over
		if r := get(t, tagged, "a"); r.Value != "by its tag" {
			t.Errorf("the tag is not noticed by Kafka alone: %+v", r)
		}

		link.cut() // and Kafka
		src.write("a", "three")
		time.Sleep(delta + time.Millisecond)
		loads = src.loads.Load()
		for range 100 {
			if r := b.read(t, nearcache.ReadOptions{}); r.Value != "three" {
				t.Fatalf("%+v", r)
			}
			time.Sleep(10 * time.Millisecond)
		}
		if n := src.loads.Load() - loads; n > 1+1000/250 {
			t.Errorf("%d loads in a second, one for each bound is enough", n)
		}
		if s := client.Status(); s.Bound.Channel != "none" || s.Caches["t"].Open {
			t.Errorf("%+v", s)
		}

		link.mend()
		time.Sleep(10 * time.Second)
		b.warm(t)
		if s := client.Status(); s.Bound.Channel != "events" {
			t.Errorf("Kafka is back: %+v", s.Bound)
		}
		if err := redis.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		b.warm(t)
		if s := client.Status(); s.Bound.Redis == 0 || s.Bound.Events == 0 {
			t.Errorf("both are back: %+v", s.Bound)
		}
	})
}
