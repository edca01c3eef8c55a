package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	kafkago "github.com/segmentio/kafka-go"

	"github.com/nearcache/nearcache-go/coherence"
)

// Applier is what a Worker applies events to. A tier.L2 is one.
type Applier interface {
	// Apply makes L2 drop what is older than the events. It may be called again with the same events.
	Apply(ctx context.Context, events ...coherence.Event) error
}

// Worker applies version events to L2, as a member of a consumer group that starts at the earliest offset. It commits an
// offset only when everything before it has been applied, so what it had in hand when it died, or when its partition went
// to another member, is applied again: that is harmless, since versions decide and not the order of arrival. It is not
// part of any proof; it shortens the time for which L2 holds an old value.
//
// A message that cannot be decoded is logged, counted, and copied to the dead-letter topic with the reason; only then is
// its offset committed.
type Worker struct {
	Broker
	Topic   string               // required
	GroupID string               // required
	Codec   coherence.EventCodec // defaults to JSON
	L2      Applier              // required
	// DeadLetterTopic takes malformed messages. Defaults to Topic + ".dlq". It is created if it is missing.
	DeadLetterTopic string
	// Batch bounds how many messages are applied in one pipeline. Defaults to 500.
	Batch int
	// Registerer takes the metrics. Defaults to none.
	Registerer prometheus.Registerer
	// Logger defaults to discarding.
	Logger *slog.Logger
}

// Run works until ctx ends, and then finishes the batch it has in hand and returns nil. It retries whatever may pass; an
// error is a misconfiguration.
func (w Worker) Run(ctx context.Context) error {
	if len(w.Brokers) == 0 || w.Topic == "" || w.GroupID == "" || w.L2 == nil {
		return errors.New("kafka: worker: Brokers, Topic, GroupID and L2 are required")
	}
	if w.DeadLetterTopic == "" {
		w.DeadLetterTopic = w.Topic + ".dlq"
	}
	if w.Batch <= 0 {
		w.Batch = 500
	}
	if w.Logger == nil {
		w.Logger = slog.New(slog.DiscardHandler)
	}
	w.Codec = w.Codec.WithDefaults()
	m := newWorkerMetrics()
	if err := m.register(w.Registerer); err != nil {
		return fmt.Errorf("kafka: worker: %w", err)
	}
	defer m.unregister(w.Registerer)
	tr, own := w.transport()
	if own {
		defer tr.CloseIdleConnections()
	}
	dialer := &kafkago.Dialer{Timeout: time.Second, DualStack: true, TLS: tr.TLS, SASLMechanism: tr.SASL, ClientID: "nearcache-worker"}
	if tr.Dial != nil {
		dialer.DialFunc = tr.Dial
	}
	run := &workerRun{Worker: w, m: m, client: w.client(tr)}
	if !run.insist(ctx, "topic", run.topicIsThere) {
		return nil
	}
	run.reader = kafkago.NewReader(kafkago.ReaderConfig{
		Brokers: w.Brokers, GroupID: w.GroupID, Topic: w.Topic, Dialer: dialer, StartOffset: kafkago.FirstOffset,
		MinBytes: 1, MaxBytes: 4 << 20, MaxWait: 250 * time.Millisecond, WatchPartitionChanges: true,
		PartitionWatchInterval: 5 * time.Second, ReadBackoffMin: 10 * time.Millisecond, ReadBackoffMax: 500 * time.Millisecond,
		JoinGroupBackoff: 500 * time.Millisecond, RebalanceTimeout: 10 * time.Second,
		ErrorLogger: kafkago.LoggerFunc(func(f string, a ...any) { w.Logger.Debug("kafka: " + fmt.Sprintf(f, a...)) }),
	})
	defer run.reader.Close()
	for {
		batch, err := run.fetch(ctx)
		if len(batch) > 0 {
			run.finish(ctx, batch)
		}
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			m.errors.WithLabelValues("fetch").Inc()
			pause(ctx, 200*time.Millisecond)
		}
	}
}

// workerRun is one Run of a Worker.
type workerRun struct {
	Worker
	m      *workerMetrics
	reader *kafkago.Reader
	client *kafkago.Client
	dlq    bool // the dead-letter topic is there
}

// topicIsThere must be so before the group is joined. kafka-go assigns partitions by one reading of the metadata and
// watches for changes from another: with a topic that is made between the two the group would have no partitions, and
// never notice.
func (w *workerRun) topicIsThere(ctx context.Context) error {
	n, err := partitions(ctx, w.client, w.Topic)
	if err == nil && n == 0 {
		err = kafkago.UnknownTopicOrPartition
	}
	return err
}

// fetch waits for a message and takes what else is there.
func (w *workerRun) fetch(ctx context.Context) (batch []kafkago.Message, err error) {
	first, err := w.reader.FetchMessage(ctx)
	if err != nil {
		return nil, err
	}
	batch = append(batch, first)
	more, cancel := context.WithTimeout(ctx, 5*time.Millisecond)
	defer cancel()
	for len(batch) < w.Batch {
		msg, err := w.reader.FetchMessage(more)
		if err != nil {
			break // nothing more now; a real error comes again
		}
		batch = append(batch, msg)
	}
	return batch, nil
}

