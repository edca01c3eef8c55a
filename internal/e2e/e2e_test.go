package e2e

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the database/sql driver "pgx"
	kafkago "github.com/segmentio/kafka-go"

	"github.com/nearcache/nearcache-go/internal/l2"
	"github.com/nearcache/nearcache-go/internal/testkit"
)

// TestPropagation measures how long another instance goes on serving the old value, from the write's answer.
func TestPropagation(t *testing.T) {
	w := newWorld(t)
	a, b := w.start("product-server"), w.start("product-server")
	w.start("outbox-relay")
	w.start("invalidation-worker")
	deaf := w.start("product-server", "REDIS_URL=redis://127.0.0.1:1") // hears of changes through Kafka alone
	measure := func(reader *program, n int) (d []time.Duration) {
		for i := range n {
			v := a.mustPut("p", fmt.Sprint("name ", i)).version
			begun := time.Now()
			testkit.Eventually(t, "the new value is served", func() bool { return reader.get("p").version >= v })
			d = append(d, time.Since(begun))
			reader.fromL1("p")
		}
		slices.Sort(d)
		return d
	}
	a.mustPut("p", "first")
	b.fromL1("p")
	d := measure(b, 100)
	t.Logf("direct path: p50 %v, max %v", d[50], d[99])
	testkit.Eventually(t, "Kafka vouches for L1", func() bool {
		return strings.Contains(deaf.get("p").header.Get("Cache-Status"),
			"L1")
	})
	d = measure(deaf, 20)
	t.Logf("Kafka alone: p50 %v, max %v", d[10], d[19])
}

// TestMixedRequests reads and writes as many clients and checks that none ever sees a version older than it saw before:
// a client that stays with one instance by C3, one that roams by asking for what it has seen (C4).
func TestMixedRequests(t *testing.T) {
	requests := 30_000
	if testing.Short() {
		requests = 5_000
	}
	w := newWorld(t)
	servers := []*program{w.start("product-server"), w.start("product-server")}
	w.start("outbox-relay")
	w.start("invalidation-worker")
	const products, clients = 100, 32
	for i := range products {
		servers[0].mustPut(fmt.Sprint("p", i), "first")
	}
	var l1, reads, writes atomic.Int64
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(c), 1))
			seen := make(map[string]int)
			for range requests / clients {
				id := fmt.Sprint("p", r.IntN(products))
				roams := c%2 == 0
				s := servers[c/2%2]
				var header []string
				if roams {
					s = servers[r.IntN(2)]
					header = []string{"Nearcache-At-Least", strconv.Itoa(seen[id])}
				}
				method, body := "GET", ""
				if r.IntN(50) == 0 {
					method, body = "PUT", fmt.Sprintf(`{"name":"by %d","price":1}`, c)
					writes.Add(1)
				} else {
					reads.Add(1)
				}
				res, err := do(t.Context(), method, s.url+"/products/"+id, body, header...)
				if err != nil || res.status != 200 {
					t.Errorf("%s %s: got error %v, status %d and body %s, want status 200", method, id, err, res.status, res.body)
					return
				}
				if res.version < seen[id] {
					t.Errorf("client %d (roams: %v) read %s at version %d after %d, %s", c, roams, id, res.version, seen[id],
						res.header.Get("Cache-Status"))
					return
				}
				seen[id] = res.version
				if strings.Contains(res.header.Get("Cache-Status"), "L1") {
					l1.Add(1)
				}
			}
		})
	}
	wg.Wait()
	share := float64(l1.Load()) / float64(reads.Load())
	t.Logf("%d reads, %d writes, %.1f%% of reads from L1", reads.Load(), writes.Load(), 100*share)
	if share < 0.3 {
		t.Error("L1 was idle: this shows nothing")
	}
}

// TestKill9_Writer: the writer dies between its commit and telling anybody.
func TestKill9_Writer(t *testing.T) {
	w := newWorld(t)
	b := w.start("product-server")
	w.start("outbox-relay")
	b.mustPut("p", "before")
	b.fromL1("p")
	dying := w.start("product-server", "PRODUCT_SERVER_CRASH=after-commit")
	if _, err := do(t.Context(), "PUT", dying.url+"/products/p", `{"name":"after","price":1}`); err == nil {
		t.Fatal("the writer survived")
	}
	<-dying.done
	testkit.Eventually(t, "the other instance serves what was committed", func() bool {
		return strings.Contains(b.get("p").body,
			"after")
	})
	b.fromL1("p")
}

