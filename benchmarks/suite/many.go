package suite

import (
	"context"
	"fmt"

	"github.com/nearcache/nearcache-go/benchmarks/measure"
	"github.com/nearcache/nearcache-go/benchmarks/peers"
)

// many reads several keys at once.
func many(ctx context.Context, e *Env) (*measure.Section, error) {
	s := &measure.Section{Title: "GetMany",
		Config: "8 goroutines, 10,000 keys, products of 150 bytes of JSON; an operation is one call"}
	d := products(10_000, smallValue)
	near, err := openFilled(ctx, e, peers.NearcacheKind[product](peers.Plain), "near", d)
	if err != nil {
		return nil, err
	}
	defer func() { _ = near.peer.Close(); _ = e.Flush(ctx) }()
	k := peers.NearcacheKind(peers.Plain, disableL1)
	k.NoL1 = true
	far, err := openFilled(ctx, e, k, "far", d)
	if err != nil {
		return nil, err
	}
	defer func() { _ = far.peer.Close() }()
	get, err := openFilled(ctx, e, mustKind[product]("Redis GET"), "get", d)
	if err != nil {
		return nil, err
	}
	defer func() { _ = get.peer.Close() }()
	batch := func(keys []string, from, n int) []string {
		at := from % (len(keys) - n)
		return keys[at : at+n]
	}
	calls := func(f func(from int) bool) func(_, from, n int) int {
		return func(_, from, n int) (ok int) {
			for i := range n {
				if f((from + i) * 7) {
					ok++
				}
			}
			return ok
		}
	}
	nearCache, farCache := near.peer.(*peers.Nearcache[product]).Cache, far.peer.(*peers.Nearcache[product]).Cache
	client := get.peer.(*peers.PlainRedis[product]).Client
	for _, n := range []int{1, 10, 100} {
		c, err := compareCPU(ctx, e.plan(8), fmt.Sprintf("%d keys in L1", n), []measure.Subject{
			{Name: fmt.Sprintf("%d Gets", n), MinHit: 0.999, Loop: calls(func(from int) bool {
				for _, k := range batch(near.keys, from, n) {
					if _, err := nearCache.Get(ctx, k); err != nil {
						return false
					}
				}
				return true
			})},
			{Name: "GetMany", MinHit: 0.999, Loop: calls(func(from int) bool {
				got, err := nearCache.GetMany(ctx, batch(near.keys, from, n))
				return err == nil && len(got) == n
			})},
		})
		if err != nil {
			return nil, err
		}
		s.Comparisons = append(s.Comparisons, c)
		if c, err = compareWall(ctx, e.plan(8), fmt.Sprintf("%d keys in L2", n), []measure.Subject{
			{Name: "MGET and decode", MinHit: 0.999, Loop: calls(func(from int) bool {
				all, err := client.Do(ctx, client.B().Mget().Key(batch(get.keys, from, n)...).Build()).AsStrSlice()
				for _, b := range all {
					if _, bad := (peers.JSON[product]{}).Decode([]byte(b)); bad != nil {
						return false
					}
				}
				return err == nil && len(all) == n
			})},
			{Name: "GetMany", MinHit: 0.999, Loop: calls(func(from int) bool {
				got, err := farCache.GetMany(ctx, batch(far.keys, from, n))
				return err == nil && len(got) == n
			})},
		}); err != nil {
			return nil, err
		}
		s.Comparisons = append(s.Comparisons, c)
	}
	return s, nil
}
