package fence

import (
	"strings"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/ablate"
	"github.com/nearcache/nearcache-go/internal/explore"
)

// stepper emits a state's successors.
type stepper struct {
	*scope
	fence     *fencer
	from      world
	to        world // scratch: what the step under way makes of from
	violation string
	emit      explore.Emit
}

// do emits what to has become and begins anew. A negative instance or version is not named.
func (s *stepper) do(name string, instance, version int) {
	if s.to == s.from && s.violation == "" {
		return
	}
	s.checkServer(&s.to.primary)
	s.checkServer(&s.to.other)
	next := s.pack(&s.to)
	s.emit(explore.Step{Name: name, Instance: int8(instance), Version: int8(version)}, &next, s.violation)
	s.to, s.violation = s.from, ""
}

// violates records what the step violates; the first thing counts.
func (s *stepper) violates(what string) {
	if s.violation == "" && strings.HasPrefix(what, s.guarantee) {
		s.violation = what
	}
}

// ver is a version as the near cache is told it: 0 if the source has none.
func (s *stepper) ver(v uint8) coherence.Version {
	if s.unversioned {
		return 0
	}
	return coherence.Version(s.counted(v))
}

// Next emits every successor.
func (s *stepper) Next(from *explore.State, emit explore.Emit) {
	s.emit, s.from, s.violation = emit, s.unpack(from), ""
	s.to = s.from
	s.source()
	s.relay()
	s.writers()
	s.redis()
	for i := range int(s.instances) {
		s.tracking(i)
		s.samples(i)
		s.tail(i)
		s.life(i)
		for j := range s.loads {
			s.load(i, j)
		}
	}
}

// source commits.
func (s *stepper) source() {
	w := &s.to
	if s.durableFirst && w.durable < s.versions {
		w.durable++
		s.do("a commit is durable, and not yet visible", -1, int(w.durable))
	}
	if next := w.acknowledged + 1; next <= s.versions && (!s.durableFirst || next <= w.durable) &&
		(!s.intents || s.from.writing>>next&1 == 1 || s.withoutIntents()) {
		w.acknowledged, w.durable = next, max(next, w.durable)
		if s.intents && s.evictions == 0 && s.failOvers == 0 || s.intents && w.primary.Intents>>next&1 == 1 {
			w.primary.applied = next // its intent stands in L2: nothing fills meanwhile
		}
		s.do("a commit is visible, and acknowledged", -1, int(next))
	}
	s.promote()
}

// withoutIntents says that writers place no intents.
func (s *stepper) withoutIntents() bool { return ablate.Out(ablate.WriteIntent) }

// top is the last change that the relay sees.
func (s *stepper) top() uint8 {
	if s.durableFirst && ablate.Out(ablate.SnapshotGuard) {
		return s.from.durable
	}
	return s.from.acknowledged
}

// relay moves its two cursors. Which partition a version is published to depends on how many there were.
func (s *stepper) relay() {
	if !s.sourced {
		return
	}
	s.rounded()
	w, top := &s.to, s.top()
	if s.events && w.published < top && (s.instances > 1 || s.partitions > 1) {
		w.published++
		s.do("the relay publishes an event", -1, int(w.published))
	}
	if s.partitions > 1 && w.grownAfter == 0 {
		w.grownAfter = w.published + 1
		s.do("the topic grows, and the relay uses the new partition", -1, -1)
	}
	switch {
	case w.primary.Watermark == 0:
		for to := range s.from.acknowledged + 1 {
			s.reset("the relay starts the bucket anew: its watermark was gone", to)
		}
	case s.voided():
		for to := s.from.promoted; to <= s.from.acknowledged; to++ {
			s.reset("the relay starts the bucket anew: the source has another timeline", to)
		}
		if v := w.primary.Watermark; v < s.from.promoted { // the relay of the old primary goes on for a while
			s.batch(v)
		}
	case w.primary.Watermark <= top:
		v := w.primary.Watermark // the next version
		for s.elsewhere>>v&1 == 1 && v < top {
			v++ // the changes of other buckets move no watermark here
		}
		if s.elsewhere>>v&1 == 0 {
			s.batch(v)
		}
		if w.incarnations < s.maxIncarnations() {
			s.reset("the relay starts the bucket anew: its changes were trimmed", s.from.acknowledged)
		}
	}
}

func (s *stepper) reset(name string, to uint8) {
	w := &s.to
	incarnation := uint8(1)
	if !ablate.Out(ablate.NewIncarnation) {
		if w.incarnations >= s.maxIncarnations() {
			return
		}
		w.incarnations++
		incarnation = w.incarnations
	}
	w.primary.Reset(w.primary.Watermark, w.primary.Part, w.primary.WatermarkIncarnation, to, incarnation)
	w.relayWatermark, w.relayIncarnation, w.relayPiece = to+1, incarnation, 0
	s.do(name, -1, int(to))
}