// TestKill9_RelayAndWorker: both die, writes go on, and what they missed is made up for when they are back (C7).
func TestKill9_RelayAndWorker(t *testing.T) {
	w := newWorld(t)
	a, b := w.start("product-server"), w.start("product-server")
	relay, worker := w.start("outbox-relay"), w.start("invalidation-worker")
	a.mustPut("p", "one")
	b.fromL1("p")
	relay.kill()
	worker.kill()
	v := a.mustPut("p", "two").version
	testkit.Eventually(t, "the direct path needs neither", func() bool { return b.get("p").version == v })
	b.fromL1("p")
	if _, err := w.database().Exec(`update products set name = 'three' where id = 'p'`); err != nil {
		t.Fatal(err)
	}
	w.start("outbox-relay")
	w.start("invalidation-worker")
	testkit.Eventually(t, "the change made by SQL is noticed", func() bool {
		return strings.Contains(b.get("p").body, "three")
	})
}

// TestKill9_Redis: products are served meanwhile, and the cache works again after.
func TestKill9_Redis(t *testing.T) {
	w := newWorld(t)
	a, b := w.start("product-server"), w.start("product-server")
	w.start("outbox-relay")
	a.mustPut("p", "one")
	b.fromL1("p")
	w.redis.Kill()
	for i := range 20 {
		v := a.mustPut("p", fmt.Sprint("without Redis ", i)).version
		testkit.Eventually(t, "the write is seen", func() bool { return b.get("p").version >= v })
		if got := b.get("p", "Nearcache-At-Least", strconv.Itoa(v)); got.status != 200 || got.version < v {
			t.Errorf("at least %d: %d, version %d", v, got.status, got.version)
		}
	}
	w.redis.Restart()
	b.fromL1("p")
	v := a.mustPut("p", "again").version
	testkit.Eventually(t, "the write is seen", func() bool { return b.get("p").version == v })
	w.redis.Do("FLUSHALL")
	if got := b.get("p"); got.version != v {
		t.Errorf("after FLUSHALL: version %d", got.version)
	}
}

// TestKill9_Server: one instance dies, the other does not care, and a new one starts.
func TestKill9_Server(t *testing.T) {
	w := newWorld(t)
	a, b := w.start("product-server", "RELAY=true"), w.start("product-server", "RELAY=true")
	a.mustPut("p", "one")
	b.fromL1("p")
	a.kill() // it was the relay's leader
	v := b.mustPut("p", "two").version
	c := w.start("product-server")
	c.fromL1("p")
	if _, err := w.database().Exec(`update products set name = 'by SQL' where id = 'p'`); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "the other relay has taken over", func() bool { return c.get("p").version == v+1 })
	b.interrupt()
	c.interrupt()
}

// TestKafkaEvents_OfOthers: services in other languages share the topic, and some of them make mistakes.
func TestKafkaEvents_OfOthers(t *testing.T) {
	w := newWorld(t)
	a, b := w.start("product-server"), w.start("product-server")
	w.start("invalidation-worker")
	a.mustPut("p", "one")
	a.fromL1("p")
	b.fromL1("p")
	w.unseen(`update products set name = 'silently' where id = 'p'`)
	a.fromL1("p")
	if got := a.get("p"); strings.Contains(got.body, "silently") {
		t.Fatal("nothing has told the cache yet")
	}
	writer := &kafkago.Writer{Addr: kafkago.TCP(strings.Split(w.env["KAFKA_BOOTSTRAP_SERVERS"], ",")...), Topic: w.topic,
		RequiredAcks: kafkago.RequireAll, BatchTimeout: time.Millisecond}
	defer writer.Close()
	write(t, writer, `{"oops`, `{"type":"SHOP_OPENED","product_id":"p"}`,
		`{"type":"PRODUCT_UPDATED","product_id":"p","timestamp":null}`)
	for _, s := range []*program{a, b} {
		testkit.Eventually(t, "an event without a version invalidates both tiers",
			func() bool { return strings.Contains(s.get("p").body, "silently") })
	}
	reader := kafkago.NewReader(kafkago.ReaderConfig{Brokers: strings.Split(w.env["KAFKA_BOOTSTRAP_SERVERS"], ","),
		Topic:   w.topic + ".dlq",
		MaxWait: 100 * time.Millisecond})
	defer reader.Close()
	for range 2 { // or more, if the write above had to be repeated
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		m, err := reader.ReadMessage(ctx)
		cancel()
		if err != nil {
			t.Fatalf("the dead-letter topic: %v", err)
		}
		reason := ""
		for _, h := range m.Headers {
			if h.Key == "nearcache-reason" {
				reason = string(h.Value)
			}
		}
		if !strings.Contains(reason, "malformed") {
			t.Errorf("dead letter %s: reason %q", m.Value, reason)
		}
	}
}

