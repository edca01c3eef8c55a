package fence

import (
	"cmp"
	"math/bits"

	"github.com/nearcache/nearcache-go/internal/ablate"
	"github.com/nearcache/nearcache-go/internal/explore"
)

// packer knows the widths of a scope's fields.
type packer struct {
	explore.Packer
	*scope
}

// if1 is n if the condition holds, else 0: the field is not used in this scope.
func bitsIf(cond bool, n uint) uint {
	if cond {
		return n
	}
	return 0
}

// fields packs or unpacks fields of n bits each.
func fields[T ~uint8](p *packer, n uint, of ...*T) { explore.Bits(&p.Packer, n, of...) }

func (p *packer) load(l *load) {
	v, v1, now := p.versionBits, p.positionBits, p.positionBits
	fields(p, 4, &l.phase)
	fields(p, v1, &l.value, &l.watermark)
	fields(p, 2, &l.generation)
	fields(p, 1, &l.redisSession, &l.watermarkKnown, &l.watermarkAsked, &l.leaseGranted, &l.leaseHeld)
	fields(p, bitsIf(p.promotions > 0, 1), &l.sampled)
	fields(p, p.incarnationBits, &l.incarnation, &l.leaseIncarnation)
	fields(p, bitsIf(p.failOvers > 0, 1), &l.leaseHeldOther)
	fields(p, bitsIf(p.events, 2), &l.eventSession)
	fields(p, v, &l.servedBefore, &l.invalidated)
	fields(p, bitsIf(p.histories, v), &l.toldBefore)
	fields(p, bitsIf(p.joins, 2), &l.flightGeneration)
	fields(p, bitsIf(p.joins, 2), &l.flightEventSession)
	fields(p, bitsIf(p.joins, 1), &l.flightRedisSession, &l.fresh)
	fields(p, bitsIf(p.joins, now), &l.flightBegan, &l.freshSince)
	fields(p, bitsIf(p.atLeast, v), &l.atLeast)
	fields(p, bitsIf(p.olderSchema, 1), &l.unusable)
	fields(p, bitsIf(p.hitsInSteps, 2), &l.hitRedisSession, &l.hitEventSession)
	fields(p, bitsIf(p.hitsInSteps, now), &l.hitAsOf)
}

func (p *packer) instance(n *instance) {
	v, v1, now := p.versionBits, p.positionBits, p.positionBits
	fields(p, v1, &n.entry)
	fields(p, 2, &n.entryGeneration)
	fields(p, 2, &n.entryRedisSession)
	fields(p, bitsIf(p.bounded, 1), &n.entryOwnAsOf)
	fields(p, 1, &n.watermarkKnown, &n.watermarkRead, &n.redisAsOfOld)
	fields(p, v1, &n.watermark)
	fields(p, p.incarnationBits, &n.incarnation)
	fields(p, now, &n.redisAsOf)
	fields(p, v, &n.minVersion)
	fields(p, 3, &n.minVersionSample)
	fields(p, bitsIf(p.forgetMinVersions || p.promotions > 0, v1), &n.requiredWatermark)
	fields(p, bitsIf(p.forgetMinVersions || p.promotions > 0, 3), &n.awaitedSample)
	if p.events {
		fields(p, 2, &n.entryEventSession)
		fields(p, 3, &n.baseSample)
		fields(p, now, &n.eventAsOf)
		fields(p, 1, &n.eventAsOfOld)
		for i := range p.partitions {
			fields(p, v, &n.seq[i], &n.taken[i])
			fields(p, v1, &n.barrier[i])
		}
		fields(p, bitsIf(p.partitions > 1, 2), &n.partitions)
		fields(p, uint(p.partitions), &n.followed, &n.numbered)
	}
	for i := range p.versions + 1 {
		fields(p, bitsIf(p.sourced, now), &n.sampled[i])
	}
	fields(p, bitsIf(p.samplesInSteps, 2), &n.sampleState)
	fields(p, bitsIf(p.samplesInSteps, now), &n.sampleBegun, &n.samplePosition)
	fields(p, 1, &n.connected, &n.tracked)
	fields(p, bitsIf(p.noticesLosses, 1), &n.noticed)
	fields(p, bitsIf(p.failOvers > 0, 1), &n.isolated)
	fields(p, bitsIf(ablate.Out(ablate.DialIsSession), 1), &n.lateNil)
	fields(p, 2, &n.pushes)
	fields(p, bitsIf(p.lateHeartbeats, 2), &n.heartbeat)
	fields(p, bitsIf(p.lateHeartbeats, v1), &n.heartbeatWatermark)
	fields(p, bitsIf(p.lateHeartbeats, p.incarnationBits), &n.heartbeatIncarnation)
	if p.rounds > 0 {
		fields(p, p.roundBits, &n.ends[0], &n.ends[1])
		fields(p, now, &n.endsFrom[0], &n.endsFrom[1])
		if p.mayGoBack() {
			p.round(&n.round)
		}
		if p.lateHeartbeats {
			p.round(&n.heartbeatRound)
			fields(p, now, &n.heartbeatBegun)
		}
	}
	fields(p, v, &n.served)
	fields(p, bitsIf(p.unversioned, v), &n.wrote)
	for i := range p.loads {
		p.load(&n.loads[i])
	}
}

