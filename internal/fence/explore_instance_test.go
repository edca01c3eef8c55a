package fence

import (
	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/ablate"
)

// at sets the fence to instance i and returns the instance, before and after the step to come.
func (s *stepper) at(i int) (before, n *instance) {
	s.fence.set(&s.from, &s.from.instances[i])
	return &s.from.instances[i], &s.to.instances[i]
}

// fenced reads the fence back and ends the step.
func (s *stepper) fenced(name string, i int, v int) {
	n := &s.to.instances[i]
	s.fence.get(n)
	s.checkEntry(n)
	if s.rounds > 0 {
		s.checkSamples(n)
	}
	s.do(name, i, v)
}

// server is the Redis that an instance talks to.
func (s *stepper) server(i int) *server {
	if s.from.instances[i].isolated == 1 {
		return &s.to.other
	}
	return &s.to.primary
}

// invalidated is that of an instance, unless the version is one that the source has lost: of that nothing is promised.
func (s *stepper) invalidated(n *instance, v uint8) {
	if !s.lost(v) {
		n.invalidated(v)
	}
}

// invalidated notes what every load that is under way has been told of (C2).
func (n *instance) invalidated(v uint8) {
	for j := range n.loads {
		if l := &n.loads[j]; l.phase != idle && l.phase != toLoad && l.phase != filling && l.phase != hitting {
			l.invalidated = max(l.invalidated, v)
		}
	}
}

// tracking is the tracking connection: pushes and replies come in the order in which the server made them, on one
// connection; a new one is dialled for the next command only. A session ends when the loss is noticed, or before the
// first command on the next connection, whichever comes first.
func (s *stepper) tracking(i int) {
	if s.untracked {
		s.proxy(i)
		return
	}
	before := &s.from.instances[i]
	if before.pushes > 0 {
		_, n := s.at(i)
		if before.pushes&pushFlush > 0 && !ablate.Out(ablate.NilIsSession) {
			s.fence.RedisSession()
		}
		if before.pushes&pushKey > 0 {
			s.fence.Changed(s.fence.key.Hash)
			n.invalidated(s.server(i).applied)
		}
		n.pushes = 0
		s.fenced("the tracking connection delivers a push", i, -1)
	}
	if before.lateNil == 1 {
		_, n := s.at(i)
		s.fence.RedisSession()
		n.lateNil = 0
		s.fenced("the old tracking connection delivers its nil", i, -1)
	}
	if before.connected == 0 {
		if s.noticesLosses && before.noticed == 0 && !ablate.Out(ablate.DialIsSession) {
			_, n := s.at(i)
			n.noticed = 1
			s.fence.RedisSession()
			s.fenced("the loss of the tracking connection is noticed", i, -1)
		}
		_, n := s.at(i)
		n.connected, n.noticed = 1, 0
		switch {
		case ablate.Out(ablate.DialIsSession):
			n.lateNil = 1
		case before.noticed == 0:
			s.fence.RedisSession()
		}
		s.fenced("the tracking connection is dialled", i, -1)
	} else if s.from.lossesLeft > 0 || before.isolated == 1 {
		n := &s.to.instances[i]
		if before.isolated == 0 {
			s.to.lossesLeft--
		}
		n.connected, n.tracked, n.pushes, n.isolated = 0, 0, 0, 0
		s.failed(n)
		s.do("the tracking connection is lost", i, -1)
	}
	s.heartbeat(i)
}

// heartbeat reads the watermark. Its reply may be looked at late.
func (s *stepper) heartbeat(i int) {
	if s.rounds > 0 {
		s.heartbeatOfRounds(i)
		return
	}
	before, on := &s.from.instances[i], s.server(i)
	now := on.Watermark
	stale := before.watermarkKnown == 0 || before.watermark != now || before.incarnation != on.Incarnation()
	switch {
	case !s.sourced:
		// Nobody moves watermarks, and loads read for themselves that there is none.
	case before.heartbeat > 0:
		_, n := s.at(i)
		read := s.fence.mark(before.heartbeatWatermark, before.heartbeatIncarnation)
		s.fence.Watermark(&s.fence.heartbeat, s.bucket(), read)
		n.heartbeat, n.heartbeatWatermark, n.heartbeatIncarnation = 0, 0, 0
		s.fenced("the heartbeat's reply is looked at", i, int(before.heartbeatWatermark)-1)
	case before.connected == 0 || before.pushes > 0 || !stale:
	case s.lateHeartbeats:
		n := &s.to.instances[i]
		n.heartbeat, n.heartbeatWatermark, n.heartbeatIncarnation = 1, now, on.Incarnation()
		s.do("the heartbeat reads the watermark", i, int(now)-1)
	default:
		s.at(i)
		h := s.fence.BeginHeartbeat()
		s.fence.Watermark(&h, s.bucket(), s.fence.mark(now, on.Incarnation()))
		s.fenced("a heartbeat reads the watermark", i, int(now)-1)
	}
}

