package suite

import (
	"context"

	"github.com/dgraph-io/ristretto/v2"
	"github.com/redis/rueidis"

	"github.com/nearcache/nearcache-go/benchmarks/measure"
	"github.com/nearcache/nearcache-go/benchmarks/peers"
	"github.com/nearcache/nearcache-go/nearcache"
)

// integers compares caches that are keyed by integers.
func compareIntegerKeys(ctx context.Context, e *Env) (c measure.Comparison, err error) {
	const n = 10_000
	addr, err := e.Redis(ctx)
	if err != nil {
		return c, err
	}
	client, err := nearcache.New(nearcache.Config{Redis: rueidis.ClientOption{InitAddress: []string{addr}},
		Prefix: "integers"})
	if err != nil {
		return c, err
	}
	defer client.Close()
	if err := client.Ready(ctx); err != nil {
		return c, err
	}
	cache, err := nearcache.For(client, "i", nearcache.Options[int64,
		product]{Load: nearcache.Unversioned(func(_ context.Context, k int64) (product, error) {
		return peers.NewProduct(int(k), smallValue), nil
	})})
	if err != nil {
		return c, err
	}
	bare, err := ristretto.NewCache(&ristretto.Config[int64, *product]{NumCounters: 10 * n, MaxCost: 2 * n,
		BufferItems: 64, IgnoreInternalCost: true})
	if err != nil {
		return c, err
	}
	defer bare.Close()
	for i := range int64(n) {
		p := peers.NewProduct(int(i), smallValue)
		for !bare.Set(i, &p, 1) {
			bare.Wait()
		}
	}
	bare.Wait()
	near := func(_, from, count int) (hits int) {
		i := int64(from % n)
		for range count {
			if _, err := cache.Get(ctx, i); err == nil {
				hits++
			}
			if i++; i == n {
				i = 0
			}
		}
		return hits
	}
	for range 5 {
		near(0, 0, n)
	}
	return compareCPU(ctx, e.plan(8), "integer keys, values of 150 bytes", []measure.Subject{
		{Name: "ristretto", MinHit: 0.995, Loop: func(_, from, count int) (hits int) {
			i := int64(from % n)
			for range count {
				if _, ok := bare.Get(i); ok {
					hits++
				}
				if i++; i == n {
					i = 0
				}
			}
			return hits
		}},
		{Name: "nearcache", MinHit: 0.995, Loop: near},
	})
}
