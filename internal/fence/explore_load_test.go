package fence

import (
	"github.com/nearcache/nearcache-go/internal/ablate"
	"github.com/nearcache/nearcache-go/internal/explore"
)

// load steps a read that missed L1, as nearcache's load, fromL2, judge and fromSource do, and a bounded hit as
// hitWithin does.
func (s *stepper) load(i int, j uint8) {
	l := &s.from.instances[i].loads[j]
	switch l.phase {
	case idle:
		s.begin(i, j)
		return
	case asking, reading:
		s.ask(i, j)
	case judging:
		s.judge(i, j)
	case acquiring:
		s.acquire(i, j)
	case toLoad:
		_, n := s.at(i)
		s.take(n, j)
		n.loads[j].phase = loading
		s.fenced("load: a new snapshot; calls the Loader", i, -1)
	case loading:
		m := &s.to.instances[i].loads[j]
		m.phase, m.value = judgingLoaded, s.valueAt(s.from.acknowledged)+1
		s.do("load: the source answers", i, int(s.from.acknowledged))
	case judgingLoaded:
		s.judgeSource(i, j)
	case filling:
		s.fill(i, j)
	case hitting:
		s.hitAgain(i, j)
		return
	}
	if s.joins {
		s.join(i, j)
	}
	s.to.instances[i].loads[j] = load{} // the lease that it holds stands until it expires
	s.do("load: ends in an error", i, -1)
}

// take gives the load a snapshot. What was invalidated before does not concern it.
func (s *stepper) take(n *instance, j uint8) {
	l := &n.loads[j]
	s.fence.keep(j, s.fence.Begin(s.fence.key), l)
	l.invalidated, l.watermarkAsked, l.unusable = 0, 0, 0
}

func (s *stepper) begin(i int, j uint8) {
	start := func(at phase) (n *instance, l *load) {
		_, n = s.at(i)
		l = &n.loads[j]
		*l = load{phase: at, servedBefore: n.served}
		if s.histories && n.isolated == 0 {
			l.toldBefore = s.from.told
		}
		s.take(n, j)
		s.fence.flightSnapshots[j] = s.fence.snapshots[j]
		l.flightBegan = uint8(s.fence.clock)
		return n, l
	}
	start(asking)
	s.fenced("load: a miss; takes its snapshot", i, -1)
	if s.atLeast && s.from.acknowledged > 0 {
		_, l := start(asking)
		l.atLeast = s.from.acknowledged
		s.fenced("load: a miss with AtLeast; takes its snapshot", i, int(l.atLeast))
	}
	if s.joins {
		_, l := start(toLoad)
		l.fresh, l.freshSince = 1, uint8(s.fence.clock)
		s.fenced("load: for a Fresh read; takes its snapshot", i, -1)
	}
	if before := &s.from.instances[i]; s.hitsInSteps && before.entry > 0 {
		_, n := s.at(i)
		l := &n.loads[j]
		*l = load{
			phase:           hitting,
			value:           n.entry,
			servedBefore:    n.served,
			generation:      n.entryGeneration,
			hitRedisSession: n.entryRedisSession,
			hitEventSession: n.entryEventSession,
		}
		if ablate.Out(ablate.AsOfBeforeCheck) {
			if v := s.fence.entry.Check(s.fence.Fence); v == Invalidated || v == Collided {
				s.to = s.from
				return
			}
		} else {
			l.hitAsOf = uint8(s.fence.entry.AsOf(s.fence.Fence))
		}
		s.fence.setStamp(&s.fence.hitStamps[j], n.entryGeneration, n.entryRedisSession, n.entryEventSession)
		s.fenced("a bounded read finds the entry, and takes its as-of", i, int(n.entry)-1)
	}
}

// ask sends the GET, and before it, in one pipeline, the GETEX of the watermark if the snapshot does not know it; with
// a bound also if it does, and its as-of is too old: both are explored.
func (s *stepper) ask(i int, j uint8) {
	if s.untracked {
		s.askTogether(i, j)
		return
	}
	before, on := &s.from.instances[i], s.server(i)
	n := &s.to.instances[i]
	l := &n.loads[j]
	if before.connected == 0 {
		l.phase = toLoad
		s.do("load: Redis is away", i, -1)
		return
	}
	if before.pushes > 0 { // they come before any reply
		return
	}
	if l.phase == asking && (l.watermarkKnown == 0 || s.bounded) {
		if s.histories && !ablate.Out(ablate.ServerHistory) {
			on.Adopt(on.history)
		}
		l.phase, l.watermarkAsked, l.watermark, l.incarnation = reading, 1, on.Watermark, on.Incarnation()
		s.do("load: reads the watermark", i, int(on.Watermark)-1)
		if l.watermarkKnown == 0 {
			return
		}
		s.to = s.from
	}
	n.tracked = 1
	l.phase, l.value = judging, 0
	if on.Record > 0 && on.Unconfirmed == 0 &&
		(on.RecordIncarnation == l.incarnation || ablate.Out(ablate.ReadSameIncarnation)) {
		l.value = on.Record
	}
	s.do("load: its GET returns", i, int(l.value)-1)
}