// write publishes as somebody else would. A topic that has just been made may not be led yet.
func write(t *testing.T, w *kafkago.Writer, values ...string) {
	t.Helper()
	messages := make([]kafkago.Message, len(values))
	for i, v := range values {
		messages[i].Value = []byte(v)
	}
	testkit.Eventually(t, "Kafka takes the messages", func() bool {
		return w.WriteMessages(t.Context(), messages...) == nil
	})
}

// TestRedisAndRelay_NoKafka is the second of the four configurations.
func TestRedisAndRelay_NoKafka(t *testing.T) {
	w := newWorld(t)
	w.env["KAFKA_BOOTSTRAP_SERVERS"] = ""
	b := w.start("product-server", "RELAY=true")
	b.mustPut("p", "one")
	b.fromL1("p")
	dying := w.start("product-server", "PRODUCT_SERVER_CRASH=after-commit")
	if _, err := do(t.Context(), "PUT", dying.url+"/products/p", `{"name":"after","price":1}`); err == nil {
		t.Fatal("the writer survived")
	}
	testkit.Eventually(t, "the relay tells Redis, and Redis the instance", func() bool {
		return strings.Contains(b.get("p").body,
			"after")
	})
}

// TestHTTP_ByTheBook is the API as its documentation has it.
func TestHTTP_ByTheBook(t *testing.T) {
	w := newWorld(t)
	s := w.start("product-server", "RELAY=true")
	u := s.url + "/products"
	for _, c := range []struct {
		method, path, body string
		header             []string
		status             int
		has                string
	}{
		{"GET", "/x", "", nil, 404, "no such product"},
		{"POST", "", `{"id":"x","name":"X","price":1.5}`, nil, 201, `"price":1.50`},
		{"POST", "", `{"id":"x","name":"X","price":1.5}`, nil, 409, "exists"},
		{"GET", "/x", "", nil, 200, `{"id":"x","name":"X","price":1.50}`},
		{"GET", "/x", "", []string{"If-None-Match", `*`}, 304, ""},
		{"PUT", "/x", `{"id":"y","name":"X","price":1}`, nil, 400, "ids differ"},
		{"PUT", "/x", `{"name":"X","price":1`, nil, 400, "malformed"},
		{"PUT", "/x", `{"name":"X","price":"1"}`, nil, 400, "malformed"},
		{"PUT", "/x", `{"name":"X","price":-1}`, nil, 400, "price"},
		{"PUT", "/x", `{"name":"","price":1}`, nil, 400, `"field":"name"`},
		{"PUT", "/x", `{"name":"` + strings.Repeat("x", 70<<10) + `","price":1}`, nil, 400, "too large"},
		{"PUT", "/x", `{"name":"X2","price":1}`, []string{"If-Match", `"7"`}, 412, "not in a state"},
		{"PUT", "/x", `{"name":"X2","price":1}`, []string{"If-Match", `"1"`}, 200, "X2"},
		{"PUT", "/x", `{"name":"X2","price":1}`, []string{"If-Match", `nonsense`}, 400, "If-Match"},
		{"PUT", "/new", `{"name":"N","price":0}`, []string{"If-Match", `*`}, 412, ""},
		{"PUT", "/new", `{"name":"N","price":0,"description":null}`, nil, 201, `"id":"new"`},
		{"GET", "/x", "", []string{"Nearcache-At-Least", "2"}, 200, "X2"},
		{"GET", "/x", "", []string{"Nearcache-At-Least", "99"}, 503, "not there yet"},
		{"GET", "/x", "", []string{"Nearcache-At-Least", "x"}, 400, "not a version"},
		{"GET", "/x", "", []string{"Nearcache-Fresh", "?1"}, 200, "X2"},
		{"GET", "/" + strings.Repeat("x", 200), "", nil, 400, "bad id"},
		{"GET", "/%00", "", nil, 400, "control"},
		{"GET", "?limit=1", "", nil, 200, `"next":"/products?after=new`},
		{"GET", "?limit=0", "", nil, 400, "bad limit"},
		{"PATCH", "/x", "", nil, 405, ""},
		{"DELETE", "/x", "", nil, 204, ""},
		{"DELETE", "/x", "", nil, 404, ""},
		{"GET", "/x", "", nil, 404, ""},
	} {
		res, err := do(t.Context(), c.method, u+c.path, c.body, c.header...)
		if err != nil {
			t.Fatal(err)
		}
		if res.status != c.status || !strings.Contains(res.body, c.has) {
			t.Errorf("%s %.40s %.60s: %d %.200s; want %d with %q", c.method, c.path, c.body, res.status, res.body, c.status,
				c.has)
		}
		if ct := res.header.Get("Content-Type"); c.status >= 400 && ct != "application/problem+json" {
			t.Errorf("%s %.40s: an error as %q", c.method, c.path, ct)
		}
	}
	for _, path := range []string{"/healthz", "/readyz", "/metrics"} {
		if res, err := do(t.Context(), "GET", s.url+path, ""); err != nil || res.status != 200 {
			t.Errorf("%s: got status %d and error %v, want 200", path, res.status, err)
		}
	}
	s.interrupt()
}

