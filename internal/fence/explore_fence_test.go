package fence

import (
	"time"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/l2"
)

// fencer is a real Fence, of one slot and one bucket, that is set to an instance's state, asked to take a step by its
// own methods, and read back. Nothing here decides anything: it only translates.
type fencer struct {
	*Fence
	sc          *scope
	clock       int64
	key         l2.Key
	other       l2.Key // of the same slot and bucket
	b           *bucket
	entry       Stamp
	snaps       [2]Snapshot // of the instance's loads
	flightSnaps [2]Snapshot // of their flights
	stamp       [2]Stamp    // of the entries that loads at pcHit have read
	beats       Heartbeat
	run         Sample // the sample under way

	proof, kproof asOf
}

// The numbers that stand for "of now" and "older" in a fence that has been set to a state.
const (
	genNow, genOthers, genLost        = 1000, 999, 500
	sessionNow, sessionProved, noMore = 100, 99, 50
	sampleLast                        = 40 // position p was found by sample 2(p+1)
	exploreDepth                      = 8  // of the journal
)

func newFencer(sc *scope) *fencer {
	f := &fencer{sc: sc, key: l2.Key{Hash: 7 << 40}, other: l2.Key{Hash: 9 << 40}}
	f.Fence = newFence(Config{Now: func() int64 { return f.clock }, MinVersions: 1, Complete: sc.sourced, MinVersionAge: time.Hour}, 1, exploreDepth, 1)
	f.b = &f.buckets[0]
	f.events.parts = make([]partition, 0, 2)
	f.samples.completed = make([]sample, 0, 16)
	return f
}

func position(n uint8) coherence.Position { return coherence.Position{Timeline: 1, N: uint64(n)} }

// place is a position from position+1, 0 being none.
func place(n uint8) (p coherence.Position) {
	if n > 0 {
		p = position(n - 1)
	}
	return p
}

func number(p coherence.Position) uint8 {
	if p.IsZero() {
		return 0
	}
	return uint8(p.N) + 1
}

func watermark(mark, incarnation uint8) (w l2.Watermark) {
	if mark > 0 {
		w = l2.Watermark{Incarnation: l2.Incarnation{incarnation}, Position: place(mark)}
	}
	return w
}

func genOf(x uint8) uint64 { return [...]uint64{genNow, genOthers, genLost}[x] }

func sessionOf(x uint8) uint64 { return [...]uint64{0, sessionNow, sessionProved}[x] }

func seqOf(ref uint8) uint64 {
	switch ref {
	case refNext:
		return sampleLast
	case refRunning:
		return sampleLast - 1
	}
	return 2*uint64(ref-refAt) + 1
}

func (f *fencer) refOf(seq uint64, running bool) uint8 {
	p, ok := f.samples.firstAfter(seq)
	switch {
	case ok:
		return refAt + uint8(p.N)
	case running && seq < sampleLast:
		return refRunning
	}
	return refNext
}

// set makes the fence that of an instance.
func (f *fencer) set(w *world, n *instance) {
	f.clock = int64(w.acked) + 1
	f.generations.current[0].Store(genNow)
	f.generations.recent.Load().entry(0, genNow).Store(bumpEntry(genNow, f.other.Hash))

	b := f.b
	b.session.Store(sessionNow)
	b.asOf.Store(nil)
	if n.proof > 0 {
		f.proof = asOf{sessionNow - uint64(n.proofOld), int64(n.proof)}
		b.asOf.Store(&f.proof)
	}
	b.watermarkKnown, b.watermarkRead, b.watermark = n.known == 1, n.read == 1, watermark(n.mark, n.incarnation)
	b.heartbeatRead = false // no server of the model's goes back without T's losing its connection
	clear(b.minVersions.byHash)
	b.minVersions.ring, b.minVersions.next = b.minVersions.ring[:0], 0
	if n.minVersion > 0 {
		fl := minVersion{version: coherence.Version(n.minVersion), since: f.clock}
		if n.minVersionRef == refNone {
			fl.at = position(n.minVersion)
		} else {
			fl.sample = seqOf(n.minVersionRef)
		}
		b.minVersions.put(f.key.Hash, fl)
	}
	b.requiredWatermark, b.awaitingSample = place(n.horizon), 0
	if n.await != refNone {
		b.awaitingSample = seqOf(n.await) + 1
	}

	f.samples.lastBegun, f.samples.completed = sampleLast, f.samples.completed[:0]
	for p := range f.sc.n + 1 {
		if n.sampled[p] > 0 {
			f.samples.completed = append(f.samples.completed, sample{2*uint64(p) + 2, int64(n.sampled[p]), position(p)})
		}
	}
	f.run = Sample{sample{seq: sampleLast, begun: int64(n.samplingAt)}}
	f.setEvents(n)
	f.beats.sessions[0] = sessionOf(n.beating)

	f.setStamp(&f.entry, n.gen, n.rs, n.ks)
	for i := range f.sc.loads {
		f.setLoad(i, &n.loads[i])
	}
}

func (f *fencer) setEvents(n *instance) {
	c := &f.events
	c.session, c.baseSample = sessionNow, seqOf(max(n.base, refNext))
	c.asOf.Store(nil)
	if n.kproof > 0 {
		f.kproof = asOf{sessionNow - uint64(n.kproofOld), int64(n.kproof)}
		c.asOf.Store(&f.kproof)
	}
	c.parts = c.parts[:n.partitions]
	for i := range c.parts {
		c.parts[i] = partition{followed: n.followed>>i&1 == 1, numbered: n.numbered>>i&1 == 1, seq: uint64(n.seq[i]), barrier: place(n.barrier[i])}
	}
	c.publishLive()
}

