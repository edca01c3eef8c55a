package httpapi

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// SourceReads limits how many reads of the source the headers of requests can force, all clients together: anybody
// can send them, and each costs the database what the cache is there to save. It is a token bucket, safe for
// concurrent use. A nil one limits nothing.
type SourceReads struct {
	rate, burst float64

	mu     sync.Mutex
	tokens float64
	last   time.Time

	reads           *prometheus.CounterVec
	served, limited prometheus.Counter
}

// NewSourceReads lets perSecond reads through each second on average, and burst at once.
func NewSourceReads(perSecond, burst int) *SourceReads {
	reads := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "product_forced_reads_total",
		Help: "Reads whose headers force a read of the source, by outcome: served, or limited (429)."}, []string{"outcome"})
	return &SourceReads{rate: float64(perSecond), burst: float64(burst), tokens: float64(burst), last: time.Now(),
		reads:  reads,
		served: reads.WithLabelValues("served"), limited: reads.WithLabelValues("limited")}
}

// Register registers the metric.
func (l *SourceReads) Register(reg prometheus.Registerer) error {
	if l == nil {
		return nil
	}
	return reg.Register(l.reads)
}

// take takes a token, if there is one.
func (l *SourceReads) take() bool {
	if l == nil {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refill()
	if l.tokens < 1 {
		l.limited.Inc()
		return false
	}
	l.tokens--
	l.served.Inc()
	return true
}

// exhausted says whether there is no token now.
func (l *SourceReads) exhausted() bool {
	if l == nil {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refill()
	return l.tokens < 1
}

// refused counts a read that was refused without asking for a token.
func (l *SourceReads) refused() { l.limited.Inc() }

func (l *SourceReads) refill() {
	now := time.Now()
	l.tokens = min(l.burst, l.tokens+l.rate*now.Sub(l.last).Seconds())
	l.last = now
}
