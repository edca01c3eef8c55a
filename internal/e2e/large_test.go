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
	rows := largeRows(t)
	w := newWorld(t)
	relay := w.start("outbox-relay")
	g := newLarge(t, w)
	testkit.Eventually(t, "the relay has begun", func() bool { return !g.watermark().IsZero() })
	g.prefer(relay)
	keys := g.fillSome(rows)
	idle, before := relay.memory("VmRSS"), g.probe(2*time.Second)
	w.redis.Do("SLOWLOG", "RESET")
	start := time.Now()
	xid := g.commit(rows)
	t.Logf("the commit took %v", time.Since(start).Round(time.Millisecond))

	start = time.Now()
	ctx, stop := context.WithCancel(t.Context())
	during := make(chan latencies)
	go func() { during <- g.probeUntil(ctx) }()
	testkit.Eventually(t, "it is in the midst of the transaction", func() bool {
		at := g.watermark()
		return at.Part > 0 && at.N == xid
	})
	killed := relay.memory("VmHWM")
	relay.kill()
	relay = w.start("outbox-relay")
	g.prefer(relay)
	end := coherence.Position{Timeline: g.watermark().Timeline, N: xid + 1}
	g.await(end)
	stop()
	took, meanwhile := time.Since(start), <-during
	peak := max(killed, relay.memory("VmHWM"))
	t.Logf("%d changes in %v, %.0f a second; memory of the relay %d MiB idle, %d MiB at most", rows,
		took.Round(time.Millisecond), float64(rows)/took.Seconds(), idle>>20, peak>>20)
	g.logLatencies(before, meanwhile)
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

// largeRows is how many rows a large transaction has.
func largeRows(t *testing.T) int {
	t.Helper()
	s := os.Getenv(largeEnv)
	if s == "" {
		return 20_000
	}
	rows, err := strconv.Atoi(s)
	if err != nil {
		t.Fatalf("%s: %v", largeEnv, err)
	}
	return rows
}

// large is what the test does beside the relay.
type large struct {
	t      *testing.T
	w      *world
	pool   *pgxpool.Pool
	l2     *l2.L2
	probes int
}

func newLarge(t *testing.T, w *world) *large {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), w.env["DATABASE_URL"])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	w.redis.Do("CONFIG", "SET", "slowlog-log-slower-than", "5000")
	return &large{t: t, w: w, pool: pool, l2: w.openL2(nil)}
}

// openL2 is the near cache's Redis, as another process has it.
func (w *world) openL2(tracker l2.Tracker) *l2.L2 {
	w.t.Helper()
	store, err := l2.Open(l2.Config{Redis: w.option(), Tracker: tracker})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(store.Close)
	if err := store.Ready(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	return store
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
		if err := g.fill(g.t.Context(), k, 1); err != nil {
			g.t.Fatal(err)
		}
		keys = append(keys, k)
	}
	return keys
}

// fill puts one record into Redis.
func (g *large) fill(ctx context.Context, k l2.Key, v coherence.Version) error {
	lease, err := g.l2.Acquire(ctx, k, l2.NewLeaseID(), time.Minute, l2.AcquireOptions{})
	if err != nil || lease.Status != l2.Granted {
		return fmt.Errorf("lease: %v, %w", lease.Status, err)
	}
	done, err := g.l2.Fill(ctx, k, lease.ID, lease.Incarnation, l2.Record{Version: v, Payload: []byte("old")},
		24*time.Hour)
	if err != nil || done != l2.Filled {
		return fmt.Errorf("fill: %v, %w", done, err)
	}
	return nil
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
