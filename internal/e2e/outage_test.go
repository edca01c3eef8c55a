package e2e

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/rueidis"
	kafkago "github.com/segmentio/kafka-go"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/kafka"
	"github.com/nearcache/nearcache-go/internal/services/servicestest"
	"github.com/nearcache/nearcache-go/internal/testkit"
	"github.com/nearcache/nearcache-go/nearcache"
)

// TestKafkaDown: writes are accepted, and their events are delivered once Kafka is back.
func TestKafkaDown(t *testing.T) {
	w := newWorld(t)
	k := servicestest.StartKafka(t)
	w.env["KAFKA_BOOTSTRAP_SERVERS"] = strings.Join(k.Brokers, ",")
	a, b := w.start("product-server", "RELAY=true"), w.start("product-server")
	a.mustPut("p", "one")
	b.fromL1("p")
	k.Kill()
	var last int
	for i := range 10 {
		last = a.mustPut("p", fmt.Sprint("without Kafka ", i)).version
		testkit.Eventually(t, "tracking goes on", func() bool { return b.get("p").version == last })
	}
	k.Restart()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	versions := make(map[string]bool)
	var mu sync.Mutex
	var wg sync.WaitGroup
	client := &kafkago.Client{Addr: kafkago.TCP(k.Brokers...)}
	parts := 0
	testkit.Eventually(t, "the topic is served", func() bool {
		res, err := client.Metadata(ctx, &kafkago.MetadataRequest{Topics: []string{w.topic}})
		if err != nil || len(res.Topics) == 0 || res.Topics[0].Error != nil {
			return false
		}
		parts = len(res.Topics[0].Partitions)
		return parts > 0
	})
	for p := range parts {
		wg.Go(func() {
			r := kafkago.NewReader(kafkago.ReaderConfig{Brokers: k.Brokers, Topic: w.topic, Partition: p,
				MaxWait: 100 * time.Millisecond})
			defer r.Close()
			for {
				m, err := r.ReadMessage(ctx)
				if err != nil {
					return
				}
				mu.Lock()
				versions[string(m.Value)] = true
				mu.Unlock()
			}
		})
	}
	testkit.Eventually(t, "every write has its event", func() bool {
		mu.Lock()
		defer mu.Unlock()
		for v := 1; v <= last; v++ {
			found := false
			for s := range versions {
				found = found || strings.Contains(s, fmt.Sprintf(`"version":%d,`, v)) && strings.Contains(s, `"product_id":"p"`)
			}
			if !found {
				return false
			}
		}
		return true
	})
	cancel()
	wg.Wait()
}

// TestEverythingDownAtStart: a server that comes up first answers at once, and uses each service from when it is there.
func TestEverythingDownAtStart(t *testing.T) {
	w := newWorld(t)
	k, pg := servicestest.StartKafka(t), servicestest.StartPostgres(t)
	k.Kill()
	pg.Kill()
	w.redis.Kill()
	w.env["KAFKA_BOOTSTRAP_SERVERS"], w.env["DATABASE_URL"] = strings.Join(k.Brokers, ","), pg.URL
	s := w.start("product-server", "RELAY=true", "WORKER=true")
	if got := s.get("p"); got.status != 503 || got.header.Get("Retry-After") == "" {
		t.Errorf("without a database: %d %s", got.status, got.body)
	}
	pg.Restart()
	testkit.Eventually(t, "it writes as soon as the database is there", func() bool {
		return s.put("p", "one").status/100 == 2
	})
	if got := s.get("p"); got.status != 200 || !strings.Contains(got.header.Get("Cache-Status"), "source") {
		t.Errorf("without Redis and Kafka: %d %v", got.status, got.header)
	}
	w.redis.Restart()
	s.fromL1("p")
	k.Restart()
	v := s.mustPut("p", "two").version
	testkit.Eventually(t, "the event of each write has been to Kafka and back", func() bool {
		m, err := do(t.Context(), "GET", s.url+"/metrics", "")
		return err == nil && strings.Contains(m.body, "nearcache_channel_up{channel=\"events\"} 1\n") &&
			strings.Contains(m.body, fmt.Sprintf("nearcache_worker_applied_total %d\n", v))
	})
	s.fromL1("p")
	s.interrupt()
}

