package suite

import (
	"context"
	"fmt"

	"github.com/nearcache/nearcache-go/benchmarks/measure"
	"github.com/nearcache/nearcache-go/benchmarks/peers"
)

// many measures GetMany, in L1 against as many Gets, and in L2 against MGET.
func many(ctx context.Context, e *Env) (*measure.Section, error) {
	s := &measure.Section{Title: "GetMany",
		Config: "8 goroutines, 10,000 keys, products of 150 bytes of JSON; an operation is one call"}
	d := products(10_000, smallValue)
	inL1, err := openFilled(ctx, e, peers.NearcacheKind[product](peers.Plain), "near", d)
	if err != nil {
		return nil, err
	}
	defer func() { _ = inL1.peer.Close(); _ = e.Flush(ctx) }()
	inL2, err := openFilled(ctx, e, nearcacheWithoutL1(), "far", d)
	if err != nil {
		return nil, err
	}
	defer func() { _ = inL2.peer.Close() }()
	get, err := openFilled(ctx, e, mustKind[product]("Redis GET"), "get", d)
	if err != nil {
		return nil, err
	}
	defer func() { _ = get.peer.Close() }()
	for _, n := range []int{1, 10, 100} {
		c, err := compareCPU(ctx, e.plan(8), fmt.Sprintf("%d keys in L1", n), []measure.Subject{
			{Name: fmt.Sprintf("%d Gets", n), MinHit: 0.999, Loop: perBatch(inL1.keys, n, getEach(ctx, inL1))},
			{Name: "GetMany", MinHit: 0.999, Loop: perBatch(inL1.keys, n, getMany(ctx, inL1))},
		})
		if err != nil {
			return nil, err
		}
		s.Comparisons = append(s.Comparisons, c)
		if c, err = compareWall(ctx, e.plan(8), fmt.Sprintf("%d keys in L2", n), []measure.Subject{
			{Name: "MGET and decode", MinHit: 0.999, Loop: perBatch(get.keys, n, mget(ctx, get))},
			{Name: "GetMany", MinHit: 0.999, Loop: perBatch(inL2.keys, n, getMany(ctx, inL2))},
		}); err != nil {
			return nil, err
		}
		s.Comparisons = append(s.Comparisons, c)
	}
	return s, nil
}

// perBatch makes a loop of a function of n keys. Batches begin at every seventh key.
func perBatch(keys []string, n int, f func(batch []string) bool) func(_, from, n int) int {
	return func(_, from, count int) (ok int) {
		for i := range count {
			at := (from + i) * 7 % (len(keys) - n)
			if f(keys[at : at+n]) {
				ok++
			}
		}
		return ok
	}
}

func getEach(ctx context.Context, f *fixture[product]) func([]string) bool {
	cache := f.peer.(*peers.Nearcache[product]).Cache
	return func(batch []string) bool {
		for _, k := range batch {
			if _, err := cache.Get(ctx, k); err != nil {
				return false
			}
		}
		return true
	}
}

func getMany(ctx context.Context, f *fixture[product]) func([]string) bool {
	cache := f.peer.(*peers.Nearcache[product]).Cache
	return func(batch []string) bool {
		got, err := cache.GetMany(ctx, batch)
		return err == nil && len(got) == len(batch)
	}
}

func mget(ctx context.Context, f *fixture[product]) func([]string) bool {
	client := f.peer.(*peers.PlainRedis[product]).Client
	return func(batch []string) bool {
		all, err := client.Do(ctx, client.B().Mget().Key(batch...).Build()).AsStrSlice()
		for _, b := range all {
			if _, bad := (peers.JSON[product]{}).Decode([]byte(b)); bad != nil {
				return false
			}
		}
		return err == nil && len(all) == len(batch)
	}
}
