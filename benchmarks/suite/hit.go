package suite

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"

	"github.com/nearcache/nearcache-go/benchmarks/measure"
	"github.com/nearcache/nearcache-go/benchmarks/peers"
)

type product = peers.Product

// peersWithL1 are the peers that keep values in the process and in Redis, or in the process only.
var peersWithL1 = []string{"otter", "sturdyc", "hand-rolled", "rueidis DoCache", "go-redis CSC", "go-redis/cache"}

// hitPeers measures a hit in the L1 of every peer.
func hitPeers(ctx context.Context, e *Env) (*measure.Section, error) {
	s := &measure.Section{Title: "A hit in L1, all peers",
		Config: "10,000 keys, string keys, products of 150 bytes of JSON, all of them in L1"}
	n := 10_000
	kinds := []peers.Kind[product]{mustKind[product]("ristretto"), peers.NearcacheKind[product](peers.Plain),
		peers.NearcacheKind[product](peers.Bounded)}
	for _, r := range peersWithL1 {
		kinds = append(kinds, mustKind[product](r))
	}
	decoded, closeDecoded, err := openFixtures(ctx, e, products(n, smallValue), kinds...)
	if err != nil {
		return nil, err
	}
	defer closeDecoded()
	raw := dataset[string]{n, func(i int) string { return fmt.Sprintf("%0150d", i) }, peers.Raw{}, smallValue}
	kept, closeKept, err := openFixtures(ctx, e, raw,
		renamed("rueidis DoCache, raw", mustKind[string]("rueidis DoCache")),
		renamed("go-redis CSC, raw", mustKind[string]("go-redis CSC")))
	if err != nil {
		return nil, err
	}
	defer closeKept()
	for _, workers := range e.pick([]int{1, 8}, []int{8}) {
		var subjects []measure.Subject
		for _, d := range decoded {
			subjects = append(subjects, d.subject(ctx))
		}
		for _, k := range kept {
			subjects = append(subjects, k.subject(ctx))
		}
		c, err := compareCPU(ctx, e.plan(workers), fmt.Sprintf("%d goroutines", workers), subjects)
		if err != nil {
			return nil, err
		}
		s.Comparisons = append(s.Comparisons, c)
		if workers == 8 {
			ours := c
			ours.Base = "nearcache"
			plain, raw := ours.Ratio("rueidis DoCache, raw"), ours.Ratio("rueidis DoCache")
			s.Figures = map[string]float64{"docache_raw": plain.Median, "docache_json": raw.Median,
				"goredis_cache": ours.Ratio("go-redis/cache").Median}
			s.Plots = append(s.Plots, bars("hit-peers", "A hit in L1, 8 goroutines",
				"ns of processor time per hit", c,
				func(x measure.Series) measure.Stat { return measure.Of(x.CPUPerOp) }))
			s.Plots[len(s.Plots)-1].LogY = true
		}
	}
	return s, nil
}

// ristrettoAndNearcache are the peers of most comparisons.
func ristrettoAndNearcache() []peers.Kind[product] {
	return []peers.Kind[product]{mustKind[product]("ristretto"), peers.NearcacheKind[product](peers.Plain),
		peers.NearcacheKind[product](peers.Bounded)}
}

// withOtter are those and the fastest cache of one process.
func withOtter() []peers.Kind[product] {
	return append(ristrettoAndNearcache(), mustKind[product]("otter"))
}

// overRistretto is an empty plot of the ratio to bare ristretto by x.
func overRistretto(file, x string) measure.Plot {
	return measure.Plot{File: file, Title: "A hit, relative to bare ristretto, by " + x, X: x,
		Y: "times ristretto (median)", LogX: true,
		Lines:  []measure.Line{{Name: peers.Plain.String()}, {Name: peers.Bounded.String()}},
		Marker: &measure.Level{Name: "goal for Get", At: 0.75}}
}

