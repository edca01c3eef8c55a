package kafka

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/ablate"
)

// How an instance learns a position of the source from the relay's barriers, and asks the source nothing:
//
//	instance: asks the leader of the barriers' topic for its end E     relay: its record at offset O >= E is acknowledged
//	relay: asks the source for its head, and sends it in its next record, with begun = O+1
//	instance: has read the record at O, and reads the next one of that relay, which was begun behind O
//
// The leader answered E before it acknowledged the record at O. The relay asked for the head after that. So the head
// covers every commit that was acknowledged before the instance asked for the end. It does not matter when the second
// record was sent, or by which of several relays.
//
// The leader must be one and the same. One that was cut off answers an end that others have passed since:
//
//	broker 1: leads, and is cut off with the end 5     broker 2: leads, and acknowledges offsets 5 and 6
//	instance: asks broker 1, whose end is 5            it reads, from broker 2, a record that was begun behind 5
//
// So the answer and the record at O must be of one leader's epoch. And the record at O must be the one that the relay
// speaks of: a leader that was elected although it lacked records has others at their offsets.

// end is the end of the barriers' topic, as a leader has answered it: where the next record that it acknowledges will
// be, or behind that.
type end struct {
	offset int64
	epoch  int32 // the leader's
}

// mark is a barrier as it was read: round number `round` of a relay's term.
type mark struct {
	offset      int64
	epoch       int32 // of the leader that appended it
	term, round uint64
}

// marks are the last ones that were read.
type marks struct {
	seen [16]mark // a ring
	next int
}

// read takes each one, in order.
func (m *marks) read(r mark) {
	m.seen[m.next%len(m.seen)] = r
	m.next++
}

// before is the mark of the round before another one, at the offset where the relay had it acknowledged.
func (m *marks) before(r mark, offset int64) (mark, bool) {
	for i := m.next - 1; i >= 0 && i >= m.next-len(m.seen); i-- {
		if was := m.seen[i%len(m.seen)]; was.offset == offset {
			ours := was.term == r.term && was.round+1 == r.round
			return was, ours || ablate.Out(ablate.MarkRecord)
		}
	}
	return mark{}, false
}

// shows reports whether a barrier has a head that was asked for after an end was answered.
func (m *marks) shows(r mark, begun int64, after end) bool {
	if ablate.Out(ablate.MarkSecond) {
		return true
	}
	was, ok := m.before(r, begun-1)
	return ok && was.offset >= after.offset && (was.epoch == after.epoch || ablate.Out(ablate.MarkEpoch))
}

// positions are the questions for a position that wait for a barrier.
type positions struct {
	mu      sync.Mutex
	marks   marks
	waiting map[*question]struct{}
}

type question struct {
	after  end
	answer chan coherence.Position // buffered
}

// take takes a barrier of our events, at an offset of a leader's epoch.
func (p *positions) take(offset int64, epoch int32, b *barrier) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := mark{offset: offset, epoch: epoch, term: b.term, round: b.round}
	for q := range p.waiting {
		if b.begun > 0 && p.marks.shows(r, b.begun, q.after) {
			q.answer <- b.head
			delete(p.waiting, q)
		}
	}
	p.marks.read(r)
}

// restart forgets what was read: the topic is another one, or has lost records.
func (p *positions) restart() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.marks = marks{}
}

// wait waits for a head that was asked for after the leader answered an end.
func (p *positions) wait(ctx context.Context, after end) (coherence.Position, error) {
	q := &question{after: after, answer: make(chan coherence.Position, 1)}
	p.mu.Lock()
	if p.waiting == nil {
		p.waiting = make(map[*question]struct{})
	}
	p.waiting[q] = struct{}{}
	p.mu.Unlock()
	select {
	case at := <-q.answer:
		return at, nil
	case <-ctx.Done():
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.waiting, q)
		return coherence.Position{}, fmt.Errorf("kafka: no barrier of a round that was begun behind offset %d: %w",
			after.offset, ctx.Err())
	}
}

// position is what the sink is given to ask. See coherence.PositionSink.
func (r *tailRun) position(ctx context.Context) (coherence.Position, error) {
	after, err := r.c.end(ctx, r.BarrierTopic)
	if err != nil {
		return coherence.Position{}, explain(err)
	}
	return r.positions.wait(ctx, after)
}

// errNoEpochs is of brokers before Kafka 2.2.
var errNoEpochs = errors.New("kafka: the brokers do not say which leader answers for an end: they are older than 2.2")
