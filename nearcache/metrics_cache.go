package nearcache

import (
	"sync/atomic"
	"unsafe"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/nearcache/nearcache-go/internal/fence"
	"github.com/nearcache/nearcache-go/internal/l2"
)

// cacheMetrics are one cache's children of the client's collectors.
type cacheMetrics struct {
	name     string
	m        *metrics
	l1Hits   stripes
	l1Misses struct{ absent, expired, invalidated, collided, unvouched, unproved, tag, mutated prometheus.Counter }

	l2Hits                                    atomic.Uint64
	admitted, declined, staleRefused, mutated prometheus.Counter
	l2Absent, loaded, filled, granted         prometheus.Counter
	loadSeconds                               prometheus.Observer
	lookupSeconds                             [TierSource + 1]prometheus.Observer // by tier
	leasesHeld                                prometheus.Gauge

	timing bool        // somebody collects the look-up times
	timed  atomic.Bool // the next look-up in L1 is to be timed; written rarely
}

// timedHits is how many hits of L1 there are for each look-up that is timed, a power of two.
const timedHits = 1024

// hit counts a hit of L1, and returns the count of one stripe.
func (c *cacheMetrics) hit() uint64 {
	n := c.l1Hits.inc()
	if n%timedHits == 0 && c.timing {
		c.timed.Store(true)
	}
	return n
}

func (m *metrics) forCache(name string, cache managedCache, c *Client) (*cacheMetrics, error) {
	cm := &cacheMetrics{name: name, m: m}
	l1Miss := func(reason string) prometheus.Counter { return m.misses.WithLabelValues(name, "l1", reason) }
	cm.l1Misses.absent, cm.l1Misses.expired = l1Miss("absent"), l1Miss("expired")
	cm.l1Misses.invalidated, cm.l1Misses.collided = l1Miss("invalidated"), l1Miss("collided")
	cm.l1Misses.unvouched, cm.l1Misses.unproved = l1Miss("unvouched"), l1Miss("unproved")
	cm.l1Misses.tag = l1Miss("tag")
	cm.staleRefused = m.refused.WithLabelValues(name)
	cm.admitted, cm.declined = m.admit.WithLabelValues(name, "offered"), m.admit.WithLabelValues(name, "dropped")
	cm.l1Misses.mutated, cm.mutated = l1Miss("mutated"), m.mutate.WithLabelValues(name)
	cm.l2Absent, cm.loaded = m.misses.WithLabelValues(name, "l2", string(missAbsent)), m.load.WithLabelValues(name, "ok")
	cm.filled = m.fill.WithLabelValues(name, l2.Filled.String())
	cm.granted = m.lease.WithLabelValues(name, l2.Granted.String())
	cm.loadSeconds, cm.leasesHeld = m.loadSeconds.WithLabelValues(name), m.leasesHeld.WithLabelValues(name)
	for t := range cm.lookupSeconds {
		cm.lookupSeconds[t] = m.lookupSeconds.WithLabelValues(name, Tier(t).String())
	}
	cm.timing = m.reg != nil
	labels := prometheus.Labels{"cache": name}
	hits := func(tier string, sum func() uint64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "nearcache_hits_total",
			Help:        "Reads that a tier has served, with a value or an absence.",
			ConstLabels: prometheus.Labels{"cache": name, "tier": tier}}, func() float64 { return float64(sum()) })
	}
	cols := []prometheus.Collector{
		hits("l1", cm.l1Hits.sum), hits("l2", cm.l2Hits.Load),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "nearcache_l1_bytes", ConstLabels: labels,
			Help: "Bytes that L1 holds, as its bound counts them."}, func() float64 { return float64(cache.l1Stats().Bytes) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "nearcache_l1_evictions_total", ConstLabels: labels,
			Help: "Entries that L1 evicted for want of room."}, func() float64 { return float64(cache.l1Stats().Evicted) }),
	}
	if most := cache.maxStaleness(); most > 0 {
		cols = append(cols,
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "nearcache_max_staleness_seconds", ConstLabels: labels,
				Help: "The cache's bound, Options.MaxStaleness."}, most.Seconds),
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "nearcache_gate_open", ConstLabels: labels,
				Help: "1 while L1 serves, within the bound, what the channels vouch for."},
				func() float64 { return flag(c.bound().of(most).Open) }),
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "nearcache_gate_slack_seconds", ConstLabels: labels,
				Help: "How much later the proof in force may come before the gate closes; negative: it is closed."},
				func() float64 { return c.bound().of(most).Slack.Seconds() }))
	}
	if m.reg != nil {
		for i, col := range cols {
			if err := m.reg.Register(col); err != nil {
				for _, done := range cols[:i] {
					m.reg.Unregister(done)
				}
				return nil, err
			}
		}
	}
	m.all = append(m.all, cols...)
	return cm, nil
}

func (c *cacheMetrics) l1Miss(v fence.Verdict) {
	switch v {
	case fence.Invalidated:
		c.l1Misses.invalidated.Inc()
	case fence.Collided:
		c.l1Misses.collided.Inc()
	default:
		c.l1Misses.unvouched.Inc()
	}
}

// What most misses count is at hand: to look a counter up by its labels costs more than to add to it.
func (c *cacheMetrics) l2Misses(reason string) prometheus.Counter {
	if reason == string(missAbsent) {
		return c.l2Absent
	}
	return c.m.misses.WithLabelValues(c.name, "l2", reason)
}
func (c *cacheMetrics) loads(res string) prometheus.Counter {
	if res == "ok" {
		return c.loaded
	}
	return c.m.load.WithLabelValues(c.name, res)
}
func (c *cacheMetrics) fills(res string) prometheus.Counter {
	if res == l2.Filled.String() {
		return c.filled
	}
	return c.m.fill.WithLabelValues(c.name, res)
}
func (c *cacheMetrics) leases(res string) prometheus.Counter {
	if res == l2.Granted.String() {
		return c.granted
	}
	return c.m.lease.WithLabelValues(c.name, res)
}
func (c *cacheMetrics) rejected(why string) prometheus.Counter {
	return c.m.reject.WithLabelValues(c.name, why)
}
func (c *cacheMetrics) writes(res string) prometheus.Counter {
	return c.m.write.WithLabelValues(c.name, res)
}
func (c *cacheMetrics) servedStale(reason string) prometheus.Counter {
	return c.m.stale.WithLabelValues(c.name, reason)
}
func (c *cacheMetrics) refreshes(res string) prometheus.Counter {
	return c.m.refresh.WithLabelValues(c.name, res)
}
func (c *cacheMetrics) warmKeys(res string) prometheus.Counter {
	return c.m.warmKey.WithLabelValues(c.name, res)
}
func (c *cacheMetrics) warmFiles(res string) prometheus.Counter {
	return c.m.warmFile.WithLabelValues(c.name, res)
}
func (c *cacheMetrics) shadow(res string) prometheus.Counter {
	return c.m.shadow.WithLabelValues(c.name, res)
}

// stripes is a counter for the hot path. One shared word would cost every reader the cache line of all others, so each
// goroutine adds to the stripe that its stack's address falls on.
type stripes [64]struct {
	n atomic.Uint64
	_ [56]byte
}

// inc returns the stripe's count.
func (s *stripes) inc() uint64 {
	var here byte
	// Only the address is used, as a number that goroutines rarely share; it is never made a pointer again.
	return s[uintptr(unsafe.Pointer(&here))>>11%uintptr(len(s))].n.Add(1)
}

func (s *stripes) sum() (n uint64) {
	for i := range s {
		n += s[i].n.Load()
	}
	return n
}
