//go:build unix

package history

import (
	"slices"
	"time"
)

// Lag is the distribution of Λ: how long after a write was acknowledged an instance first proved that whatever it
// serves is at least that new. Only writes made while no fault was at work count, and only if none began before the
// proof.
type Lag struct {
	Samples        int
	P50, P99, P999 time.Duration
	Max            time.Duration
}

func (h *History) lag() Lag {
	var acked []int64
	for i := range h.Writes {
		if w := &h.Writes[i]; w.Return != Forever {
			acked = append(acked, w.Return)
		}
	}
	slices.Sort(acked)
	var lags []time.Duration
	for _, looks := range h.Looks {
		lags = h.lagsOf(looks, acked, lags)
	}
	slices.Sort(lags)
	n := len(lags)
	if n == 0 {
		return Lag{}
	}
	at := func(q float64) time.Duration { return lags[min(n-1, int(q*float64(n)))] }
	return Lag{Samples: n, P50: at(0.5), P99: at(0.99), P999: at(0.999), Max: lags[n-1]}
}

// lagsOf walks the looks of one process and the acknowledgements together.
func (h *History) lagsOf(looks []Look, acked []int64, lags []time.Duration) []time.Duration {
	if len(looks) == 0 {
		return lags
	}
	for len(acked) > 0 && acked[0] < looks[0].At {
		acked = acked[1:]
	}
	for _, l := range looks {
		if l.Staleness < 0 {
			continue
		}
		for len(acked) > 0 && acked[0] <= l.At-int64(l.Staleness) {
			if h.during(acked[0]) == nil && h.during(l.At) == nil && h.next(acked[0]) > l.At {
				lags = append(lags, time.Duration(l.At-acked[0]))
			}
			acked = acked[1:]
		}
	}
	return lags
}

// next is when the next window begins.
func (h *History) next(at int64) int64 {
	for i := range h.Windows {
		if h.Windows[i].From > at {
			return h.Windows[i].From
		}
	}
	return Forever
}
