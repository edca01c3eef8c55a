package kafka

import (
	"context"
	"errors"
	"log/slog"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/internal/tailing"
)

// Applier is what a Worker applies events to. A tier.L2 is one.
type Applier interface {
	// Apply makes L2 drop what is older than the events. It may be called again with the same events.
	Apply(ctx context.Context, events ...coherence.Event) error
}

// consumer works through one partition, for one generation of the group.
type consumer struct {
	*workerRun
	gen  *kafkago.Generation
	part int
	id   topicID
	next int64 // FirstOffset: not resolved
	done int64 // committed

	quiet tailing.Throttle
}

// run works until the generation ends; its function must not return before that.
func (p *consumer) run(ctx context.Context) {
	p.done = p.next
	for ctx.Err() == nil {
		if err := p.step(ctx); err != nil && ctx.Err() == nil {
			p.m.errors.WithLabelValues("fetch").Inc()
			p.reason("fetch", err)
			tailing.Pause(ctx, 200*time.Millisecond)
		} else if err == nil {
			p.works("fetch")
		}
	}
}

func (p *consumer) step(ctx context.Context) error {
	const wait = 250 * time.Millisecond
	ask, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := p.resolve(ask); err != nil {
		return err
	}
	res, err := p.c.fetch(ask, &fetchRequest{topic: p.topic, id: p.id, partition: p.part, offset: p.next, wait: wait,
		maxBytes: fetchBytes})
	switch {
	case errors.Is(err, kafkago.OffsetOutOfRange), errors.Is(err, errUnknownID):
		// Retention has passed us, or this is another topic of the name: what is left of it is applied from its
		// beginning.
		p.log.Warn("events were removed before they were applied; going on at the first that is left", "topic", p.topic,
			"partition", p.part, "offset", p.next, "error", err)
		p.m.resets.Inc()
		p.next, p.id = kafkago.FirstOffset, topicID{}
		return err
	case err != nil:
		return err
	}
	before := p.next
	p.progress(p.part, res.highWatermark-p.next, time.Time{})
	err = p.work(ctx, res)
	if err == nil && len(res.records) > 0 && p.next == before { // nothing that can be read: ask again, and not at once
		tailing.Pause(ctx, wait)
	}
	return err
}

func (p *consumer) resolve(ctx context.Context) (err error) {
	if p.id == (topicID{}) {
		t, err := p.c.topic(ctx, p.topic)
		if err != nil {
			return err
		}
		p.id = t.id
	}
	if p.next < 0 {
		p.next, err = p.c.offset(ctx, p.topic, p.part, kafkago.FirstOffset)
	}
	return err
}

// work applies the records of an answer.
func (p *consumer) work(ctx context.Context, res *fetched) error {
	var batch []*record
	size := 0
	flush := func(next int64) error {
		var oldest time.Time
		if len(batch) > 0 {
			oldest = batch[0].time
		}
		p.progress(p.part, res.highWatermark-p.next, oldest)
		if !p.finish(ctx, batch) {
			return context.Cause(ctx)
		}
		batch, size, p.next = nil, 0, next
		p.progress(p.part, res.highWatermark-p.next, time.Time{})
		p.commit()
		return nil
	}
	rd := &reading{next: p.next, aborted: res.aborted}
	rd.record = func(rec *record) error {
		batch = append(batch, rec)
		if size += len(rec.value.data) + len(rec.key.data); len(batch) >= p.batch || size >= handBytes {
			return flush(rd.next)
		}
		return nil
	}
	rd.lost = func(from, next int64, err error) error {
		p.log.Error("records cannot be read, and are skipped", "topic", p.topic, "partition", p.part, "from", from,
			"to", next, "error", err)
		p.m.skipped.Add(float64(next - from))
		batch = append(batch, &record{offset: from, time: time.Now(), unread: err})
		return flush(next)
	}
	if err := rd.read(res.records); err != nil {
		return err
	}
	return flush(rd.next)
}

// finish applies a batch, and sets aside what is malformed. It tries until it succeeds; when ctx has ended it tries
// for a few seconds more and then leaves the batch uncommitted to its successor.
func (p *consumer) finish(ctx context.Context, batch []*record) bool {
	if len(batch) == 0 {
		return true
	}
	changes, bad := p.decode(batch)
	last, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(5*time.Second, cancel) })
	defer stop()
	if !p.apply(last, changes) {
		return false
	}
	p.m.applied.Add(float64(len(changes)))
	return p.setAside(last, bad)
}

// apply applies events. It is false only if ctx ended before.
func (p *consumer) apply(ctx context.Context, changes []coherence.Event) bool {
	var span coherence.Span
	if p.tracer != nil && len(changes) > 0 {
		ctx, span = p.tracer.StartBatch(ctx, "worker.apply", coherence.TracesOf(changes),
			slog.Int("nearcache.changes", len(changes)), slog.String("messaging.destination.name", p.topic))
	}
	applied := p.insist(ctx, "apply", func(ctx context.Context) error { return p.l2.Apply(ctx, changes...) })
	if span != nil {
		span.End(context.Cause(ctx))
	}
	return applied
}

func (p *consumer) decode(batch []*record) (changes []coherence.Event, bad []out) {
	all := make([][]coherence.Event, len(batch))
	errs := tailing.Each(len(batch), func(i int) (err error) {
		if batch[i].unread != nil {
			return batch[i].unread
		}
		if batch[i].value.cut() {
			return tooLong(batch[i].value.size)
		}
		all[i], err = tailing.Decode(p.codec, batch[i].public(p.topic, p.part))
		return err
	})
	for i, rec := range batch {
		switch {
		case errs[i] != nil:
			p.m.malformed.Inc()
			if p.quiet.Pass() {
				p.log.Warn("a malformed message goes to the dead-letter topic; the metrics count all of them",
					"topic", p.topic,
					"partition", p.part, "offset", rec.offset, "error", errs[i])
			}
			bad = append(bad, p.deadLetter(rec, errs[i]))
		case len(all[i]) == 0:
			p.m.ignored.Inc()
		default:
			changes = append(changes, all[i]...)
		}
	}
	return changes, bad
}

// commit commits how far the partition has been worked through. One that fails, because the group is rebalancing, is
// made up for by a later one, or the messages come again.
func (p *consumer) commit() {
	if p.next == p.done {
		return
	}
	if err := p.gen.CommitOffsets(map[string]map[int]int64{p.topic: {p.part: p.next}}); err != nil {
		p.m.errors.WithLabelValues("commit").Inc()
		p.log.Warn("offsets could not be committed", "error", err)
		return
	}
	p.done = p.next
}
