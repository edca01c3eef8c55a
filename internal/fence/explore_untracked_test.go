package fence

import "github.com/nearcache/nearcache-go/internal/ablate"

// This file has an instance to which Redis pushes nothing. Its commands go through a proxy, of which it cannot tell
// what server is behind.

// proxy may ask either server after a fail-over, from one command to the next. There are heartbeats only without the
// rule that needs none.
func (s *stepper) proxy(i int) {
	if ablate.Out(ablate.WatermarkWithRecord) {
		s.heartbeat(i)
	}
	if !s.isolation || s.from.failOversLeft > 0 || s.from.other == (server{}) {
		return
	}
	n := &s.to.instances[i]
	n.isolated ^= 1
	s.do("the proxy turns to the other server", i, -1)
}

// askTogether reads the watermark and the record in one step, on one server; or Redis does not answer. Without the rule
// a load goes by the watermark that was read earlier.
func (s *stepper) askTogether(i int, j uint8) {
	on := s.server(i)
	l := &s.to.instances[i].loads[j]
	if s.from.lossesLeft > 0 {
		s.to.lossesLeft--
		l.phase = toLoad
		s.do("load: Redis does not answer", i, -1)
		l = &s.to.instances[i].loads[j]
	}
	if l.watermarkKnown == 0 || !ablate.Out(ablate.WatermarkWithRecord) {
		l.watermarkAsked, l.watermark, l.incarnation = 1, on.Watermark, on.Incarnation()
	}
	l.phase, l.value = judging, 0
	if on.Record > 0 && on.Unconfirmed == 0 && on.RecordIncarnation == l.incarnation {
		l.value = on.Record
	}
	s.do("load: reads the watermark and the record", i, int(l.value)-1)
}
