package nearcache

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// arrived are what an arrivals has counted.
type arrived struct {
	redis, events           uint64  // delays that were observed
	redisSum                float64 // seconds
	redisFirst, eventsFirst float64
}

func TestArrivals_PairsWhatBothChannelsBring(t *testing.T) {
	begun := time.Now()
	at := func(ms int) time.Time { return begun.Add(time.Duration(ms) * time.Millisecond) }
	for name, c := range map[string]struct {
		do   func(a *arrivals)
		want arrived
	}{
		"the event comes first": {func(a *arrivals) {
			a.event(1, at(0), at(30))
			a.push(1, at(50))
		}, arrived{redis: 1, events: 1, redisSum: 0.05, eventsFirst: 1}},
		"the push comes first": {func(a *arrivals) {
			a.push(1, at(20))
			a.event(1, at(0), at(30))
		}, arrived{redis: 1, events: 1, redisSum: 0.02, redisFirst: 1}},
		"a push is paired once": {func(a *arrivals) {
			a.push(1, at(20))
			a.event(1, at(0), at(30))
			a.event(1, at(5), at(31))
		}, arrived{redis: 1, events: 2, redisSum: 0.02, redisFirst: 1}},
		"a push from before the commit is of another change": {func(a *arrivals) {
			a.push(1, at(20))
			a.event(1, at(25), at(30))
		}, arrived{events: 1}},
		"a key that is not read here is never pushed": {func(a *arrivals) {
			a.event(1, at(0), at(30))
			a.push(2, at(50))
		}, arrived{events: 1}},
		"what comes much later is of another change": {func(a *arrivals) {
			a.event(1, at(0), at(30))
			a.push(1, at(11_000))
		}, arrived{events: 1}},
		"two keys of one slot": {func(a *arrivals) {
			a.push(1, at(20))
			a.push(1+arrivalSlots, at(21))
			a.event(1, at(0), at(30))
			a.push(1, at(40))
		}, arrived{redis: 1, events: 1, redisSum: 0.04, eventsFirst: 1}},
		"an event without a time": {func(a *arrivals) {
			a.push(1, at(20))
			a.event(1, time.Time{}, at(30))
		}, arrived{}},
	} {
		t.Run(name, func(t *testing.T) {
			seconds := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "s"}, []string{"channel"})
			first := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "f"}, []string{"channel"})
			a := newArrivals(seconds, first)
			c.do(&a)
			got := arrived{redisFirst: written(t, a.redisFirst).GetCounter().GetValue(),
				eventsFirst: written(t, a.eventFirst).GetCounter().GetValue()}
			redis := written(t, a.redisSeconds.(prometheus.Metric)).GetHistogram()
			got.redis, got.redisSum = redis.GetSampleCount(), redis.GetSampleSum()
			got.events = written(t, a.eventSeconds.(prometheus.Metric)).GetHistogram().GetSampleCount()
			if got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

func written(t *testing.T, m prometheus.Metric) *dto.Metric {
	t.Helper()
	var out dto.Metric
	if err := m.Write(&out); err != nil {
		t.Fatal(err)
	}
	return &out
}
