package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	kafkago "github.com/segmentio/kafka-go"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/internal/tailing"
)

// Worker applies version events to L2, as a member of a consumer group that starts at the earliest offset. It commits
// an offset only when everything before it has been applied, so what it had in hand when it died, or when its
// partition went to another member, is applied again: that is harmless, since versions decide and not the order of
// arrival. It is not part of any proof; it shortens the time for which L2 holds an old value. It reads committed
// records only.
//
// A message that cannot be decoded is logged, counted, and copied to the dead-letter topic with the reason; only then
// is its offset committed. A copy that is too large for that topic is cut, and says so. No message stops the Worker:
// a copy that the topic does not take at all within 10 seconds is logged and counted as lost.
//
// The fields are read by Run, which may be called once at a time.
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
	// MaxBehind is how old the oldest event that is not applied may be before Status says so. Defaults to a minute.
	MaxBehind time.Duration
	// Tracer makes a span "worker.apply" of each batch; see coherence.Tracer.StartBatch. Defaults to none.
	Tracer coherence.Tracer
	// Registerer takes the metrics. Defaults to none.
	Registerer prometheus.Registerer
	// Logger defaults to discarding.
	Logger *slog.Logger

	mu  sync.Mutex
	run *workerRun
	// idleSince is when Run returned, or when a worker that does not run was first asked how it does.
	idleSince time.Time
}

// Run works until ctx ends, and then finishes the batch it has in hand and returns nil. It retries whatever may pass;
// an error is a misconfiguration.
func (w *Worker) Run(ctx context.Context) error {
	if len(w.Brokers) == 0 || w.Topic == "" || w.GroupID == "" || w.L2 == nil {
		return errors.New("kafka: worker: Brokers, Topic, GroupID and L2 are required")
	}
	dead := w.deadLetterTopic()
	if dead == w.Topic {
		return errors.New("kafka: worker: DeadLetterTopic is the topic of the events: what is set aside would come back")
	}
	if err := checkTopics(w.Topic, dead); err != nil {
		return fmt.Errorf("kafka: worker: %w", err)
	}
	if err := w.Broker.check(); err != nil {
		return fmt.Errorf("kafka: worker: %w", err)
	}
	if w.Batch < 0 || w.MaxBehind < 0 {
		return fmt.Errorf("kafka: worker: Batch is %d and MaxBehind %v: negative", w.Batch, w.MaxBehind)
	}
	run := w.begin()
	defer run.c.close()
	w.mu.Lock()
	w.run = run
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.run, w.idleSince = nil, time.Now()
	}()
	if err := run.m.register(w.Registerer); err != nil {
		return fmt.Errorf("kafka: worker: %w", err)
	}
	defer run.m.unregister(w.Registerer)
	for ctx.Err() == nil {
		if !run.insist(ctx, "topic", run.topicIsThere) {
			return nil
		}
		if err := run.join(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (w *Worker) deadLetterTopic() string {
	if w.DeadLetterTopic == "" {
		return w.Topic + ".dlq"
	}
	return w.DeadLetterTopic
}

// begin fills in the defaults.
func (w *Worker) begin() *workerRun {
	run := &workerRun{topic: w.Topic, codec: w.Codec.WithDefaults(), l2: w.L2, tracer: w.Tracer, batch: w.Batch,
		behind: w.MaxBehind,
		log:    w.Logger, c: w.connect()}
	if run.batch == 0 {
		run.batch = 500
	}
	if run.behind == 0 {
		run.behind = time.Minute
	}
	if run.log == nil {
		run.log = slog.New(slog.DiscardHandler)
	}
	run.dead = &producer{c: run.c, topic: w.deadLetterTopic()}
	run.m = newWorkerMetrics(run)
	t := run.c.transport
	dialer := &kafkago.Dialer{Timeout: time.Second, DualStack: true, TLS: t.TLS, SASLMechanism: t.SASL,
		ClientID: "nearcache-worker", DialFunc: t.Dial}
	run.group = kafkago.ConsumerGroupConfig{ID: w.GroupID, Brokers: w.Brokers, Topics: []string{w.Topic},
		Dialer:      dialer,
		StartOffset: kafkago.FirstOffset, JoinGroupBackoff: 500 * time.Millisecond, RebalanceTimeout: 10 * time.Second}
	return run
}

// workerRun is one Run of a Worker.
type workerRun struct {
	topic  string
	codec  coherence.EventCodec
	l2     Applier
	tracer coherence.Tracer // nil: none
	batch  int
	behind time.Duration
	log    *slog.Logger
	c      *cluster
	group  kafkago.ConsumerGroupConfig
	dead   *producer
	m      *workerMetrics
	made   bool // the dead-letter topic is there; only setAside looks
	making sync.Mutex

	mu         sync.Mutex
	partitions map[int]progress // that are assigned
	reasons    map[string]workerReason
}

// topicIsThere must be so before the group is joined: a group joined for a topic that is not there has no partitions.
func (w *workerRun) topicIsThere(ctx context.Context) error {
	_, err := w.c.count(ctx, w.topic)
	return err
}

// join is a member of the group until ctx ends or the topic is gone.
//
// The number of partitions is read before the group is joined, and the leader of the group assigns what it reads
// later. So a topic that grows between the two is noticed, by whoever leads, and the group joined again.
func (w *workerRun) join(ctx context.Context) error {
	n, err := partitions(ctx, w.c.client, w.topic)
	if err != nil {
		return nil
	}
	group, err := kafkago.NewConsumerGroup(w.group)
	if err != nil {
		return fmt.Errorf("kafka: worker: %w", err)
	}
	left := context.AfterFunc(ctx, func() { _ = group.Close() })
	defer func() {
		left()
		_ = group.Close()
	}()
	for ctx.Err() == nil {
		gen, err := group.Next(ctx)
		if err != nil {
			if ctx.Err() == nil && !errors.Is(err, kafkago.RebalanceInProgress) {
				w.m.errors.WithLabelValues("group").Inc()
				w.reason("group", err)
			}
			continue
		}
		w.works("group")
		there := make(chan error, 1)
		gen.Start(func(ctx context.Context) { there <- w.watch(ctx, &n) })
		w.assigned(gen.Assignments[w.topic])
		for _, a := range gen.Assignments[w.topic] {
			p := &consumer{workerRun: w, gen: gen, part: a.ID, next: a.Offset}
			gen.Start(p.run)
		}
		if err := <-there; err != nil {
			w.reason("topic", err)
			return nil
		}
	}
	return nil
}

// watch returns when the generation is over, or is to be: the topic has another number of partitions than *n, or is
// gone.
func (w *workerRun) watch(ctx context.Context, n *int) error {
	for {
		ask, cancel := context.WithTimeout(ctx, 5*time.Second)
		now, err := partitions(ask, w.c.client, w.topic)
		cancel()
		switch {
		case missing(err):
			return err
		case err == nil && now != *n:
			*n = now
			return nil
		}
		tailing.Pause(ctx, time.Second)
		if ctx.Err() != nil {
			return nil
		}
	}
}

// insist repeats f until it succeeds or ctx ends.
func (w *workerRun) insist(ctx context.Context, op string, f func(context.Context) error) bool {
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		try, cancel := context.WithTimeout(ctx, 5*time.Second)
		err := f(try)
		cancel()
		if err == nil {
			w.works(op)
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		w.reason(op, err)
		w.m.errors.WithLabelValues(op).Inc()
		tailing.Pause(ctx, wait)
	}
}
