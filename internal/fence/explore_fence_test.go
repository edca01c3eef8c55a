package fence

import (
	"time"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/l2"
)

// fencer is a real Fence, of one slot and one bucket (in a Cluster a second one, whose server has the rounds), that is
// set to an instance's state, asked to take a step by its own methods, and read back. Nothing here decides anything: it
// only translates.
type fencer struct {
	*Fence
	scope           *scope
	clock           int64
	promoted        uint8 // the world's
	key             l2.Key
	other           l2.Key // of the same slot and bucket
	bucket          *bucket
	entry           Stamp
	snapshots       [2]Snapshot // of the instance's loads
	flightSnapshots [2]Snapshot // of their flights
	hitStamps       [2]Stamp    // of the entries that reads in phase hitting have
	heartbeat       Heartbeat
	sampleUnderWay  Sample // the sample under way

	redisAsOf, eventAsOf asOf
}

// The numbers that stand for "of now" and "older" in a fence that has been set to a state.
const (
	genNow, genOthers, genLost        = 1000, 999, 500
	sessionNow, sessionProved, noMore = 100, 99, 50
	sampleLast                        = 40 // position p was found by sample 2(p+1)
	exploreDepth                      = 8  // of the recent bumps
)

func newFencer(sc *scope) *fencer {
	f := &fencer{scope: sc, key: l2.Key{Hash: 7 << 20}, other: l2.Key{Hash: 9 << 20}}
	cfg := Config{Now: func() int64 { return f.clock }, MinVersions: 1, Complete: sc.sourced, MinVersionAge: time.Hour,
		Untracked: sc.untracked}
	f.key.Bucket, f.other.Bucket = sc.bucket(), sc.bucket()
	f.Fence = newFence(cfg, 1, exploreDepth, sc.bucket()+1)
	f.bucket = &f.buckets[sc.bucket()]
	f.heartbeat.sessions = make([]uint64, len(f.buckets))
	f.rounds.of = map[int]*followed{l2.RoundBucket: {}, sc.bucket(): {}}
	f.events.parts = make([]partition, 0, 2)
	f.samples.completed = make([]sample, 0, 16)
	return f
}

// position is that of an event of the source. From a promotion on they are of another timeline.
func (f *fencer) position(n uint8) coherence.Position {
	p := coherence.Position{Timeline: 1, N: uint64(n)}
	if f.promoted > 0 && n >= f.promoted {
		p.Timeline = 2
	}
	return p
}

// place is a position from position+1, 0 being none.
func (f *fencer) place(n uint8) (p coherence.Position) {
	if n > 0 {
		p = f.position(n - 1)
	}
	return p
}

func number(p coherence.Position) uint8 {
	if p.IsZero() {
		return 0
	}
	return uint8(p.N) + 1
}

func (f *fencer) mark(mark, incarnation uint8) (w l2.Watermark) {
	if mark > 0 {
		w = l2.Watermark{Incarnation: l2.Incarnation{incarnation}, Position: f.place(mark)}
	}
	return w
}

func genOf(x generation) uint64 { return [...]uint64{genNow, genOthers, genLost}[x] }

func sessionOf(x session) uint64 { return [...]uint64{0, sessionNow, sessionProved}[x] }

func seqOf(ref awaited) uint64 {
	switch ref {
	case sampleNext:
		return sampleLast
	case sampleRunning:
		return sampleLast - 1
	}
	return 2*uint64(ref-sampleFound) + 1
}

func (f *fencer) refOf(seq uint64, running bool) awaited {
	p, ok := f.samples.firstAfter(seq)
	switch {
	case ok:
		return sampleFound + awaited(p.N)
	case running && seq < sampleLast:
		return sampleRunning
	}
	return sampleNext
}

