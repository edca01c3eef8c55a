package suite

import (
	"context"
	"fmt"

	"github.com/nearcache/nearcache-go/benchmarks/measure"
	"github.com/nearcache/nearcache-go/benchmarks/peers"
)

// l2Hit reads Redis: the library's GET, its checks and decode, against a bare GET and decode.
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
	far := peers.NearcacheKind(peers.Plain, disableL1)
	far.NoL1 = true
	near, err := openFilled(ctx, e, far, "nearcache", d)
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
		if more := near.src.Loads.Load() - loads; more > c.Series[1].Ops/1000 {
			return nil, fmt.Errorf("suite: %d of %d reads of L2 went to the source", more, c.Series[1].Ops)
		}
		s.Comparisons = append(s.Comparisons, c)
		meds = append(meds, c.Ratio("nearcache").Median)
	}
	s.Figures["l2"], s.Figures["l2_worst"] = measure.Of(meds).Median, measure.Of(meds).Max
	return s, nil
}
