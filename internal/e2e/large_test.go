package e2e

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/rueidis"
	"github.com/segmentio/kafka-go"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/postgres"
	"github.com/nearcache/nearcache-go/internal/l2"
	"github.com/nearcache/nearcache-go/internal/product"
	"github.com/nearcache/nearcache-go/internal/testkit"
)

// largeEnv names how many changes the transaction of TestRelay_LargeTransaction has: `make large ROWS=1000000`.
const largeEnv = "NEARCACHE_LARGE_ROWS"

// TestRelay_LargeTransaction: a transaction of any size passes through a relay to Redis and Kafka in bounded memory,
// and a kill -9 in the midst of it loses nothing. It stopped the relay for good.
func TestRelay_LargeTransaction(t *testing.T) {
	rows := 50_000
	if s := os.Getenv(largeEnv); s != "" {
		var err error
		if rows, err = strconv.Atoi(s); err != nil {
			t.Fatalf("%s: %v", largeEnv, err)
		}
	}
	w := newWorld(t)
	relay := w.start("outbox-relay")
	g := newLarge(t, w)
	testkit.Eventually(t, "the relay has begun", func() bool { return !g.watermark().IsZero() })
	keys := g.fillSome(rows)
	idle, before := relay.memory("VmRSS"), g.probe(2*time.Second)
	start := time.Now()
	xid := g.commit(rows)
	t.Logf("the commit took %v", time.Since(start).Round(time.Millisecond))

	start = time.Now()
	ctx, stop := context.WithCancel(t.Context())
	during := make(chan latency)
	go func() { during <- g.probeUntil(ctx) }()
	testkit.Eventually(t, "it is in the midst of the transaction", func() bool {
		at := g.watermark()
		return at.Part > 0 && at.N == xid
	})
	killed := relay.memory("VmHWM")
	relay.kill()
	relay = w.start("outbox-relay")
	end := coherence.Position{Timeline: g.watermark().Timeline, N: xid + 1}
	g.await(end)
	stop()
	took, meanwhile := time.Since(start), <-during
	peak := max(killed, relay.memory("VmHWM"))
	t.Logf("%d changes in %v, %.0f a second; memory of the relay %d MiB idle, %d MiB at most", rows,
		took.Round(time.Millisecond), float64(rows)/took.Seconds(), idle>>20, peak>>20)
	t.Logf("another client's GET: %v before, %v meanwhile", before, meanwhile)
	t.Logf("commands of Redis that took 5 ms: %s", w.redis.Do("SLOWLOG", "LEN"))
	for line := range strings.Lines(w.redis.Do("INFO", "commandstats")) {
		if strings.HasPrefix(line, "cmdstat_eval") {
			t.Log(strings.TrimSpace(line))
		}
	}
	if over := peak - idle; over > 64<<20 {
		t.Errorf("the relay took %d MiB more than when it was idle, want at most 64", over>>20)
	}
	for _, k := range keys {
		if raw, _, err := g.l2.Get(t.Context(), k, l2.ReadOptions{}); raw != nil || err != nil {
			t.Errorf("Redis still has the old record of %s (%v)", k.Name, err)
		}
	}
	g.checkTopic(rows, end)
}

// large is what the test does beside the relay.
type large struct {
	t    *testing.T
	w    *world
	pool *pgxpool.Pool
	l2   *l2.L2
}

type noTracker struct{}

func (noTracker) KeysChanged([]uint64) {}
func (noTracker) SessionChanged()      {}

