package demo

import (
	"math"
	"slices"
	"sync"
	"time"
)

// window has the durations of the last moments: how many there were, and their percentiles. It is safe for concurrent
// use.
type window struct {
	mu     sync.Mutex
	slots  [windowSlots]histogram
	newest int64 // number of the newest slot
}

const (
	windowSlots = 10
	slotTime    = 200 * time.Millisecond
	perOctave   = 8
)

// histogram counts durations by size, eight classes to each doubling.
type histogram struct {
	counts [40 * perOctave]uint32 // up to 2^40 ns, 18 minutes
	n      uint32
	max    time.Duration
}

func class(d time.Duration) int {
	if d < 1 {
		return 0
	}
	return min(int(math.Log2(float64(d))*perOctave), 40*perOctave-1)
}

func (w *window) add(now time.Time, d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.turn(now)
	h := &w.slots[w.newest%windowSlots]
	h.counts[class(d)]++
	h.n++
	h.max = max(h.max, d)
}

// turn begins the slot of now, and empties those that have passed.
func (w *window) turn(now time.Time) {
	slot := now.UnixNano() / int64(slotTime)
	for i := max(w.newest+1, slot-windowSlots+1); i <= slot; i++ {
		w.slots[i%windowSlots] = histogram{}
	}
	w.newest = max(w.newest, slot)
}

// summary is what a window says.
type summary struct {
	PerSecond float64 // how many
	Median    time.Duration
	P99       time.Duration
	Max       time.Duration
}

func (w *window) summary(now time.Time) (s summary) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.turn(now)
	var all histogram
	for i := range w.slots {
		for c, n := range w.slots[i].counts {
			all.counts[c] += n
		}
		all.n += w.slots[i].n
		all.max = max(all.max, w.slots[i].max)
	}
	s.Max = all.max
	s.PerSecond = float64(all.n) / (windowSlots * slotTime).Seconds()
	s.Median, s.P99 = all.quantile(0.5), all.quantile(0.99)
	return s
}

// quantile is the upper end of the class that has the quantile.
func (h *histogram) quantile(q float64) time.Duration {
	rank, seen := uint32(math.Ceil(q*float64(h.n))), uint32(0)
	i := slices.IndexFunc(h.counts[:], func(n uint32) bool {
		seen += n
		return seen >= rank && seen > 0
	})
	if h.n == 0 || i < 0 {
		return 0
	}
	return min(h.max, time.Duration(math.Exp2(float64(i+1)/perOctave)))
}
