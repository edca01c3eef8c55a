package measure_test

import (
	"slices"
	"testing"
	"time"

	"github.com/nearcache/nearcache-go/benchmarks/measure"
)

func TestOf_SortsAndTakesTheMiddle(t *testing.T) {
	for _, test := range []struct {
		xs   []float64
		want measure.Stat
	}{
		{nil, measure.Stat{}},
		{[]float64{3, 1, 2}, measure.Stat{Min: 1, Median: 2, Max: 3}},
		{[]float64{4, 1, 2, 3}, measure.Stat{Min: 1, Median: 2.5, Max: 4}},
	} {
		if got := measure.Of(test.xs); got != test.want {
			t.Errorf("Of(%v) = %v, want %v", test.xs, got, test.want)
		}
	}
}

func TestRatios_AreRoundByRound(t *testing.T) {
	got := measure.Ratios([]float64{2, 30}, []float64{1, 10})
	if want := []float64{2, 3}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestInterleave_FailsWhenTheCacheDoesNotHit(t *testing.T) {
	half := func(_, from, n int) (hits int) {
		for i := range n {
			hits += (from + i) % 2
		}
		return hits
	}
	p := measure.Plan{Rounds: 2, Turn: 5 * time.Millisecond, Workers: 2}
	got, err := measure.Interleave(t.Context(), p, []measure.Subject{{Name: "half", Loop: half, MinHit: 0.3}})
	if err != nil || len(got) != 1 || len(got[0].NsPerOp) != 2 || got[0].Ops == 0 {
		t.Errorf("got %+v and error %v, want one series of two rounds", got, err)
	}
	if _, err := measure.Interleave(t.Context(), p, []measure.Subject{{Name: "half", Loop: half,
		MinHit: 0.9}}); err == nil {
		t.Error("a hit ratio of 0.5 with MinHit 0.9: got no error")
	}
}
