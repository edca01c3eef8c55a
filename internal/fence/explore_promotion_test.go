package fence

import "github.com/nearcache/nearcache-go/internal/explore"

// This file has a promotion of the source: a standby becomes its primary, and may lack commits that were acknowledged.
// The promotion is an event among the commits, and has a number among their versions. With it the key goes back to the
// version that the standby had. What is committed after it counts versions from there, so the source has different
// commits of the same version:
//
//	event    1  2  3  4  5
//	         commits  |  commits, if 1 is the last event that the standby had
//	version  1  2  3  1  2
//
// The state follows events. Only what tells a version to the fence or to Redis counts; see counted. Positions of both
// timelines are the numbers of events; see fencer.position.
//
// What is promised of a lost commit: a read that is proved to be of a moment since the promotion does not return it. C2
// and C3 say nothing of it. A writer whose commit is lost sets it in Redis before the promotion, or not at all.

// promote is that of a standby that had the commits up to one of them.
func (s *stepper) promote() {
	w := &s.to
	if s.from.promotions == 0 || s.from.acknowledged == s.versions {
		return
	}
	for kept := range s.from.acknowledged + 1 {
		w.promotions--
		w.acknowledged++
		w.promoted, w.kept, w.durable = w.acknowledged, kept, w.acknowledged
		for _, on := range []*server{&w.primary, &w.other} {
			on.applied = s.left(on.applied)
		}
		for i := range w.instances {
			n := &w.instances[i]
			n.served = s.left(n.served)
			for j := range n.loads {
				l := &n.loads[j]
				l.servedBefore, l.invalidated = s.left(l.servedBefore), s.left(l.invalidated)
			}
		}
		s.do("a standby of the source is promoted, which had a version", -1, int(kept))
	}
}

// left is a version that something must not fall short of, 0 if the source has lost it.
func (s *stepper) left(v uint8) uint8 {
	if s.lost(v) {
		return 0
	}
	return v
}

// lost reports whether the source has lost a commit.
func (s *stepper) lost(v uint8) bool { return s.to.promoted > 0 && v > s.to.kept && v < s.to.promoted }

// gone reports whether the source had nothing of the value of an event at a later one, or since.
func (s *stepper) gone(v, at uint8) bool {
	for ; at <= s.to.acknowledged; at++ {
		if s.valueAt(at) == v {
			return false
		}
	}
	return true
}

// counted is the version that the source has counted for an event.
func (s *stepper) counted(v uint8) uint8 {
	if s.to.promoted > 0 && v >= s.to.promoted {
		return s.to.kept + v - s.to.promoted
	}
	return v
}

// voided reports whether the relay of the new timeline finds a bucket's watermark of the old one.
func (s *stepper) voided() bool {
	return s.from.promoted > 0 && s.from.primary.Watermark <= s.from.promoted
}

// apply applies an event's version on a server. Redis compares versions, and not events.
func (s *stepper) apply(on *server, v uint8) (changed bool) {
	if s.to.promoted == 0 {
		return on.Apply(v, s.unversioned)
	}
	return s.applyVersion(on, s.counted(v))
}

// applyVersion applies a version that the source has counted.
func (s *stepper) applyVersion(on *server, version uint8) (changed bool) {
	switch {
	case s.to.promoted == 0:
		return on.Apply(version, false)
	case on.Record > 0 && s.counted(on.Record-1) < version:
		return on.Apply(explore.Newest, false)
	}
	return on.Apply(0, false)
}

// below applies the min version, which L2's value is below.
func (s *stepper) below(on *server, version uint8) {
	changed := s.applyVersion(on, version)
	if s.to.promoted > 0 { // of which timeline it is, nobody knows
		s.touched(on, changed)
		return
	}
	s.applied(on, version, changed)
}

// set sets an event's version.
func (s *stepper) set(on *server, v uint8) (changed bool) {
	if s.to.promoted > 0 && on.Record > 0 && s.counted(on.Record-1) >= s.counted(v) {
		return on.Apply(0, false)
	}
	return on.Set(v, s.unversioned)
}
