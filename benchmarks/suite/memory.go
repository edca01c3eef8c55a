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

const memoryNote = "ristretto keeps only a hash of the key. The near cache keeps the key, to distinguish two keys " +
	"with the same hash; the key's bytes are counted here. \"When empty\" is the size of a cache before its first " +
	"entry: the fence's slots, and the counters of the eviction policy. \"Bytes per entry\" is the slope from half " +
	"full to full, without that, and is the goal's figure; \"with all\" divides everything by the entries. \"Held\" " +
	"is the part of the entries that the cache has after filling (a run with less than 99.9% is void). \"Served\" is " +
	"the part of an even sample that it returns when it is read again: the near cache may hold an entry whose " +
	"validity it can no longer show. A collection is a forced one."

// memory measures the size of an entry, and a garbage collection with a million of them.
func memory(ctx context.Context, e *Env) (*measure.Section, error) {
	n := e.pick([]int{1_000_000}, []int{20_000})[0]
	s := &measure.Section{Title: "Memory and garbage collection",
		Config: fmt.Sprintf("a cache made for %d entries, filled with half of them and then with all; products of 150 bytes "+
			"of JSON, each decoded separately; heap in use after a collection", n),
		Note: memoryNote, Figures: map[string]float64{}}
	table := measure.Table{Title: "By cache", Columns: []string{"", "held", "served", "when empty",
		"bytes per entry", "over ristretto", "with all", "over ristretto", "one collection, median of 7",
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
			s.Figures["bytes_over"], s.Figures["bytes_over_with_all"] = w.slope-base.slope, w.whole-base.whole
			s.Figures["gc_over"] = w.wall / base.wall
			s.Figures["served_percent"] = 100 * w.served
		}
		table.Rows = append(table.Rows, []string{name, fmt.Sprintf("%.2f%%", 100*w.held),
			fmt.Sprintf("%.2f%%", 100*w.served), fmt.Sprintf("%.1f MB", w.empty/1e6), fmt.Sprintf("%.0f", w.slope),
			fmt.Sprintf("%+.0f", w.slope-base.slope),
			fmt.Sprintf("%.0f", w.whole), fmt.Sprintf("%+.0f", w.whole-base.whole), Nanos(w.wall),
			fmt.Sprintf("%.2f", w.wall/base.wall), Nanos(w.cpu), Nanos(w.pause)})
		fmt.Fprintf(e.Log, "memory, %s: %.2f%% held, %.2f%% served, %.0f bytes per entry\n", name, 100*w.held,
			100*w.served, w.slope)
	}
	s.Tables = append(s.Tables, table)
	return s, nil
}

// footprint is the cost of a full cache for the heap and the collector.
type footprint struct {
	held, served     float64 // parts of all entries
	empty            float64 // bytes before the first entry
	slope, whole     float64 // bytes per entry: of the second half, and of the whole cache
	wall, cpu, pause float64 // of one forced collection, in nanoseconds
}

// heap is the heap in use after a collection.
func heap() float64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// emptySource has no key. Everything that is not in L1 is in Redis.
type emptySource struct{}

// Load implements peers.Source.
func (emptySource) Load(context.Context, string) (v product, version uint64, err error) {
	return v, 0, peers.ErrMiss
}

// Store implements peers.Source.
func (emptySource) Store(context.Context, string, product) (uint64, error) { return 0, errReadOnly }

// Remove implements peers.Source.
func (emptySource) Remove(context.Context, string) (uint64, error) { return 0, errReadOnly }

// measureFootprint fills a cache, half and then fully.
func measureFootprint(ctx context.Context, e *Env, k peers.Kind[product], n int) (w footprint, err error) {
	addr, err := e.Redis(ctx)
	if err != nil {
		return w, err
	}
	// A Redis that tracks fewer keys than there are invalidates entries of L1.
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

// storeAll writes n products to Redis, in the format of the peer.
func storeAll(ctx context.Context, e *Env, p peers.Peer[product], prefix string, n int) error {
	if at, _ := p.Stored("x", product{}, 1); at == "" {
		return nil
	}
	return e.store(ctx, n, func(i int) (at, value string) {
		return p.Stored(memoryKey(prefix, i), peers.NewProduct(i, smallValue), 1)
	})
}
