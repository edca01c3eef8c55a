package tailing

import (
	"strings"
	"testing"

	"github.com/nearcache/nearcache-go/internal/explore"
)

// This file searches every interleaving of a partition's events, its barriers, and what can happen to either. The
// Numbers are the real ones.
//
// Two relays write to the partition, each of a timeline of the source: the first one's primary is replaced, and the
// second one numbers on from a cursor that may be behind. Barriers come by another way than the events, as in Kafka.
// So a follower may have read events beyond a barrier when it takes it.

// timelines is how many there are.
const timelines = 2

// partitionModel is how much of the world a search goes through.
type partitionModel struct {
	events   uint8  // that the partition takes
	queue    int    // barriers that are on their way at once
	losses   uint8  // events that the partition loses although it had them
	garbles  uint8  // events that nobody can decode
	restarts uint8  // of the follower's session
	promoted bool   // the source's second timeline begins at some moment
	zombie   bool   // ... and the first relay goes on
	only     string // look for violations that begin so; "": for all
}

const (
	maxEvents = 5
	maxQueue  = 2
	maxSeq    = 7
)

// fate is what became of an event.
type fate uint8

const (
	fateWaits     fate = iota // the partition has it, and the follower has not read it
	fateDelivered             // in the present session
	fateEarlier               // delivered before the present session
	fateLost                  // the partition lost it before the follower read it
	fateGarbled               // the follower could not decode it
)

// published is an event of the partition.
type published struct {
	timeline uint8
	seq      uint8
	fate     fate
	garbled  uint8 // nobody can decode it
}

// sentBarrier is a barrier on its way. It counts once the follower has read up to end.
type sentBarrier struct{ timeline, seq, end uint8 }

const hidden = "an event is missing, and the barrier shows no gap"

// partitionWorld is a state.
type partitionWorld struct {
	log     [maxEvents]published
	end     uint8            // how many events there are
	last    [timelines]uint8 // the last number of each relay
	begun   uint8            // the second timeline has
	queue   [maxQueue]sentBarrier
	next    uint8 // what the follower reads next
	from    uint8 // where its session began
	numbers struct {
		based, garbled, timeline, upto uint8
		ahead                          [timelines + 1]uint8 // by timeline: a bit for each number
	}
	lossesLeft, garblesLeft, restartsLeft uint8
}

func (m *partitionModel) pack(p *explore.Packer, w *partitionWorld) {
	for i := range w.log {
		e := &w.log[i]
		explore.Bits(p, 2, &e.timeline)
		explore.Bits(p, 3, &e.seq)
		explore.Bits(p, 3, &e.fate)
		explore.Bits(p, 1, &e.garbled)
	}
	explore.Bits(p, 3, &w.end, &w.last[0], &w.last[1], &w.next, &w.from)
	explore.Bits(p, 1, &w.begun, &w.numbers.based, &w.numbers.garbled)
	for i := range w.queue {
		explore.Bits(p, 2, &w.queue[i].timeline)
		explore.Bits(p, 3, &w.queue[i].seq, &w.queue[i].end)
	}
	explore.Bits(p, 2, &w.numbers.timeline)
	explore.Bits(p, 3, &w.numbers.upto)
	for i := range w.numbers.ahead {
		explore.Bits(p, 8, &w.numbers.ahead[i])
	}
	explore.Bits(p, 2, &w.lossesLeft, &w.garblesLeft, &w.restartsLeft)
}

// First is an empty partition, and a follower that has begun.
func (m *partitionModel) First() (explore.State, int) {
	w := partitionWorld{lossesLeft: m.losses, garblesLeft: m.garbles, restartsLeft: m.restarts}
	var p explore.Packer
	m.pack(&p, &w)
	return p.State, p.Used()
}

// partitionStepper emits a state's successors.
type partitionStepper struct {
	*partitionModel
	from, to  partitionWorld
	violation string
	emit      explore.Emit
}