// set makes the fence that of an instance.
func (f *fencer) set(w *world, n *instance) {
	f.clock, f.promoted = int64(w.acknowledged)+1, w.promoted
	f.setTimeline(n)
	f.generations.current[0].Store(genNow)
	f.generations.recent.Load().entry(0, genNow).Store(bumpEntry(genNow, f.other.Hash))

	b := f.bucket
	b.session.Store(sessionNow)
	b.asOf.Store(nil)
	if n.redisAsOf > 0 {
		f.redisAsOf = asOf{sessionNow - uint64(n.redisAsOfOld), int64(n.redisAsOf)}
		b.asOf.Store(&f.redisAsOf)
	}
	b.watermarkKnown, b.watermarkRead = n.watermarkKnown == yes, n.watermarkRead == yes
	b.watermark = f.mark(n.watermark, n.incarnation)
	b.heartbeatRead = false // in the model no server goes back behind a connection that stays
	clear(b.minVersions.byHash)
	b.minVersions.ring, b.minVersions.next = b.minVersions.ring[:0], 0
	if n.minVersion > 0 {
		fl := minVersion{version: coherence.Version(n.minVersion), since: f.clock}
		if n.minVersionSample != sampleNone {
			fl.sample = seqOf(n.minVersionSample)
		}
		b.minVersions.put(f.key.Hash, fl)
	}
	b.requiredWatermark, b.awaitingSample = f.place(n.requiredWatermark), 0
	if n.awaitedSample != sampleNone {
		b.awaitingSample = seqOf(n.awaitedSample) + 1
	}

	f.samples.lastBegun, f.samples.completed = sampleLast, f.samples.completed[:0]
	for p := range f.scope.versions + 1 {
		if n.sampled[p] > 0 {
			f.samples.completed = append(f.samples.completed, sample{2*uint64(p) + 2, int64(n.sampled[p]), f.position(p)})
		}
	}
	f.sampleUnderWay = Sample{sample{seq: sampleLast, begun: int64(n.sampleBegun)}}
	f.setEvents(n)
	f.heartbeat.sessions[f.scope.bucket()] = sessionOf(session(n.heartbeat))
	f.heartbeat.sample = Sample{sample{seq: sampleLast, begun: int64(n.heartbeatBegun)}}
	f.setRounds(n)

	f.setStamp(&f.entry, n.entryGeneration, n.entryRedisSession, n.entryEventSession)
	for i := range f.scope.loads {
		f.setLoad(i, &n.loads[i])
	}
}

// setTimeline sets that of the last sample. It makes no difference where there is one timeline.
func (f *fencer) setTimeline(n *instance) {
	f.sampled.Store(f.scope.promotions == 0)
	f.timeline.Store(0)
	for p := range f.scope.versions + 1 {
		if n.sampled[p] > 0 && f.scope.promotions > 0 {
			f.sampled.Store(true)
			f.timeline.Store(f.position(p).Timeline)
		}
	}
}

func (f *fencer) setEvents(n *instance) {
	c := &f.events
	c.session, c.baseSample = sessionNow, seqOf(max(n.baseSample, sampleNext))
	c.asOf.Store(nil)
	if n.eventAsOf > 0 {
		f.eventAsOf = asOf{sessionNow - uint64(n.eventAsOfOld), int64(n.eventAsOf)}
		c.asOf.Store(&f.eventAsOf)
	}
	c.parts = c.parts[:n.partitions]
	for i := range c.parts {
		c.parts[i] = partition{followed: n.followed>>i&1 == 1, numbered: n.numbered>>i&1 == 1,
			seq: uint64(n.seq[i]), barrier: f.place(n.barrier[i])}
	}
	c.publishLive()
}

func (f *fencer) setStamp(s *Stamp, g generation, redis, events session) {
	s.setHash(f.key.Hash)
	s.redisSession, s.eventSession = session32(sessionOf(redis)), session32(sessionOf(events))
	s.bucket = uint16(f.key.Bucket)
	s.loaded(0, 0, 0)
	s.generation.Store(genOf(g))
}

func (f *fencer) setLoad(i uint8, l *load) {
	switch l.phase {
	case idle:
	case hitting:
		f.setStamp(&f.hitStamps[i], l.generation, l.hitRedisSession, l.hitEventSession)
	default:
		f.snapshots[i] = f.snapshot(l.generation, l.redisSession, l.eventSession, 1)
		f.snapshots[i].WatermarkKnown = l.watermarkKnown == yes
		f.snapshots[i].sampled = f.scope.promotions == 0 || l.sampled == yes
		f.snapshots[i].watermark = f.mark(l.watermark, l.incarnation)
		if f.scope.joins {
			f.flightSnapshots[i] = f.snapshot(l.flightGeneration, l.flightRedisSession, l.flightEventSession,
				l.flightBegan)
		}
	}
}

func (f *fencer) snapshot(g generation, redis boolean, events session, began uint8) Snapshot {
	t := Snapshot{bucket: f.key.Bucket, hash: f.key.Hash, generations: &f.generations, generation: genOf(g),
		redisSession: noMore, eventSession: sessionOf(events), began: int64(began)}
	if redis == yes {
		t.redisSession = sessionNow
	}
	return t
}

