package suite

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"time"

	"github.com/nearcache/nearcache-go/benchmarks/measure"
	"github.com/nearcache/nearcache-go/benchmarks/peers"
)

// memory is what an entry weighs and what the collector does with a million.
func memory(ctx context.Context, e *Env) (*measure.Section, error) {
	n := e.pick([]int{1_000_000}, []int{20_000})[0]
	s := &measure.Section{Title: "Memory and garbage collection",
		Config: fmt.Sprintf("a cache made for %d entries, filled with half of them and then with all, products of 150 bytes of JSON, each decoded on its own; heap in use after a collection", n),
		Note: "Ristretto keeps only a hash of the key. The near cache keeps the key, to tell apart two that share one; its bytes are counted here. \"When empty\" is what a cache takes before its first entry: the fence's slots, the counters by which it chooses what to keep. " +
			"\"Bytes an entry\" is the slope from half full to full, which has nothing of that and is the goal's figure; \"with all\" divides everything by the entries. \"Held\" are the entries that the cache has after filling, of all (a run with fewer than 99.9% is void), " +
			"and \"served\" those of an even sample of them that it answers with when they are read once more: the near cache may hold what it can no longer vouch for. A collection is a forced one.", Figures: map[string]float64{}}
	table := measure.Table{Title: "By cache", Columns: []string{"", "held", "served", "when empty",
		"bytes an entry", "over ristretto", "with all", "over ristretto", "one collection, median of 7",
		"over ristretto", "its processor time", "its pauses"}}
	var base footprint
	for _, name := range []string{"ristretto", "nearcache", "otter", "sturdyc", "hand-rolled"} {
		w, err := measureFootprint(ctx, e, mustKind[product](name), n)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if name == "ristretto" {
			base = w
		}
		if name == "nearcache" {
			s.Figures["bytes_over"], s.Figures["bytes_over_with_all"], s.Figures["gc_over"] = w.slope-base.slope,
				w.whole-base.whole, w.wall/base.wall
			s.Figures["served_percent"] = 100 * w.served
		}
		table.Rows = append(table.Rows, []string{name, fmt.Sprintf("%.2f%%", 100*w.held),
			fmt.Sprintf("%.2f%%", 100*w.served), fmt.Sprintf("%.1f MB", w.empty/1e6), fmt.Sprintf("%.0f", w.slope),
			fmt.Sprintf("%+.0f", w.slope-base.slope),
			fmt.Sprintf("%.0f", w.whole), fmt.Sprintf("%+.0f", w.whole-base.whole), Nanos(w.wall),
			fmt.Sprintf("%.2f", w.wall/base.wall), Nanos(w.cpu), Nanos(w.pause)})
		fmt.Fprintf(e.Log, "memory, %s: %.2f%% held, %.2f%% served, %.0f bytes an entry\n", name, 100*w.held,
			100*w.served, w.slope)
	}
	s.Tables = append(s.Tables, table)
	return s, nil
}

// weight is what a full cache is to the heap and the collector.
type footprint struct {
	held, served     float64 // parts of all entries
	empty            float64 // bytes before the first entry
	slope, whole     float64 // bytes an entry: of the second half, and of all that the cache takes
	wall, cpu, pause float64 // of one forced collection, in nanoseconds
}

func heap() float64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// nowhere has no key: what a cache does not have near is in Redis.
type emptySource struct{}

// Load implements peers.Source.
func (emptySource) Load(context.Context, string) (v product, version uint64, err error) {
	return v, 0, peers.ErrMiss
}

// Store implements peers.Source.
func (emptySource) Store(context.Context, string, product) (uint64, error) { return 0, errReadOnly }

// Remove implements peers.Source.
func (emptySource) Remove(context.Context, string) (uint64, error) { return 0, errReadOnly }

// weigh fills a cache, half and then whole.
func measureFootprint(ctx context.Context, e *Env, k peers.Kind[product], n int) (w footprint, err error) {
	addr, err := e.Redis(ctx)
	if err != nil {
		return w, err
	}
	// A Redis that tracks fewer keys than there are has near entries evicted.
	if err := e.foreign.Do(ctx, e.foreign.B().Arbitrary("CONFIG", "SET", "tracking-table-max-keys",
		"0").Build()).Error(); err != nil {
		return w, err
	}
	prefix := "s" + strconv.FormatInt(e.names.Add(1), 10)
	before := heap()
	p, err := k.Open(ctx, peers.Config[product]{Redis: addr, Source: emptySource{}, Codec: peers.JSON[product]{},
		Prefix: prefix, Entries: n, Bytes: int64(smallValue * n), TTL: time.Hour})
	if err != nil {
		return w, err
	}
	defer func() { err = errors.Join(err, p.Close(), e.Flush(ctx)) }()
	w.empty = heap() - before
	if err := storeAll(ctx, e, p, prefix, n); err != nil {
		return w, err
	}
	f := filler{peer: p, prefix: prefix}
	if _, _, err := f.fill(ctx, 0, n/2); err != nil {
		return w, err
	}
	half := heap()
	if w.held, w.served, err = f.fill(ctx, n/2, n); err != nil {
		return w, err
	}
	all := heap()
	w.slope, w.whole = (all-half)/float64(n-n/2), (all-before)/float64(n)
	var walls, cpus, pauses []float64
	for range 7 {
		var was, is runtime.MemStats
		runtime.ReadMemStats(&was)
		used, begun := measure.ProcessorTime(), time.Now()
		runtime.GC()
		walls, cpus = append(walls, float64(time.Since(begun).Nanoseconds())),
			append(cpus, float64(measure.ProcessorTime()-used))
		runtime.ReadMemStats(&is)
		pauses = append(pauses, float64(is.PauseTotalNs-was.PauseTotalNs))
	}
	w.wall, w.cpu, w.pause = measure.Of(walls).Median, measure.Of(cpus).Median, measure.Of(pauses).Median
	return w, nil
}

// storeAll has Redis hold n products, as the peer keeps them there.
func storeAll(ctx context.Context, e *Env, p peers.Peer[product], prefix string, n int) error {
	if at, _ := p.Stored("x", product{}, 1); at == "" {
		return nil
	}
	return e.store(ctx, n, func(i int) (at, value string) {
		return p.Stored(memoryKey(prefix, i), peers.NewProduct(i, smallValue), 1)
	})
}