func (p *packer) server(s *server) {
	fields(p, p.positionBits, &s.Record, &s.Watermark)
	fields(p, p.incarnationBits, &s.RecordIncarnation, &s.WatermarkIncarnation)
	fields(p, bitsIf(p.pieces, 1), &s.Part)
	fields(p, 1, &s.Lease)
	fields(p, bitsIf(p.intents, 4), &s.Intents)
	fields(p, bitsIf(p.intents, 1), &s.Doubted, &s.Unconfirmed)
	fields(p, p.versionBits, &s.applied)
	fields(p, bitsIf(p.histories, p.incarnationBits), &s.history)
	if p.rounds > 0 {
		p.round(&s.Round)
	}
}

// mayGoBack reports whether a server's round may go back, or go, behind a connection that stands.
func (sc *scope) mayGoBack() bool { return sc.evictions > 0 || sc.goesBack }

func (p *packer) round(r *explore.Round) {
	fields(p, p.roundBits, &r.Number)
	fields(p, p.tokenBits, &r.Token)
	fields(p, p.positionBits, &r.Head, &r.Upto)
	fields(p, p.incarnationBits, &r.Incarnation)
}

func (p *packer) term(t *term) {
	fields(p, 3, &t.phase)
	p.round(&t.seen)
	fields(p, p.positionBits, &t.head, &t.upto)
	fields(p, p.incarnationBits, &t.incarnation)
	if p.clustered {
		p.round(&t.server)
	}
}

func (p *packer) world(w *world) {
	fields(p, p.versionBits, &w.durable, &w.acknowledged, &w.published)
	fields(p, bitsIf(p.histories, p.versionBits), &w.told)
	fields(p, p.incarnationBits, &w.incarnations)
	fields(p, 2, &w.failOversLeft, &w.evictionsLeft, &w.lossesLeft, &w.gapsLeft)
	fields(p, bitsIf(p.promotions > 0, p.versionBits), &w.promoted, &w.kept)
	fields(p, bitsIf(p.promotions > 0, 1), &w.promotions)
	fields(p, bitsIf(p.intents, 4), &w.writing)
	fields(p, bitsIf(p.intents, 2), &w.setAside)
	fields(p, bitsIf(p.partitions > 1, p.positionBits), &w.grownAfter)
	fields(p, bitsIf(ablate.Out(ablate.BatchFrom), p.positionBits), &w.relayWatermark)
	fields(p, bitsIf(ablate.Out(ablate.BatchFrom), p.incarnationBits), &w.relayIncarnation)
	fields(p, bitsIf(p.pieces, p.versionBits), &w.relayPiece)
	if p.rounds > 0 {
		fields(p, p.tokenBits, &w.tokens)
		if p.clustered {
			p.round(&w.root)
		}
		for i := range p.relays {
			p.term(&w.terms[i])
		}
	}
	p.server(&w.primary)
	if p.failOvers > 0 {
		p.server(&w.other)
	}
	for i := range p.instances {
		p.instance(&w.instances[i])
	}
}

// pack also puts what is interchangeable, loads and instances, into one order.
func (sc *scope) pack(w *world) explore.State {
	sc.settle(w)
	for i := range sc.instances {
		if l := &w.instances[i].loads; sc.loads == 2 && cmp.Compare(sc.loadKey(&l[1]), sc.loadKey(&l[0])) < 0 {
			l[0], l[1] = l[1], l[0]
		}
	}
	if sc.instances == 2 && less(sc.instanceKey(&w.instances[1]), sc.instanceKey(&w.instances[0])) {
		w.instances[0], w.instances[1] = w.instances[1], w.instances[0]
	}
	if t := &w.terms; sc.relays == 2 && less(sc.termKey(&t[1]), sc.termKey(&t[0])) {
		t[0], t[1] = t[1], t[0]
	}
	p := packer{scope: sc}
	p.world(w)
	return p.State
}

func (sc *scope) termKey(t *term) explore.State {
	p := packer{scope: sc}
	p.term(t)
	return p.State
}

func (sc *scope) unpack(s *explore.State) (w world) {
	p := packer{scope: sc, Packer: explore.Packer{State: *s, Unpack: true}}
	p.world(&w)
	for i := range sc.instances {
		if sc.events && sc.partitions == 1 {
			w.instances[i].partitions = 1
		}
	}
	return w
}

func (sc *scope) loadKey(l *load) uint64 {
	p := packer{scope: sc}
	p.load(l)
	return p.State[0]
}

func (sc *scope) instanceKey(n *instance) explore.State {
	p := packer{scope: sc}
	p.instance(n)
	return p.State
}

func less(a, b explore.State) bool {
	for i := range a {
		if a[i] != b[i] {
			return a[i] < b[i]
		}
	}
	return false
}

