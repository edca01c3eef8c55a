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
func if1(cond bool, n uint) uint {
	if cond {
		return n
	}
	return 0
}

func (p *packer) load(l *load) {
	v, v1, now := p.v, p.v1, p.v1
	p.Bits(4, &l.pc)
	p.Bits(v1, &l.val, &l.mark)
	p.Bits(2, &l.gen)
	p.Bits(1, &l.rs, &l.known, &l.ask, &l.lease, &l.hold)
	p.Bits(p.e, &l.incarnation, &l.leaseIncarnation)
	p.Bits(if1(p.fo > 0, 1), &l.holdOther)
	p.Bits(if1(p.kafka, 2), &l.ks)
	p.Bits(v, &l.seen, &l.hit)
	p.Bits(if1(p.joins, 2), &l.fgen, &l.fks)
	p.Bits(if1(p.joins, 1), &l.frs, &l.fresh)
	p.Bits(if1(p.joins, now), &l.fbegan, &l.want)
	p.Bits(if1(p.atLeast, v), &l.atLeast)
	p.Bits(if1(p.schema, 1), &l.unusable)
	p.Bits(if1(p.slowHit, 2), &l.hrs, &l.hks)
	p.Bits(if1(p.slowHit, now), &l.claim)
}

func (p *packer) instance(n *instance) {
	v, v1, now := p.v, p.v1, p.v1
	p.Bits(v1, &n.entry)
	p.Bits(2, &n.gen, &n.rs)
	p.Bits(if1(p.bounded, 1), &n.own)
	p.Bits(1, &n.known, &n.read, &n.proofOld)
	p.Bits(v1, &n.mark)
	p.Bits(p.e, &n.incarnation)
	p.Bits(now, &n.proof)
	p.Bits(v, &n.minVersion)
	p.Bits(3, &n.minVersionRef)
	p.Bits(if1(p.prune, v1), &n.horizon)
	p.Bits(if1(p.prune, 3), &n.await)
	if p.kafka {
		p.Bits(2, &n.ks)
		p.Bits(3, &n.base)
		p.Bits(now, &n.kproof)
		p.Bits(1, &n.kproofOld)
		for i := range p.parts {
			p.Bits(v, &n.seq[i], &n.at[i])
			p.Bits(v1, &n.barrier[i])
		}
		p.Bits(if1(p.parts > 1, 2), &n.partitions)
		p.Bits(uint(p.parts), &n.followed, &n.numbered)
	}
	for i := range p.n + 1 {
		p.Bits(if1(p.sourced, now), &n.sampled[i])
	}
	p.Bits(if1(p.slowSample, 2), &n.sampling)
	p.Bits(if1(p.slowSample, now), &n.samplingAt, &n.samplePosition)
	p.Bits(1, &n.conn, &n.tracked)
	p.Bits(if1(p.fo > 0, 1), &n.isolated)
	p.Bits(if1(ablate.Out(ablate.DialIsSession), 1), &n.lateNil)
	p.Bits(2, &n.pushes)
	p.Bits(if1(p.slowBeat, 2), &n.beating)
	p.Bits(if1(p.slowBeat, v1), &n.beatMark)
	p.Bits(if1(p.slowBeat, p.e), &n.beatIncarnation)
	p.Bits(v, &n.served)
	p.Bits(if1(p.unversioned, v), &n.wrote)
	for i := range p.loads {
		p.load(&n.loads[i])
	}
}

func (p *packer) server(s *server) {
	p.Bits(p.v1, &s.Record, &s.Watermark)
	p.Bits(p.e, &s.RecordIncarnation, &s.WatermarkIncarnation)
	p.Bits(1, &s.Lease)
	p.Bits(if1(p.intents, 4), &s.Intents)
	p.Bits(p.v, &s.told)
}

func (p *packer) world(w *world) {
	p.Bits(p.v, &w.durable, &w.acked, &w.published)
	p.Bits(p.e, &w.incarnations)
	p.Bits(2, &w.fails, &w.evicts, &w.drops, &w.gaps)
	p.Bits(if1(p.intents, 4), &w.writing)
	p.Bits(if1(p.parts > 1, p.v1), &w.grown)
	p.Bits(if1(ablate.Out(ablate.BatchFrom), p.v1), &w.relay)
	p.Bits(if1(ablate.Out(ablate.BatchFrom), p.e), &w.relayIncarnation)
	p.server(&w.l2)
	if p.fo > 0 {
		p.server(&w.other)
	}
	for i := range p.insts {
		p.instance(&w.ins[i])
	}
}

