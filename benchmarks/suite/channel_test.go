package suite

import (
	"math"
	"testing"
)

func TestHolding_IsReadsOverReadsAndWrites(t *testing.T) {
	for _, test := range []struct {
		name  string
		point channelPoint
		want  float64
	}{
		{"an instance reads as often as all write", channelPoint{Instances: 4, Keys: 10, Writes: channelReads / 4}, 0.5},
		{"an instance reads three times as often", channelPoint{Instances: 4, Keys: 10, Writes: channelReads / 12}, 0.75},
		// The first of two keys has 0.682 of the reads and half of the writes:
		// 0.682 * 0.682/(0.682+0.5) + 0.318 * 0.318/(0.318+0.5).
		{"uniform writes", channelPoint{Instances: 4, Keys: 2, Writes: channelReads / 4, Uniform: true}, 0.517},
	} {
		hold, got := test.point.holding()
		if math.Abs(got-test.want) > 0.002 || len(hold) != test.point.Keys {
			t.Errorf("%s: got a hit ratio of %.3f, want %.3f", test.name, got, test.want)
		}
	}
	// A key that is read once in many hours has usually expired.
	hold, _ := channelPoint{Instances: 64, Keys: 1_000_000, Writes: 0.001}.holding()
	if hold[0] < 0.99 || hold[999_999] > 0.02 {
		t.Errorf("got %.3f for the first key and %.3f for the last, want over 0.99 and under 0.02", hold[0],
			hold[999_999])
	}
}

func TestChannelSweep_DrawsNothingFromWhereItEnds(t *testing.T) {
	window := func(messages float64, end string) *channelWindow {
		w := &channelWindow{end: end}
		w.Redis.Messages = messages
		return w
	}
	sw := &channelSweep{name: "instances", short: "by instances",
		x: func(c channelPoint) float64 { return float64(c.Instances) }}
	for _, r := range []channelResult{
		{point: channelPoint{Instances: 1}, tracking: window(10, "")},
		{point: channelPoint{Instances: 2}, tracking: window(0, "")},
		{point: channelPoint{Instances: 4}, tracking: window(80, "")},
		{point: channelPoint{Instances: 8}, tracking: window(90, "the cores are saturated")},
	} {
		sw.results = append(sw.results, r)
		sw.ended("tracking", r, r.tracking)
	}
	tracking := func(r channelResult) *channelWindow { return r.tracking }
	l := sw.line("tracking", func(r *channelResult) (*channelWindow, float64) {
		return r.tracking, r.perInstance(r.tracking.Redis.Messages)
	})
	if len(l.At) != 2 || l.At[0] != [2]float64{1, 10} || l.At[1] != [2]float64{4, 20} {
		t.Errorf("got the points %v, want (1, 10) and (4, 20)", l.At)
	}
	if last := sw.last(tracking); last == nil || last.point.Instances != 4 {
		t.Errorf("got %+v as the last good point, want 4 instances", last)
	}
	if len(sw.ends) != 1 || sw.ends[0] != "tracking at 8 instances: the cores are saturated" {
		t.Errorf("got the reasons %q, want one for 8 instances", sw.ends)
	}
}
