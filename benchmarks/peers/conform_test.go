package peers_test

import (
	"context"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/nearcache/nearcache-go/benchmarks/peers"
	"github.com/nearcache/nearcache-go/internal/services/servicestest"
)

func TestPeers_Conform(t *testing.T) {
	t.Run("raw", func(t *testing.T) {
		conform[string](t, peers.Raw{}, func(i int) string { return string(rune('a' + i)) })
	})
	t.Run("decoded", func(t *testing.T) {
		conform[peers.Product](t, peers.JSON[peers.Product]{},
			func(i int) peers.Product { return peers.NewProduct(i, 200) })
	})
}

func conform[V comparable](t *testing.T, codec peers.Codec[V], value func(int) V) {
	redis := servicestest.StartRedis(t)
	foreign, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{redis.Addr}, DisableCache: true})
	if err != nil {
		t.Fatal(err)
	}
	defer foreign.Close()
	for _, kind := range peers.Kinds[V]() {
		t.Run(kind.Name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			prefix := servicestest.Unique("p")
			src := peers.NewMemory[V]()
			w := peers.Config[V]{Redis: redis.Addr, Source: src, Codec: codec, Prefix: prefix, Entries: 1000,
				Bytes: 1 << 20, TTL: time.Minute,
				Commits: src, Relay: true}
			a, err := kind.Open(ctx, w)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = a.Close() }()
			w.Relay = false
			b, err := kind.Open(ctx, w)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = b.Close() }()
			f, err := peers.Conform(ctx, a, b, src, foreign, prefix, value)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%+v", f)
			keys := []string{prefix + "loop"}
			if err := a.Write(ctx, keys[0], value(9)); err != nil {
				t.Fatal(err)
			}
			// Some caches admit entries in the background, and some drop an entry at the echo of their own write.
			hits, deadline := 0, time.Now().Add(10*time.Second)
			for hits < 90 && time.Now().Before(deadline) {
				if _, err := a.Get(ctx, keys[0]); err != nil {
					t.Fatal(err)
				}
				hits = a.Loop(ctx, keys, 0, 100)
			}
			if hits < 90 {
				t.Errorf("got %d hits of 100 in Loop, want at least 90", hits)
			}
		})
	}
}