// settle clears what can no longer make a difference, so that equal futures are one state.
func (sc *scope) settle(w *world) {
	var held, heldOther boolean
	for i := range sc.instances {
		n := &w.instances[i]
		if !sc.bounded {
			n.entryOwnAsOf = 0
		}
		gone := n.entryGeneration == generationGone && !ablate.Out(ablate.Generation)
		vouched := n.entryRedisSession|n.entryEventSession != sessionNone || n.entryOwnAsOf == yes
		if n.entry > 0 && (gone || !vouched) {
			n.dropEntry()
		}
		sc.settleAsOf(n)
		for j := range sc.loads {
			l := &n.loads[j]
			sc.settleLoad(w, l)
			held, heldOther = held|l.leaseHeld, heldOther|l.leaseHeldOther
		}
	}
	isolated := w.instances[0].isolated|w.instances[1].isolated == yes
	if w.failOversLeft == 0 && !isolated && !(sc.untracked && sc.isolation) { // the other server is out of sight for good
		w.other = server{}
		for i := range sc.instances {
			w.instances[i].loads[0].leaseHeldOther, w.instances[i].loads[1].leaseHeldOther = 0, 0
		}
	}
	// Only fills under way can be older than what was told, and what a refused write may restore.
	if !ablate.Out(ablate.FillNeedsLease) && !ablate.Out(ablate.SetOverValue) && !sc.durableFirst {
		if held == 0 && !w.primary.restorable() {
			w.primary.applied = 0
		}
		if heldOther == 0 && !w.other.restorable() {
			w.other.applied = 0
		}
	}
	if sc.instances == 1 && sc.events && sc.partitions == 1 { // the tail's lag stands for the relay's
		w.published = w.acknowledged
		if sc.durableFirst {
			w.published = w.durable
		}
	}
}

// dropEntry leaves L1 empty.
func (n *instance) dropEntry() {
	n.entry, n.entryGeneration, n.entryRedisSession, n.entryEventSession, n.entryOwnAsOf = 0, 0, 0, 0, 0
}

// settleAsOf forgets the as-of of a session that is over, once no entry is of that session.
func (sc *scope) settleAsOf(n *instance) {
	byRedis, byEvents := n.entryRedisSession == sessionPast, n.entryEventSession == sessionPast
	for j := range sc.loads {
		if l := &n.loads[j]; l.phase == hitting {
			byRedis = byRedis || l.hitRedisSession == sessionPast
			byEvents = byEvents || l.hitEventSession == sessionPast
		}
	}
	if n.redisAsOfOld == yes && !byRedis {
		n.redisAsOf, n.redisAsOfOld = 0, 0
	}
	if n.eventAsOfOld == yes && !byEvents {
		n.eventAsOf, n.eventAsOfOld = 0, 0
	}
	if n.awaitedSample >= sampleFound { // the sample it waits for has ended
		n.requiredWatermark = max(n.requiredWatermark, uint8(n.awaitedSample-sampleFound)+1)
		n.awaitedSample = sampleNone
	}
}

func (sc *scope) settleLoad(w *world, l *load) {
	if l.phase == idle || l.phase == hitting {
		if l.phase == idle {
			*l = load{}
		}
		return
	}
	if l.phase >= toLoad {
		l.toldBefore = 0 // the source has it
		l.watermark, l.incarnation, l.watermarkKnown, l.watermarkAsked, l.unusable = 0, 0, 0, 0, 0
		if !ablate.Out(ablate.AdmitFromTracking) {
			l.redisSession = 0
		}
		if l.leaseGranted == 1 { // what has a lease is not admitted here
			l.generation, l.eventSession, l.invalidated = generationGone, 0, 0
		}
	}
	if l.phase == toLoad { // the snapshot is taken anew, and the source answers with at least what was served
		l.generation, l.eventSession, l.redisSession, l.invalidated, l.servedBefore = 0, 0, 0, 0, 0
	}
	if l.phase == loading && !sc.durableFirst {
		l.servedBefore = 0
	}
	if l.generation == generationGone && !ablate.Out(ablate.Generation) { // it is not admitted
		l.eventSession, l.invalidated = 0, 0
	}
	if l.phase == filling {
		l.generation, l.eventSession, l.redisSession, l.invalidated = 0, 0, 0, 0
	}
	if l.leaseGranted == 1 && l.leaseHeld|l.leaseHeldOther == 0 && !ablate.Out(ablate.FillNeedsLease) {
		l.leaseIncarnation = 0
	}
	if sc.joins && l.flightGeneration == generationGone && !ablate.Out(ablate.FlightStillStands) &&
		!ablate.Out(ablate.Generation) {
		l.flightRedisSession, l.flightEventSession, l.flightBegan = 0, 0, 0 // nobody joins any more
	}
}

// widths sets the widths of the fields.
func (sc *scope) widths() {
	sc.versionBits = uint(bits.Len8(sc.versions))
	sc.positionBits = uint(bits.Len8(sc.versions + 1))
	sc.incarnationBits = uint(bits.Len8(sc.maxIncarnations()))
	sc.roundBits = uint(bits.Len8(sc.rounds + 2)) // a sample may end two rounds later
	sc.tokenBits = uint(bits.Len8(sc.maxTokens()))
}
