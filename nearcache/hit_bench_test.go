package nearcache_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dgraph-io/ristretto/v2"

	"github.com/nearcache/nearcache-go/coherence/relay"
	"github.com/nearcache/nearcache-go/nearcache"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
)

// BenchmarkHit compares a hit in L1 with a Get of a bare ristretto cache of the same keys, in the same run. The ratio
// is what counts; docs/internals/architecture.md says how to read it.
func BenchmarkHit(b *testing.B) {
	for _, n := range []int{100, 10_000} {
		b.Run(fmt.Sprintf("keys=%d", n), func(b *testing.B) { benchmarkHit(b, n) })
	}
}

func benchmarkHit(b *testing.B, n int) {
	keys, asked := make([]string, n), make([]string, n)
	for i := range keys {
		keys[i] = fmt.Sprintf("key-%06d", i)
		asked[i] = strings.Clone(keys[i]) // who asks has not the string that filled the cache
	}
	b.Run("ristretto", func(b *testing.B) {
		c, err := ristretto.NewCache(&ristretto.Config[string, *string]{NumCounters: int64(10 * n),
			MaxCost: 1 << 30, BufferItems: 64})
		if err != nil {
			b.Fatal(err)
		}
		defer c.Close()
		for _, k := range keys {
			v := "value of " + k
			for !c.Set(k, &v, 1) {
				c.Wait()
			}
		}
		c.Wait()
		measure(b, asked, func(k string) bool { _, ok := c.Get(k); return ok })
	})
	src := &commits{source: newSource()}
	for _, k := range keys {
		src.write(k, "value of "+k)
	}
	client, err := nearcache.New(nearcache.Config{Redis: nearcachetest.NewRedis(b).ClientOption(), Source: src})
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close()
	ctx, stop := context.WithCancel(context.Background())
	var carrying sync.WaitGroup
	carrying.Go(func() { _ = relay.Relay{Source: src, L2: client.L2()}.Run(ctx) })
	defer carrying.Wait()
	defer stop()
	if err := client.Ready(ctx); err != nil {
		b.Fatal(err)
	}
	cache, err := nearcache.NewCache(client, "t", nearcache.Options[string, string]{Load: src.load})
	if err != nil {
		b.Fatal(err)
	}
	for range 4 { // load, fill, admit
		for _, k := range keys {
			if _, err := cache.Get(ctx, k); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.Run("nearcache", func(b *testing.B) {
		measure(b, asked, func(k string) bool { _, err := cache.Get(ctx, k); return err == nil })
	})
	b.Run("nearcache within a bound", func(b *testing.B) {
		ro := nearcache.ReadOptions{MaxStaleness: time.Second}
		measure(b, asked, func(k string) bool { _, err := cache.Read(ctx, k, ro); return err == nil })
	})
	within, err := nearcache.NewCache(client, "u",
		nearcache.Options[string, string]{Load: src.load, MaxStaleness: time.Second})
	if err != nil {
		b.Fatal(err)
	}
	for range 4 {
		for _, k := range keys {
			if _, err := within.Get(ctx, k); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.Run("nearcache with MaxStaleness", func(b *testing.B) {
		measure(b, asked, func(k string) bool { _, err := within.Get(ctx, k); return err == nil })
	})
}

func measure(b *testing.B, keys []string, get func(string) bool) {
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		i := rand.IntN(len(keys))
		for pb.Next() {
			if !get(keys[i]) {
				b.Error("a miss")
				return
			}
			if i++; i == len(keys) {
				i = 0
			}
		}
	})
}