// finish applies a batch, sets aside what is malformed, and commits. It tries until it succeeds; when ctx has ended it
// tries for a few seconds more and then leaves the batch uncommitted to its successor.
func (w *workerRun) finish(ctx context.Context, batch []kafkago.Message) {
	var events []coherence.Event
	var bad []kafkago.Message
	for i := range batch {
		m, err := w.Codec.Decode(batch[i].Value)
		if err == nil && m.Barrier == nil {
			err = m.Event.Validate()
		}
		if err != nil {
			w.m.malformed.Inc()
			w.Logger.Warn("a malformed message goes to the dead-letter topic", "topic", w.Topic, "partition", batch[i].Partition,
				"offset", batch[i].Offset, "error", err)
			bad = append(bad, deadLetter(batch[i], err))
			continue
		}
		if m.Barrier == nil {
			events = append(events, m.Event)
		}
	}
	last, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(5*time.Second, cancel) })
	defer stop()
	ok := w.insist(last, "apply", func(ctx context.Context) error { return w.L2.Apply(ctx, events...) }) &&
		w.insist(last, "dead_letter", func(ctx context.Context) error { return w.setAside(ctx, bad) })
	if !ok {
		return
	}
	w.m.applied.Add(float64(len(events)))
	w.m.deadLettered.Add(float64(len(bad)))
	// A commit that fails, because the group is rebalancing, is made up for by a later one, or the messages come again.
	commit, cancelCommit := context.WithTimeout(last, 5*time.Second)
	defer cancelCommit()
	if err := w.reader.CommitMessages(commit, batch...); err != nil {
		w.m.errors.WithLabelValues("commit").Inc()
		w.Logger.Warn("offsets could not be committed", "error", err)
	}
}

// insist repeats f until it succeeds or ctx ends.
func (w *workerRun) insist(ctx context.Context, op string, f func(context.Context) error) bool {
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		try, cancel := context.WithTimeout(ctx, 5*time.Second)
		err := f(try)
		cancel()
		if err == nil {
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		if wait == 50*time.Millisecond {
			w.Logger.Warn("retrying", "operation", op, "error", err)
		}
		w.m.errors.WithLabelValues(op).Inc()
		pause(ctx, wait)
	}
}

// deadLetter is a copy of a message with where it came from and why it is here.
func deadLetter(m kafkago.Message, why error) kafkago.Message {
	reason := why.Error()
	if len(reason) > 1024 {
		reason = reason[:1024]
	}
	return kafkago.Message{Key: m.Key, Value: m.Value, Headers: append(append([]kafkago.Header(nil), m.Headers...),
		kafkago.Header{Key: "nearcache-reason", Value: []byte(reason)},
		kafkago.Header{Key: "nearcache-topic", Value: []byte(m.Topic)},
		kafkago.Header{Key: "nearcache-partition", Value: []byte(strconv.Itoa(m.Partition))},
		kafkago.Header{Key: "nearcache-offset", Value: []byte(strconv.FormatInt(m.Offset, 10))})}
}

func (w *workerRun) setAside(ctx context.Context, bad []kafkago.Message) error {
	if len(bad) == 0 {
		return nil
	}
	if !w.dlq {
		if err := createTopic(ctx, w.client, w.DeadLetterTopic, 1, -1); err != nil {
			return err
		}
		w.dlq = true
	}
	records := make([]kafkago.Record, len(bad))
	for i, m := range bad {
		records[i] = kafkago.Record{Key: kafkago.NewBytes(m.Key), Value: kafkago.NewBytes(m.Value), Headers: m.Headers, Time: time.Now()}
	}
	res, err := w.client.Produce(ctx, &kafkago.ProduceRequest{Topic: w.DeadLetterTopic, Partition: 0,
		RequiredAcks: kafkago.RequireAll, Records: kafkago.NewRecordReader(records...)})
	if err == nil {
		err = res.Error
	}
	return err
}

type workerMetrics struct {
	applied, malformed, deadLettered prometheus.Counter
	errors                           *prometheus.CounterVec
}

func newWorkerMetrics() *workerMetrics {
	c := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "nearcache_worker_" + name, Help: help})
	}
	return &workerMetrics{
		applied:      c("applied_total", "Events applied to Redis."),
		malformed:    c("malformed_total", "Messages that could not be decoded."),
		deadLettered: c("dead_lettered_total", "Messages copied to the dead-letter topic."),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "nearcache_worker_errors_total",
			Help: "Attempts that failed and were repeated, by operation."}, []string{"operation"}),
	}
}

func (m *workerMetrics) register(reg prometheus.Registerer) error {
	if reg == nil {
		return nil
	}
	for _, c := range []prometheus.Collector{m.applied, m.malformed, m.deadLettered, m.errors} {
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
	for _, c := range []prometheus.Collector{m.applied, m.malformed, m.deadLettered, m.errors} {
		reg.Unregister(c)
	}
}
