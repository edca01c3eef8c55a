// Command sizing measures what a record costs in L1, in Redis and in Postgres, for docs/operations/sizing.md:
// `make sizes`.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/rueidis"

	"github.com/nearcache/nearcache-go/coherence/postgres"
	"github.com/nearcache/nearcache-go/nearcache"
)

func main() {
	n := flag.Int("n", 20_000, "how many records are measured of each size")
	flag.Parse()
	if err := measure(context.Background(), *n); err != nil {
		fmt.Fprintln(os.Stderr, "sizing:", err)
		os.Exit(1)
	}
}

func measure(ctx context.Context, n int) error {
	address, database := os.Getenv("NEARCACHE_TEST_REDIS"), os.Getenv("NEARCACHE_TEST_POSTGRES")
	if address == "" || database == "" {
		return errors.New("NEARCACHE_TEST_REDIS and NEARCACHE_TEST_POSTGRES are needed: make sizes starts both")
	}
	redis, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{address}, DisableCache: true})
	if err != nil {
		return err
	}
	defer redis.Close()
	w := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "value\trecord\tL1 heap\tL1 counted\tRedis\tRedis, key alone\t")
	for _, size := range []int{10, 100, 1_000, 10_000} {
		row, err := measureSize(ctx, redis, address, size, n)
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "%d\t%d\t%d\t%d\t%d\t%d\t\n", size, row.record, row.heap, row.counted, row.redis, row.key)
	}
	fmt.Fprintf(w, "\nbytes of each of %d records with keys of 8 bytes; L1 counted: as L1Bytes counts it\n", n)
	if err := w.Flush(); err != nil {
		return err
	}
	return measurePostgres(ctx, database, n)
}

// row is what a record costs, in bytes.
type row struct{ record, heap, counted, redis, key int64 }

func measureSize(ctx context.Context, redis rueidis.Client, address string, size, n int) (r row, err error) {
	prefix, reg := "sizing"+strconv.Itoa(size), prometheus.NewRegistry()
	client, err := nearcache.New(nearcache.Config{Redis: rueidis.ClientOption{InitAddress: []string{address}},
		Prefix: prefix, Registerer: reg, RedisTimeout: 10 * time.Second, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return r, err
	}
	defer client.Close()
	if err := client.Ready(ctx); err != nil {
		return r, err
	}
	value := func(k string) []byte { // of its own memory, as a decoded value is
		b := make([]byte, size)
		for i := range b {
			b[i] = 'a' + byte(i+len(k))%26
		}
		return b
	}
	cache, err := nearcache.NewCache(client, "size", nearcache.Options[string, []byte]{TTL: time.Hour, L1Bytes: 1 << 30,
		Codec: plain{}, LoadMany: func(_ context.Context, ks []string) (map[string]nearcache.Entry[[]byte], error) {
			m := make(map[string]nearcache.Entry[[]byte], len(ks))
			for _, k := range ks {
				m[k] = nearcache.Entry[[]byte]{Value: value(k), Version: 1}
			}
			return m, nil
		}})
	if err != nil {
		return r, err
	}
	keys := make([]string, n)
	for i := range keys {
		keys[i] = fmt.Sprintf("k%07d", i)
	}
	before, err := usedMemory(ctx, redis)
	if err != nil {
		return r, err
	}
	if err := readAll(ctx, cache, keys); err != nil { // Redis has them then, and L1 has none
		return r, err
	}
	after, err := usedMemory(ctx, redis)
	if err != nil {
		return r, err
	}
	record, raw, err := oneRecord(ctx, redis, prefix)
	if err != nil {
		return r, err
	}
	empty := countedBytes(reg)
	free := heap()
	if err := readAll(ctx, cache, keys); err != nil {
		return r, err
	}
	full := heap()
	held := countedBytes(reg) - empty
	runtime.KeepAlive(cache)
	return row{record: raw, heap: (full - free) / int64(n), counted: held / int64(n), redis: (after - before) / int64(n),
		key: record}, nil
}

// readAll reads in batches that Redis answers in time.
func readAll(ctx context.Context, cache *nearcache.Cache[string, []byte], keys []string) error {
	for batch := range slices.Chunk(keys, 200) {
		if _, err := cache.GetMany(ctx, batch); err != nil {
			return err
		}
	}
	return nil
}

// oneRecord is the memory that Redis says a record takes, and the length of the record.
func oneRecord(ctx context.Context, redis rueidis.Client, prefix string) (memory, length int64, err error) {
	for cursor := uint64(0); ; {
		page, err := redis.Do(ctx, redis.B().Scan().Cursor(cursor).Match(prefix+":*:v:size:*").Count(1000).Build()).
			AsScanEntry()
		if err != nil {
			return 0, 0, err
		}
		if len(page.Elements) > 0 {
			k := page.Elements[0]
			memory, err = redis.Do(ctx, redis.B().MemoryUsage().Key(k).Build()).AsInt64()
			if err != nil {
				return 0, 0, err
			}
			length, err = redis.Do(ctx, redis.B().Strlen().Key(k).Build()).AsInt64()
			return memory, length, err
		}
		if cursor = page.Cursor; cursor == 0 {
			return 0, 0, errors.New("redis has no record")
		}
	}
}

// usedMemory is what Redis has allocated. A lease is gone when its record is there.
func usedMemory(ctx context.Context, redis rueidis.Client) (int64, error) {
	info, err := redis.Do(ctx, redis.B().Info().Section("memory").Build()).ToString()
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(info) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), "used_memory:"); ok {
			return strconv.ParseInt(v, 10, 64)
		}
	}
	return 0, errors.New("INFO memory has no used_memory")
}