// Next emits every successor.
func (m *partitionModel) Next(state *explore.State, emit explore.Emit) {
	s := &partitionStepper{partitionModel: m, emit: emit}
	p := explore.Packer{State: *state, Unpack: true}
	m.pack(&p, &s.from)
	s.to = s.from
	s.relays()
	s.partition()
	s.follower()
}

func (s *partitionStepper) do(name string, number uint8) {
	var p explore.Packer
	s.pack(&p, &s.to)
	s.emit(explore.Step{Name: name, Instance: -1, Version: int8(number)}, &p.State, s.violation)
	s.to, s.violation = s.from, ""
}

func (s *partitionStepper) violates(what string) {
	if s.violation == "" && strings.HasPrefix(what, s.only) {
		s.violation = what
	}
}

// relays publish events and barriers. The names of steps say the timeline.
func (s *partitionStepper) relays() {
	if s.promoted && s.from.begun == 0 {
		for seq := range s.from.last[0] + 1 { // what the cursor had come to
			s.to.begun, s.to.last[1] = 1, seq
			s.do("the second timeline begins behind a number", seq)
		}
	}
	for t := range uint8(timelines) {
		if t == 1 && s.from.begun == 0 || t == 0 && s.from.begun == 1 && !s.zombie {
			continue
		}
		if seq := s.from.last[t] + 1; s.from.end < s.events && seq <= maxSeq {
			for garbled := range min(s.from.garblesLeft, 1) + 1 {
				w := &s.to
				w.log[w.end] = published{timeline: t + 1, seq: seq, garbled: garbled}
				w.end, w.last[t], w.garblesLeft = w.end+1, seq, w.garblesLeft-garbled
				s.do([]string{"an event is published", "an event is published that nobody can decode"}[garbled]+of(t), seq)
			}
		}
		s.barrier(t)
	}
}

func of(t uint8) string { return []string{", first timeline", ", second timeline"}[t] }

func (s *partitionStepper) barrier(t uint8) {
	b := sentBarrier{t + 1, s.from.last[t], s.from.end}
	for i := range s.queue {
		if q := s.from.queue[i]; q == b {
			return
		} else if q.timeline == 0 {
			s.to.queue[i] = b
			s.do("a barrier is published"+of(t), b.seq)
			return
		}
	}
}

// partition loses events that were acknowledged. While a session has taken no barrier it has nothing to compare with:
// there only the channel's own offsets show that something is missing.
func (s *partitionStepper) partition() {
	if s.from.lossesLeft == 0 || s.from.numbers.based == 0 {
		return
	}
	for i := s.from.next; i < s.from.end; i++ {
		if e := &s.to.log[i]; e.fate == fateWaits {
			e.fate = fateLost
			s.to.lossesLeft--
			s.do("the partition loses an event"+of(e.timeline-1), e.seq)
		}
	}
}

// follower reads events and barriers, and begins sessions.
func (s *partitionStepper) follower() {
	if s.from.next < s.from.end {
		w := &s.to
		e := &w.log[w.next]
		n := w.set()
		name := "the follower goes past an event that is lost"
		switch {
		case e.fate == fateLost:
		case e.garbled == 1:
			n.Garbled()
			e.fate, name = fateGarbled, "the follower cannot decode an event"
		default:
			n.Event(Number{uint64(e.timeline), uint64(e.seq)})
			e.fate, name = fateDelivered, "the follower delivers an event"
		}
		w.next++
		w.get(n)
		s.do(name+of(e.timeline-1), e.seq)
	}
	// A barrier from before the session cannot be its first: the next one asks for events that the session did not follow.
	if b := s.from.queue[0]; b.timeline > 0 {
		if s.from.next >= b.end && (s.from.numbers.based == 1 || b.end >= s.from.from) {
			s.take(b)
		}
		s.dequeue()
		s.do("the follower leaves a barrier out"+of(b.timeline-1), b.seq)
	}
	if s.from.restartsLeft > 0 {
		s.to.restartsLeft--
		s.to.next = s.from.end
		s.session()
		s.to.get(&Numbers{})
		s.do("a session begins at the end", s.from.end)
	}
}

