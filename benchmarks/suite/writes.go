package suite

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/nearcache/nearcache-go/benchmarks/measure"
	"github.com/nearcache/nearcache-go/benchmarks/peers"
	"github.com/nearcache/nearcache-go/nearcache"
)

// writes measures Set and Invalidate, and Invalidate beside an L1 that grows.
func writes(ctx context.Context, e *Env) (*measure.Section, error) {
	s := &measure.Section{Title: "Writes", Figures: map[string]float64{},
		Config: "8 goroutines, 10,000 keys, products of 150 bytes of JSON, rising versions"}
	kind := peers.NearcacheKind[product](peers.Plain)
	near, err := openFilled(ctx, e, kind, "nearcache", products(10_000, smallValue))
	if err != nil {
		return nil, err
	}
	defer func() { _ = near.peer.Close(); _ = e.Flush(ctx) }()
	var version atomic.Uint64
	version.Store(10)
	c, err := e.compareSet(ctx, near, &version)
	if err != nil {
		return nil, err
	}
	s.Comparisons = append(s.Comparisons, c)
	if c, err = e.compareInvalidate(ctx, near.keys, &version); err != nil {
		return nil, err
	}
	s.Comparisons = append(s.Comparisons, c)
	grown := c
	grown.Base = c.Series[1].Name // the smallest L1
	s.Figures["invalidate_growth"] = grown.Ratio(c.Series[len(c.Series)-1].Name).Median
	return s, nil
}

// perKey makes a loop of a function of one key.
func perKey(keys []string, f func(key string) error) func(_, from, n int) int {
	return func(_, from, n int) (ok int) {
		for i := range n {
			if f(keys[(from+i)%len(keys)]) == nil {
				ok++
			}
		}
		return ok
	}
}

func (e *Env) compareSet(ctx context.Context, near *fixture[product], version *atomic.Uint64) (measure.Comparison,
	error) {
	cache, v := near.peer.(*peers.Nearcache[product]).Cache, peers.NewProduct(7, smallValue)
	bytes := rueidis.BinaryString(encode(v))
	return compareWall(ctx, e.plan(8), "Set", []measure.Subject{
		{Name: "Redis SET", MinHit: 0.999, Loop: perKey(near.keys, func(k string) error {
			return e.foreign.Do(ctx, e.foreign.B().Set().Key(k).Value(bytes).Px(time.Hour).Build()).Error()
		})},
		{Name: "nearcache Set", MinHit: 0.999, Loop: perKey(near.keys, func(k string) error {
			return cache.Set(ctx, k, nearcache.Entry[product]{Value: v, Version: nearcache.Version(version.Add(1))})
		})},
	})
}

// compareInvalidate compares Invalidate beside small and large L1 tiers, and DEL.
func (e *Env) compareInvalidate(ctx context.Context, keys []string, version *atomic.Uint64) (c measure.Comparison,
	err error) {
	subjects := []measure.Subject{{Name: "Redis DEL", MinHit: 0.999, Loop: perKey(keys, func(k string) error {
		return e.foreign.Do(ctx, e.foreign.B().Del().Key(k).Build()).Error()
	})}}
	var entryBytes float64
	for _, n := range e.pick([]int{1_000, 100_000, 1_000_000}, []int{1_000, 100_000}) {
		f, err := e.openHolding(ctx, n, entryBytes)
		if err != nil {
			return c, err
		}
		defer func() { _ = f.peer.Close() }()
		peer := f.peer.(*peers.Nearcache[product])
		if entryBytes == 0 {
			entryBytes = peer.EntryBytes() / float64(n)
		}
		subjects = append(subjects, measure.Subject{Name: f.name, MinHit: 0.999,
			Loop: perKey(f.keys[:1000], func(k string) error {
				return peer.Cache.Invalidate(ctx, k, nearcache.Version(version.Add(1)))
			})})
	}
	return compareWall(ctx, e.plan(8), "Invalidate, by the size of L1", subjects)
}

// openHolding opens a near cache with n entries in L1. If the size of an entry is known, the entries are counted by the
// bytes that L1 reports, and not by hits: after a million fills in a row L1 holds entries that it does not serve,
// because later fills have run over the journals of their slots.
func (e *Env) openHolding(ctx context.Context, n int, bytes float64) (*fixture[product], error) {
	kind, name, d := peers.NearcacheKind[product](peers.Plain), fmt.Sprintf("Invalidate, %d entries in L1", n),
		products(n, smallValue)
	if bytes == 0 {
		return openFilled(ctx, e, kind, name, d)
	}
	s, err := openUnfilled(ctx, e, kind, name, d)
	if err != nil {
		return nil, err
	}
	var holds float64
	for range 3 { // ristretto may decline an entry at first
		if err = s.readAll(ctx); err != nil {
			break
		}
		if holds = s.peer.(*peers.Nearcache[product]).EntryBytes() / bytes; holds >= 0.99*float64(n) {
			return s, nil
		}
	}
	if err == nil {
		err = fmt.Errorf("suite: L1 holds %.0f of %d entries", holds, n)
	}
	return nil, errors.Join(fmt.Errorf("%s: %w", name, err), s.peer.Close())
}
