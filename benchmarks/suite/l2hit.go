package suite

import (
	"context"
	"fmt"

	"github.com/nearcache/nearcache-go/benchmarks/measure"
	"github.com/nearcache/nearcache-go/benchmarks/peers"
	"github.com/nearcache/nearcache-go/nearcache"
)

// l2Hit compares a hit in L2 (the library's GET, its checks and decoding) with a bare GET and the same decoding.
func l2Hit(ctx context.Context, e *Env) (*measure.Section, error) {
	s := &measure.Section{Title: "A hit in L2",
		Config:  "10,000 keys, products of 150 bytes of JSON, L1 switched off; the base is rueidis GET and the same decoding",
		Figures: map[string]float64{}}
	d := products(10_000, smallValue)
	get, err := openFilled(ctx, e, mustKind[product]("Redis GET"), "Redis GET", d)
	if err != nil {
		return nil, err
	}
	defer func() { _ = get.peer.Close() }()
	near, err := openFilled(ctx, e, nearcacheWithoutL1(), "nearcache", d)
	if err != nil {
		return nil, err
	}
	defer func() { _ = near.peer.Close(); _ = e.Flush(ctx) }()
	var meds []float64
	for _, workers := range e.pick([]int{1, 8, 64}, []int{8}) {
		a, b := get.subject(ctx), near.subject(ctx)
		b.L1Hits = nil
		loads := near.src.Loads.Load()
		c, err := compareWall(ctx, e.plan(workers), fmt.Sprintf("%d goroutines", workers), []measure.Subject{a, b})
		if err != nil {
			return nil, err
		}
		if err := requireL2Hits(near, loads, c.Series[1].Ops); err != nil {
			return nil, err
		}
		s.Comparisons = append(s.Comparisons, c)
		meds = append(meds, c.Ratio("nearcache").Median)
	}
	s.Figures["l2"], s.Figures["l2_worst"] = measure.Of(meds).Median, measure.Of(meds).Max
	return s, nil
}

// nearcacheWithoutL1 is the near cache with L1 switched off, so that every read goes to Redis.
func nearcacheWithoutL1() peers.Kind[product] {
	k := peers.NearcacheKind(peers.Plain, func(o *nearcache.Options[string, product]) { o.L1Bytes = -1 })
	k.NoL1 = true
	return k
}

// requireL2Hits returns an error if over a thousandth of the reads went to the source.
func requireL2Hits(f *fixture[product], loadsBefore, reads int64) error {
	if n := f.src.Loads.Load() - loadsBefore; n > reads/1000 {
		return fmt.Errorf("suite: %d of %d reads of L2 went to the source", n, reads)
	}
	return nil
}
