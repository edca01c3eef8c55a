package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/internal/tailing"
)

// Tail follows every partition of a topic from its present end: each instance has one of its own, and none commits
// offsets. It is a coherence.EventSource; Run may be called once at a time.
//
// Whoever may write the topic may invalidate, and nothing else. What proves that nothing was missed comes by the topic
// of the barriers, also which sequence numbers there must be.
//
// It reads committed records only. While somebody else's transaction is open on a partition, nothing after its first
// record is delivered there: that delays invalidations and proofs, and never makes a proof wrong.
type Tail struct {
	Broker
	// Topic is what is followed. Required. While it does not exist Run waits for it.
	Topic string
	// BarrierTopic is where the relay says how far it has come. Defaults to BarrierTopic(Topic). Without the topic,
	// or the right to read it, events invalidate and nothing is proved by them.
	BarrierTopic string
	// Codec decodes messages. Defaults to JSON.
	Codec coherence.EventCodec
	// MaxWait is how long the broker may hold back an answer while there is nothing new; it answers at once when there is.
	// A request for barriers is held for twice as long, since an idle relay sends one each second. Defaults to a second.
	MaxWait time.Duration
	// Silence is how long a partition may go without any answer, beyond MaxWait, before it counts as lost. Defaults to 2
	// seconds.
	Silence time.Duration
	// Refresh is how often the number of partitions is looked up. Defaults to 5 seconds.
	Refresh time.Duration
	// Logger hears of sessions and losses, and at Warn why nothing is followed, once for each reason. Defaults to
	// discarding it.
	Logger *slog.Logger
}

// Run delivers until ctx ends. See coherence.EventSource.
func (t Tail) Run(ctx context.Context, sink coherence.Sink) error {
	if err := t.prepare(); err != nil {
		return err
	}
	c := t.connect()
	defer c.close()
	r := &tailRun{Tail: t, sink: sink, c: c}
	if s, ok := sink.(coherence.PositionSink); ok {
		s.AskPositions(r.position)
	}
	for ctx.Err() == nil {
		r.follow(ctx)
	}
	return ctx.Err()
}

// prepare sets the defaults, and refuses what can never work.
func (t *Tail) prepare() error {
	if len(t.Brokers) == 0 || t.Topic == "" {
		return errors.New("kafka: tail: Brokers and Topic are required")
	}
	if err := t.Broker.check(); err != nil {
		return fmt.Errorf("kafka: tail: %w", err)
	}
	if t.BarrierTopic == "" {
		t.BarrierTopic = BarrierTopic(t.Topic)
	}
	if t.BarrierTopic == t.Topic {
		return errors.New("kafka: tail: BarrierTopic is the topic of the events: whoever writes those could forge proofs")
	}
	if err := checkTopics(t.Topic, t.BarrierTopic); err != nil {
		return fmt.Errorf("kafka: tail: %w", err)
	}
	for _, d := range []struct {
		name string
		v    *time.Duration
		def  time.Duration
	}{{"MaxWait", &t.MaxWait, time.Second}, {"Silence", &t.Silence, 2 * time.Second},
		{"Refresh", &t.Refresh, 5 * time.Second}} {
		if *d.v < 0 {
			return fmt.Errorf("kafka: tail: %s is negative: %v", d.name, *d.v)
		}
		if *d.v == 0 {
			*d.v = d.def
		}
	}
	if t.Logger == nil {
		t.Logger = slog.New(slog.DiscardHandler)
	}
	t.Codec = t.Codec.WithDefaults()
	return nil
}

// Ping implements coherence.Pinger: it finds out whether a broker lets us in, and lets us see the topic and read it. A
// topic that is not there may be made later, and a broker that does not answer may do so yet.
func (t Tail) Ping(ctx context.Context) error {
	if err := t.prepare(); err != nil {
		return fmt.Errorf("%w: %w", err, coherence.ErrMisconfigured)
	}
	c := t.connect()
	defer c.close()
	_, err := c.count(ctx, t.Topic)
	if err == nil {
		err = t.read(ctx, c)
	}
	if err = explain(err); errors.Is(err, coherence.ErrMisconfigured) {
		return err
	}
	return nil
}

// read asks for what is at the end of the first partition, which is nothing: only the right to ask matters.
func (t Tail) read(ctx context.Context, c *cluster) error {
	topic, err := c.topic(ctx, t.Topic)
	if err != nil {
		return err
	}
	end, err := c.offset(ctx, t.Topic, 0, kafkago.LastOffset)
	if err != nil {
		return err
	}
	_, err = c.fetch(ctx, &fetchRequest{topic: t.Topic, id: topic.id, offset: end, maxBytes: 1})
	return err
}

// tailRun is one Run of a Tail.
type tailRun struct {
	Tail
	sink coherence.Sink
	c    *cluster

	positions positions

	mu        sync.Mutex
	followers []*follower // by partition
	last      *barrier    // the newest
	reason    string      // why nothing is followed, as it was reported last
	gap       *barrier    // the last one that showed that events are missing
}