func newLarge(t *testing.T, w *world) *large {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), w.env["DATABASE_URL"])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	store, err := l2.Open(l2.Config{Redis: w.option(), Tracker: noTracker{}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	if err := store.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.redis.Do("CONFIG", "SET", "slowlog-log-slower-than", "5000")
	return &large{t: t, w: w, pool: pool, l2: store}
}

func (w *world) option() rueidis.ClientOption {
	return rueidis.ClientOption{InitAddress: []string{w.redis.Addr}}
}

// watermark is the position that every bucket has reached.
func (g *large) watermark() (least coherence.Position) {
	g.t.Helper()
	all, err := g.l2.Watermarks(g.t.Context())
	if err != nil {
		g.t.Fatal(err)
	}
	least = all[0].Position
	for _, w := range all {
		if !w.Position.Covers(least) {
			least = w.Position
		}
	}
	return least
}

// await waits as long as the relay gets on.
func (g *large) await(upto coherence.Position) {
	g.t.Helper()
	at := g.watermark()
	for !at.Covers(upto) {
		last := at
		testkit.Eventually(g.t, fmt.Sprintf("the relay gets on from %v to %v", last, upto), func() bool {
			at = g.watermark()
			return at != last
		})
	}
}

// fillSome puts records of version 1 into Redis, of some of the keys that the transaction will change.
func (g *large) fillSome(rows int) (keys []l2.Key) {
	g.t.Helper()
	for i := 1; i <= rows; i += max(1, rows/500) {
		k := g.l2.Keyspace().Key(product.Namespace, fmt.Sprint("large-", i))
		lease, err := g.l2.Acquire(g.t.Context(), k, l2.NewLeaseID(), time.Minute, l2.AcquireOptions{})
		if err != nil || lease.Status != l2.Granted {
			g.t.Fatal(lease.Status, err)
		}
		done, err := g.l2.Fill(g.t.Context(), k, lease.ID, lease.Incarnation,
			l2.Record{Version: 1, Payload: []byte("old")}, 24*time.Hour)
		if err != nil || done != l2.Filled {
			g.t.Fatal(done, err)
		}
		keys = append(keys, k)
	}
	return keys
}

// commit writes the outbox as a trigger does that counts a statement of so many rows, and returns the transaction's id.
func (g *large) commit(rows int) (xid uint64) {
	g.t.Helper()
	tx, err := g.pool.Begin(g.t.Context())
	if err != nil {
		g.t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(g.t.Context()) }()
	var id string
	err = tx.QueryRow(g.t.Context(), `with written as (insert into nearcache.outbox (namespace, key, version, op)
		select $1, 'large-' || g, 2, 'updated' from generate_series(1, $2::int) g)
		select pg_current_xact_id()::text`, product.Namespace, rows).Scan(&id)
	if err != nil {
		g.t.Fatal(err)
	}
	if err := tx.Commit(g.t.Context()); err != nil {
		g.t.Fatal(err)
	}
	if xid, err = strconv.ParseUint(id, 10, 64); err != nil {
		g.t.Fatal(err)
	}
	return xid
}

// latency is what another client of Redis sees.
type latency struct{ p50, p99, most time.Duration }

func (l latency) String() string {
	return fmt.Sprintf("p50 %v, p99 %v, at most %v", l.p50, l.p99, l.most)
}

func (g *large) probe(d time.Duration) latency {
	ctx, cancel := context.WithTimeout(g.t.Context(), d)
	defer cancel()
	return g.probeUntil(ctx)
}

// probeUntil asks Redis a thousand times a second.
func (g *large) probeUntil(ctx context.Context) (l latency) {
	client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{g.w.redis.Addr}, DisableCache: true})
	if err != nil {
		g.t.Error(err)
		return l
	}
	defer client.Close()
	var all []time.Duration
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil {
		start := time.Now()
		if err := client.Do(ctx, client.B().Get().Key("absent").Build()).Error(); rueidis.IsRedisNil(err) {
			all = append(all, time.Since(start))
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
	if slices.Sort(all); len(all) > 0 {
		l = latency{all[len(all)/2], all[len(all)*99/100], all[len(all)-1]}
	}
	return l
}

// memory is a line of the process's status, in bytes.
func (p *program) memory(name string) int64 {
	p.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		p.t.Skip(err) // not Linux
	}
	for line := range strings.Lines(string(status)) {
		var kib int64
		if n, _ := fmt.Sscanf(line, name+": %d kB", &kib); n == 1 {
			return kib << 10
		}
	}
	p.t.Fatalf("no %s in %s", name, status)
	return 0
}

// checkTopic reads all that was published. Each number of a partition belongs to one key, however often it was
// published, and the numbers have no gap.
func (g *large) checkTopic(rows int, upto coherence.Position) {
	g.t.Helper()
	src, err := postgres.New(g.pool, postgres.Config{})
	if err != nil {
		g.t.Fatal(err)
	}
	defer src.Close()
	var cur coherence.Cursor
	for last := cur.Position; !cur.Position.Covers(upto); last = cur.Position {
		testkit.Eventually(g.t, fmt.Sprintf("the relay publishes beyond %v", last), func() bool {
			cur, err = src.LoadCursor(g.t.Context(), g.w.topic) // the demo's relay has the name of its topic
			return err == nil && cur.Position != last
		})
	}
	keys, published := 0, 0
	for p, seq := range cur.Seqs {
		n := g.checkPartition(p, seq)
		keys, published = keys+int(seq), published+n
	}
	if keys != rows {
		g.t.Errorf("%d numbers are given out, want %d", keys, rows)
	}
	g.t.Logf("%d events are published for %d changes", published, rows)
}

// checkPartition reads the events up to a number, and returns how many there are.
func (g *large) checkPartition(partition int, seq uint64) (published int) {
	g.t.Helper()
	r := kafka.NewReader(kafka.ReaderConfig{Brokers: strings.Split(g.w.env["KAFKA_BOOTSTRAP_SERVERS"], ","),
		Topic: g.w.topic, Partition: partition, MaxBytes: 8 << 20})
	defer func() { _ = r.Close() }()
	keys := make([]string, 0, seq)
	for uint64(len(keys)) < seq {
		m, err := r.ReadMessage(g.t.Context())
		if err != nil {
			g.t.Fatal(err)
		}
		got, err := coherence.DecodeJSON(m.Value)
		if err != nil {
			g.t.Fatal(err)
		}
		published++
		switch n := got.Seq; {
		case n == uint64(len(keys))+1:
			keys = append(keys, got.Key)
		case n == 0 || n > uint64(len(keys)):
			g.t.Fatalf("partition %d: number %d comes after %d", partition, n, len(keys))
		case keys[n-1] != got.Key:
			g.t.Fatalf("partition %d: number %d is %s and %s", partition, n, keys[n-1], got.Key)
		}
	}
	slices.Sort(keys)
	if n := len(slices.Compact(keys)); n != int(seq) {
		g.t.Errorf("partition %d: %d keys have %d numbers", partition, n, seq)
	}
	return published
}
