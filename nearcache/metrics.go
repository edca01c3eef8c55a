package nearcache

import (
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/fence"
	"github.com/nearcache/nearcache-go/internal/l2"
)

// metrics are the client's collectors. docs/reference/metrics.md lists them.
type metrics struct {
	reg    prometheus.Registerer
	all    []prometheus.Collector
	events bool // Config.Events is set

	hits, misses, load, fill, lease, reject, admit, write      *prometheus.CounterVec
	stale, refused, shadow, refresh, mutate, warmKey, warmFile *prometheus.CounterVec
	loadSeconds                                                *prometheus.HistogramVec
	audit                                                      auditMetrics

	pushes, redisSessions, malformed, retryDropped prometheus.Counter
	eventCount, eventSession, failed               *prometheus.CounterVec
	versionsRefused                                *prometheus.CounterVec
	propagation                                    prometheus.Histogram
	watermarkLag                                   *prometheus.HistogramVec
}

func newMetrics(c *Client, events bool) *metrics {
	m := &metrics{events: events}
	vec := func(name, help string, labels ...string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "nearcache_" + name, Help: help}, labels)
		m.all = append(m.all, v)
		return v
	}
	counter := func(name, help string) prometheus.Counter {
		v := prometheus.NewCounter(prometheus.CounterOpts{Name: "nearcache_" + name, Help: help})
		m.all = append(m.all, v)
		return v
	}
	gauge := func(name, help string, f func() float64) {
		m.all = append(m.all, prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "nearcache_" + name, Help: help}, f))
	}
	m.hits = vec("l2_hits_total", "Reads of Redis that gave a value or an absence that was served.", "cache")
	m.misses = vec("misses_total", "Reads of a tier that served nothing, by reason.", "cache", "tier", "reason")
	m.load = vec("loads_total", "Calls of the Loader, by result.", "cache", "result")
	m.fill = vec("fills_total", "Loaded values offered to Redis, by result.", "cache", "result")
	m.lease = vec("leases_total", "Leases asked for, by answer.", "cache", "result")
	m.reject = vec("rejected_total", "Loaded values that were not cached, by reason.", "cache", "reason")
	m.admit = vec("l1_admissions_total", "Entries offered to L1, by result.", "cache", "result")
	m.write = vec("writes_total", "Writes announced to Redis, by result.", "cache", "result")
	m.stale = vec("served_stale_total",
		"Reads answered with a value labelled stale, by why it is no more than that.", "cache", "reason")
	m.refused = vec("stale_refused_total",
		"Stale values that were not served because they are known to be replaced or removed.", "cache")
	m.shadow = vec("shadow_total", "Reads compared in ModeShadow, by result.", "cache", "result")
	m.refresh = vec("refreshes_total", "Keys that were due to be refreshed, by result.", "cache", "result")
	m.mutate = vec("mutated_total", "Values in L1 that a caller has modified (Options.CheckShared).", "cache")
	m.warmKey = vec("warm_keys_total",
		"Keys saved when the cache was closed, and fetched when it was made, by result (Options.Warm).", "cache", "result")
	m.warmFile = vec("warm_files_total", "Files of such keys read and written, by result.", "cache", "result")
	m.audit = newAuditMetrics(vec)
	m.loadSeconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "nearcache_load_seconds",
		Help: "How long the Loader took.", Buckets: prometheus.ExponentialBuckets(0.0005, 2, 16)}, []string{"cache"})
	m.propagation = prometheus.NewHistogram(prometheus.HistogramOpts{Name: "nearcache_event_propagation_seconds",
		Help:    "From an event's commit, by the source's clock, to its effect on this instance, by its own.",
		Buckets: prometheus.ExponentialBuckets(0.0005, 2, 18)})
	m.watermarkLag = prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "nearcache_watermark_lag_seconds",
		Help: "From a commit to the proof that it has been applied here, by this instance's clock: the longest for " +
			"each proof.",
		Buckets: prometheus.ExponentialBuckets(0.001, 1.5, 26)}, []string{"channel"})
	m.all = append(m.all, m.loadSeconds, m.propagation, m.watermarkLag, provedAges{c}, degraded{c})
	m.pushes = counter("tracking_pushes_total", "Keys that Redis pushed as changed, expired or evicted.")
	m.redisSessions = counter("tracking_sessions_total", "Connections of tracking dialled or lost.")
	m.malformed = counter("events_malformed_total", "Events that could not be decoded.")
	m.retryDropped = counter("retries_dropped_total",
		"Failed invalidations that were forgotten, and their buckets quarantined, because too many were pending.")
	m.eventCount = vec("events_total", "Version events applied, by whether they had a version.", "kind")
	m.versionsRefused = vec("versions_refused_total",
		"Versions of keys that were forgotten because the source does not have them, by how that was found.", "reason")
	m.eventSession = vec("event_sessions_total", "Sessions of the event channel begun, by reason.", "reason")
	m.failed = vec("errors_total", "Failures of background work, by operation.", "operation")
	gauge("retries_pending", "Invalidations that could not be sent to Redis yet.", func() float64 {
		return float64(c.retry.len())
	})
	gauge("quarantined_buckets",
		"Buckets of Redis that are read at the source, because failed invalidations of theirs were forgotten.",
		func() float64 { return float64(c.retry.buckets()) })
	gauge("redis_up", "1 while Redis is connected.", func() float64 { return flag(c.l2.Up()) })
	gauge("breaker_open", "1 while reads pass Redis over, because it is slow or gone.", func() float64 {
		return flag(c.breaker.opened.Load())
	})
	gauge("events_followed", "1 while every partition of the event channel is followed.", func() float64 {
		return flag(c.fence.Channels().EventSession != 0)
	})
	gauge("mode", "0 on, 1 shadow, 2 off.", func() float64 { return float64(c.mode.Load()) })
	return m
}