func (s *stepper) judge(i int, j uint8) {
	_, n := s.at(i)
	l, t := &n.loads[j], &s.fence.snapshots[j]
	if l.watermarkAsked == 1 {
		s.fence.Learn(t, s.fence.mark(l.watermark, l.incarnation))
	}
	if l.value == 0 {
		s.fence.keep(j, *t, l)
		l.phase = acquiring
		s.fenced("load: it was a miss", i, -1)
		return
	}
	if s.olderSchema {
		s.fence.keep(j, *t, l)
		l.phase, l.value, l.unusable = acquiring, 0, 1
		s.fenced("load: L2's value is of an older schema", i, -1)
		s.at(i)
		if l.watermarkAsked == 1 {
			s.fence.Learn(t, s.fence.mark(l.watermark, l.incarnation))
		}
	}
	val := l.value - 1
	var stamp Stamp
	outcome, admit := s.fence.FromL2(t, s.ver(val), &stamp)
	switch outcome {
	case BelowMinVersion:
		on := s.server(i)
		least := s.from.instances[i].minVersion
		s.below(on, least)
		s.fence.keep(j, *t, l)
		l.phase, l.value = acquiring, 0
		s.fenced("load: L2's value is below the min version, which is applied again", i, int(val))
		return
	case Behind:
		l.phase, l.value = toLoad, 0
		s.fenced("load: L2 may be behind the required watermark", i, int(val))
		return
	}
	if s.sourced && s.older(val, stamp.LoadedAsOf()) {
		s.violates("C1: a value from L2 is older than its as-of")
	}
	s.end(i, j, "load: serves L2's value", &stamp, admit)
}

func (s *stepper) acquire(i int, j uint8) {
	on := s.server(i)
	n := &s.to.instances[i]
	l := &n.loads[j]
	again := func(name string) {
		s.take(n, j)
		l.phase = asking
		s.fenced(name, i, -1)
	}
	switch on.Acquire(l.unusable == 1) {
	case explore.Present:
		s.at(i)
		s.fence.Forget(s.bucket(), &s.fence.snapshots[j])
		again("load: acquire says that there is a value by now")
	case explore.Busy:
		s.at(i)
		again("load: the lease is busy; it has waited")
	case explore.Granted:
		l.phase, l.leaseGranted, l.leaseIncarnation = toLoad, 1, on.Incarnation()
		if on == &s.to.other {
			l.leaseHeldOther = 1
		} else {
			l.leaseHeld = 1
		}
		s.do("load: a lease is granted", i, -1)
	case explore.Writing:
	}
	s.to = s.from
	s.to.instances[i].loads[j].phase = toLoad
	s.do("load: no lease, to the source", i, -1)
}

func (s *stepper) judgeSource(i int, j uint8) {
	_, n := s.at(i)
	l := &n.loads[j]
	val := l.value - 1
	var stamp Stamp
	outcome, admit := s.fence.FromSource(&s.fence.snapshots[j], s.ver(val), &stamp)
	if outcome != Serve {
		on := s.server(i)
		on.Release(l.mine(on, &s.to))
		s.end(i, j, "load: the source's value is below the min version; serves it as stale", nil, false)
		return
	}
	if s.older(val, stamp.LoadedAsOf()) {
		s.violates("C1: a value from the source is older than its as-of")
	}
	if l.leaseGranted == 1 {
		l.phase = filling
		s.fenced("load: may serve the source's value", i, int(val))
		return
	}
	s.end(i, j, "load: serves the source's value", &stamp, admit)
}

// mine reports whether the lease that stands on a server is the load's.
func (l *load) mine(on *server, w *world) bool {
	if on == &w.other {
		return l.leaseHeldOther == 1
	}
	return l.leaseHeld == 1
}

func (s *stepper) fill(i int, j uint8) {
	on := s.server(i)
	n := &s.to.instances[i]
	l := &n.loads[j]
	val := l.value - 1
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
