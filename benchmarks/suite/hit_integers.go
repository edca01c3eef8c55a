package suite

import (
	"context"

	"github.com/dgraph-io/ristretto/v2"
	"github.com/redis/rueidis"

	"github.com/nearcache/nearcache-go/benchmarks/measure"
	"github.com/nearcache/nearcache-go/benchmarks/peers"
	"github.com/nearcache/nearcache-go/nearcache"
)

const integerKeys = 10_000

// compareIntegerKeys compares a near cache and a bare ristretto with integer keys.
func compareIntegerKeys(ctx context.Context, e *Env) (c measure.Comparison, err error) {
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
	load := func(_ context.Context, k int64) (product, error) { return peers.NewProduct(int(k), smallValue), nil }
	cache, err := nearcache.NewCache(client, "i", nearcache.Options[int64, product]{Find: load})
	if err != nil {
		return c, err
	}
	bare, err := filledRistretto()
	if err != nil {
		return c, err
	}
	defer bare.Close()
	near := func(_, from, count int) (hits int) {
		i := int64(from % integerKeys)
		for range count {
			if _, err := cache.Get(ctx, i); err == nil {
				hits++
			}
			if i++; i == integerKeys {
				i = 0
			}
		}
		return hits
	}
	for range 5 { // load, fill, and enter L1
		near(0, 0, integerKeys)
	}
	return compareCPU(ctx, e.plan(8), "integer keys, values of 150 bytes", []measure.Subject{
		{Name: "ristretto", MinHit: 0.995, Loop: func(_, from, count int) (hits int) {
			i := int64(from % integerKeys)
			for range count {
				if _, ok := bare.Get(i); ok {
					hits++
				}
				if i++; i == integerKeys {
					i = 0
				}
			}
			return hits
		}},
		{Name: "nearcache", MinHit: 0.995, Loop: near},
	})
}

// filledRistretto holds the products by integer keys.
func filledRistretto() (*ristretto.Cache[int64, *product], error) {
	bare, err := ristretto.NewCache(&ristretto.Config[int64, *product]{NumCounters: 10 * integerKeys,
		MaxCost: 2 * integerKeys, BufferItems: 64, IgnoreInternalCost: true})
	if err != nil {
		return nil, err
	}
	for i := range int64(integerKeys) {
		p := peers.NewProduct(int(i), smallValue)
		for !bare.Set(i, &p, 1) {
			bare.Wait()
		}
	}
	bare.Wait()
	return bare, nil
}