// batch applies version v and moves the watermark past it. Where the relay's own cursor is refused it goes on from what
// stands; so only without that rule does it matter what the cursor was.
func (s *stepper) batch(v uint8) {
	w := &s.to
	mark := func(position uint8) explore.Mark {
		return explore.Mark{Incarnation: w.primary.WatermarkIncarnation, Position: position}
	}
	if ablate.Out(ablate.BatchFrom) && w.relayWatermark > v {
		at := explore.Mark{Incarnation: w.relayIncarnation, Position: w.relayWatermark - 1}
		w.primary.Batch(at, at)
		s.do("the relay moves the watermark, without what it had applied before", -1, int(w.relayWatermark-1))
	}
	if ablate.Out(ablate.BatchInOneStep) {
		w.primary.Batch(mark(v-1), mark(v))
		w.relayWatermark, w.relayIncarnation = v+1, w.primary.WatermarkIncarnation
		s.do("the relay moves the watermark, its changes are to follow", -1, int(v))
		return
	}
	if s.pieces {
		s.piece(v, mark(v-1), mark(v))
		return
	}
	from := mark(w.primary.Watermark - 1)
	changed := false
	if s.from.promoted > 0 {
		changed = s.apply(&w.primary, v)
		w.primary.Batch(from, mark(v))
	} else {
		changed, _ = w.primary.Batch(from, mark(v), v)
	}
	s.applied(&w.primary, v, changed)
	w.relayWatermark, w.relayIncarnation = v+1, w.primary.WatermarkIncarnation
	s.do("the relay applies a batch to L2", -1, int(v))
}

// piece applies half of the transaction of version v: first the change of the key, and then the other keys'. The relay
// goes by its own idea of where it is, until it is refused.
func (s *stepper) piece(v uint8, from, to explore.Mark) {
	w := &s.to
	half := from
	half.Part = 1
	if w.relayPiece != v {
		changed, _ := w.primary.Batch(from, half, v)
		s.applied(&w.primary, v, changed)
		w.relayPiece = v
		s.do("the relay applies the first piece of a transaction to L2", -1, int(v))
		return
	}
	w.relayPiece = 0
	if _, applied := w.primary.Batch(half, to); !applied {
		s.do("the relay's second piece is refused: the first one is not here", -1, int(v))
		return
	}
	w.relayWatermark, w.relayIncarnation = v+1, w.primary.WatermarkIncarnation
	s.do("the relay applies the second piece, and moves the watermark", -1, int(v))
}

// applied follows a script that applied version v on a server.
func (s *stepper) applied(on *server, v uint8, changed bool) {
	if !s.lost(v) {
		on.applied = max(on.applied, v)
	}
	if s.histories && on == &s.to.primary {
		s.to.told = max(s.to.told, v)
	}
	s.touched(on, changed)
}

// touched follows a script on a server: which lease is gone, and to whom the change of the record is pushed.
func (s *stepper) touched(on *server, changed bool) {
	other := on == &s.to.other
	for i := range s.instances {
		n := &s.to.instances[i]
		if changed && n.tracked == 1 && (n.isolated == 1) == other {
			n.tracked, n.pushes = 0, n.pushes|pushKey
		}
		if on.Lease == 0 {
			for j := range n.loads {
				if other {
					n.loads[j].leaseHeldOther = 0
				} else {
					n.loads[j].leaseHeld = 0
				}
			}
		}
	}
}

// writers take their direct paths to L2, and so does the worker: late, repeated, in any order, or never.
func (s *stepper) writers() {
	w := &s.to
	for v := uint8(1); v <= s.versions && s.intents; v++ {
		if s.from.writing>>v&1 == 0 && v > s.from.acknowledged && !s.withoutIntents() {
			w.writing |= 1 << v
			changed, setAside := w.primary.PlaceIntent(v)
			if setAside {
				w.setAside = v
			}
			s.touched(&w.primary, changed)
			s.do("a writer places its intent", -1, int(v))
		}
		if v <= s.from.acknowledged && s.from.primary.Intents>>v&1 == 1 {
			s.applied(&w.primary, v, w.primary.ResolveIntent(v, explore.Committed, v, s.unversioned))
			s.do("a writer resolves its intent and applies its version", -1, int(v))
			s.applied(&w.primary, v, w.primary.ResolveIntent(v, explore.Unknown, 0, true))
			s.do("a writer does not know that it has committed, and resolves its intent", -1, int(v))
		}
		if v > s.from.acknowledged && s.from.writing>>v&1 == 1 {
			s.refuse(v)
		}
	}
	for v := uint8(1); v <= s.from.acknowledged; v++ {
		if s.elsewhere>>v&1 == 1 || v == s.from.promoted {
			continue
		}
		s.applied(&w.primary, v, s.apply(&w.primary, v))
		s.do("apply (a writer, or the worker)", -1, int(v))
		if s.deleted>>v&1 == 0 && !s.intents && !s.lost(v) {
			s.applied(&w.primary, v, s.set(&w.primary, v))
			s.do("set (a writer)", -1, int(v))
		}
	}
}

