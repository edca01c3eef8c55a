package fence

import (
	"slices"

	"github.com/nearcache/nearcache-go/internal/ablate"
	"github.com/nearcache/nearcache-go/internal/explore"
	"github.com/nearcache/nearcache-go/internal/l2"
)

// This file has the relays' rounds, and how an instance follows them.

// rounded steps the relays through their rounds. Their batches are steps of their own (stepper.relay), and may come
// from any of them.
func (s *stepper) rounded() {
	if s.rounds == 0 {
		return
	}
	if w := &s.to; w.primary.Round.Number == 0 && w.primary.Watermark > 0 {
		r := explore.Round{Number: 1, Upto: w.primary.Watermark, Incarnation: w.primary.WatermarkIncarnation}
		w.primary.PublishRound(explore.Round{}, r, w.primary.Watermark, w.primary.WatermarkIncarnation)
		s.do("the relay publishes a first round", -1, int(r.Upto)-1)
	}
	for i := range int(s.relays) {
		switch t := &s.to.terms[i]; t.phase {
		case relayIdle:
			if ablate.Out(ablate.RoundBegunFirst) {
				t.head, t.upto = s.from.acknowledged+1, s.from.acknowledged+1
				t.phase = relayRead
				s.do("a relay reads the source before it begins a round", i, int(s.from.acknowledged))
			} else {
				s.beginRound(i, relayBegun)
			}
		case relayRead:
			s.beginRound(i, relayApplies)
		case relayBegun:
			s.readSource(i)
		case relayApplies:
			s.applyRound(i)
		case relayApplied:
			s.publishRound(i)
		}
	}
}

// beginRound also reads the bucket's watermark; or it does not, and the relay goes on with the incarnation that it
// knows. It may go on with one that another relay has replaced.
func (s *stepper) beginRound(i int, next uint8) {
	on := &s.from.primary
	if on.Round.Number == 0 || on.Round.Number > s.rounds || on.Round.Token == 0 && s.from.tokens == s.maxTokens() {
		return
	}
	for _, sweep := range []bool{true, false} {
		w := &s.to
		t := &w.terms[i]
		switch {
		case sweep && on.Watermark > 0:
			t.incarnation = on.WatermarkIncarnation
		case sweep || t.incarnation == 0:
			continue
		}
		if w.primary.Round.Token == 0 {
			w.tokens++
		}
		t.seen = w.primary.BeginRound(w.tokens)
		t.phase, t.upto = next, max(t.upto, t.seen.Upto)
		s.do("a relay begins a round", i, int(t.seen.Number)+1)
	}
}

func (s *stepper) readSource(i int) {
	acknowledged := s.from.acknowledged + 1
	least := acknowledged
	if s.openTransactions {
		least = s.from.terms[i].seen.Upto
	}
	for upto := least; upto <= acknowledged; upto++ {
		t := &s.to.terms[i]
		t.head, t.upto, t.phase = acknowledged, upto, relayApplies
		s.do("a relay reads the source", i, int(upto)-1)
	}
}

// changed reports whether the bucket has a change in the relay's round, and the last one's position+1.
func (s *stepper) changed(t *term) (at uint8, changed bool) {
	for v := t.seen.Upto; v < t.upto; v++ {
		if s.elsewhere>>v&1 == 0 {
			at, changed = v+1, true
		}
	}
	return at, changed
}

// applyRound waits until the batches of the round are acknowledged, by whatever server is the primary then.
func (s *stepper) applyRound(i int) {
	t := &s.to.terms[i]
	if at, changed := s.changed(t); changed {
		if s.from.primary.Watermark < at {
			return
		}
		t.incarnation = s.from.primary.WatermarkIncarnation
	}
	t.phase = relayApplied
	s.do("a relay hears that its batches are applied", i, int(t.upto)-1)
}

func (s *stepper) publishRound(i int) {
	w := &s.to
	t := &w.terms[i]
	next := explore.Round{Number: t.seen.Number + 1, Head: t.head, Upto: t.upto, Incarnation: t.incarnation}
	needed, _ := s.changed(t)
	if t.incarnation != t.seen.Incarnation && !ablate.Out(ablate.RoundDigest) {
		needed = max(needed, 1) // whether it is the bucket's now
	}
	name := "a relay publishes its round"
	if !w.primary.PublishRound(t.seen, next, needed, t.incarnation) {
		name = "a relay's round is refused"
	}
	*t = term{incarnation: t.incarnation}
	s.do(name, i, int(next.Number))
}

