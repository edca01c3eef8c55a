package suite

import (
	"math"
	"testing"
)

func TestHolding_IsReadsOverReadsAndWrites(t *testing.T) {
	for _, test := range []struct {
		what string
		cell scalePoint
		want float64
	}{
		{"as many reads of an instance as writes", scalePoint{Instances: 4, Keys: 10, Writes: scaleReads / 4}, 0.5},
		{"three times as many", scalePoint{Instances: 4, Keys: 10, Writes: scaleReads / 12}, 0.75},
		// Of two keys 0.682 of the reads are of the first, and half of the writes: 0.682 * 0.682/(0.682+0.5) + 0.318 * 0.318/(0.318+0.5).
		{"writes to all keys alike", scalePoint{Instances: 4, Keys: 2, Writes: scaleReads / 4, Uniform: true}, 0.517},
	} {
		hold, got := test.cell.holding()
		if math.Abs(got-test.want) > 0.002 || len(hold) != test.cell.Keys {
			t.Errorf("%s: %.3f of reads hit, want %.3f", test.what, got, test.want)
		}
	}
	// A key that is read once in many hours has mostly expired since.
	hold, _ := scalePoint{Instances: 64, Keys: 1_000_000, Writes: 0.001}.holding()
	if hold[0] < 0.99 || hold[999_999] > 0.02 {
		t.Errorf("the first key is held with %.3f, the last with %.3f", hold[0], hold[999_999])
	}
}

func TestScaleSweep_DrawsNothingFromWhereItEnds(t *testing.T) {
	window := func(messages float64, end string) *scaleWindow {
		w := &scaleWindow{end: end}
		w.Redis.Messages = messages
		return w
	}
	sw := &scaleSweep{name: "instances", short: "by instances",
		x: func(c scalePoint) float64 { return float64(c.Instances) }}
	for _, r := range []scaleResult{
		{point: scalePoint{Instances: 1}, tracking: window(10, "")},
		{point: scalePoint{Instances: 2}, tracking: window(0, "")},
		{point: scalePoint{Instances: 4}, tracking: window(80, "")},
		{point: scalePoint{Instances: 8}, tracking: window(90, "the cores are saturated")},
	} {
		sw.results = append(sw.results, r)
		sw.ended("tracking", r, r.tracking)
	}
	tracking := func(r scaleResult) *scaleWindow { return r.tracking }
	l := sw.line("tracking", func(r *scaleResult) (*scaleWindow, float64) {
		return r.tracking, r.perInstance(r.tracking.Redis.Messages)
	})
	if len(l.At) != 2 || l.At[0] != [2]float64{1, 10} || l.At[1] != [2]float64{4, 20} {
		t.Errorf("drawn: %v", l.At)
	}
	if last := sw.last(tracking); last == nil || last.point.Instances != 4 {
		t.Errorf("the last good cell is %+v", last)
	}
	if len(sw.ends) != 1 || sw.ends[0] != "tracking at 8 instances: the cores are saturated" {
		t.Errorf("it ends: %q", sw.ends)
	}
}