// pack also puts what is interchangeable, loads and instances, into one order.
func (sc *scope) pack(w *world) explore.State {
	sc.settle(w)
	for i := range sc.insts {
		if l := &w.ins[i].loads; sc.loads == 2 && cmp.Compare(sc.loadKey(&l[1]), sc.loadKey(&l[0])) < 0 {
			l[0], l[1] = l[1], l[0]
		}
	}
	if sc.insts == 2 && less(sc.instanceKey(&w.ins[1]), sc.instanceKey(&w.ins[0])) {
		w.ins[0], w.ins[1] = w.ins[1], w.ins[0]
	}
	p := packer{scope: sc}
	p.world(w)
	return p.State
}

func (sc *scope) unpack(s *explore.State) (w world) {
	p := packer{scope: sc, Packer: explore.Packer{State: *s, Unpack: true}}
	p.world(&w)
	for i := range sc.insts {
		if sc.kafka && sc.parts == 1 {
			w.ins[i].partitions = 1
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
	var hold, holdOther uint8
	for i := range sc.insts {
		n := &w.ins[i]
		if !sc.bounded {
			n.own = 0
		}
		if n.entry > 0 && (n.gen == genGone && !ablate.Out(ablate.Generation) || n.rs|n.ks|n.own == 0) {
			n.entry, n.gen, n.rs, n.ks, n.own = 0, 0, 0, 0, 0
		}
		sc.settleProofs(n)
		for j := range sc.loads {
			l := &n.loads[j]
			sc.settleLoad(w, l)
			hold, holdOther = hold|l.hold, holdOther|l.holdOther
		}
	}
	if w.fails == 0 && w.ins[0].isolated|w.ins[1].isolated == 0 { // nobody looks at the other server any more
		w.other = server{}
		for i := range sc.insts {
			w.ins[i].loads[0].holdOther, w.ins[i].loads[1].holdOther = 0, 0
		}
	}
	// Fills under way are the only ones that can be older than what was told.
	if !ablate.Out(ablate.FillNeedsLease) && !ablate.Out(ablate.SetOverValue) && !sc.early {
		if hold == 0 {
			w.l2.told = 0
		}
		if holdOther == 0 {
			w.other.told = 0
		}
	}
	if sc.insts == 1 && sc.kafka && sc.parts == 1 { // the tail's lag stands for the relay's
		w.published = w.acked
		if sc.early {
			w.published = w.durable
		}
	}
}

// settleProofs forgets what a session that is over proves, once it proves it of nothing.
func (sc *scope) settleProofs(n *instance) {
	rs, ks := n.rs == sessionProof, n.ks == sessionProof
	for j := range sc.loads {
		if l := &n.loads[j]; l.pc == pcHit {
			rs, ks = rs || l.hrs == sessionProof, ks || l.hks == sessionProof
		}
	}
	if n.proofOld == 1 && !rs {
		n.proof, n.proofOld = 0, 0
	}
	if n.kproofOld == 1 && !ks {
		n.kproof, n.kproofOld = 0, 0
	}
	if n.await >= refAt { // the sample it waits for has ended
		n.horizon, n.await = max(n.horizon, n.await-refAt+1), refNone
	}
}

func (sc *scope) settleLoad(w *world, l *load) {
	if l.pc == pcIdle || l.pc == pcHit {
		if l.pc == pcIdle {
			*l = load{}
		}
		return
	}
	if l.pc >= pcToLoad {
		l.mark, l.incarnation, l.known, l.ask, l.unusable = 0, 0, 0, 0, 0
		if !ablate.Out(ablate.AdmitFromTracking) {
			l.rs = 0
		}
		if l.lease == 1 { // what has a lease is not admitted here
			l.gen, l.ks, l.hit = genGone, 0, 0
		}
	}
	if l.pc == pcToLoad { // the snapshot is taken anew, and the source answers with at least what was served
		l.gen, l.ks, l.rs, l.hit, l.seen = 0, 0, 0, 0, 0
	}
	if l.pc == pcLoad && !sc.early {
		l.seen = 0
	}
	if l.gen == genGone && !ablate.Out(ablate.Generation) { // it is not admitted
		l.ks, l.hit = 0, 0
	}
	if l.pc == pcFill {
		l.gen, l.ks, l.rs, l.hit = 0, 0, 0, 0
	}
	if l.lease == 1 && l.hold|l.holdOther == 0 && !ablate.Out(ablate.FillNeedsLease) {
		l.leaseIncarnation = 0
	}
	if sc.joins && l.fgen == genGone && !ablate.Out(ablate.FlightStillStands) && !ablate.Out(ablate.Generation) {
		l.frs, l.fks, l.fbegan = 0, 0, 0 // nobody joins any more
	}
}

// widths sets the widths of the fields.
func (sc *scope) widths() {
	sc.v = uint(bits.Len8(sc.n))
	sc.v1 = uint(bits.Len8(sc.n + 1))
	sc.e = uint(bits.Len8(sc.maxIncarnations()))
}
