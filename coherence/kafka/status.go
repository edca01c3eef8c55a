package kafka

import (
	"sort"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	kafkago "github.com/segmentio/kafka-go"
)

// WorkerStatus is what a Worker can say of itself.
type WorkerStatus struct {
	// Partitions is how many the group has assigned to it. None is no fault where the group has more members.
	Partitions int
	// Lag is how many records of them are not applied yet, as of the last answers of the brokers. It counts control
	// records and aborted ones, so it is an upper bound.
	Lag int64
	// Behind is the age of the oldest record that is not applied; 0: there is none.
	Behind time.Duration
	// Reasons are why it does not do its work; empty: it does.
	Reasons []WorkerReason
}

// WorkerReason is a reason why a Worker does not do its work, or does it late.
type WorkerReason struct {
	// Code is one of: "not_running", "topic" (it cannot be looked up, or is missing), "group" (it cannot be joined),
	// "fetch" (a partition cannot be read), "apply" (Redis cannot be told), "dead_letter" (malformed messages cannot
	// be copied), "behind" (older than MaxBehind).
	Code string
	Text string
	// Since is when it began. A Worker that Run was not called on says since when it has been asked.
	Since time.Time
}

// Status reports how the Worker does now. It may be called at any time.
func (w *Worker) Status() WorkerStatus {
	w.mu.Lock()
	run := w.run
	if run == nil && w.idleSince.IsZero() {
		w.idleSince = time.Now()
	}
	since := w.idleSince
	w.mu.Unlock()
	if run == nil {
		return WorkerStatus{Reasons: []WorkerReason{{Code: "not_running", Since: since,
			Text: "Run has not been called, or has returned"}}}
	}
	return run.status()
}

// progress is how far a partition is.
type progress struct {
	lag    int64
	oldest time.Time // of what is not applied
}

func (w *workerRun) status() (s WorkerStatus) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s.Partitions = len(w.partitions)
	var oldest time.Time
	for _, p := range w.partitions {
		s.Lag += p.lag
		if p.lag > 0 && (oldest.IsZero() || p.oldest.Before(oldest)) {
			oldest = p.oldest
		}
	}
	for _, r := range w.reasons {
		s.Reasons = append(s.Reasons, r.WorkerReason)
	}
	sort.Slice(s.Reasons, func(i, j int) bool { return s.Reasons[i].Code < s.Reasons[j].Code })
	if !oldest.IsZero() {
		s.Behind = max(time.Since(oldest), 0)
	}
	if s.Behind > w.behind {
		s.Reasons = append(s.Reasons, WorkerReason{Code: "behind",
			Text: "events of " + s.Behind.Round(time.Second).String() + " ago are not applied", Since: oldest})
	}
	return s
}

// assigned begins a generation.
func (w *workerRun) assigned(as []kafkago.PartitionAssignment) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.partitions = make(map[int]progress, len(as))
	for _, a := range as {
		w.partitions[a.ID] = progress{}
	}
}

// progress notes how many records are left in a partition. Without the time of the oldest one it is the one that was
// known, or now: it was not there when the partition was last looked at.
func (w *workerRun) progress(part int, lag int64, oldest time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p, ok := w.partitions[part]
	if !ok {
		return
	}
	switch p.lag = max(lag, 0); {
	case p.lag == 0:
		p.oldest = time.Time{}
	case !oldest.IsZero():
		p.oldest = oldest
	case p.oldest.IsZero():
		p.oldest = time.Now()
	}
	w.partitions[part] = p
}

// reason notes why something does not work, and logs it when the reason is another one.
func (w *workerRun) reason(code string, err error) {
	err = explain(err)
	w.mu.Lock()
	r, ok := w.reasons[code]
	known := ok && r.kind == reasonOf(err)
	if !ok {
		r = workerReason{WorkerReason: WorkerReason{Code: code, Since: time.Now()}}
	}
	r.Text, r.kind = err.Error(), reasonOf(err)
	if w.reasons == nil {
		w.reasons = make(map[string]workerReason)
	}
	w.reasons[code] = r
	w.mu.Unlock()
	if !known {
		w.log.Warn("the worker does not get on; it goes on trying", "operation", code, "topic", w.topic, "error", err)
	}
}

type workerReason struct {
	WorkerReason
	kind string
}

// works ends a reason.
func (w *workerRun) works(code string) {
	w.mu.Lock()
	_, was := w.reasons[code]
	delete(w.reasons, code)
	w.mu.Unlock()
	if was {
		w.log.Info("the worker gets on again", "operation", code, "topic", w.topic)
	}
}

type workerMetrics struct {
	applied, ignored, malformed, skipped, resets prometheus.Counter
	deadLetters, errors                          *prometheus.CounterVec
	lag, behind                                  prometheus.GaugeFunc
}

func newWorkerMetrics(run *workerRun) *workerMetrics {
	c := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "nearcache_worker_" + name, Help: help})
	}
	g := func(name, help string, f func(WorkerStatus) float64) prometheus.GaugeFunc {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "nearcache_worker_" + name, Help: help},
			func() float64 { return f(run.status()) })
	}
	m := &workerMetrics{
		applied:   c("applied_total", "Events applied to Redis."),
		ignored:   c("ignored_total", "Messages that the codec passed over."),
		malformed: c("malformed_total", "Messages that could not be decoded."),
		deadLetters: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "nearcache_worker_dead_letters_total",
			Help: "Malformed messages: copied to the dead-letter topic, or lost, which are in the log alone."},
			[]string{"result"}),
		skipped: c("skipped_total", "Offsets of batches that could not be read, and were skipped."),
		resets: c("resets_total",
			"Times that a partition was begun anew: its records were removed, or its topic is another one."),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "nearcache_worker_errors_total",
			Help: "Attempts that failed and were repeated, by operation."}, []string{"operation"}),
		lag: g("lag_records", "Records of the assigned partitions that are not applied yet.",
			func(s WorkerStatus) float64 { return float64(s.Lag) }),
		behind: g("lag_seconds", "Age of the oldest record that is not applied yet.",
			func(s WorkerStatus) float64 { return s.Behind.Seconds() }),
	}
	for _, result := range []string{"copied", "lost"} {
		m.deadLetters.WithLabelValues(result)
	}
	return m
}

func (m *workerMetrics) all() []prometheus.Collector {
	return []prometheus.Collector{m.applied, m.ignored, m.malformed, m.deadLetters, m.skipped,
		m.resets, m.errors, m.lag, m.behind}
}

func (m *workerMetrics) register(reg prometheus.Registerer) error {
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

func (m *workerMetrics) unregister(reg prometheus.Registerer) {
	if reg == nil {
		return
	}
	for _, c := range m.all() {
		reg.Unregister(c)
	}
}