// get reads the fence back into the instance.
func (f *fencer) get(n *instance) {
	b := f.bucket
	pr := b.asOf.Load()
	n.redisAsOf, n.redisAsOfOld = 0, 0
	if pr != nil {
		n.redisAsOf = uint8(pr.moment)
		if pr.session != b.session.Load() {
			n.redisAsOfOld = 1
		}
	}
	n.watermarkKnown, n.watermarkRead = bit(b.watermarkKnown), bit(b.watermarkRead)
	n.watermark, n.incarnation = number(b.watermark.Position), b.watermark.Incarnation[0]
	running := n.sampleState > 0
	n.minVersion, n.minVersionSample = 0, sampleNone
	if fl, ok := b.minVersions.byHash[f.key.Hash]; ok {
		n.minVersion = uint8(fl.version)
		if f.scope.forgetMinVersions {
			n.minVersionSample = f.refOf(fl.sample, running)
		}
	}
	n.requiredWatermark, n.awaitedSample = number(b.requiredWatermark), sampleNone
	if b.awaitingSample != 0 {
		n.awaitedSample = f.refOf(b.awaitingSample-1, running)
	}
	n.sampled = [4]uint8{} // another timeline drops them
	for _, p := range f.samples.completed {
		n.sampled[p.at.N] = uint8(p.begun)
	}
	f.getEvents(n, running)
	f.getRounds(n)
	if n.heartbeat == 1 && b.session.Load() != sessionNow {
		n.heartbeat = 2
	}
	n.entryGeneration, n.entryRedisSession, n.entryEventSession = f.standing(&f.entry)
	for i := range f.scope.loads {
		f.getLoad(i, &n.loads[i])
	}
}

func (f *fencer) getEvents(n *instance, running bool) {
	c := &f.events
	if !f.scope.events {
		return
	}
	n.baseSample = f.refOf(c.baseSample, running)
	n.eventAsOf, n.eventAsOfOld = 0, 0
	if p := c.asOf.Load(); p != nil {
		n.eventAsOf, n.eventAsOfOld = uint8(p.moment), bit(p.session != c.session)
	}
	n.partitions, n.followed, n.numbered = uint8(len(c.parts)), 0, 0
	for i := range c.parts {
		n.followed |= uint8(bit(c.parts[i].followed)) << i
		n.numbered |= uint8(bit(c.parts[i].numbered)) << i
		n.seq[i], n.barrier[i] = uint8(c.parts[i].seq), number(c.parts[i].barrier)
	}
}

func (f *fencer) getLoad(i uint8, l *load) {
	switch l.phase {
	case idle:
	case hitting:
		l.generation, l.hitRedisSession, l.hitEventSession = f.standing(&f.hitStamps[i])
	default:
		t := &f.snapshots[i]
		l.generation, l.eventSession = f.gen(t.generation), f.eventsOf(t)
		l.redisSession = bit(t.redisSession == f.bucket.session.Load())
		if f.scope.joins {
			t = &f.flightSnapshots[i]
			l.flightGeneration, l.flightEventSession = f.gen(t.generation), f.eventsOf(t)
			l.flightRedisSession = bit(t.redisSession == f.bucket.session.Load())
		}
	}
}

func bit(b bool) boolean {
	if b {
		return 1
	}
	return 0
}

func (f *fencer) gen(g uint64) generation {
	to, ok := f.generations.catchUp(g, f.key.Hash)
	switch {
	case g == to:
		return generationCurrent
	case ok:
		return generationBehind
	}
	return generationGone
}

// standing is how a stamp stands to the present.
func (f *fencer) standing(s *Stamp) (generation, session, session) {
	redis := standing(uint64(s.redisSession), f.bucket.session.Load(), f.bucket.asOf.Load())
	events := standing(uint64(s.eventSession), f.events.session, f.events.asOf.Load())
	return f.gen(s.generation.Load()), redis, events
}

func standing(of, now uint64, a *asOf) session {
	switch {
	case of == 0:
		return sessionNone
	case of == now:
		return sessionCurrent
	case a != nil && a.session == of:
		return sessionPast
	}
	return sessionNone
}

func (f *fencer) eventsOf(t *Snapshot) session {
	switch t.eventSession {
	case 0:
		return sessionNone
	case f.events.session:
		return sessionCurrent
	}
	return sessionPast
}

// keep makes a snapshot that was just taken, or changed, the load's.
func (f *fencer) keep(i uint8, t Snapshot, l *load) {
	f.snapshots[i] = t
	l.watermarkKnown = bit(t.WatermarkKnown)
	if f.scope.promotions > 0 {
		l.sampled = bit(t.sampled)
	}
	l.watermark, l.incarnation = number(t.watermark.Position), t.watermark.Incarnation[0]
}
