package fence

import (
	"github.com/nearcache/nearcache-go/internal/ablate"
	"github.com/nearcache/nearcache-go/internal/explore"
)

// load steps a read that missed L1, as nearcache's load, fromL2, judge and fromSource do, and a bounded hit as
// hitWithin does.
func (s *stepper) load(i int, j uint8) {
	l := &s.from.ins[i].loads[j]
	switch l.pc {
	case pcIdle:
		s.begin(i, j)
		return
	case pcAsk, pcRead:
		s.ask(i, j)
	case pcJudge:
		s.judge(i, j)
	case pcLease:
		s.acquire(i, j)
	case pcToLoad:
		_, n := s.at(i)
		s.take(n, j)
		n.loads[j].pc = pcLoad
		s.fenced("load: a new snapshot; calls the Loader", i, -1)
	case pcLoad:
		m := &s.to.ins[i].loads[j]
		m.pc, m.val = pcLoaded, s.from.acked+1
		s.do("load: the source answers", i, int(s.from.acked))
	case pcLoaded:
		s.judgeSource(i, j)
	case pcFill:
		s.fill(i, j)
	case pcHit:
		s.hitAgain(i, j)
		return
	}
	if s.joins {
		s.join(i, j)
	}
	s.to.ins[i].loads[j] = load{} // the lease that it holds stands until it expires
	s.do("load: ends in an error", i, -1)
}

// take gives the load a snapshot. What was invalidated before does not concern it.
func (s *stepper) take(n *instance, j uint8) {
	l := &n.loads[j]
	s.f.keep(j, s.f.Begin(s.f.key), l)
	l.hit, l.ask, l.unusable = 0, 0, 0
}

func (s *stepper) begin(i int, j uint8) {
	start := func(pc uint8) (n *instance, l *load) {
		_, n = s.at(i)
		l = &n.loads[j]
		*l = load{pc: pc, seen: n.served}
		s.take(n, j)
		s.f.flightSnaps[j] = s.f.snaps[j]
		l.fbegan = uint8(s.f.clock)
		return n, l
	}
	start(pcAsk)
	s.fenced("load: a miss; takes its snapshot", i, -1)
	if s.atLeast && s.from.acked > 0 {
		_, l := start(pcAsk)
		l.atLeast = s.from.acked
		s.fenced("load: a miss with AtLeast; takes its snapshot", i, int(l.atLeast))
	}
	if s.joins {
		_, l := start(pcToLoad)
		l.fresh, l.want = 1, uint8(s.f.clock)
		s.fenced("load: for a Fresh read; takes its snapshot", i, -1)
	}
	if before := &s.from.ins[i]; s.slowHit && before.entry > 0 {
		_, n := s.at(i)
		l := &n.loads[j]
		*l = load{pc: pcHit, val: n.entry, seen: n.served, gen: n.gen, hrs: n.rs, hks: n.ks}
		if ablate.Out(ablate.AsOfBeforeCheck) {
			if v := s.f.entry.Check(s.f.Fence); v == Invalidated || v == Collided {
				s.to = s.from
				return
			}
		} else {
			l.claim = uint8(s.f.entry.AsOf(s.f.Fence))
		}
		s.f.setStamp(&s.f.stamp[j], n.gen, n.rs, n.ks)
		s.fenced("a bounded read finds the entry, and takes the proof", i, int(n.entry)-1)
	}
}

// ask sends the GET, and before it, in one pipeline, the GETEX of the watermark if the snapshot does not know it; with
// a bound also if it does, and proves too little: both are explored.
func (s *stepper) ask(i int, j uint8) {
	before, on := &s.from.ins[i], s.server(i)
	n := &s.to.ins[i]
	l := &n.loads[j]
	if before.conn == 0 {
		l.pc = pcToLoad
		s.do("load: Redis is away", i, -1)
		return
	}
	if before.pushes > 0 { // they come before any reply
		return
	}
	if l.pc == pcAsk && (l.known == 0 || s.bounded) {
		l.pc, l.ask, l.mark, l.incarnation = pcRead, 1, on.Watermark, on.Incarnation()
		s.do("load: T reads the watermark", i, int(on.Watermark)-1)
		if l.known == 0 {
			return
		}
		s.to = s.from
	}
	n.tracked = 1
	l.pc, l.val = pcJudge, 0
	if on.Record > 0 && (on.RecordIncarnation == l.incarnation || ablate.Out(ablate.ReadSameIncarnation)) {
		l.val = on.Record
	}
	s.do("load: T's GET returns", i, int(l.val)-1)
}