// hitGoroutines measures a hit with 1 to 64 goroutines.
func hitGoroutines(ctx context.Context, e *Env) (*measure.Section, error) {
	s := &measure.Section{Title: "A hit in L1, by number of goroutines",
		Config: "10,000 keys, string keys, products of 150 bytes of JSON", Figures: map[string]float64{}}
	all, closeAll, err := openFixtures(ctx, e, products(10_000, smallValue), withOtter()...)
	if err != nil {
		return nil, err
	}
	defer closeAll()
	plot := overRistretto("hit-goroutines", "goroutines")
	var plain, bounded []float64
	for _, workers := range e.pick([]int{1, 2, 8, 64}, []int{1, 8}) {
		subjects := []measure.Subject{}
		for _, st := range all {
			subjects = append(subjects, st.subject(ctx))
		}
		bare := all[0].peer.(*peers.Ristretto[product])
		subjects = append(subjects, measure.Subject{Name: "ristretto, pointer only", MinHit: 0.995,
			Loop: func(_, from, n int) int { return bare.Pointers(all[0].keys, from, n) }})
		c, err := compareCPU(ctx, e.plan(workers), fmt.Sprintf("%d goroutines", workers), subjects)
		if err != nil {
			return nil, err
		}
		s.Comparisons = append(s.Comparisons, c)
		for i := range plot.Lines {
			plot.Lines[i].At = append(plot.Lines[i].At, [2]float64{float64(workers),
				c.Ratio(plot.Lines[i].Name).Median})
		}
		plain = append(plain, c.Ratio(plot.Lines[0].Name).Median)
		bounded = append(bounded, c.Ratio(plot.Lines[1].Name).Median)
		s.Figures["allocs"] = max(s.Figures["allocs"], c.Series[1].Allocs, c.Series[2].Allocs)
	}
	s.Figures["plain_worst"], s.Figures["bounded_worst"] = measure.Of(plain).Max, measure.Of(bounded).Max
	s.Figures["plain"], s.Figures["bounded"] = measure.Of(plain).Median, measure.Of(bounded).Median
	s.Plots = append(s.Plots, plot)
	return s, nil
}

// hitKeys measures a hit with 100 to 1,000,000 keys.
func hitKeys(ctx context.Context, e *Env) (*measure.Section, error) {
	s := &measure.Section{Title: "A hit in L1, by number of keys",
		Config: "8 goroutines, string keys, products of 150 bytes of JSON, read in random order, each as often as the " +
			"others; and by Zipf's law with the exponent 1, where the k-th key is read 1/k times as often as the first",
		Note:    "From 10,000 keys on, the table exceeds the processor's caches, and all caches wait for memory.",
		Figures: map[string]float64{}}
	plot := overRistretto("hit-keys", "keys")
	for _, n := range e.pick([]int{100, 10_000, 1_000_000}, []int{100, 10_000}) {
		even, zipf, err := compareKeys(ctx, e, n)
		if err != nil {
			return nil, err
		}
		s.Comparisons = append(s.Comparisons, even, zipf)
		for i := range plot.Lines {
			plot.Lines[i].At = append(plot.Lines[i].At, [2]float64{float64(n), even.Ratio(plot.Lines[i].Name).Median})
		}
		s.Figures["even_"+strconv.Itoa(n)] = even.Ratio(peers.Plain.String()).Median
		s.Figures["zipf_"+strconv.Itoa(n)] = zipf.Ratio(peers.Plain.String()).Median
	}
	s.Plots = append(s.Plots, plot)
	return s, nil
}

// zipfReads is the length of the sequence of keys that readers repeat.
const zipfReads = 1 << 20

// compareKeys compares hits of n keys: each as often as the others, and by Zipf's law.
func compareKeys(ctx context.Context, e *Env, n int) (even, zipf measure.Comparison, err error) {
	all, closeAll, err := openFixtures(ctx, e, products(n, smallValue), withOtter()...)
	if err != nil {
		return even, zipf, err
	}
	defer closeAll()
	if even, err = compareFixtures(ctx, e.plan(8), strconv.Itoa(n)+" keys", all); err != nil {
		return even, zipf, err
	}
	ranks := zipfRanks(n, zipfReads)
	for _, f := range all {
		sequence := make([]string, len(ranks))
		for i, rank := range ranks {
			sequence[i] = f.keys[rank]
		}
		f.keys = sequence
	}
	zipf, err = compareFixtures(ctx, e.plan(8), strconv.Itoa(n)+" keys by Zipf's law", all)
	return even, zipf, err
}

// zipfRanks draws from n ranks, of which the k-th has a probability of 1/k.
func zipfRanks(n, draws int) []int {
	sums, sum := make([]float64, n), 0.
	for i := range sums {
		sum += 1 / float64(i+1)
		sums[i] = sum
	}
	ranks := make([]int, draws)
	for i := range ranks {
		ranks[i], _ = slices.BinarySearch(sums, rand.Float64()*sum)
	}
	return ranks
}

// hitShapes measures a hit with several key types and value sizes.
func hitShapes(ctx context.Context, e *Env) (*measure.Section, error) {
	s := &measure.Section{Title: "A hit in L1, by key type and value size", Config: "8 goroutines, 10,000 keys"}
	for _, size := range []int{smallValue, largeValue} {
		all, closeAll, err := openFixtures(ctx, e, products(10_000, size), ristrettoAndNearcache()...)
		if err != nil {
			return nil, err
		}
		c, err := compareFixtures(ctx, e.plan(8), fmt.Sprintf("string keys, values of %d bytes", size), all)
		closeAll()
		if err != nil {
			return nil, err
		}
		s.Comparisons = append(s.Comparisons, c)
	}
	c, err := compareIntegerKeys(ctx, e)
	if err != nil {
		return nil, err
	}
	s.Comparisons = append(s.Comparisons, c)
	return s, nil
}