// refuse ends a write that has not committed and never will. Its writer knows that, or does not.
func (s *stepper) refuse(v uint8) {
	w := &s.to
	outcome := explore.Refused
	if s.from.setAside == v {
		outcome = explore.Restore
	}
	w.writing &^= 1 << v
	s.touched(&w.primary, w.primary.ResolveIntent(v, outcome, 0, true))
	if w.setAside == v {
		w.setAside = 0
	}
	s.do("a write is refused, and its writer resolves its intent", -1, int(v))
	w.writing &^= 1 << v
	s.touched(&w.primary, w.primary.ResolveIntent(v, explore.Unknown, 0, true))
	if w.setAside == v {
		w.setAside = 0
	}
	s.do("a write is refused, its writer does not know it, and resolves its intent", -1, int(v))
}

// redis expires, evicts, is flushed, and fails over.
func (s *stepper) redis() {
	w := &s.to
	// An intent runs for long enough: it expires only after its writer has committed, or died.
	if w.primary.Lease > 0 || w.primary.Intents > 0 && s.over(w.primary.Intents) {
		w.primary.EvictLease()
		s.touched(&w.primary, false)
		s.do("the lease expires", -1, -1)
	}
	if s.from.evictionsLeft > 0 {
		s.evict()
	}
	if s.failOvers == 0 || s.from.failOversLeft == 0 {
		return
	}
	w.other = w.primary
	for i := range w.instances {
		for j := range w.instances[i].loads {
			w.instances[i].loads[j].leaseHeldOther = w.instances[i].loads[j].leaseHeld
		}
	}
	s.do("the replica catches up", -1, -1)
	if s.goesBack {
		s.goBack()
		return
	}
	for cut := range uint8(1) << s.instances { // who stays with the old primary
		if cut == 0 || s.isolation && s.from.failOversLeft == 1 {
			s.failOver(cut)
		}
	}
}

// over reports whether every writer with an intent has committed. One that died before is the same as one that never
// placed an intent, once the intent has expired, so it is left out.
func (s *stepper) over(writers uint8) bool { return writers>>(s.from.acknowledged+1) == 0 }

func (s *stepper) evict() {
	w := &s.to
	w.evictionsLeft--
	if w.primary.Record > 0 {
		s.touched(&w.primary, w.primary.EvictRecord())
		s.do("Redis evicts the record", -1, int(s.from.primary.Record)-1)
		w.evictionsLeft--
	}
	if w.primary.Watermark > 0 {
		w.primary.EvictWatermark()
		s.do("Redis evicts the watermark", -1, -1)
		w.evictionsLeft--
	}
	if w.primary.Round.Number > 0 {
		w.primary.EvictRound()
		s.do("Redis evicts the round", -1, -1)
		w.evictionsLeft--
	}
	if w.primary.Intents > 0 {
		w.primary.EvictLease()
		s.do("Redis evicts the intents", -1, -1)
		w.evictionsLeft--
	}
	w.primary.Flush()
	s.touched(&w.primary, false)
	for i := range s.instances {
		if n := &w.instances[i]; n.connected == 1 && n.isolated == 0 && !s.untracked {
			n.tracked, n.pushes = 0, n.pushes|pushFlush
		}
	}
	s.do("FLUSHALL", -1, -1)
}

// failOver makes the replica, as far as it had come, the primary. An instance that is cut off goes on with the old one,
// which still answers.
func (s *stepper) failOver(cut uint8) {
	w := &s.to
	w.failOversLeft--
	w.primary, w.other = w.other, w.primary
	if s.histories {
		w.primary.history = 1 + s.failOvers - w.failOversLeft
	}
	name := "Redis fails over to its replica"
	for i := range w.instances {
		n := &w.instances[i]
		n.isolated = boolean(cut>>i&1) & n.connected
		if n.isolated == 0 {
			n.connected, n.tracked, n.pushes = bit(s.untracked), 0, 0
			s.failed(n)
		} else {
			name = "Redis fails over to its replica, and an instance stays with the old primary"
		}
		for j := range n.loads {
			l := &n.loads[j]
			l.leaseHeld, l.leaseHeldOther = l.leaseHeldOther, l.leaseHeld
			if w.failOversLeft == 0 && cut == 0 {
				l.leaseHeldOther = 0
			}
		}
	}
	if w.failOversLeft == 0 && cut == 0 {
		w.other = server{}
	}
	s.do(name, -1, -1)
}

// failed ends what the instance's loads have asked Redis: the connection is gone, and the pipeline with it. One that
// has not asked yet will do so on the next.
func (s *stepper) failed(n *instance) {
	for j := range n.loads {
		if l := &n.loads[j]; l.phase == reading {
			l.phase = toLoad
		}
	}
}
