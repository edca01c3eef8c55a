package tailing

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
	timeline uint64 // of the last barrier; before the first one, of the numbers ahead
	upto     uint64 // the last number up to which none is missing
	ahead    map[uint64]bool
}

// Number is that of an event, in the source's timeline that the event names.
type Number struct{ Timeline, Seq uint64 }

// Event notes the number of an event that was delivered. Before the first barrier it may be one that comes after that
// barrier, which is then on its way, as it is if barriers come by another way:
//
//	relay: event 1; barrier, up to 1; event 2; barrier, up to 2
//	follower: event 1, event 2; the barrier up to 1; the barrier up to 2, for which 2 must not be missing
func (n *Numbers) Event(e Number) {
	switch {
	case !n.based && e.Timeline != n.timeline:
		n.timeline, n.ahead = e.Timeline, map[uint64]bool{e.Seq: true}
	case n.based && e.Seq <= n.upto:
	case n.based && e.Seq == n.upto+1:
		n.upto++
		n.advance()
	case len(n.ahead) < maxAhead:
		if n.ahead == nil {
			n.ahead = make(map[uint64]bool)
		}
		n.ahead[e.Seq] = true
	}
}

// Barrier takes a barrier, before which everything was delivered, and reports whether an event is missing: then a
// session must begin. The first barrier of a session, and of a timeline, says where the numbers begin. Before that a
// message that could not be decoded may have been any event.
func (n *Numbers) Barrier(timeline, seq uint64) (gap bool) {
	switch {
	case !n.based:
		gap = n.garbled
	case n.timeline != timeline:
		gap = true
	case seq <= n.upto:
		return false
	default:
		gap = true
	}
	ahead := n.ahead
	if n.timeline != timeline {
		ahead = nil // of another relay's counting
	}
	*n = Numbers{based: true, timeline: timeline, upto: seq, ahead: ahead}
	for s := range ahead {
		if s <= seq {
			delete(ahead, s)
		}
	}
	n.advance()
	return gap
}

// Garbled notes a message that could not be decoded.
func (n *Numbers) Garbled() { n.garbled = true }

// advance goes on over the numbers that came early.
func (n *Numbers) advance() {
	for n.ahead[n.upto+1] {
		delete(n.ahead, n.upto+1)
		n.upto++
	}
}
