package relay

import "github.com/prometheus/client_golang/prometheus"

// relayMetrics are the collectors of a relay.
type relayMetrics struct {
	events, errors, rounds, resets *prometheus.CounterVec
	malformed                      *prometheus.CounterVec
	last, failing                  *prometheus.GaugeVec
	lagChanges, lag, transaction   *prometheus.GaugeVec
	leader, outbox                 prometheus.Gauge
	replays, refused               prometheus.Counter
	trimmed, unpublished           prometheus.Counter
}

func newRelayMetrics() *relayMetrics {
	vec := func(name, help string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "nearcache_relay_" + name,
			Help: help}, []string{"channel"})
	}
	gauge := func(name, help string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "nearcache_relay_" + name, Help: help},
			[]string{"channel"})
	}
	return &relayMetrics{
		events: vec("events_total", "Changes relayed."),
		errors: vec("errors_total", "Rounds, steps of trim and attempts to become leader that failed and were repeated."),
		malformed: vec("malformed_total",
			"Changes left out because no cache can have their namespace: the source counts them for nobody."),
		rounds: vec("rounds_total", "Rounds that succeeded."),
		resets: vec(
			"resets_total",
			"Times that a cursor was lost and set to the present: of buckets for redis, of the whole channel for events.",
		),
		last: gauge("last_success_timestamp_seconds", "When the last round succeeded, as a Unix time."),
		failing: gauge("failing_seconds",
			"For how long every attempt has failed, 0 while they succeed. The channel trim is that of dropping old changes."),
		lagChanges: gauge("lag_changes", "About how many changes the channel does not have yet."),
		lag: gauge("lag_seconds",
			"The age of the oldest change that the channel does not have yet, 0 if there is none."),
		outbox: prometheus.NewGauge(prometheus.GaugeOpts{Name: "nearcache_relay_outbox_rows",
			Help: "About how many changes the outbox holds, also those that are kept for replays."}),
		transaction: gauge("transaction_changes",
			"How many changes of the transaction at work were relayed, 0 outside of one that takes several batches."),
		leader: prometheus.NewGauge(prometheus.GaugeOpts{Name: "nearcache_relay_leader",
			Help: "1 while this relay works, 0 while another does."}),
		replays: prometheus.NewCounter(prometheus.CounterOpts{Name: "nearcache_relay_replays_total",
			Help: "Buckets of Redis found behind, and replayed."}),
		refused: prometheus.NewCounter(prometheus.CounterOpts{Name: "nearcache_relay_rounds_refused_total",
			Help: "Rounds that Redis refused: another relay had published, or Redis had gone back. They are repeated."}),
		trimmed: prometheus.NewCounter(prometheus.CounterOpts{Name: "nearcache_relay_trimmed_total",
			Help: "Changes dropped from the outbox."}),
		unpublished: prometheus.NewCounter(prometheus.CounterOpts{Name: "nearcache_relay_unpublished_total",
			Help: "Events left out because their size or codec never lets them be published: followers see a gap."}),
	}
}

func (m *relayMetrics) all() []prometheus.Collector {
	return []prometheus.Collector{m.events, m.errors, m.rounds, m.resets, m.last, m.failing, m.lagChanges,
		m.lag, m.outbox, m.transaction, m.leader, m.replays, m.refused, m.trimmed, m.unpublished, m.malformed}
}

func (m *relayMetrics) register(reg prometheus.Registerer) error {
	if reg == nil {
		return nil
	}
	for _, c := range m.all() {
		if err := reg.Register(c); err != nil {
			return err
		}
	}
	return nil
}

func (m *relayMetrics) unregister(reg prometheus.Registerer) {
	if reg == nil {
		return
	}
	for _, c := range m.all() {
		reg.Unregister(c)
	}
}
