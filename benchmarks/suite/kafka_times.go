package suite

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/kafka"
	"github.com/nearcache/nearcache-go/coherence/postgres"
)

// writeTimes are the moments of one write in this process, in nanoseconds, 0 before they come.
type writeTimes struct {
	woken        atomic.Int64 // the database's notification arrived
	sent         atomic.Int64 // the relay began to produce the event
	acknowledged atomic.Int64 // the broker acknowledged it
}

func (s *writeTimes) clear() { s.woken.Store(0); s.sent.Store(0); s.acknowledged.Store(0) }

func setOnce(at *atomic.Int64) { at.CompareAndSwap(0, time.Now().UnixNano()) }

// timedSource records when the database's notification arrives.
type timedSource struct {
	*postgres.Source
	at *writeTimes
}

// Wait implements coherence.Waker.
func (s timedSource) Wait(ctx context.Context, d time.Duration) error {
	err := s.Source.Wait(ctx, d)
	setOnce(&s.at.woken)
	return err
}

// timedPublisher records when an event is produced, and when the broker has acknowledged it.
type timedPublisher struct {
	*kafka.Publisher
	at *writeTimes
}

// Publish implements coherence.Publisher.
func (p timedPublisher) Publish(ctx context.Context, batch []coherence.PartitionMessage) error {
	event := false
	for i := range batch {
		event = event || batch[i].Barrier == nil
	}
	if event {
		setOnce(&p.at.sent)
	}
	err := p.Publisher.Publish(ctx, batch)
	if event && err == nil {
		setOnce(&p.at.acknowledged)
	}
	return err
}

// kafkaTimes are durations in nanoseconds, one of each kind for each write.
type kafkaTimes struct {
	// From the answer to the commit until the last read of the old value began, and until the first read of the new one
	// began on the last instance.
	oldRead, newRead []float64
	// From the relay's produce request until the last instance reads the new value.
	produced []float64
	// The steps: the transaction, and then each step from the end of the one before.
	transaction, woken, sent, acknowledged, delivered, noticed []float64
	// From producing a plain message until the first consumer has it, the last one has it, and the broker acknowledges
	// it.
	plainFirst, plainLast, plainAcknowledged []float64

	failedReads uint64
}

// add takes one write and one plain message. A step can be negative: the relay may produce an event before the writer
// has the answer to its commit.
func (t *kafkaTimes) add(s observation, at *writeTimes, plain plainTimes) {
	woken, sent, acknowledged := s.since(at.woken.Load()), s.since(at.sent.Load()), s.since(at.acknowledged.Load())
	last := s.upper()
	for _, x := range []struct {
		to *[]float64
		v  float64
	}{
		{&t.oldRead, s.oldRead}, {&t.newRead, last}, {&t.produced, last - sent},
		{&t.woken, woken}, {&t.sent, sent - woken}, {&t.acknowledged, acknowledged - sent},
		{&t.delivered, s.event - sent}, {&t.noticed, last - s.event},
		{&t.plainFirst, float64(plain.first - plain.sent)}, {&t.plainLast, float64(plain.last - plain.sent)},
		{&t.plainAcknowledged, float64(plain.acknowledged - plain.sent)},
	} {
		*x.to = append(*x.to, x.v)
	}
	t.failedReads += s.failedReads
}
