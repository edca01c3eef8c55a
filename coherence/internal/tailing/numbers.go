package tailing

import "github.com/nearcache/nearcache-go/internal/ablate"

// maxAhead bounds the numbers that are remembered beyond a missing one.
const maxAhead = 1 << 12

// Numbers compares the sequence numbers of a partition's events with what the relay's barriers say of them. Others may
// write the events. So a number counts only once a barrier, which others cannot write, asks for it, and a number
// that no barrier asks for means nothing.
//
// The zero value is the beginning of a session.
type Numbers struct {
	based    bool   // a barrier was taken in this session
	garbled  bool   // a message of this session could not be decoded
	timeline uint64 // of the last barrier
	upto     uint64 // the last number of the timeline up to which none is missing
	ahead    map[Number]bool
}

// Number is that of an event, in the source's timeline that the event names.
type Number struct{ Timeline, Seq uint64 }

// Event notes the number of an event that was delivered. The event may come after a barrier that was not taken yet, for
// barriers come by another way. Before the first barrier its number is remembered:
//
//	relay: event 1; barrier, up to 1; event 2; barrier, up to 2
//	follower: event 1, event 2; the barrier up to 1; the barrier up to 2, for which 2 must not be missing
//
// A number of another timeline than the last barrier's is remembered too, and stands for no other event. An event that
// names no timeline is taken for one of the last barrier's:
//
//	relay: barrier, up to 5; event 6, which gets lost; barrier, up to 6
//	the source is replaced, and its successor has only 5; the next relay: event 6
//	follower: the barrier up to 5; the next relay's event 6; the first relay's barrier up to 6, which shows the gap
func (n *Numbers) Event(e Number) {
	switch {
	case ablate.Out(ablate.NumberTimeline):
		e.Timeline = 0
	case n.based && e.Timeline == 0: // a codec need not carry positions
		e.Timeline = n.timeline
	}
	own := n.based && (e.Timeline == n.timeline || ablate.Out(ablate.NumberTimeline))
	switch {
	case own && e.Seq <= n.upto:
	case own && e.Seq == n.upto+1:
		n.upto++
		n.advance()
	case !n.based && ablate.Out(ablate.NumberAhead):
	case len(n.ahead) < maxAhead:
		if n.ahead == nil {
			n.ahead = make(map[Number]bool)
		}
		n.ahead[e] = true
	}
}

// Barrier takes a barrier, before which everything was delivered, and reports whether an event is missing: then a
// session must begin. The first barrier of a session, and of a timeline, says where the numbers begin. Before that a
// message that could not be decoded may have been any event.
func (n *Numbers) Barrier(timeline, seq uint64) (gap bool) {
	switch {
	case !n.based:
		gap = n.garbled && !ablate.Out(ablate.NumberGarbled)
	case n.timeline != timeline:
		gap = true
	case seq <= n.upto:
		return false
	default:
		gap = true
	}
	last := *n
	*n = Numbers{based: true, timeline: timeline, upto: seq, ahead: last.ahead}
	for e := range n.ahead {
		if e.Timeline == timeline && e.Seq <= seq || last.based && last.timeline != timeline && e.Timeline == last.timeline {
			delete(n.ahead, e)
		}
	}
	n.advance()
	return gap
}

// Garbled notes a message that could not be decoded.
func (n *Numbers) Garbled() { n.garbled = true }

// advance goes on over the numbers that came early.
func (n *Numbers) advance() {
	for n.ahead[n.next()] {
		delete(n.ahead, n.next())
		n.upto++
	}
}

// next is the number that is missing next.
func (n *Numbers) next() Number {
	if ablate.Out(ablate.NumberTimeline) {
		return Number{0, n.upto + 1}
	}
	return Number{n.timeline, n.upto + 1}
}