// countedBytes is what L1 holds, as its bound counts it.
func countedBytes(reg *prometheus.Registry) int64 {
	families, err := reg.Gather()
	if err != nil {
		return 0
	}
	for _, f := range families {
		if f.GetName() == "nearcache_l1_bytes" {
			return int64(f.GetMetric()[0].GetGauge().GetValue())
		}
	}
	return 0
}

// heap is what is alive.
func heap() int64 {
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// plain is the Codec of bytes as they are.
type plain struct{}

func (plain) Append(b []byte, v []byte) ([]byte, error) { return append(b, v...), nil }
func (plain) Decode(b []byte) ([]byte, error)           { return append([]byte(nil), b...), nil }

// measurePostgres says what a counted change costs.
func measurePostgres(ctx context.Context, url string, n int) error {
	pool, err := pgxpool.New(ctx, url)
	if err != nil {
		return err
	}
	defer pool.Close()
	src, err := postgres.New(pool, postgres.Config{Schema: "nearcache_sizing"})
	if err != nil {
		return err
	}
	defer src.Close()
	clean := `drop table if exists sizing; drop schema if exists nearcache_sizing cascade`
	if _, err := pool.Exec(ctx, clean); err != nil {
		return err
	}
	defer func() { _, _ = pool.Exec(context.WithoutCancel(ctx), clean) }()
	if err := src.Install(ctx); err != nil {
		return err
	}
	if _, err := pool.Exec(ctx, `create table sizing (id text primary key, name text)`); err != nil {
		return err
	}
	if err := src.InstallTrigger(ctx, postgres.Trigger{Table: "sizing", Namespace: "product",
		KeyColumns: []string{"id"}}); err != nil {
		return err
	}
	if _, err := pool.Exec(ctx, `insert into sizing select 'k' || lpad(g::text, 7, '0'), '' from generate_series(1, $1) g`,
		n); err != nil {
		return err
	}
	var outbox, versions int64
	err = pool.QueryRow(ctx, `select pg_total_relation_size('nearcache_sizing.outbox'),
		pg_total_relation_size('nearcache_sizing.versions')`).Scan(&outbox, &versions)
	if err != nil {
		return err
	}
	fmt.Printf("\nPostgres: %d bytes of the outbox for each change while it is kept, %d bytes of versions for each key, "+
		"indexes too\n", outbox/int64(n), versions/int64(n))
	return nil
}