// TestPostgresDown: what is cached is served, the rest is 503, and it comes back by itself.
func TestPostgresDown(t *testing.T) {
	w := newWorld(t)
	pg := servicestest.StartPostgres(t)
	w.env["DATABASE_URL"] = pg.URL
	s := w.start("product-server", "RELAY=true")
	s.mustPut("p", "one")
	s.fromL1("p")
	pg.Kill()
	// The postmaster is gone; its children notice when they next wait for something, and may answer until then.
	testkit.Eventually(t, "the server notices", func() bool {
		got, err := do(t.Context(), "GET", s.url+"/status", "")
		return err == nil && strings.Contains(got.body, "database_unreachable")
	})
	if got, err := do(t.Context(), "GET", s.url+"/readyz", ""); err != nil || got.status != 200 ||
		!strings.Contains(got.body, "degraded") {
		t.Errorf("no instance has the database, and this one serves what is cached: %d %s %v", got.status, got.body, err)
	}
	if got := s.get("p"); got.status != 200 {
		t.Errorf("what L1 holds: %d %s", got.status, got.body)
	}
	if got := s.get("other"); got.status != 503 || got.header.Get("Retry-After") == "" {
		t.Errorf("what it does not hold: %d %s", got.status, got.body)
	}
	for range 20 {
		if got := s.put("p", "two"); got.status != 503 || !strings.Contains(got.body, "not-committed") {
			t.Errorf("a write: %d %s", got.status, got.body)
		}
		if got := s.get("p"); got.status != 200 || !strings.Contains(got.body, "one") {
			t.Errorf("a write that was refused has dropped the product: %d %s", got.status, got.body)
		}
	}
	pg.Restart()
	testkit.Eventually(t, "writes are taken again", func() bool { return s.put("p", "three").status == 200 })
	testkit.Eventually(t, "and read", func() bool { return strings.Contains(s.get("p").body, "three") })
}

// TestRedisAndForeignEvents is the third of the four configurations: a library user with Redis, and a topic that
// carries somebody else's events in a format that only the user's decoder knows. The source has no versions.
func TestRedisAndForeignEvents(t *testing.T) {
	redis, brokers := servicestest.StartRedis(t), servicestest.Kafka(t)
	topic := servicestest.Topic(t, brokers, "legacy", 2)
	var mu sync.Mutex
	row := "one"
	load := func(context.Context, string) (string, error) {
		mu.Lock()
		defer mu.Unlock()
		return row, nil
	}
	decode := func(r coherence.Record) ([]coherence.Event, error) { // "price-changed/<id>"
		id, ok := strings.CutPrefix(string(r.Value), "price-changed/")
		if !ok {
			return nil, fmt.Errorf("%w: %q", coherence.ErrMalformed, r.Value)
		}
		return []coherence.Event{{Namespace: "price", Key: id}}, nil
	}
	var caches []*nearcache.Cache[string, string]
	for range 2 {
		client, err := nearcache.New(nearcache.Config{Redis: rueidis.ClientOption{InitAddress: []string{redis.Addr}},
			Events: kafka.Tail{Broker: kafka.Broker{Brokers: brokers}, Topic: topic,
				Codec: coherence.EventCodec{Decode: decode}}})
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		if err := client.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		c, err := nearcache.NewCache(client, "price", nearcache.Options[string, string]{Find: load})
		if err != nil {
			t.Fatal(err)
		}
		caches = append(caches, c)
	}
	writer := &kafkago.Writer{Addr: kafkago.TCP(brokers...), Topic: topic, RequiredAcks: kafkago.RequireAll,
		BatchTimeout: time.Millisecond}
	defer writer.Close()
	for _, next := range []string{"two", "three"} {
		for _, c := range caches {
			testkit.Eventually(t, "a hit in L1", func() bool {
				r, err := c.Read(t.Context(), "42", nearcache.ReadOptions{})
				return err == nil && r.Tier == nearcache.TierL1
			})
		}
		mu.Lock()
		row = next // by somebody who knows nothing of Redis
		mu.Unlock()
		write(t, writer, "nonsense", "price-changed/42")
		for _, c := range caches {
			testkit.Eventually(t, "every instance reads "+next, func() bool {
				v, err := c.Get(t.Context(), "42")
				return err == nil &&
					v == next
			})
		}
	}
}
