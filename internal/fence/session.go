package fence

import (
	"sync"
	"sync/atomic"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/ablate"
	"github.com/nearcache/nearcache-go/internal/l2"
)

// newSession ends the bucket's Redis session. Each starts without a watermark: what the last one read says nothing about
// the server that answers now. The caller holds b.mu.
func (b *bucket) newSession() {
	if ablate.Out(ablate.RedisSession) {
		return
	}
	b.session.Store(nextSession(b.session.Load()))
	if ablate.Out(ablate.RedisSessionWatermark) {
		return
	}
	b.watermarkKnown, b.watermarkRead, b.watermark, b.heartbeatRead, b.lastHeartbeat = false, false, l2.Watermark{}, false, l2.Watermark{}
}

// RedisSession says that the tracking connection was dialled or lost a connection: pushes may have been missed, so tracking vouches for nothing
// that was loaded before.
func (f *Fence) RedisSession() {
	for i := range f.buckets {
		b := &f.buckets[i]
		b.mu.Lock()
		b.newSession()
		b.mu.Unlock()
	}
}

// BucketSession is RedisSession of one bucket: another server answers for it.
func (f *Fence) BucketSession(bucket int) {
	b := &f.buckets[bucket]
	b.mu.Lock()
	defer b.mu.Unlock()
	b.newSession()
}

// Heartbeat is one reading of all watermarks under way.
type Heartbeat struct{ sessions [l2.Buckets]uint64 }

// BeginHeartbeat must be called before the watermarks are read on the tracking connection.
func (f *Fence) BeginHeartbeat() (h Heartbeat) {
	for i := range f.buckets {
		h.sessions[i] = f.buckets[i].session.Load()
	}
	return h
}

// Watermark records what the heartbeat read for one bucket; a bucket without a watermark has the zero Watermark.
func (f *Fence) Watermark(h *Heartbeat, bucket int, w l2.Watermark) {
	f.observe(bucket, h.sessions[bucket], w, true)
}

// observe takes a watermark that was asked for in a session. A reply that comes after the session has ended may be the
// old connection's and is ignored.
//
// A bucket incarnation other than the last one begins a session before its watermark counts: what was loaded under the old
// incarnation was dropped in Redis without a push. So does a watermark that goes back from one heartbeat to the next, which is
// another server behind the same connection. Loads read watermarks too, and their answers are looked at in any order: of
// two in one session and incarnation the further one counts.
func (f *Fence) observe(bucket int, session uint64, w l2.Watermark, beat bool) {
	b := &f.buckets[bucket]
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.session.Load() != session {
		return
	}
	switch {
	case b.watermarkRead && b.watermark.Incarnation != w.Incarnation, beat && b.heartbeatRead && b.lastHeartbeat.Position.Covers(w.Position) && b.lastHeartbeat != w:
		if !ablate.Out(ablate.IncarnationSession) {
			b.newSession()
		}
		b.watermark = w
	case !b.watermarkRead || w.Position.Covers(b.watermark.Position):
		b.watermark = w
	}
	b.watermarkKnown, b.watermarkRead = true, true
	if beat {
		b.lastHeartbeat, b.heartbeatRead = w, true
	}
	f.advanceRedis(b)
}

// Forget makes the next load of the bucket read the watermark anew: Redis answered with an incarnation that the snapshot does not
// know.
func (f *Fence) Forget(bucket int, t *Snapshot) {
	b := &f.buckets[bucket]
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.session.Load() == t.redisSession && b.watermark == t.watermark {
		b.watermarkKnown = false
	}
}

// channel is the stream of version events: one session over all its partitions.
//
// The design has a session per partition. One for all is coarser, and needs no agreement between the readers and every
// producer, ours or not, about which partition a key belongs to: an entry is vouched for while no partition has missed
// anything.
type eventChannel struct {
	live atomic.Uint64        // the session while every partition is followed, else 0; changes only under mu
	asOf atomic.Pointer[asOf] // what the barriers prove; changes only under mu

	mu         sync.Mutex
	session    uint64
	baseSample uint64 // the last sample begun before the session: L2 must have applied what the next one covers
	parts      []partition
}

type partition struct {
	followed bool
	numbered bool   // an event or barrier of the relay's has been seen in this session
	seq      uint64 // of the last one; a barrier before any event has 0
	barrier  coherence.Position
}

// restart begins a session for another timeline of the source, whose relay may number events from before where the old one
// was: a number that is known would hide a gap.
func (c *eventChannel) restart(f *Fence) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.parts {
		c.parts[i].seq, c.parts[i].numbered = 0, false
	}
	c.newSession(f)
}

func (c *eventChannel) newSession(f *Fence) {
	if c.session == 0 || !ablate.Out(ablate.EventSession) {
		c.session = nextSession(c.session)
	}
	c.baseSample = f.samples.latest()
	for i := range c.parts {
		c.parts[i].barrier = coherence.Position{}
	}
	c.publishLive()
}

