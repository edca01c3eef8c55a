package nearcache

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	arrivalSlots = 4096
	// arrivalAge is how long after the first channel the second one may come.
	arrivalAge = 10 * time.Second
)

// arrivals pairs what the two channels bring of one change: an event says when it was committed, and a push of Redis
// says that something read here was changed. So the delay of both is known, and which of them was first.
//
// It is for metrics, and remembers a change for a short time in a table of fixed size: a newer change takes the place
// of an older one of the same slot. Commits are timed by the source's clock.
type arrivals struct {
	redisSeconds, eventSeconds prometheus.Observer
	redisFirst, eventFirst     prometheus.Counter

	mu    sync.Mutex
	slots []arrival // made by the first arrival
}

// arrival is what one channel has brought, and the other has not yet.
type arrival struct {
	hash      uint64 // of the record
	at        time.Time
	committed time.Time // of an event; zero: a push
}

func newArrivals(seconds *prometheus.HistogramVec, first *prometheus.CounterVec) arrivals {
	return arrivals{redisSeconds: seconds.WithLabelValues("redis"), eventSeconds: seconds.WithLabelValues("events"),
		redisFirst: first.WithLabelValues("redis"), eventFirst: first.WithLabelValues("events")}
}

// event notes an event. Without the time of its commit it is left out.
func (a *arrivals) event(hash uint64, committed, now time.Time) {
	if committed.IsZero() {
		return
	}
	a.eventSeconds.Observe(max(0, now.Sub(committed).Seconds()))
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.slot(hash)
	pushed := s.hash == hash && s.committed.IsZero() && now.Sub(s.at) < arrivalAge
	// A push from before the commit tells of an earlier change, or of a fill.
	if !pushed || s.at.Before(committed) {
		*s = arrival{hash: hash, at: now, committed: committed}
		return
	}
	a.redisSeconds.Observe(s.at.Sub(committed).Seconds())
	a.redisFirst.Inc()
	*s = arrival{}
}

// push notes a push of Redis. Alone it says nothing of when the change was committed.
func (a *arrivals) push(hash uint64, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.slot(hash)
	if s.hash != hash || s.committed.IsZero() || now.Sub(s.at) >= arrivalAge {
		*s = arrival{hash: hash, at: now}
		return
	}
	a.redisSeconds.Observe(max(0, now.Sub(s.committed).Seconds()))
	a.eventFirst.Inc()
	*s = arrival{}
}

// slot is the place of a record. The caller holds a.mu.
func (a *arrivals) slot(hash uint64) *arrival {
	if a.slots == nil {
		a.slots = make([]arrival, arrivalSlots)
	}
	return &a.slots[hash%arrivalSlots]
}
