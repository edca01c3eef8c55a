package compare

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/nearcache/nearcache-go/benchmarks/measure"
)

// Round is one run of the old version and one of the new version, which were neighbours.
type Round struct{ Old, New Results }

// Row is one metric of one benchmark over all rounds.
type Row struct {
	Benchmark, Unit string
	Old, New        measure.Stat
	Ratio           measure.Stat // of old over new: above 1 the new version needs less
	Verdict         Verdict
}

// Verdict is the outcome of a row.
type Verdict string

// The verdicts. A row is worse or better only if its median ratio differs from 1 by more than the tolerance, and every
// round points the same way.
const (
	Same   Verdict = ""
	Worse  Verdict = "WORSE"
	Better Verdict = "better"
)

// units are the metrics that are compared, in the order of the report.
var units = []string{"ns/op", "cpu-ns/op", "redis-ns/op", "allocs/op"}

// Rows compares every benchmark that all rounds have on both sides. only lists the benchmarks that are on one side
// alone.
func Rows(rounds []Round, tolerance float64) (rows []Row, only []string) {
	names := map[string]int{}
	for _, r := range rounds {
		for _, side := range []Results{r.Old, r.New} {
			for name := range side {
				names[name]++
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if names[name] < 2*len(rounds) {
			only = append(only, name)
			continue
		}
		for _, unit := range units {
			if row, ok := newRow(rounds, name, unit, tolerance); ok {
				rows = append(rows, row)
			}
		}
	}
	return rows, only
}

func newRow(rounds []Round, name, unit string, tolerance float64) (row Row, ok bool) {
	var before, after, ratios []float64
	for _, r := range rounds {
		o, hasOld := r.Old[name][unit]
		n, hasNew := r.New[name][unit]
		if !hasOld || !hasNew {
			return row, false
		}
		before, after, ratios = append(before, o), append(after, n), append(ratios, ratio(o, n))
	}
	row = Row{Benchmark: name, Unit: unit, Old: measure.Of(before), New: measure.Of(after), Ratio: measure.Of(ratios)}
	switch {
	case row.Ratio.Median < 1/(1+tolerance) && row.Ratio.Max < 1:
		row.Verdict = Worse
	case row.Ratio.Median > 1+tolerance && row.Ratio.Min > 1:
		row.Verdict = Better
	}
	return row, true
}

// ratio is o/n. Two zeros are equal; if only n is zero, the new version counts as twice as good, and if only o is zero,
// as half as good: a ratio of allocations has no other finite value there.
func ratio(o, n float64) float64 {
	switch {
	case o == n:
		return 1
	case n == 0:
		return 2
	case o == 0:
		return 0.5
	}
	return o / n
}

// Print writes the rows as a table, and returns how many are worse.
func Print(w io.Writer, rows []Row, only []string) (worse int) {
	wide := 10
	for _, r := range rows {
		wide = max(wide, len(r.Benchmark))
	}
	fmt.Fprintf(w, "%-*s  %-11s %12s %12s  %s\n", wide, "benchmark", "unit", "old", "new", "old/new (min .. max)")
	for _, r := range rows {
		if r.Verdict == Worse {
			worse++
		}
		line := fmt.Sprintf("%-*s  %-11s %12.6g %12.6g  %.3f (%.3f .. %.3f) %s", wide, r.Benchmark, r.Unit,
			r.Old.Median, r.New.Median,
			r.Ratio.Median, r.Ratio.Min, r.Ratio.Max, r.Verdict)
		fmt.Fprintln(w, strings.TrimRight(line, " "))
	}
	for _, name := range only {
		fmt.Fprintf(w, "%s: not in every run of both versions; not compared\n", name)
	}
	return worse
}
