package fence

import "github.com/nearcache/nearcache-go/internal/ablate"

// end serves the load's value and admits it if it may be; ristretto may decline.
func (s *stepper) end(i int, j uint8, name string, stamp *Stamp, admit bool) {
	n := &s.to.instances[i]
	l := n.loads[j]
	val := l.value - 1
	if l.atLeast > val { // one tier down
		m := &n.loads[j]
		m.phase, m.value, m.leaseGranted = toLoad, 0, 0
		if l.phase == judgingLoaded {
			*m = load{}
			name = "load: the source has less than AtLeast asks for: not ready"
		}
	} else {
		s.serve(n, j, val)
	}
	if !admit {
		s.fenced(name, i, int(val))
		return
	}
	declined, bad := s.to, s.violation
	if val < l.invalidated && !s.lost(val) {
		s.violates("C2: L1 admits a load that began before a newer version's invalidation")
	}
	f := s.fence
	f.setStamp(&f.entry, 0, 0, 0)
	f.entry.generation.Store(stamp.generation.Load())
	f.entry.redisSession, f.entry.eventSession = stamp.redisSession, stamp.eventSession
	n.entry, n.entryOwnAsOf = l.value, bit(stamp.LoadedAsOf() != 0 && s.sourced)
	s.fenced(name+", and L1 admits it", i, int(val))
	s.to, s.violation = declined, bad // the fence is as it was; only L1 differs
	if s.from.instances[i].entry > 0 {
		f.setStamp(
			&f.entry,
			s.from.instances[i].entryGeneration,
			s.from.instances[i].entryRedisSession,
			s.from.instances[i].entryEventSession,
		)
		s.fenced(name+", and L1 declines it", i, int(val))
		return
	}
	f.setStamp(&f.entry, 0, 0, 0)
	s.fenced(name+", and L1 declines it", i, int(val))
}

// serve ends a load with its value for everyone who has joined it.
func (s *stepper) serve(n *instance, j uint8, val uint8) {
	l := &n.loads[j]
	if val < l.servedBefore && !s.unversioned && !s.lost(val) {
		s.violates("C3: a load serves an older version than an earlier read")
	}
	if val < l.toldBefore {
		s.violates("C2: a load serves what a primary had acknowledged the invalidation of")
	}
	if s.older(val, int64(l.freshSince)) {
		s.violates("C1: a Fresh read is served a value from before it")
	}
	if val > s.from.acknowledged {
		s.violates("C5: a value is served that was never committed")
	}
	if !s.lost(val) {
		n.served = max(n.served, val)
	}
	*l = load{}
}

// join lets further readers share the load, if its flight's snapshot still stands.
func (s *stepper) join(i int, j uint8) {
	before := &s.from.instances[i]
	l := &before.loads[j]
	now := s.from.acknowledged + 1
	if before.served > l.servedBefore {
		_, n := s.at(i)
		if s.fence.StillValid(&s.fence.flightSnapshots[j]) {
			n.loads[j].servedBefore = before.served
			s.fenced("load: a reader joins", i, int(before.served))
		}
		s.to = s.from
	}
	if l.fresh == 1 && l.freshSince < now {
		_, n := s.at(i)
		t := &s.fence.flightSnapshots[j]
		if (t.Began() >= int64(now) || ablate.Out(ablate.FreshNeverJoins)) && s.fence.StillValid(t) {
			n.loads[j].freshSince, n.loads[j].servedBefore = now, before.served
			s.fenced("load: a Fresh reader joins", i, -1)
		}
		s.to = s.from
	}
}

// hitAgain is the rest of a bounded read of L1.
func (s *stepper) hitAgain(i int, j uint8) {
	_, n := s.at(i)
	l, stamp := &n.loads[j], &s.fence.hitStamps[j]
	claim := int64(l.hitAsOf)
	served := true
	if ablate.Out(ablate.AsOfBeforeCheck) {
		claim = stamp.AsOf(s.fence.Fence)
	} else if v := stamp.Check(s.fence.Fence); v == Invalidated || v == Collided {
		served = false
	}
	val, seen := l.value-1, l.servedBefore
	*l = load{}
	if served && claim > 0 {
		if s.older(val, claim) {
			s.violates("C1: a bounded read is served a value older than it is proved to be")
		}
		if val < seen && !s.unversioned {
			s.violates("C3: a bounded read of L1 serves an older version than an earlier read")
		}
		n.served = max(n.served, val)
		s.fenced("a bounded read serves its entry", i, int(val))
		return
	}
	s.fenced("a bounded read turns its entry down", i, int(val))
}
