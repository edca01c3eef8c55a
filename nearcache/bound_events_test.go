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

// channels is a bounded cache whose client learns of changes through Redis and through Kafka, with a relay to both.
type channels struct {
	*bounded
	src   *cursors
	redis *nearcachetest.Redis
	link  *link // to Kafka
}

// inChannelsBubble runs a test with the real clients, those of kafka-go and rueidis, over pipes and in fake time. Key a
// has the value "one", and both channels prove it.
func inChannelsBubble(t *testing.T, test func(t *testing.T, b *channels)) {
	t.Helper()
	src := &cursors{commits: &commits{source: newSource()}, by: map[string]coherence.Cursor{}}
	inChannelsBubbleOf(t, src, nearcache.Config{Source: src}, func(t *testing.T, b *channels) {
		b.wantBothProve(t, "at the beginning")
		test(t, b)
	})
}

// inChannelsBubbleOf has the instance know what cfg says of the source; the relay has src. Without tracking, or without
// a Source and Relayed, one channel alone proves.
func inChannelsBubbleOf(t *testing.T, src *cursors, cfg nearcache.Config, test func(t *testing.T, b *channels)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &channels{src: src}
		var err error
		if b.redis, err = nearcachetest.StartRedis(""); err != nil {
			t.Fatal(err)
		}
		defer b.redis.Close()
		k, err := nearcachetest.StartKafkaOnPipes(2, "events")
		if err != nil {
			t.Fatal(err)
		}
		defer k.Close()
		b.link = &link{dial: k.Dial}
		tr := &kafkago.Transport{DialTimeout: time.Second, MetadataTTL: time.Second, Dial: b.link.Dial}
		defer tr.CloseIdleConnections()
		broker := kafka.Broker{Brokers: k.Brokers(), Transport: tr}
		publisher, err := kafka.NewPublisher(kafka.PublisherConfig{Broker: broker, Topic: "events"})
		if err != nil {
			t.Fatal(err)
		}
		cfg.Redis, cfg.Heartbeat = b.redis.PipeOption(), 25*time.Millisecond
		cfg.Events = kafka.Tail{Broker: broker, Topic: "events", MaxWait: 25 * time.Millisecond,
			Silence: 500 * time.Millisecond}
		client, err := nearcache.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		ctx, stop := context.WithCancel(t.Context())
		var relaying sync.WaitGroup
		relaying.Go(func() {
			_ = relay.Relay{Source: b.src, L2: client.L2(), Publisher: publisher, Interval: 25 * time.Millisecond}.Run(ctx)
		})
		defer relaying.Wait()
		defer stop()
		b.src.write("a", "one")
		o := nearcache.Options[string, string]{Load: b.src.load, MaxStaleness: delta}
		b.bounded = &bounded{Cache: newCache(t, client, o), src: b.src.commits, client: client}
		if err := client.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		b.warm(t)
		test(t, b)
	})
}

func (b *channels) wantBothProve(t *testing.T, when string) {
	t.Helper()
	if s := b.client.Status(); s.Bound.Redis == 0 || s.Bound.Events == 0 {
		t.Fatalf("%s: got %+v, want both channels to prove", when, s.Bound)
	}
}

// The following tests are the rows Redis, Kafka and both of the failure table.

func TestBound_KafkaIsEnoughWithoutRedis(t *testing.T) { // C1
	inChannelsBubble(t, func(t *testing.T, b *channels) {
		loads := b.src.loads.Load()
		b.redis.Stop()
		for range 200 {
			if r := b.read(t, nearcache.ReadOptions{}); r.Tier != nearcache.TierL1 {
				t.Fatalf("got %+v, want a hit in L1", r)
			}
			time.Sleep(5 * time.Millisecond)
		}
		if n := b.src.loads.Load() - loads; n != 0 {
			t.Errorf("got %d loads, want none: Kafka shows that L1 is current", n)
		}
		if s := b.client.Status(); s.Bound.Channel != "events" || !s.Caches["t"].Open {
			t.Errorf("got %+v, want the channel \"events\" and an open cache", s.Bound)
		}
		b.src.write("a", "two")
		time.Sleep(delta)
		if r := b.read(t, nearcache.ReadOptions{}); r.Value != "two" {
			t.Errorf("after a write: got %+v, want \"two\"", r)
		}
	})
}

func TestBound_KafkaBringsATagsVersion(t *testing.T) {
	inChannelsBubble(t, func(t *testing.T, b *channels) {
		b.redis.Stop()
		load := func(ctx context.Context, k string) (nearcache.Entry[string], error) {
			e, err := b.src.load(ctx, k)
			e.Tags = []string{"shop"}
			return e, err
		}
		tagged, err := nearcache.NewCache(b.client, "u", nearcache.Options[string, string]{MaxStaleness: delta, Load: load})
		if err != nil {
			t.Fatal(err)
		}
		resident(t, tagged, "a")
		b.src.set(func() { b.src.put("a", "by its tag") })
		if _, err := b.src.BumpKey(t.Context(), nearcache.TagNamespace, nearcache.TagKey("u", "shop")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(delta / 2) // the event has arrived, and the bound is not over
		if r := get(t, tagged, "a"); r.Value != "by its tag" {
			t.Errorf("got %+v, want \"by its tag\"", r)
		}
	})
}

func TestBound_WithoutChannelsAKeyIsLoadedOncePerBound(t *testing.T) {
	inChannelsBubble(t, func(t *testing.T, b *channels) {
		b.redis.Stop()
		b.link.cut()
		b.src.write("a", "two")
		time.Sleep(delta + time.Millisecond)
		loads := b.src.loads.Load()
		for range 100 {
			if r := b.read(t, nearcache.ReadOptions{}); r.Value != "two" {
				t.Fatalf("got %+v, want \"two\"", r)
			}
			time.Sleep(10 * time.Millisecond)
		}
		if n := b.src.loads.Load() - loads; n > 1+1000/250 {
			t.Errorf("got %d loads in a second, want at most one for each bound", n)
		}
		if s := b.client.Status(); s.Bound.Channel != "none" || s.Caches["t"].Open {
			t.Errorf("got %+v, want the channel \"none\" and a closed cache", s)
		}
	})
}

func TestBound_ChannelsComeBack(t *testing.T) {
	inChannelsBubble(t, func(t *testing.T, b *channels) {
		b.redis.Stop()
		b.link.cut()
		time.Sleep(time.Second)
		b.link.mend()
		time.Sleep(10 * time.Second)
		b.warm(t)
		if s := b.client.Status(); s.Bound.Channel != "events" {
			t.Errorf("Kafka is back: got %+v, want the channel \"events\"", s.Bound)
		}
		if err := b.redis.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		b.warm(t)
		b.wantBothProve(t, "both are back")
	})
}
