package l2

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// faultCounts counts faults by code. The map is never written after it was made.
type faultCounts map[string]*atomic.Uint64

func newFaultCounts() *faultCounts {
	counts := faultCounts{}
	for _, code := range FaultCodes() {
		counts[code] = new(atomic.Uint64)
	}
	return &counts
}

func (c *faultCounts) add(code string) {
	if c == nil {
		return
	}
	if n := (*c)[code]; n != nil {
		n.Add(1)
	}
}

var (
	upDesc = prometheus.NewDesc("nearcache_redis_up", "1 while Redis is connected and takes writes.", nil, nil)

	errorsDesc = prometheus.NewDesc("nearcache_redis_errors_total",
		"Errors of Redis and of the connections to it, by code.", []string{"code"}, nil)

	joinedDesc = prometheus.NewDesc("nearcache_redis_joined_reads_total",
		"Reads of one key that went to Redis in the pipeline of another read.", nil, nil)
)

// Describe implements prometheus.Collector.
func (l *L2) Describe(ch chan<- *prometheus.Desc) {
	ch <- upDesc
	ch <- errorsDesc
	ch <- joinedDesc
}

// Collect implements prometheus.Collector. A code has a sample from its first error on.
func (l *L2) Collect(ch chan<- prometheus.Metric) {
	up := 0.0
	if l.Up() {
		up = 1
	}
	ch <- prometheus.MustNewConstMetric(upDesc, prometheus.GaugeValue, up)
	ch <- prometheus.MustNewConstMetric(joinedDesc, prometheus.CounterValue, float64(l.joined.Load()))
	for code, n := range *l.errors {
		if n := n.Load(); n > 0 {
			ch <- prometheus.MustNewConstMetric(errorsDesc, prometheus.CounterValue, float64(n), code)
		}
	}
}
