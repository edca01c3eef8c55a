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
			if s.clustered {
				s.publishOnServer(i)
			} else {
				s.publishRound(i)
			}
		case relayServer:
			s.publishRoot(i)
		}
	}
}

// beginRound also reads the bucket's watermark; or it does not, and the relay goes on with the incarnation that it
// knows. It may go on with one that another relay has replaced.
func (s *stepper) beginRound(i int, next uint8) {
	on, last := &s.from.primary, &s.from.primary.Round
	if s.clustered {
		last = &s.from.root
	}
	if last.Number == 0 || last.Number > s.rounds || last.Token == 0 && s.from.tokens == s.maxTokens() {
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
		if last.Token == 0 {
			w.tokens++
		}
		if s.clustered {
			root := explore.L2{Round: w.root}
			t.seen, t.server = root.BeginRound(w.tokens), on.Round
			w.root = root.Round
		} else {
			t.seen = w.primary.BeginRound(w.tokens)
		}
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

// publishOnServer publishes the round of the bucket's server. It checks the bucket's watermark against what the relay
// has written there, or found: that covers the bucket's last change.
func (s *stepper) publishOnServer(i int) {
	w := &s.to
	t := &w.terms[i]
	needed := t.upto
	for needed > 1 && s.elsewhere>>(needed-1)&1 == 1 {
		needed--
	}
	next := explore.Round{Number: t.server.Number + 1, Upto: t.upto, Incarnation: t.incarnation}
	if next.Number > s.rounds+1 {
		return
	}
	t.phase = relayServer
	name := "a relay publishes the round of the bucket's server"
	if !w.primary.PublishRound(t.server, next, needed, t.incarnation) {
		*t = term{incarnation: t.incarnation}
		name = "a relay's round of the bucket's server is refused"
	}
	s.do(name, i, int(next.Number))
}

// publishRoot publishes the round that ends samples. As if the bucket had been on that server when the relay last
// looked, it says up to where the bucket has its changes, too.
func (s *stepper) publishRoot(i int) {
	w := &s.to
	t := &w.terms[i]
	root := explore.L2{Round: w.root}
	next := explore.Round{Number: t.seen.Number + 1, Head: t.head, Upto: t.upto, Incarnation: t.incarnation}
	name := "a relay publishes its round"
	if !root.PublishRound(t.seen, next, 0, 0) {
		name = "a relay's round is refused"
	}
	w.root, *t = root.Round, term{incarnation: t.incarnation}
	s.do(name, i, int(next.Number))
}

// roundOf is a round as the fence takes it, which stands for buckets of an incarnation each.
func (f *fencer) roundOf(r explore.Round, of l2.BucketSet, incarnations ...l2.Incarnation) (out l2.Round) {
	if r.Number > 0 {
		out = l2.Round{Number: uint64(r.Number), Token: uint64(r.Token), Head: f.place(r.Head), Upto: f.place(r.Upto),
			Buckets: of, Incarnations: l2.DigestOf(incarnations)}
	}
	return out
}

// ofServer is the round of the bucket's server.
func (f *fencer) ofServer(r explore.Round) l2.Round {
	return f.roundOf(r, l2.SetOf(f.scope.bucket()), l2.Incarnation{r.Incarnation})
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
	switch {
	case before.heartbeat > 0:
		_, n := s.at(i)
		s.look(&s.fence.heartbeat, before.heartbeatRound,
			s.fence.mark(before.heartbeatWatermark, before.heartbeatIncarnation))
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
		s.look(&h, on.Round, s.fence.mark(on.Watermark, on.Incarnation()))
		s.fenced("a heartbeat reads the round", i, int(on.Round.Number))
	}
}

// look takes what a heartbeat has read. In a Cluster it has read the other server's round too.
func (s *stepper) look(h *Heartbeat, r explore.Round, w l2.Watermark) {
	own := l2.SetOf(s.bucket())
	cover := func() (covered l2.BucketSet) {
		if s.clustered {
			covered = s.fence.Cover(h, l2.RoundBucket, s.rootRound(), l2.SetOf(l2.RoundBucket))
		}
		return covered.Union(s.fence.Cover(h, s.bucket(), s.fence.ofServer(r), own))
	}
	if s.clustered {
		s.fence.Round(h, l2.RoundBucket, s.rootRound())
	}
	s.fence.Round(h, s.bucket(), s.fence.ofServer(r))
	if covered := cover(); !covered.Has(s.bucket()) {
		s.fence.Watermark(h, s.bucket(), w)
		cover()
	}
}

// rootRound is the round that ends samples, in a Cluster. It claims the key's bucket, which is elsewhere.
func (s *stepper) rootRound() l2.Round {
	return s.fence.roundOf(s.from.root, l2.SetOf(l2.RoundBucket, s.bucket()),
		l2.Incarnation{1}, l2.Incarnation{s.from.root.Incarnation})
}

// goBack fails over behind the standing connections, and heartbeats are the next thing that happens. It takes what the
// new primary has published to be less than the instance has seen: otherwise nothing shows it.
func (s *stepper) goBack() {
	w := &s.to
	n := &w.instances[0]
	if s.instances > 1 || n.connected == 0 || n.isolated == 1 || n.round != s.from.primary.Round ||
		s.from.other.Round.Number >= s.from.primary.Round.Number {
		return
	}
	_, n = s.at(0)
	h := s.fence.BeginHeartbeat()
	w.failOversLeft--
	w.primary, w.other = w.other, server{}
	n.tracked, n.pushes = 0, 0
	s.failed(n)
	for j := range n.loads {
		n.loads[j].leaseHeld, n.loads[j].leaseHeldOther = n.loads[j].leaseHeldOther, 0
	}
	s.look(&h, w.primary.Round, s.fence.mark(w.primary.Watermark, w.primary.Incarnation()))
	s.fenced("the server goes back behind the standing connection, and a heartbeat sees it", 0, -1)
}

func (f *fencer) setRounds(n *instance) {
	s := &f.rounds
	f.buckets[l2.RoundBucket].session.Store(sessionNow)
	*s.of[l2.RoundBucket] = followed{session: sessionNow}
	if f.scope.clustered {
		root := &f.buckets[l2.RoundBucket]
		root.watermark, root.watermarkRead, root.watermarkKnown = f.mark(1, 1), true, true
	}
	*s.of[f.scope.bucket()] = followed{sessionNow, f.ofServer(n.round)}
	s.open = s.open[:0]
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
	kept := func(bucket int) bool { // otherwise it is dropped when the next round is read
		return f.buckets[bucket].session.Load() == sessionNow || ablate.Out(ablate.RoundSession)
	}
	if f.scope.rounds == 0 {
		return
	}
	if kept(l2.RoundBucket) {
		slices.SortFunc(s.open, func(a, b openSample) int { return int(a.ends) - int(b.ends) })
		for j, o := range s.open[:min(len(s.open), len(n.ends))] { // there are more only without RoundSession
			n.ends[j], n.endsFrom[j] = uint8(o.ends), uint8(o.sample.sample.begun)
		}
	}
	if f.scope.mayGoBack() && kept(f.scope.bucket()) {
		n.round = f.scope.roundFrom(s.follow(f.scope.bucket()).last)
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
