package fence

// checkEntry asks the fence, as it stands after a step, what it says of the entry of L1, and compares that
// against what the entry is.
func (s *stepper) checkEntry(n *instance) {
	if n.entry == 0 {
		return
	}
	val := n.entry - 1
	proved := s.fence.entry.AsOf(s.fence.Fence) // before Check, as readers do
	v := s.fence.entry.Check(s.fence.Fence)
	if v == Invalidated || v == Collided {
		return
	}
	if s.sourced && s.older(val, proved) {
		if p := s.fence.events.asOf.Load(); p != nil && session32(p.session) == s.fence.entry.eventSession &&
			p.moment == proved {
			s.violates("C1: an entry of L1 is older than the as-of of the event channel")
		} else {
			s.violates("C1: an entry of L1 is older than the as-of of tracking")
		}
	}
	if val < n.served && !s.unversioned && !s.lost(val) && (v == Current || s.sourced) {
		s.violates("C3: L1 would serve an older version than an earlier read")
	}
	if v == Current && s.histories && val < s.to.told && n.connected == 1 && n.isolated == 0 && n.pushes == 0 {
		s.violates("C2: L1 would serve what a primary has acknowledged the invalidation of")
	}
	vouched := s.fence.entry.eventSession != 0 && s.fence.entry.eventSession == session32(s.fence.events.live.Load())
	if v == Current && !vouched && n.connected == 1 && n.pushes == 0 && n.tracked == 0 && n.lateNil == 0 {
		s.violates("C6: L1 would serve an entry whose next change no channel will bring")
	}
}

// checkServer looks at what is in a Redis.
func (s *stepper) checkServer(on *server) {
	if !on.Live() {
		return
	}
	val := on.Record - 1
	if s.sourced && s.older(val, int64(on.Watermark)) {
		s.violates("C1: a record in L2 is older than its bucket's watermark")
	}
	if val < on.applied && !s.lost(val) {
		if s.deleted>>on.applied&1 == 1 {
			s.violates("C5: a record in L2 is older than a delete that was applied")
		}
		s.violates("C2: a record in L2 is older than a version that was applied")
	}
}
