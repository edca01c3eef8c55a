package suite

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/nearcache/nearcache-go/benchmarks/measure"
	"github.com/nearcache/nearcache-go/benchmarks/peers"
)

// memory is what an entry weighs and what the collector does with a million.
func memory(ctx context.Context, e *Env) (*measure.Section, error) {
	n := e.pick([]int{1_000_000}, []int{20_000})[0]
	s := &measure.Section{Title: "Memory and garbage collection", Config: fmt.Sprintf("%d entries, products of 150 bytes of JSON, each decoded on its own; heap in use after a collection", n),
		Note: "Ristretto keeps only a hash of the key. The near cache keeps the key, to tell apart two that share one; its bytes are counted here, 16 of a key of 12.", Figures: map[string]float64{}}
	table := measure.Table{Title: "By cache", Columns: []string{"", "bytes an entry", "over ristretto", "one collection, median of 7", "over ristretto"}}
	var base, baseGC float64
	for _, name := range []string{"ristretto", "nearcache", "otter", "sturdyc", "hand-rolled"} {
		bytes, gc, err := weigh(ctx, e, must[product](name), n)
		if err != nil {
			return nil, err
		}
		if name == "ristretto" {
			base, baseGC = bytes, gc
		}
		if name == "nearcache" {
			s.Figures["bytes_over"], s.Figures["gc_over"] = bytes-base, gc/baseGC
		}
		table.Rows = append(table.Rows, []string{name, fmt.Sprintf("%.0f", bytes), fmt.Sprintf("%+.0f", bytes-base), Nanos(gc), fmt.Sprintf("%.2f", gc/baseGC)})
	}
	s.Tables = append(s.Tables, table)
	return s, nil
}

func heap() float64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// weigh fills a cache and returns the bytes of heap an entry and how long a collection takes.
func weigh(ctx context.Context, e *Env, k peers.Kind[product], n int) (bytes, gc float64, err error) {
	if _, err := e.Redis(ctx); err != nil {
		return 0, 0, err
	}
	before := heap()
	p, prefix, err := bare(ctx, e, k, smallValue, n)
	if err != nil {
		return 0, 0, err
	}
	defer func() { _ = p.Close(); _ = e.Flush(ctx) }()
	if at, _ := p.Stored("x", product{}, 1); at != "" {
		if err := each(ctx, 4, n/500+1, func(b int) error {
			cmds := make([]rueidis.Completed, 0, 500)
			for i := b * 500; i < min(n, (b+1)*500); i++ {
				at, v := p.Stored(weighed(prefix, i), peers.NewProduct(i, smallValue), 1)
				cmds = append(cmds, e.foreign.B().Set().Key(at).Value(v).Px(time.Hour).Build())
			}
			for _, r := range e.foreign.DoMulti(ctx, cmds...) {
				if err := r.Error(); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			return 0, 0, err
		}
	}
	one := func(i int) error {
		if local, ok := p.(*peers.Ristretto[product]); ok {
			v, err := decoded(i)
			for err == nil && !local.Cache.Set(weighed(prefix, i), &v, 1) {
				local.Cache.Wait()
			}
			return err
		}
		if local, ok := p.(*peers.Otter[product]); ok {
			v, err := decoded(i)
			local.Cache.Set(weighed(prefix, i), v)
			return err
		}
		_, err := p.Get(ctx, weighed(prefix, i))
		return err
	}
	for range 2 { // what was declined the first time
		if err := each(ctx, 32, n, one); err != nil {
			return 0, 0, err
		}
	}
	bytes = (heap() - before) / float64(n)
	var took []float64
	for range 7 {
		begun := time.Now()
		runtime.GC()
		took = append(took, float64(time.Since(begun).Nanoseconds()))
	}
	return bytes, measure.Of(took).Median, nil
}

// weighed is a key of its own, as each request brings one.
func weighed(prefix string, i int) string {
	return strings.Clone(fmt.Sprintf("%s-%07d", prefix, i))
}

// decoded is a value whose strings are its own.
func decoded(i int) (product, error) {
	return peers.JSON[product]{}.Decode(encode(peers.NewProduct(i, smallValue)))
}
