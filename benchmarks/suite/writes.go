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

// writes are a Set and an Invalidate, and the latter beside an L1 that grows.
func writes(ctx context.Context, e *Env) (*measure.Section, error) {
	s := &measure.Section{Title: "Writes",
		Config:  "8 goroutines, 10,000 keys, products of 150 bytes of JSON, versions that rise",
		Figures: map[string]float64{}}
	near, err := openFilled(ctx, e, peers.NearcacheKind[product](peers.Plain), "nearcache",
		products(10_000, smallValue))
	if err != nil {
		return nil, err
	}
	defer func() { _ = near.peer.Close(); _ = e.Flush(ctx) }()
	cache, v := near.peer.(*peers.Nearcache[product]).Cache, peers.NewProduct(7, smallValue)
	bytes := rueidis.BinaryString(encode(v))
	var version atomic.Uint64
	version.Store(10)
	did := func(f func(key string) error) func(_, from, n int) int {
		return func(_, from, n int) (ok int) {
			for i := range n {
				if f(near.keys[(from+i)%len(near.keys)]) == nil {
					ok++
				}
			}
			return ok
		}
	}
	c, err := compareWall(ctx, e.plan(8), "Set", []measure.Subject{
		{Name: "Redis SET", MinHit: 0.999, Loop: did(func(k string) error {
			return e.foreign.Do(ctx, e.foreign.B().Set().Key(k).Value(bytes).Px(time.Hour).Build()).Error()
		})},
		{Name: "nearcache Set", MinHit: 0.999, Loop: did(func(k string) error {
			return cache.Set(ctx, k, nearcache.Entry[product]{Value: v, Version: nearcache.Version(version.Add(1))})
		})},
	})
	if err != nil {
		return nil, err
	}
	s.Comparisons = append(s.Comparisons, c)
	subjects := []measure.Subject{{Name: "Redis DEL", MinHit: 0.999, Loop: did(func(k string) error {
		return e.foreign.Do(ctx, e.foreign.B().Del().Key(k).Build()).Error()
	})}}
	sizes := e.pick([]int{1_000, 100_000, 1_000_000}, []int{1_000, 100_000})
	var one float64 // bytes that an entry takes
	for _, n := range sizes {
		st, err := e.openHolding(ctx, n, one)
		if err != nil {
			return nil, err
		}
		if one == 0 {
			one = st.peer.(*peers.Nearcache[product]).Metric("nearcache_l1_bytes") / float64(n)
		}
		defer func() { _ = st.peer.Close() }()
		cache := st.peer.(*peers.Nearcache[product]).Cache
		subjects = append(subjects, measure.Subject{Name: st.name, MinHit: 0.999, Loop: func(_, from, n int) (ok int) {
			for i := range n {
				if cache.Invalidate(ctx, st.keys[(from+i)%1000], nearcache.Version(version.Add(1))) == nil {
					ok++
				}
			}
			return ok
		}})
	}
	if c, err = compareWall(ctx, e.plan(8), "Invalidate, by the size of L1", subjects); err != nil {
		return nil, err
	}
	s.Comparisons = append(s.Comparisons, c)
	grown := c
	grown.Base = subjects[1].Name
	s.Figures["invalidate_growth"] = grown.Ratio(subjects[len(subjects)-1].Name).Median
	return s, nil
}

// holding is a near cache with n entries in L1, by the bytes that L1 says it holds where it is known what one takes. Hits
// would say less: of a million keys that are filled one after the other, most entries are in L1 and are not served, since
// the fills of others have passed their slots' journals.
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
	for range 3 { // what was declined the first time
		if err = s.readAll(ctx); err != nil {
			break
		}
		if holds = s.peer.(*peers.Nearcache[product]).Metric("nearcache_l1_bytes") / bytes; holds >= 0.99*float64(n) {
			return s, nil
		}
	}
	if err == nil {
		err = fmt.Errorf("suite: L1 holds %.0f of %d entries", holds, n)
	}
	return nil, errors.Join(fmt.Errorf("%s: %w", name, err), s.peer.Close())
}