func (f *fencer) setStamp(s *Stamp, gen, rs, ks uint8) {
	s.hash, s.redisSession, s.eventSession = f.key.Hash, session32(sessionOf(rs)), session32(sessionOf(ks))
	s.loaded(0, 0, 0)
	s.generation.Store(genOf(gen))
}

func (f *fencer) setLoad(i uint8, l *load) {
	switch l.pc {
	case pcIdle:
	case pcHit:
		f.setStamp(&f.stamp[i], l.gen, l.hrs, l.hks)
	default:
		f.snaps[i] = f.snapshot(l.gen, l.rs, l.ks, 1)
		f.snaps[i].WatermarkKnown, f.snaps[i].watermark = l.known == 1, watermark(l.mark, l.incarnation)
		if f.sc.joins {
			f.flightSnaps[i] = f.snapshot(l.fgen, l.frs, l.fks, l.fbegan)
		}
	}
}

func (f *fencer) snapshot(gen, rs, ks, began uint8) Snapshot {
	t := Snapshot{key: f.key, generations: &f.generations, generation: genOf(gen), redisSession: noMore, eventSession: sessionOf(ks), began: int64(began)}
	if rs == 1 {
		t.redisSession = sessionNow
	}
	return t
}

// get reads the fence back into the instance.
func (f *fencer) get(n *instance) {
	b := f.b
	pr := b.asOf.Load()
	n.proof, n.proofOld = 0, 0
	if pr != nil {
		n.proof = uint8(pr.moment)
		if pr.session != b.session.Load() {
			n.proofOld = 1
		}
	}
	n.known, n.read = bit(b.watermarkKnown), bit(b.watermarkRead)
	n.mark, n.incarnation = number(b.watermark.Position), b.watermark.Incarnation[0]
	running := n.sampling > 0
	n.minVersion, n.minVersionRef = 0, refNone
	if fl, ok := b.minVersions.byHash[f.key.Hash]; ok {
		n.minVersion = uint8(fl.version)
		if fl.at.IsZero() && f.sc.prune {
			n.minVersionRef = f.refOf(fl.sample, running)
		}
	}
	n.horizon, n.await = number(b.requiredWatermark), refNone
	if b.awaitingSample != 0 {
		n.await = f.refOf(b.awaitingSample-1, running)
	}
	for _, p := range f.samples.completed {
		n.sampled[p.at.N] = uint8(p.begun)
	}
	f.getEvents(n, running)
	if n.beating == 1 && b.session.Load() != sessionNow {
		n.beating = 2
	}
	n.gen, n.rs, n.ks = f.gen(f.entry.generation.Load()), f.redisSessionOf(uint64(f.entry.redisSession)), f.eventSessionOf(uint64(f.entry.eventSession))
	for i := range f.sc.loads {
		f.getLoad(i, &n.loads[i])
	}
}

func (f *fencer) getEvents(n *instance, running bool) {
	c := &f.events
	if !f.sc.kafka {
		return
	}
	n.base = f.refOf(c.baseSample, running)
	n.kproof, n.kproofOld = 0, 0
	if p := c.asOf.Load(); p != nil {
		n.kproof, n.kproofOld = uint8(p.moment), bit(p.session != c.session)
	}
	n.partitions, n.followed, n.numbered = uint8(len(c.parts)), 0, 0
	for i := range c.parts {
		n.followed |= bit(c.parts[i].followed) << i
		n.numbered |= bit(c.parts[i].numbered) << i
		n.seq[i], n.barrier[i] = uint8(c.parts[i].seq), number(c.parts[i].barrier)
	}
}

func (f *fencer) getLoad(i uint8, l *load) {
	switch l.pc {
	case pcIdle:
	case pcHit:
		l.gen, l.hrs, l.hks = f.gen(f.stamp[i].generation.Load()), f.redisSessionOf(uint64(f.stamp[i].redisSession)), f.eventSessionOf(uint64(f.stamp[i].eventSession))
	default:
		t := &f.snaps[i]
		l.gen, l.rs, l.ks = f.gen(t.generation), bit(t.redisSession == f.b.session.Load()), f.eventsOf(t)
		if f.sc.joins {
			t = &f.flightSnaps[i]
			l.fgen, l.frs, l.fks = f.gen(t.generation), bit(t.redisSession == f.b.session.Load()), f.eventsOf(t)
		}
	}
}

func bit(b bool) uint8 {
	if b {
		return 1
	}
	return 0
}

func (f *fencer) gen(g uint64) uint8 {
	to, ok := f.generations.catchUp(g, f.key.Hash)
	switch {
	case g == to:
		return genCurrent
	case ok:
		return genBehind
	}
	return genGone
}

func (f *fencer) redisSessionOf(session uint64) uint8 {
	return standing(session, f.b.session.Load(), f.b.asOf.Load())
}

func (f *fencer) eventSessionOf(session uint64) uint8 {
	return standing(session, f.events.session, f.events.asOf.Load())
}

func standing(session, now uint64, p *asOf) uint8 {
	switch {
	case session == 0:
		return sessionNone
	case session == now:
		return sessionCurrent
	case p != nil && p.session == session:
		return sessionProof
	}
	return sessionNone
}

func (f *fencer) eventsOf(t *Snapshot) uint8 {
	switch t.eventSession {
	case 0:
		return sessionNone
	case f.events.session:
		return sessionCurrent
	}
	return sessionProof
}

// keep makes a snapshot that was just taken, or changed, the load's.
func (f *fencer) keep(i uint8, t Snapshot, l *load) {
	f.snaps[i] = t
	l.known, l.mark, l.incarnation = bit(t.WatermarkKnown), number(t.watermark.Position), t.watermark.Incarnation[0]
}
