// Command relayrate measures how many changes a second pass from Postgres through a relay, a process of its own, to
// Redis and Kafka, and how late they are. It needs the addresses of real services, as `make services-env` prints them.
//
// Writers insert into the outbox what the trigger would insert, several changes to a transaction, at a rate that is
// given. Every 20 ms a change of a key that is in Redis is committed; it has arrived in Redis when the key is gone, and
// in Kafka when its event is read. Lag is from the commit's return.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/rueidis"

	"github.com/nearcache/nearcache-go/benchmarks/database"
)

func main() {
	relay := flag.String("relay", "", "path of the program outbox-relay")
	rates := flag.String("rates", "2000,10000,20000", "changes a second, one measurement for each")
	each := flag.Duration("for", 10*time.Second, "how long each measurement takes")
	b := bench{prefix: fmt.Sprintf("rate%d", os.Getpid())}
	flag.IntVar(&b.size, "changes", 20, "changes in a transaction")
	flag.IntVar(&b.writers, "writers", 8, "writers at the same time")
	flag.BoolVar(&b.notify, "notify", false, "each transaction wakes the relay, as the trigger does")
	flag.Parse()
	if err := b.run(context.Background(), *relay, strings.Split(*rates, ","), *each); err != nil {
		fmt.Fprintln(os.Stderr, "relayrate:", err)
		os.Exit(1)
	}
}

// bench is what the measurements share.
type bench struct {
	pool   *pgxpool.Pool
	redis  rueidis.Client
	kafka  *arrivals
	prefix string
	relay  int // the relay's process
	marker atomic.Int64

	size, writers int
	notify        bool
}

func (b *bench) run(ctx context.Context, relay string, rates []string, each time.Duration) error {
	path, err := filepath.Abs(relay)
	if err != nil || relay == "" {
		return errors.Join(err, errors.New("-relay is required"))
	}
	address, drop, err := database.Create(ctx, os.Getenv("DATABASE_URL"), b.prefix)
	if err != nil {
		return err
	}
	defer drop()
	cfg, err := pgxpool.ParseConfig(address)
	if err != nil {
		return err
	}
	cfg.MaxConns = int32(b.writers + 16) // a marker does not wait for a writer's connection
	if b.pool, err = pgxpool.NewWithConfig(ctx, cfg); err != nil {
		return err
	}
	defer b.pool.Close()
	opt, err := rueidis.ParseURL(os.Getenv("REDIS_URL"))
	if err != nil {
		return err
	}
	if b.redis, err = rueidis.NewClient(opt); err != nil {
		return err
	}
	defer b.redis.Close()
	cmd := exec.Command(path)
	cmd.Env = append(os.Environ(), "DATABASE_URL="+address, "REDIS_PREFIX="+b.prefix, "KAFKA_PRODUCT_TOPIC="+b.prefix,
		"LISTEN_ADDR=127.0.0.1:0")
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return err
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	b.relay = cmd.Process.Pid
	if b.kafka, err = follow(ctx, strings.Split(os.Getenv("KAFKA_BOOTSTRAP_SERVERS"), ","), b.prefix); err != nil {
		return err
	}
	defer b.kafka.close()
	if _, err := b.arrive(ctx); err != nil { // the relay works
		return err
	}
	fmt.Println("wanted/s  written/s  redis lag p50, p99, max  kafka lag p50, p99, max  " +
		"processors: all, relay, Redis, this program")
	for _, r := range rates {
		rate, err := strconv.Atoi(strings.TrimSpace(r))
		if err != nil {
			return err
		}
		if err := b.measure(ctx, rate, each); err != nil {
			return err
		}
	}
	return nil
}

// measure writes at a rate, and prints one line.
func (b *bench) measure(ctx context.Context, rate int, each time.Duration) error {
	before := b.processors(ctx)
	start := time.Now()
	work, stop := context.WithTimeout(ctx, each)
	defer stop()
	var written atomic.Int64
	var wg sync.WaitGroup
	var mu sync.Mutex
	var lags []lag
	var failed error
	for w := range b.writers {
		wg.Go(func() {
			err := b.write(work, float64(rate)/float64(b.writers), w, &written)
			mu.Lock()
			defer mu.Unlock()
			failed = errors.Join(failed, err)
		})
	}
	wg.Go(func() { // a marker does not wait for the one before: when changes are late there are as many of them
		for work.Err() == nil {
			wg.Go(func() {
				l, err := b.arrive(ctx)
				mu.Lock()
				defer mu.Unlock()
				if failed = errors.Join(failed, err); err == nil {
					lags = append(lags, l)
				}
			})
			pause(work, 20*time.Millisecond)
		}
	})
	<-work.Done()
	took := time.Since(start).Seconds()
	after := b.processors(ctx)
	wg.Wait()
	if failed != nil {
		return failed
	}
	part := func(i int) float64 { return (after[i] - before[i]) / took }
	redis, kafka := split(lags)
	fmt.Printf("%8d  %9.0f  %s  %s  %.2f, %.2f, %.2f, %.2f  (%d markers)\n", rate, float64(written.Load())/took,
		redis, kafka, part(0), part(1), part(2), part(3), len(lags))
	return nil
}

// write commits transactions at a rate of changes a second, until ctx ends.
func (b *bench) write(ctx context.Context, rate float64, writer int, written *atomic.Int64) error {
	start := time.Now()
	for n := 0; ctx.Err() == nil; n++ {
		pause(ctx, time.Until(start.Add(time.Duration(float64(n*b.size)/rate*float64(time.Second)))))
		_, err := b.pool.Exec(ctx, b.waking(`insert into nearcache.outbox (namespace, key, version, op)
			select 'product', 'w' || $1::int || '-' || (($2::int * $3::int + g) % 100000), $2::int + 1, 'updated'
			from generate_series(1, $3::int) g`), writer, n, b.size)
		if err != nil && ctx.Err() == nil {
			return err
		}
		if err == nil {
			written.Add(int64(b.size))
		}
	}
	return nil
}

// waking adds to a statement what wakes the relay.
func (b *bench) waking(insert string) string {
	if !b.notify {
		return insert
	}
	return "with written as (" + insert + ") select nearcache.notify()"
}

func pause(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