// samples read the source's position.
func (s *stepper) samples(i int) {
	before, acked := &s.from.instances[i], s.from.acknowledged
	switch {
	case !s.sourced || s.rounds > 0:
	case before.sampleState == 2:
		_, n := s.at(i)
		s.fence.EndSample(s.fence.sampleUnderWay, s.fence.place(before.samplePosition))
		n.sampleState, n.sampleBegun, n.samplePosition = 0, 0, 0
		s.fenced("a sample ends", i, int(before.samplePosition)-1)
	case before.sampleState == 1:
		n := &s.to.instances[i]
		n.sampleState, n.samplePosition = 2, acked+1
		s.do("the source answers a sample", i, int(acked))
	case before.sampled[acked] == acked+1 && !before.waits():
	case s.samplesInSteps:
		_, n := s.at(i)
		s.fence.BeginSample()
		n.sampleState, n.sampleBegun = 1, acked+1
		n.begun()
		s.do("a sample begins", i, int(acked))
	default:
		s.at(i)
		s.fence.EndSample(s.fence.BeginSample(), s.fence.position(acked))
		s.fenced("a sample", i, int(acked))
	}
}

// waits reports whether anything waits for the next sample that begins.
func (n *instance) waits() bool {
	return n.awaitedSample == sampleNext || n.baseSample == sampleNext || n.minVersionSample == sampleNext
}

// begun turns what waits for the next sample into what waits for this one.
func (n *instance) begun() {
	for _, ref := range []*awaited{&n.awaitedSample, &n.baseSample, &n.minVersionSample} {
		if *ref == sampleNext {
			*ref = sampleRunning
		}
	}
}

// tail follows the events of every partition.
func (s *stepper) tail(i int) {
	if !s.events {
		return
	}
	before := &s.from.instances[i]
	for p := range before.partitions {
		next, end := s.nextIn(p, before.taken[p]), s.lastIn(p)
		if next > 0 && before.followed>>p&1 == 1 {
			_, n := s.at(i)
			n.taken[p] = next
			seq := uint64(s.seqIn(p, next))
			s.fence.EventSeq(int(p), seq)
			if next != s.from.promoted { // which nobody publishes
				s.fence.Event(s.fence.key, s.ver(next), s.fence.position(next))
				s.invalidated(n, next)
			}
			s.fenced("the tail applies an event", i, int(next))
		}
		if before.followed>>p&1 == 1 {
			s.barriers(i, p)
		}
		if next > 0 && s.from.gapsLeft > 0 && before.numbered>>p&1 == 1 {
			n := &s.to.instances[i]
			s.to.gapsLeft--
			n.taken[p] = end
			s.do("the tail skips a gap", i, int(end))
		}
		if s.brokersLost {
			s.at(i)
			if before.followed>>p&1 == 1 {
				s.fence.EventsLost(int(p))
			} else {
				s.fence.EventsResumed(int(p))
			}
			s.fenced("the tail loses its broker, or finds it again", i, -1)
		}
	}
	if s.partitions > 1 && before.partitions == 1 && s.from.grownAfter > 0 {
		_, n := s.at(i)
		s.fence.EventPartitions(2)
		s.fence.EventSession(1)
		n.taken[1] = s.from.grownAfter - 1 // a new partition is followed from its beginning
		s.fenced("the tail follows the new partition", i, -1)
	}
}

// nextIn is the next version in partition p after version v, 0 if none has been published.
func (s *stepper) nextIn(p, v uint8) uint8 {
	if v < s.lastIn(p) {
		return v + 1
	}
	return 0
}

// lastIn is the last version published to partition p.
func (s *stepper) lastIn(p uint8) uint8 {
	if p == 0 && s.from.grownAfter > 0 {
		return s.from.grownAfter - 1
	}
	return s.from.published
}

// seqIn is the number of version v in partition p.
func (s *stepper) seqIn(p, v uint8) uint8 {
	if s.from.promoted > 0 {
		return s.counted(v) // the relay numbers on from a cursor that the standby had
	}
	if p == 1 {
		return v - (s.from.grownAfter - 1)
	}
	return v
}