// settle publishes whether the channel vouches for anything.
func (c *eventChannel) publishLive() {
	live := c.session
	for i := range c.parts {
		if !c.parts[i].followed {
			live = 0
		}
	}
	if len(c.parts) == 0 {
		live = 0
	}
	c.live.Store(live)
}

// vouchesForL2 reports whether the channel may vouch for a value that came from L2: only if L2 had applied, before the
// value was read, everything that was committed before this session began. For the rest the session has seen the events.
func (c *eventChannel) vouchesForL2(t *Snapshot, f *Fence) bool {
	if t.eventSession == 0 || c.live.Load() != t.eventSession {
		return false
	}
	if ablate.Out(ablate.SessionBase) {
		return true
	}
	c.mu.Lock()
	base := c.baseSample
	c.mu.Unlock()
	p, ok := f.samples.firstAfter(base)
	return ok && t.watermark.Position.Covers(p)
}

// EventPartitions says how many partitions the event channel has. New ones are not followed yet.
func (f *Fence) EventPartitions(n int) {
	c := &f.events
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.parts) < n {
		c.parts = append(c.parts, partition{})
	}
	c.parts = c.parts[:n]
	for i := range c.parts {
		c.parts[i].barrier = coherence.Position{} // of another number of partitions
	}
	c.publishLive()
}

// EventSession says that a partition is followed from now on and that events before may have been missed.
func (f *Fence) EventSession(p int) {
	c := &f.events
	c.mu.Lock()
	defer c.mu.Unlock()
	if part := c.part(p); part != nil {
		*part = partition{followed: true}
	}
	c.newSession(f)
}

// EventsLost says that a partition is not followed now: until EventsResumed, or a new session, the channel vouches for
// nothing.
func (f *Fence) EventsLost(p int) { f.follow(p, false) }

// EventsResumed says that a lost partition is followed again and that nothing was missed.
func (f *Fence) EventsResumed(p int) { f.follow(p, true) }

func (f *Fence) follow(p int, followed bool) {
	c := &f.events
	c.mu.Lock()
	defer c.mu.Unlock()
	if part := c.part(p); part != nil {
		part.followed = followed
	}
	c.publishLive()
}

// EventSeq checks the sequence number of a relay's event: one that skips ahead begins a session, one that is known was
// published again. It reports whether there was a gap. Numbers of 0 are ignored.
func (f *Fence) EventSeq(p int, seq uint64) (gap bool) {
	return f.sequence(p, seq, 1, nil)
}

// EventMarker takes a barrier of a partition: the last event before it must have been seen.
//
// A barrier of a relay that knew another number of partitions proves nothing. It may follow events of a key in the
// partition where they were before there were more, and be taken for one that follows them where they are now.
func (f *Fence) EventBarrier(p int, m coherence.Barrier) (gap bool) {
	return f.sequence(p, m.Seq, 0, &m)
}

// sequence checks that seq is at most step past the last number. The first one of a session is taken as it comes; a
// barrier of number 0 is one, which says that there has been no event yet.
func (f *Fence) sequence(p int, seq, step uint64, m *coherence.Barrier) (gap bool) {
	c := &f.events
	c.mu.Lock()
	defer c.mu.Unlock()
	part := c.part(p)
	if part == nil {
		return false
	}
	if seq > 0 || m != nil {
		gap = part.numbered && seq > part.seq+step
		part.seq, part.numbered = max(part.seq, seq), true
		if gap && !ablate.Out(ablate.GapIsSession) {
			c.newSession(f)
		}
	}
	if m == nil || m.Partitions != len(c.parts) && !ablate.Out(ablate.BarrierPartitions) {
		return gap
	}
	if !part.barrier.Covers(m.Position) {
		part.barrier = m.Position
		f.advanceEvents()
	}
	return gap
}

// part is nil for a partition that was not announced.
func (c *eventChannel) part(p int) *partition {
	if p < 0 || p >= len(c.parts) {
		return nil
	}
	return &c.parts[p]
}

// Channels is what the fence knows of its channels, for status and metrics.
type Channels struct {
	RedisSessions  uint64 // sessions of tracking so far, summed over the buckets
	Watermarks     int    // buckets whose watermark has been read in the present session
	EventSession   uint64 // the event channel's session, 0 while it vouches for nothing
	EventSessions  uint64 // sessions of the event channel so far
	Partitions     int    // of the event channel
	Followed       int    // partitions that are followed now
	AwaitingSample int    // buckets whose L2 is not believed until the next sample
}

// Channels reports the state of the channels.
func (f *Fence) Channels() (ch Channels) {
	for i := range f.buckets {
		b := &f.buckets[i]
		b.mu.Lock()
		ch.RedisSessions += b.session.Load() - 1
		if b.watermarkKnown {
			ch.Watermarks++
		}
		if b.awaitingSample != 0 {
			ch.AwaitingSample++
		}
		b.mu.Unlock()
	}
	c := &f.events
	c.mu.Lock()
	defer c.mu.Unlock()
	ch.EventSession, ch.EventSessions, ch.Partitions = c.live.Load(), c.session, len(c.parts)
	for i := range c.parts {
		if c.parts[i].followed {
			ch.Followed++
		}
	}
	return ch
}
