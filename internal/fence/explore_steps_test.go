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
	f    *fencer
	from world
	to   world // scratch: what the step under way makes of from
	bad  string
	emit explore.Emit
}

// do emits what to has become and begins anew. A negative instance or version is not named.
func (s *stepper) do(name string, instance, version int) {
	if s.to == s.from && s.bad == "" {
		return
	}
	s.checkServer(&s.to.l2)
	s.checkServer(&s.to.other)
	next := s.pack(&s.to)
	s.emit(explore.Step{Name: name, Instance: int8(instance), Version: int8(version)}, &next, s.bad)
	s.to, s.bad = s.from, ""
}

// violates records what the step violates; the first thing counts.
func (s *stepper) violates(what string) {
	if s.bad == "" && strings.HasPrefix(what, s.only) {
		s.bad = what
	}
}

// ver is a version as the near cache is told it: 0 if the source has none.
func (sc *scope) ver(v uint8) coherence.Version {
	if sc.unversioned {
		return 0
	}
	return coherence.Version(v)
}

// Next emits every successor.
func (s *stepper) Next(from *explore.State, emit explore.Emit) {
	s.emit, s.from, s.bad = emit, s.unpack(from), ""
	s.to = s.from
	s.source()
	s.relay()
	s.writers()
	s.redis()
	for i := range int(s.insts) {
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
	if s.early && w.durable < s.n {
		w.durable++
		s.do("a commit is durable, and not yet visible", -1, int(w.durable))
	}
	if next := w.acked + 1; next <= s.n && (!s.early || next <= w.durable) && (!s.intents || s.from.writing>>next&1 == 1 || s.withoutIntents()) {
		w.acked, w.durable = next, max(next, w.durable)
		if s.intents && s.ev == 0 && s.fo == 0 || s.intents && w.l2.Intents>>next&1 == 1 {
			w.l2.told = next // the mark has told L2 of it: nothing fills meanwhile
		}
		s.do("a commit is visible, and acknowledged", -1, int(next))
	}
}

// withoutIntents says that writers place no intents.
func (s *stepper) withoutIntents() bool { return ablate.Out(ablate.WriteIntent) }

// top is the last change that the relay sees.
func (s *stepper) top() uint8 {
	if s.early && ablate.Out(ablate.SnapshotGuard) {
		return s.from.durable
	}
	return s.from.acked
}

// relay moves its two cursors. Which partition a version is published to depends on how many there were.
func (s *stepper) relay() {
	if !s.sourced {
		return
	}
	w, top := &s.to, s.top()
	if s.kafka && w.published < top && (s.insts > 1 || s.parts > 1) {
		w.published++
		s.do("the relay publishes an event", -1, int(w.published))
	}
	if s.parts > 1 && w.grown == 0 {
		w.grown = w.published + 1
		s.do("the topic grows, and the relay uses the new partition", -1, -1)
	}
	switch {
	case w.l2.Watermark == 0:
		for to := range s.from.acked + 1 {
			s.reset("the relay starts the bucket anew: its watermark was gone", to)
		}
	case w.l2.Watermark <= top:
		v := w.l2.Watermark // the next version
		s.batch(v)
		if w.incarnations < s.maxIncarnations() {
			s.reset("the relay starts the bucket anew: its changes were trimmed", s.from.acked)
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
	w.l2.Reset(w.l2.Watermark, w.l2.WatermarkIncarnation, to, incarnation)
	w.relay, w.relayIncarnation = to+1, incarnation
	s.do(name, -1, int(to))
}

// batch applies version v and moves the watermark past it. Where the relay's own cursor is refused it goes on from what
// stands; so only without that rule does it matter what the cursor was.
func (s *stepper) batch(v uint8) {
	w := &s.to
	if ablate.Out(ablate.BatchFrom) && w.relay > v {
		w.l2.Batch(w.relayIncarnation, w.relay-1, w.relay-1)
		s.do("the relay moves the watermark, without what it had applied before", -1, int(w.relay-1))
	}
	if ablate.Out(ablate.BatchInOneStep) {
		w.l2.Batch(w.l2.WatermarkIncarnation, v-1, v)
		w.relay, w.relayIncarnation = v+1, w.l2.WatermarkIncarnation
		s.do("the relay moves the watermark, its changes are to follow", -1, int(v))
		return
	}
	changed, _ := w.l2.Batch(w.l2.WatermarkIncarnation, v-1, v, v)
	s.applied(&w.l2, v, changed)
	w.relay, w.relayIncarnation = v+1, w.l2.WatermarkIncarnation
	s.do("the relay applies a batch to L2", -1, int(v))
}

// applied follows a script that told a server of version v.
func (s *stepper) applied(on *server, v uint8, changed bool) {
	on.told = max(on.told, v)
	s.touched(on, changed)
}

// touched follows a script on a server: whose lease is gone, and who is told that the record changed.
func (s *stepper) touched(on *server, changed bool) {
	other := on == &s.to.other
	for i := range s.insts {
		n := &s.to.ins[i]
		if changed && n.tracked == 1 && (n.isolated == 1) == other {
			n.tracked, n.pushes = 0, n.pushes|pushKey
		}
		if on.Lease == 0 {
			for j := range n.loads {
				if other {
					n.loads[j].holdOther = 0
				} else {
					n.loads[j].hold = 0
				}
			}
		}
	}
}

// writers take their direct paths to L2, and so does the worker: late, repeated, in any order, or never.
func (s *stepper) writers() {
	w := &s.to
	for v := uint8(1); v <= s.n && s.intents; v++ {
		if s.from.writing>>v&1 == 0 && v > s.from.acked && !s.withoutIntents() {
			w.writing |= 1 << v
			s.touched(&w.l2, w.l2.PlaceIntent(v))
			s.do("a writer marks the key", -1, int(v))
		}
		if v <= s.from.acked && s.from.l2.Intents>>v&1 == 1 {
			s.applied(&w.l2, v, w.l2.ResolveIntent(v, v, s.unversioned))
			s.do("a writer lifts its mark and applies its version", -1, int(v))
		}
	}
	for v := uint8(1); v <= s.from.acked; v++ {
		s.applied(&w.l2, v, w.l2.Apply(v, s.unversioned))
		s.do("apply (a writer, or the worker)", -1, int(v))
		if s.deleted>>v&1 == 0 && !s.intents {
			s.applied(&w.l2, v, w.l2.Set(v, s.unversioned))
			s.do("set (a writer)", -1, int(v))
		}
	}
}

// redis expires, evicts, is flushed, and fails over.
func (s *stepper) redis() {
	w := &s.to
	// A mark runs for long enough: it ends by itself only after its writer's commit, or death.
	if w.l2.Lease > 0 || w.l2.Intents > 0 && s.over(w.l2.Intents) {
		w.l2.EvictLease()
		s.touched(&w.l2, false)
		s.do("the lease expires", -1, -1)
	}
	if s.from.evicts > 0 {
		s.evict()
	}
	if s.fo == 0 || s.from.fails == 0 {
		return
	}
	w.other = w.l2
	for i := range w.ins {
		for j := range w.ins[i].loads {
			w.ins[i].loads[j].holdOther = w.ins[i].loads[j].hold
		}
	}
	s.do("the replica catches up", -1, -1)
	for cut := range uint8(1) << s.insts { // who stays with the old primary
		if cut == 0 || s.isolate && s.from.fails == 1 {
			s.failOver(cut)
		}
	}
}

// over reports whether every writer that has marked has committed. One that died before is the same as one that never
// marked, once its mark has expired, so it is left out.
func (s *stepper) over(writers uint8) bool { return writers>>(s.from.acked+1) == 0 }

func (s *stepper) evict() {
	w := &s.to
	w.evicts--
	if w.l2.Record > 0 {
		s.touched(&w.l2, w.l2.EvictRecord())
		s.do("Redis evicts the record", -1, int(s.from.l2.Record)-1)
		w.evicts--
	}
	if w.l2.Watermark > 0 {
		w.l2.EvictWatermark()
		s.do("Redis evicts the watermark", -1, -1)
		w.evicts--
	}
	if w.l2.Intents > 0 {
		w.l2.EvictLease()
		s.do("Redis evicts the marks", -1, -1)
		w.evicts--
	}
	w.l2.Flush()
	s.touched(&w.l2, false)
	for i := range s.insts {
		if n := &w.ins[i]; n.conn == 1 && n.isolated == 0 {
			n.tracked, n.pushes = 0, n.pushes|pushFlush
		}
	}
	s.do("FLUSHALL", -1, -1)
}

// failOver makes the replica, as far as it had come, the primary. An instance that is cut off goes on with the old one,
// which still answers.
func (s *stepper) failOver(cut uint8) {
	w := &s.to
	w.fails--
	w.l2, w.other = w.other, w.l2
	name := "Redis fails over to its replica"
	for i := range w.ins {
		n := &w.ins[i]
		n.isolated = cut >> i & 1 & n.conn
		if n.isolated == 0 {
			n.conn, n.tracked, n.pushes = 0, 0, 0
			s.failed(n)
		} else {
			name = "Redis fails over to its replica, and an instance stays with the old primary"
		}
		for j := range n.loads {
			l := &n.loads[j]
			l.hold, l.holdOther = l.holdOther, l.hold
			if w.fails == 0 && cut == 0 {
				l.holdOther = 0
			}
		}
	}
	if w.fails == 0 && cut == 0 {
		w.other = server{}
	}
	s.do(name, -1, -1)
}

// failed ends what the instance's loads have asked T: the connection is gone, and the pipeline with it. One that has
// not asked yet will do so on the next.
func (s *stepper) failed(n *instance) {
	for j := range n.loads {
		if l := &n.loads[j]; l.pc == pcRead {
			l.pc = pcToLoad
		}
	}
}