// TestShutdown_FinishesRequests: requests in flight are answered, and the exit code is 0.
func TestShutdown_FinishesRequests(t *testing.T) {
	w := newWorld(t)
	s := w.start("product-server")
	s.mustPut("p", "one")
	lock, err := w.database().Begin()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lock.Exec(`select from products where id = 'p' for update`); err != nil {
		t.Fatal(err)
	}
	answered := make(chan reply)
	go func() {
		r, err := do(context.Background(), "PUT", s.url+"/products/p", `{"name":"two","price":1}`)
		if err != nil {
			t.Errorf("the request in flight: %v", err)
		}
		answered <- r
	}()
	db := w.database()
	testkit.Eventually(t, "the PUT waits for the lock", func() bool {
		var n int
		_ = db.QueryRow(`select count(*) from pg_locks where not granted`).Scan(&n)
		return n > 0
	})
	go s.interrupt()
	testkit.Eventually(t, "the server is shutting down", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return strings.Contains(s.log.String(), "shutting down")
	})
	if err := lock.Rollback(); err != nil {
		t.Fatal(err)
	}
	if r := <-answered; r.status != 200 {
		t.Errorf("the request in flight got %d", r.status)
	}
	<-s.done
}

// TestForeignRedisCommands: an operator's DEL and a stray SET.
func TestForeignRedisCommands(t *testing.T) {
	w := newWorld(t)
	s := w.start("product-server")
	s.mustPut("p", "one")
	key := l2.NewKeyspace("").Key("product", "p").Record
	for _, cmd := range [][]string{{"DEL", key}, {"SET", key, "stray"}, {"FLUSHALL"}} {
		s.fromL1("p")
		w.redis.Do(cmd...)
		testkit.Eventually(t, "L1 lets go after "+cmd[0],
			func() bool { return !strings.Contains(s.get("p").header.Get("Cache-Status"), "L1") })
		if got := s.get("p"); got.status != 200 || !strings.Contains(got.body, "one") {
			t.Errorf("after %s: %d %s", cmd[0], got.status, got.body)
		}
	}
}

// unseen changes the database as a session in which triggers do not fire: nothing counts the change.
func (w *world) unseen(statement string) {
	w.t.Helper()
	tx, err := w.database().Begin()
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	for _, s := range []string{`set local session_replication_role = replica`, statement} {
		if _, err := tx.Exec(s); err != nil {
			w.t.Fatal(err)
		}
	}
	if err := tx.Commit(); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) database() *sql.DB {
	w.t.Helper()
	db, err := sql.Open("pgx", w.env["DATABASE_URL"])
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = db.Close() })
	return db
}