func (s *partitionStepper) dequeue() {
	copy(s.to.queue[:], s.from.queue[1:])
	s.to.queue[len(s.to.queue)-1] = sentBarrier{}
}

// session begins one: what was delivered before is of an earlier one.
func (s *partitionStepper) session() {
	w := &s.to
	w.from = w.next
	for i := range w.end {
		if e := &w.log[i]; e.fate == fateDelivered {
			e.fate = fateEarlier
		}
	}
}

// take has the follower take a barrier. Without a gap, the session vouches for all that came since it began: each event
// of the barrier's timeline must have been delivered. With one, there must be an event that was never delivered, or a
// timeline that is another one. Where two relays publish barriers by turns, each of them ends the session of the
// other, and more sessions may end.
func (s *partitionStepper) take(b sentBarrier) {
	w := &s.to
	based, timeline := w.numbers.based == 1, w.numbers.timeline
	n := w.set()
	gap := n.Barrier(uint64(b.timeline), uint64(b.seq))
	missing, reason := false, false
	for i := range w.end {
		e := &w.log[i]
		reason = reason || e.fate == fateGarbled && !based // it may have been any event
		if e.timeline == b.timeline && e.seq <= b.seq {
			missing = missing || i >= w.from && e.fate != fateDelivered
			reason = reason || e.fate != fateDelivered && e.fate != fateEarlier
		}
	}
	switch {
	case missing && !gap:
		s.violates(hidden)
	case gap && !reason && !s.zombie && (!based || timeline == b.timeline):
		s.violates("no event is missing, and the barrier shows a gap")
	}
	name := "the follower takes a barrier"
	if gap {
		name = "the follower takes a barrier that shows a gap"
		s.session()
	}
	w.get(n)
	s.dequeue()
	s.do(name+of(b.timeline-1), b.seq)
}

// set makes Numbers of a state, and get makes a state of them.
func (w *partitionWorld) set() *Numbers {
	s := &w.numbers
	n := &Numbers{based: s.based == 1, garbled: s.garbled == 1, timeline: uint64(s.timeline), upto: uint64(s.upto)}
	for t, bits := range s.ahead {
		for seq := range uint64(maxSeq + 1) {
			if bits>>seq&1 == 1 {
				if n.ahead == nil {
					n.ahead = make(map[Number]bool)
				}
				n.ahead[Number{uint64(t), seq}] = true
			}
		}
	}
	return n
}

func (w *partitionWorld) get(n *Numbers) {
	s := &w.numbers
	s.based, s.garbled = bit(n.based), bit(n.garbled)
	s.timeline, s.upto = uint8(n.timeline), uint8(n.upto)
	s.ahead = [timelines + 1]uint8{}
	for e := range n.ahead {
		s.ahead[e.Timeline] |= 1 << e.Seq
	}
}

func bit(b bool) uint8 {
	if b {
		return 1
	}
	return 0
}

// partitionScopes are searched whole.
var partitionScopes = map[string]partitionModel{
	"losses":               {events: 4, losses: 2, queue: 2},
	"garbled, restarts":    {events: 4, garbles: 2, restarts: 1, queue: 2},
	"a promotion":          {events: 4, losses: 1, restarts: 1, promoted: true, queue: 2},
	"a promotion, garbled": {events: 4, losses: 1, garbles: 1, promoted: true, queue: 2},
	"a zombie relay":       {events: 4, losses: 1, promoted: true, zombie: true, queue: 2},
}

// partitionLimit is more states than any scope has.
const partitionLimit = 3_000_000

// TestExploreNumbers: no interleaving hides a missing event, and none ends a session of which nothing is missing.
func TestExploreNumbers(t *testing.T) {
	for name, m := range partitionScopes {
		t.Run(name, func(t *testing.T) {
			r := explore.Search(&m, partitionLimit)
			if r.Violation != "" || !r.Whole {
				t.Fatalf("in %d states, whole %v: %s\n  %s", r.States, r.Whole, r.Violation, strings.Join(r.Trace, "\n  "))
			}
			t.Logf("%d states, %d steps", r.States, r.Depth)
		})
	}
}