// provedAges collects what the channels prove, with one look at them for each scrape. A channel that proves nothing has
// no sample.
type provedAges struct{ c *Client }

var provedDesc = prometheus.NewDesc("nearcache_proved_staleness_seconds",
	"How old, at most, what the channel vouches for is now.", []string{"channel"}, nil)

// Describe implements prometheus.Collector.
func (provedAges) Describe(ch chan<- *prometheus.Desc) { ch <- provedDesc }

// Collect implements prometheus.Collector.
func (p provedAges) Collect(ch chan<- prometheus.Metric) {
	b := p.c.bound()
	if b.Redis > 0 {
		ch <- prometheus.MustNewConstMetric(provedDesc, prometheus.GaugeValue, b.Redis.Seconds(), "redis")
	}
	if b.Events > 0 {
		ch <- prometheus.MustNewConstMetric(provedDesc, prometheus.GaugeValue, b.Events.Seconds(), "events")
	}
}

func flag(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func (m *metrics) register(reg prometheus.Registerer) error {
	if reg == nil {
		return nil
	}
	m.reg = reg
	for i, col := range m.all {
		if err := reg.Register(col); err != nil {
			for _, done := range m.all[:i] {
				reg.Unregister(done)
			}
			return err
		}
	}
	return nil
}

func (m *metrics) unregister() {
	if m.reg == nil {
		return
	}
	for _, col := range m.all {
		m.reg.Unregister(col)
	}
}

func (m *metrics) eventSessions(reason string) prometheus.Counter {
	return m.eventSession.WithLabelValues(reason)
}

func (m *metrics) lag(channel string) prometheus.Observer {
	return m.watermarkLag.WithLabelValues(channel)
}

func (m *metrics) errors(op string) prometheus.Counter { return m.failed.WithLabelValues(op) }

// event counts an applied event. The two clocks of the propagation time may differ: it is for looking at, not for
// proofs.
func (m *metrics) event(e *coherence.Event) {
	kind := "versioned"
	if e.Version == 0 {
		kind = "unversioned"
	}
	m.eventCount.WithLabelValues(kind).Inc()
	if !e.Time.IsZero() {
		m.propagation.Observe(max(0, time.Since(e.Time).Seconds()))
	}
}

// cacheMetrics are one cache's children of the client's collectors.
type cacheMetrics struct {
	name     string
	m        *metrics
	l1Hits   stripes
	l1Misses struct{ absent, expired, invalidated, collided, unvouched, unproved, tag, mutated prometheus.Counter }

	l2Hits, admitted, declined, staleRefused, mutated prometheus.Counter
	l2Absent, loaded, filled, granted                 prometheus.Counter
	loadSeconds                                       prometheus.Observer
}

func (m *metrics) forCache(name string, cache managedCache, c *Client) (*cacheMetrics, error) {
	cm := &cacheMetrics{name: name, m: m}
	l1Miss := func(reason string) prometheus.Counter { return m.misses.WithLabelValues(name, "l1", reason) }
	cm.l1Misses.absent, cm.l1Misses.expired = l1Miss("absent"), l1Miss("expired")
	cm.l1Misses.invalidated, cm.l1Misses.collided = l1Miss("invalidated"), l1Miss("collided")
	cm.l1Misses.unvouched, cm.l1Misses.unproved = l1Miss("unvouched"), l1Miss("unproved")
	cm.l1Misses.tag = l1Miss("tag")
	cm.l2Hits, cm.staleRefused = m.hits.WithLabelValues(name), m.refused.WithLabelValues(name)
	cm.admitted, cm.declined = m.admit.WithLabelValues(name, "offered"), m.admit.WithLabelValues(name, "dropped")
	cm.l1Misses.mutated, cm.mutated = l1Miss("mutated"), m.mutate.WithLabelValues(name)
	cm.l2Absent, cm.loaded = m.misses.WithLabelValues(name, "l2", string(missAbsent)), m.load.WithLabelValues(name, "ok")
	cm.filled = m.fill.WithLabelValues(name, l2.Filled.String())
	cm.granted = m.lease.WithLabelValues(name, l2.Granted.String())
	cm.loadSeconds = m.loadSeconds.WithLabelValues(name)
	labels := prometheus.Labels{"cache": name}
	cols := []prometheus.Collector{
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "nearcache_l1_hits_total", ConstLabels: labels,
			Help: "Reads served by L1."}, func() float64 { return float64(cm.l1Hits.sum()) }),
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