// barriers: between the event last taken and the next one there may be one for any position in between; the last
// counts. A relay that has heard of the new partition says so in its barriers, an older one does not.
func (s *stepper) barriers(i int, p uint8) {
	before := &s.from.instances[i]
	for known := uint8(1); known <= uint8(s.partitions); known++ {
		upto := before.taken[p]
		if s.nextIn(p, upto) == 0 { // nothing more here: the rest went elsewhere
			upto = s.from.published
		}
		switch {
		case p == 1 && known == 1, known == 2 && s.from.grownAfter == 0:
			continue
		case known == 1 && s.from.grownAfter > 0: // the old relay's last barrier
			upto = min(upto, s.from.grownAfter-1)
		}
		if before.barrier[p] > upto {
			continue
		}
		s.at(i)
		s.fence.EventBarrier(
			int(p),
			coherence.Barrier{
				Position:   s.fence.position(upto),
				Seq:        uint64(s.seqIn(p, before.taken[p])),
				Partitions: int(known),
			},
		)
		s.fenced("the tail takes a barrier", i, int(upto))
	}
}

// life is the rest of what happens to an instance.
func (s *stepper) life(i int) {
	before := &s.from.instances[i]
	if s.events && s.from.gapsLeft > 0 {
		n := &s.to.instances[i]
		s.to.gapsLeft--
		*n = s.newInstance(&s.from)
		s.do("the instance restarts", i, -1)

		_, n = s.at(i)
		s.to.gapsLeft--
		for p := range before.partitions {
			s.fence.EventSession(int(p))
			n.taken[p] = s.lastIn(p)
		}
		s.fenced("the tail begins a session at the end", i, -1)
	}
	for v := uint8(1); v <= s.from.acknowledged && !s.unversioned; v++ {
		if s.elsewhere>>v&1 == 1 || s.counted(v) <= before.minVersion || v == s.from.promoted {
			continue
		}
		_, n := s.at(i)
		s.fence.Written(s.fence.key, s.ver(v))
		s.invalidated(n, v)
		s.fenced("a write of its own raises the min version", i, int(v))
	}
	if v := s.from.acknowledged; s.unversioned && v > 0 && before.wrote == 0 {
		n, on := &s.to.instances[i], s.server(i)
		s.applied(on, v, on.Apply(v, true))
		n.wrote = v
		s.do("a write of its own tells L2", i, int(v))
	}
	if before.wrote > 0 {
		_, n := s.at(i)
		if !ablate.Out(ablate.WriteBumpsAfter) {
			s.fence.Written(s.fence.key, 0)
		}
		n.invalidated(before.wrote)
		n.wrote = 0
		if n.entry > 0 && n.entry-1 < before.wrote && s.fence.entry.Check(s.fence.Fence) == Current {
			s.violates("C2: L1 still has what was before a write of its own that is over")
		}
		s.fenced("a write of its own is over", i, int(before.wrote))
	}
	if before.minVersion > 0 && s.forgetMinVersions {
		s.at(i)
		s.fence.Event(s.fence.other, 1, s.fence.position(0))
		s.fenced("the min version is pushed out", i, int(before.minVersion))
	}
	if before.entry > 0 {
		n := &s.to.instances[i]
		n.dropEntry()
		s.do("L1 evicts the entry", i, int(before.entry)-1)
	}
	if s.otherKeys && s.lags(before) {
		s.at(i)
		s.fence.Changed(s.fence.other.Hash)
		s.fenced("another key of the slot is invalidated", i, -1)
		s.at(i)
		for range exploreDepth + 1 {
			s.fence.Changed(s.fence.other.Hash)
		}
		s.fenced("other keys of the slot are invalidated, more than are remembered", i, -1)
	}
}

// lags reports whether a bump of the slot makes a difference.
func (s *stepper) lags(n *instance) bool {
	return n.entry > 0 || n.loads[0].phase != idle && n.loads[0].generation != generationGone ||
		n.loads[1].phase != idle && n.loads[1].generation != generationGone
}

// newInstance has just started: its tail follows from the end, and its tracking connection stands.
func (sc *scope) newInstance(w *world) (n instance) {
	n.baseSample, n.connected = sampleNext, bit(sc.untracked)
	if sc.events {
		n.partitions = 1
		n.taken[0], n.followed = w.published, 1
		if sc.partitions > 1 && w.grownAfter > 0 {
			n.partitions, n.followed = 2, 3
			n.taken[0], n.taken[1] = w.grownAfter-1, w.published
		}
	}
	return n
}
