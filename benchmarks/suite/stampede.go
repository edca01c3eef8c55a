package suite

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/nearcache/nearcache-go/benchmarks/measure"
	"github.com/nearcache/nearcache-go/benchmarks/peers"
)

// stampede has every goroutine of every instance ask for the same cold key at once.
func stampede(ctx context.Context, e *Env) (*measure.Section, error) {
	instances, goroutines := 4, 32
	rounds := e.pick([]int{20}, []int{5})[0]
	s := &measure.Section{Title: "Stampede", Figures: map[string]float64{},
		Config: fmt.Sprintf("%d instances x %d goroutines ask for one cold key at once, a source that takes 50 ms, %d keys one after the other", instances, goroutines, rounds)}
	t := measure.Table{Title: "Loads of a cold key", Columns: []string{"", "loads per key", "at most", "slowest answer, median", "max"}}
	addr, err := e.Redis(ctx)
	if err != nil {
		return nil, err
	}
	for _, k := range peers.Kinds[product]() {
		src, prefix := peers.NewMemory[product](), fmt.Sprintf("s%d", e.names.Add(1))
		src.Delay = 50 * time.Millisecond
		var all []peers.Peer[product]
		for i := range instances {
			p, err := k.Open(ctx, peers.World[product]{Redis: addr, Source: src, Codec: peers.JSON[product]{}, Prefix: prefix, Entries: 1000, Bytes: 1 << 20, TTL: time.Minute,
				Commits: src, Relay: i == 0})
			if err != nil {
				return nil, fmt.Errorf("%s: %w", k.Name, err)
			}
			all = append(all, p)
		}
		var loads, slowest []float64
		for r := range rounds {
			key := fmt.Sprintf("%s-%d", prefix, r)
			src.Seed(key, peers.NewProduct(r, smallValue))
			before := src.Loads.Load()
			gate := make(chan struct{})
			var wg sync.WaitGroup
			var mu sync.Mutex
			var worst time.Duration
			var failed error
			for _, p := range all {
				for range goroutines {
					wg.Go(func() {
						<-gate
						begun := time.Now()
						_, err := p.Get(ctx, key)
						mu.Lock()
						defer mu.Unlock()
						worst = max(worst, time.Since(begun))
						if err != nil {
							failed = err
						}
					})
				}
			}
			close(gate)
			wg.Wait()
			if failed != nil {
				return nil, fmt.Errorf("%s: %w", k.Name, failed)
			}
			loads = append(loads, float64(src.Loads.Load()-before))
			slowest = append(slowest, float64(worst))
		}
		for _, p := range all {
			_ = p.Close()
		}
		l, w := measure.Of(loads), measure.Of(slowest)
		t.Rows = append(t.Rows, []string{k.Name, fmt.Sprintf("%.1f", l.Median), fmt.Sprintf("%.0f", l.Max), Nanos(w.Median), Nanos(w.Max)})
		if k.Name == "nearcache" {
			s.Figures["loads"] = l.Max
		}
	}
	s.Tables = append(s.Tables, t)
	return s, e.Flush(ctx)
}
