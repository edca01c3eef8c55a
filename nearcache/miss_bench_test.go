package nearcache_test

import (
	"context"
	"fmt"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/nearcache/nearcache-go/internal/services/servicestest"
	"github.com/nearcache/nearcache-go/nearcache"
)

// BenchmarkMiss compares a miss of both tiers with the least that cache-aside does: a GET that finds nothing and a SET.
// Every read asks for a new key of a real Redis, and the Loader answers at once, so the difference is the cost of the
// protocol (lease, fill and L1). cpu-ns is the processor time of this process, redis-ns that of Redis.
//
// It uses nothing but newClient, newCache and Get, so that it also compiles in older trees (`make bench-compare`).
func BenchmarkMiss(b *testing.B) {
	p := servicestest.StartRedis(b)
	opt := rueidis.ClientOption{InitAddress: []string{p.Addr}}
	value := fmt.Sprintf("%0150d", 7)
	bare := rueidis.ClientOption{InitAddress: opt.InitAddress, DisableCache: true}
	c, err := rueidis.NewClient(bare)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	client := newClient(b, nearcache.Config{Redis: opt})
	if err := client.Ready(context.Background()); err != nil {
		b.Fatal(err)
	}
	var loads, keys atomic.Int64
	cache := newCache(b, client, nearcache.Options[string, string]{
		Load: func(context.Context, string) (nearcache.Entry[string], error) {
			loads.Add(1)
			return nearcache.Entry[string]{Value: value, Version: 1}, nil
		},
	})
	ctx, cancel := context.WithCancel(context.Background()) // a request's context can be cancelled
	defer cancel()
	subjects := map[string]func(key string) error{
		"bare": func(key string) error {
			loads.Add(1)
			if err := c.Do(ctx, c.B().Get().Key(key).Build()).Error(); !rueidis.IsRedisNil(err) {
				return fmt.Errorf("GET of a new key: got error %w, want no such key", err)
			}
			return c.Do(ctx, c.B().Set().Key(key).Value(value).Px(time.Hour).Build()).Error()
		},
		"nearcache": func(key string) error {
			got, err := cache.Get(ctx, key)
			if err == nil && got != value {
				err = fmt.Errorf("got %q, want %q", got, value)
			}
			return err
		},
	}
	for _, goroutines := range []int{1, 8} {
		for _, name := range []string{"bare", "nearcache"} {
			b.Run(fmt.Sprintf("%s/goroutines=%d", name, goroutines), func(b *testing.B) {
				p.Do("FLUSHALL")
				loaded, redis, self := loads.Load(), redisTime(b, p), ownTime()
				missNewKeys(b, goroutines, &keys, subjects[name])
				b.ReportMetric(float64(ownTime()-self)/float64(b.N), "cpu-ns/op")
				b.ReportMetric(float64(redisTime(b, p)-redis)/float64(b.N), "redis-ns/op")
				if n := loads.Load() - loaded; n != int64(b.N) {
					b.Errorf("got %d loads of %d new keys, want one for each", n, b.N)
				}
			})
		}
	}
}

// missNewKeys reads a new key in each iteration. SetParallelism counts in multiples of the cores; the machine of the
// published figures has two.
func missNewKeys(b *testing.B, goroutines int, keys *atomic.Int64, read func(key string) error) {
	next := func() string { return "miss-" + strconv.FormatInt(keys.Add(1), 10) }
	b.ReportAllocs()
	b.ResetTimer()
	defer b.StopTimer()
	if goroutines == 1 {
		for range b.N {
			if err := read(next()); err != nil {
				b.Fatal(err)
			}
		}
		return
	}
	b.SetParallelism(goroutines / 2)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := read(next()); err != nil {
				b.Error(err)
				return
			}
		}
	})
}