// roundOf is a round as the fence takes it.
func roundOf(r explore.Round) (out l2.Round) {
	if r.Number > 0 {
		out = l2.Round{Number: uint64(r.Number), Token: uint64(r.Token), Head: place(r.Head), Upto: place(r.Upto),
			Whole: true, Incarnations: l2.DigestOf([]l2.Incarnation{{r.Incarnation}})}
	}
	return out
}

// roundFrom is roundOf backwards.
func (sc *scope) roundFrom(r l2.Round) (out explore.Round) {
	if r.IsZero() {
		return out
	}
	out = explore.Round{Number: uint8(r.Number), Token: uint8(r.Token), Head: number(r.Head), Upto: number(r.Upto)}
	for i := range sc.maxIncarnations() + 1 {
		if l2.DigestOf([]l2.Incarnation{{i}}) == r.Incarnations {
			out.Incarnation = i
		}
	}
	return out
}

// heartbeatOfRounds reads the round and, where that does not cover the bucket, the watermark. The replies may be looked
// at late.
func (s *stepper) heartbeatOfRounds(i int) {
	before, on := &s.from.instances[i], s.server(i)
	look := func(h *Heartbeat, r l2.Round, w l2.Watermark) {
		s.fence.Round(h, r)
		if !s.fence.Cover(h, r) {
			s.fence.Watermark(h, 0, w)
			s.fence.Cover(h, r)
		}
	}
	switch {
	case before.heartbeat > 0:
		_, n := s.at(i)
		look(&s.fence.heartbeat, roundOf(before.heartbeatRound),
			watermark(before.heartbeatWatermark, before.heartbeatIncarnation))
		n.heartbeat, n.heartbeatWatermark, n.heartbeatIncarnation = 0, 0, 0
		n.heartbeatRound, n.heartbeatBegun = explore.Round{}, 0
		s.fenced("the heartbeat's replies are looked at", i, int(before.heartbeatRound.Number))
	case before.connected == 0 || before.pushes > 0:
	case s.lateHeartbeats:
		n := &s.to.instances[i]
		n.heartbeat, n.heartbeatWatermark, n.heartbeatIncarnation = 1, on.Watermark, on.Incarnation()
		n.heartbeatRound, n.heartbeatBegun = on.Round, s.from.acknowledged+1
		s.do("the heartbeat reads the round and the watermark", i, int(on.Round.Number))
	default:
		s.at(i)
		h := s.fence.BeginHeartbeat()
		look(&h, roundOf(on.Round), watermark(on.Watermark, on.Incarnation()))
		s.fenced("a heartbeat reads the round", i, int(on.Round.Number))
	}
}

func (f *fencer) setRounds(n *instance) {
	s := &f.rounds
	s.session, s.last, s.open = sessionNow, roundOf(n.round), s.open[:0]
	for j, ends := range n.ends {
		if ends > 0 {
			s.open = append(s.open, openSample{uint64(ends), Sample{sample{seq: sampleLast - 2 + uint64(j),
				begun: int64(n.endsFrom[j])}}})
		}
	}
}

func (f *fencer) getRounds(n *instance) {
	s := &f.rounds
	n.ends, n.endsFrom, n.round = [2]uint8{}, [2]uint8{}, explore.Round{}
	if f.scope.rounds == 0 || s.session != f.bucket.session.Load() && !ablate.Out(ablate.RoundSession) {
		return // they are dropped when the next round is read
	}
	slices.SortFunc(s.open, func(a, b openSample) int { return int(a.ends) - int(b.ends) })
	for j, o := range s.open[:min(len(s.open), len(n.ends))] { // there are more only without RoundSession
		n.ends[j], n.endsFrom[j] = uint8(o.ends), uint8(o.sample.sample.begun)
	}
	if f.scope.evictions > 0 {
		n.round = f.scope.roundFrom(s.last)
	}
}

// checkSamples looks at what the rounds have shown the instance.
func (s *stepper) checkSamples(n *instance) {
	for p, moment := range n.sampled {
		if int(moment) > p+1 {
			s.violates("C1: a sample is at less than what was acknowledged before it began")
		}
	}
}
