package nearcache

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/version"
)

// metrics are the client's collectors. docs/reference/metrics.md lists them.
type metrics struct {
	reg    prometheus.Registerer
	all    []prometheus.Collector
	events bool // Config.Events is set

	misses, load, fill, lease, reject, admit, write            *prometheus.CounterVec
	stale, refused, shadow, refresh, mutate, warmKey, warmFile *prometheus.CounterVec
	lookupSeconds, loadSeconds                                 *prometheus.HistogramVec
	leasesHeld                                                 *prometheus.GaugeVec
	audit                                                      auditMetrics

	byRedis, byEvents, byWrites, byApply                           prometheus.Counter // invalidations
	redisSessions, malformed, unversioned, retryDropped, toldAgain prometheus.Counter
	eventSession, failed, versionsRefused, samples                 *prometheus.CounterVec
	watermarkLag                                                   *prometheus.HistogramVec
	arrivals                                                       arrivals
}

// lookupBuckets reach from a hit in L1 to a slow Loader.
var lookupBuckets = []float64{1e-7, 2.5e-7, 5e-7, 1e-6, 2.5e-6, 1e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3,
	1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1, 2.5, 5}

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
	histogram := func(name, help string, buckets []float64, label string) *prometheus.HistogramVec {
		v := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "nearcache_" + name, Help: help,
			Buckets: buckets}, []string{label})
		m.all = append(m.all, v)
		return v
	}
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
	m.lookupSeconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "nearcache_lookup_duration_seconds",
		Help:    "How long Get and Read took, by the tier that answered; none is a failure. Hits of L1 are sampled.",
		Buckets: lookupBuckets}, []string{"cache", "tier"})
	m.loadSeconds = histogram("load_duration_seconds", "How long the Loader took.",
		prometheus.ExponentialBuckets(0.0005, 2, 16), "cache")
	m.watermarkLag = histogram("watermark_lag_seconds", "From a commit to the proof that it has been applied here, by "+
		"this instance's clock: the longest for each proof.", prometheus.ExponentialBuckets(0.001, 1.5, 26), "channel")
	m.leasesHeld = prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "nearcache_leases_held",
		Help: "Leases that this instance holds now."}, []string{"cache"})
	m.all = append(m.all, m.lookupSeconds, m.leasesHeld, channelStates{c}, degraded{c}, version.Collector())
	invalidations := vec("invalidations_total", "Keys that this instance was told to drop, by the channel that told it.",
		"channel")
	m.byRedis, m.byEvents = invalidations.WithLabelValues("redis"), invalidations.WithLabelValues("events")
	m.byWrites, m.byApply = invalidations.WithLabelValues("write"), invalidations.WithLabelValues("apply")
	m.arrivals = newArrivals(histogram("invalidation_duration_seconds",
		"From a commit, by the source's clock, to its effect on this instance, by its own.",
		prometheus.ExponentialBuckets(0.0005, 2, 18), "channel"),
		vec("first_invalidations_total", "Changes that both channels have brought, by the one that was first.", "channel"))
	m.redisSessions = counter("tracking_sessions_total",
		"Connections of tracking lost or changed, and pushes for everything.")
	m.malformed = counter("events_malformed_total", "Events that could not be decoded.")
	m.retryDropped = counter("retries_dropped_total",
		"Failed invalidations that were forgotten, and their buckets quarantined, because too many were pending.")
	m.unversioned = counter("events_unversioned_total", "Events without a version, which invalidate in any case.")
	m.versionsRefused = vec("versions_refused_total",
		"Versions of keys that were forgotten because the source does not have them, by how that was found.", "reason")
	m.eventSession = vec("event_sessions_total", "Sessions of the event channel begun, by reason.", "reason")
	m.samples = vec("samples_total", "Positions of the source that were learnt, by what has shown them: the relay's "+
		"rounds in Redis, its barriers in the event channel, or the source.", "by")
	for _, by := range []string{sampledByRounds, sampledByEvents, sampledBySource} {
		m.samples.WithLabelValues(by)
	}
	m.failed = vec("errors_total", "Failures of background work, by operation.", "operation")
	m.toldAgain = counter("invalidations_repeated_total",
		"Recent invalidations that were sent again, to a Redis server that took over without a relay.")
	gauge("retries_pending", "Invalidations that could not be sent to Redis yet.", func() float64 {
		return float64(c.retry.len())
	})
	gauge("quarantined_buckets",
		"Buckets of Redis that are read at the source, because failed invalidations of theirs were forgotten.",
		func() float64 { return float64(c.retry.buckets()) })
	gauge("breaker_open", "1 while reads pass Redis over, because it is slow or gone.", func() float64 {
		return flag(c.breaker.anyOpen())
	})
	gauge("tracking", "1 if Redis tracking tells L1 of changes, 0 with Config.Tracking off.", func() float64 {
		return flag(!c.untracked)
	})
	gauge("mode", "0 on, 1 shadow, 2 off.", func() float64 { return float64(c.mode.Load()) })
	return m
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

func (m *metrics) sampled(by string) prometheus.Counter { return m.samples.WithLabelValues(by) }

func (m *metrics) errors(op string) prometheus.Counter { return m.failed.WithLabelValues(op) }

// event counts an applied event.
func (m *metrics) event(hash uint64, e *coherence.Event) {
	m.byEvents.Inc()
	if e.Version == 0 {
		m.unversioned.Inc()
	}
	m.arrivals.event(hash, e.Time, time.Now())
}

// pushed counts keys that Redis pushed.
func (m *metrics) pushed(hashes []uint64) {
	m.byRedis.Add(float64(len(hashes)))
	if !m.events {
		return
	}
	now := time.Now()
	for _, h := range hashes {
		m.arrivals.push(h, now)
	}
}