func (s *stepper) judge(i int, j uint8) {
	_, n := s.at(i)
	l, t := &n.loads[j], &s.f.snaps[j]
	if l.ask == 1 {
		s.f.Learn(t, watermark(l.mark, l.incarnation))
	}
	if l.val == 0 {
		s.f.keep(j, *t, l)
		l.pc = pcLease
		s.fenced("load: it was a miss", i, -1)
		return
	}
	if s.schema {
		s.f.keep(j, *t, l)
		l.pc, l.val, l.unusable = pcLease, 0, 1
		s.fenced("load: L2's value is of an older schema", i, -1)
		s.at(i)
		if l.ask == 1 {
			s.f.Learn(t, watermark(l.mark, l.incarnation))
		}
	}
	val := l.val - 1
	var stamp Stamp
	outcome, admit := s.f.FromL2(t, s.ver(val), &stamp)
	switch outcome {
	case BelowMinVersion:
		on := s.server(i)
		floor := s.from.ins[i].minVersion
		s.applied(on, floor, on.Apply(floor, false))
		s.f.keep(j, *t, l)
		l.pc, l.val = pcLease, 0
		s.fenced("load: L2's value is below the min version, which is applied again", i, int(val))
		return
	case Behind:
		l.pc, l.val = pcToLoad, 0
		s.fenced("load: L2 may be behind the required watermark", i, int(val))
		return
	}
	if s.sourced && int64(val)+1 < stamp.LoadedAsOf() {
		s.violates("C1: a value from L2 is older than its watermark proves")
	}
	s.end(i, j, "load: serves L2's value", &stamp, admit)
}

func (s *stepper) acquire(i int, j uint8) {
	on := s.server(i)
	n := &s.to.ins[i]
	l := &n.loads[j]
	again := func(name string) {
		s.take(n, j)
		l.pc = pcAsk
		s.fenced(name, i, -1)
	}
	switch on.Acquire(l.unusable == 1) {
	case explore.Present:
		s.at(i)
		s.f.Forget(0, &s.f.snaps[j])
		again("load: acquire says that there is a value by now")
	case explore.Busy:
		s.at(i)
		again("load: the lease is busy; it has waited")
	case explore.Granted:
		l.pc, l.lease, l.leaseIncarnation = pcToLoad, 1, on.Incarnation()
		if on == &s.to.other {
			l.holdOther = 1
		} else {
			l.hold = 1
		}
		s.do("load: a lease is granted", i, -1)
	case explore.Writing:
	}
	s.to = s.from
	s.to.ins[i].loads[j].pc = pcToLoad
	s.do("load: no lease, to the source", i, -1)
}

func (s *stepper) judgeSource(i int, j uint8) {
	_, n := s.at(i)
	l := &n.loads[j]
	val := l.val - 1
	var stamp Stamp
	outcome, admit := s.f.FromSource(&s.f.snaps[j], s.ver(val), &stamp)
	if outcome != Serve {
		on := s.server(i)
		on.Release(l.mine(on, &s.to))
		s.end(i, j, "load: the source's value is below the min version; serves it as stale", nil, false)
		return
	}
	if int64(val)+1 < stamp.LoadedAsOf() {
		s.violates("C1: a value from the source is older than its load proves")
	}
	if l.lease == 1 {
		l.pc = pcFill
		s.fenced("load: may serve the source's value", i, int(val))
		return
	}
	s.end(i, j, "load: serves the source's value", &stamp, admit)
}

// mine reports whether the lease that stands on a server is the load's.
func (l *load) mine(on *server, w *world) bool {
	if on == &w.other {
		return l.holdOther == 1
	}
	return l.hold == 1
}

func (s *stepper) fill(i int, j uint8) {
	on := s.server(i)
	n := &s.to.ins[i]
	l := &n.loads[j]
	val := l.val - 1
	changed := on.Fill(l.mine(on, &s.to), l.leaseIncarnation, val)
	s.touched(on, changed)
	if l.atLeast > val {
		*l = load{}
		s.do("load: offers a fill; the source has less than AtLeast asks for: not ready", i, int(val))
		return
	}
	s.serve(n, j, val)
	name := "load: its fill is refused; serves the source's value"
	if changed {
		name = "load: fills L2; serves the source's value"
	}
	s.do(name, i, int(val))
}