// follow follows all partitions until ctx ends, or until the topic has fewer than it had: partitions are never taken
// away, so that is another topic of the name.
func (r *tailRun) follow(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	r.mu.Lock()
	r.followers = nil
	r.mu.Unlock()
	wg.Go(func() { r.followBarriers(ctx) })
	for following := 0; ctx.Err() == nil; {
		n, err := r.count(ctx)
		wait := r.Refresh
		switch {
		case err != nil:
			if following == 0 {
				r.failed(ctx, -1, err)
			}
			wait = min(wait, 500*time.Millisecond)
		case n < following:
			r.sink.Partitions(0) // nothing is followed until the new ones are
			return
		case n > following:
			r.worksAgain()
			r.sink.Partitions(n)
			for p := following; p < n; p++ {
				f := &follower{tailRun: r, part: p, start: kafkago.LastOffset, session: true}
				if following > 0 { // it appeared while we looked on: read it from its beginning
					f.start = kafkago.FirstOffset
				}
				r.mu.Lock()
				r.followers = append(r.followers, f)
				r.mu.Unlock()
				wg.Go(func() { f.run(ctx) })
			}
			following = n
		}
		tailing.Pause(ctx, wait)
	}
}

func (r *tailRun) count(ctx context.Context) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, r.Silence)
	defer cancel()
	return r.c.count(ctx, r.Topic)
}

// failed reports why a partition, or with -1 the topic, is not followed: once for each reason.
func (r *tailRun) failed(ctx context.Context, part int, err error) {
	if ctx.Err() != nil {
		return
	}
	r.mu.Lock()
	reason := fmt.Sprint(part, reasonOf(err))
	known := r.reason == reason
	r.reason = reason
	r.mu.Unlock()
	r.sink.Failed(part, err)
	if !known {
		r.Logger.Warn("the topic of events is not followed", "topic", r.Topic, "partition", part, "error", err)
	}
}

func (r *tailRun) worksAgain() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reason = ""
}

// reasonOf is an error without what differs from one attempt to the next, such as the number of a port.
func reasonOf(err error) string {
	var code kafkago.Error
	switch {
	case errors.As(err, &code):
		return code.Title()
	case errors.Is(err, context.DeadlineExceeded):
		return "timeout"
	}
	return fmt.Sprintf("%T", err)
}

// followBarriers reads the barriers' topic from its last record on.
func (r *tailRun) followBarriers(ctx context.Context) {
	var since time.Time // when reading began to fail
	warned := false
	next := int64(-1)
	for ctx.Err() == nil {
		var err error
		if next < 0 {
			next, err = r.lastBarrier(ctx)
		} else if next, err = r.readBarriers(ctx, next); err == nil {
			if warned {
				r.Logger.Info("barriers are followed again", "topic", r.BarrierTopic)
			}
			since, warned = time.Time{}, false
		}
		if err == nil {
			continue
		}
		if gone(err) {
			next = -1
			r.positions.restart()
		}
		if since.IsZero() {
			since = time.Now()
		}
		misconfigured := errors.Is(explain(err), coherence.ErrMisconfigured)
		if !warned && ctx.Err() == nil && (misconfigured || time.Since(since) >= barrierPatience) {
			warned = true
			r.Logger.Warn("barriers are not followed: events invalidate, and prove nothing", "topic", r.BarrierTopic,
				"error", err)
		}
		tailing.Pause(ctx, 200*time.Millisecond)
	}
}

// barrierPatience is for how long barriers may be missing without a line in the log: the topic is made by a relay that
// may start later, and while Kafka is away other lines say so.
const barrierPatience = 10 * time.Second

func (r *tailRun) lastBarrier(ctx context.Context) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, r.Silence)
	defer cancel()
	end, err := r.c.offset(ctx, r.BarrierTopic, 0, kafkago.LastOffset)
	if err != nil {
		return -1, err
	}
	first, err := r.c.offset(ctx, r.BarrierTopic, 0, kafkago.FirstOffset)
	return max(end-1, first), err
}

func (r *tailRun) readBarriers(ctx context.Context, from int64) (next int64, err error) {
	res, err := r.fetch(ctx, &fetchRequest{topic: r.BarrierTopic, offset: from, wait: 2 * r.MaxWait, maxBytes: 1 << 20})
	if err != nil {
		return from, err
	}
	var newest *barrier
	rd := &reading{next: from, aborted: res.aborted, lost: func(int64, int64, error) error { return nil },
		record: func(rec *record) error {
			b, err := decodeBarrier(rec.value.data)
			if err != nil {
				r.Logger.Warn("a record of the barriers' topic is none", "topic", r.BarrierTopic, "offset",
					rec.offset, "error", err)
			} else if b.topic == r.Topic {
				r.positions.take(rec.offset, rec.epoch, b)
				if newest != nil && newest.id != b.id {
					r.take(ctx, newest)
				}
				newest = b // it covers what those before it do, unless they are of another topic of the name
			}
			return nil
		}}
	err = rd.read(res.records)
	if newest != nil {
		r.take(ctx, newest)
	}
	return rd.next, err
}

func (r *tailRun) take(ctx context.Context, b *barrier) {
	r.mu.Lock()
	r.last = b
	r.mu.Unlock()
	r.offerAll(ctx)
}

func (r *tailRun) newest() *barrier {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last
}
