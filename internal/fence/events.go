package fence

import (
	"sync"
	"sync/atomic"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/ablate"
)

// eventChannel is the stream of version events, with one session over all its partitions: an entry is vouched for while
// no partition has missed anything. A session for each partition would be finer, but every reader and every producer,
// ours or not, would have to agree about which partition a key belongs to.
type eventChannel struct {
	live atomic.Uint64        // the session while every partition is followed, else 0; changes only under mu
	asOf atomic.Pointer[asOf] // what the barriers show; changes only under mu

	mu         sync.Mutex
	session    uint64
	baseSample uint64 // the last sample begun before the session: L2 must have applied what the next sample covers
	parts      []partition
}

type partition struct {
	followed bool
	numbered bool   // an event or barrier of the relay's has been seen in this session
	seq      uint64 // of the last one; a barrier before any event has 0
	barrier  coherence.Position
}

// restart begins a session for another timeline of the source. Its relay may number events from before where the old
// one was, and a number that is known would hide a gap.
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

// publishLive says to readers whether the channel vouches for anything.
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

// vouchesForL2 reports whether the channel may vouch for a value that came from L2. L2 must have applied, before the
// value was read, everything that was committed before this session began; for the rest the session has seen the
// events.
func (c *eventChannel) vouchesForL2(snap *Snapshot, f *Fence) bool {
	if snap.eventSession == 0 || c.live.Load() != snap.eventSession {
		return false
	}
	if ablate.Out(ablate.SessionBase) {
		return true
	}
	c.mu.Lock()
	base := c.baseSample
	c.mu.Unlock()
	at, ok := f.samples.firstAfter(base)
	return ok && snap.watermark.Position.Covers(at)
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

// EventSession says that a partition is followed from now on, and that events before may have been missed.
func (f *Fence) EventSession(p int) {
	c := &f.events
	c.mu.Lock()
	defer c.mu.Unlock()
	if part := c.part(p); part != nil {
		*part = partition{followed: true}
	}
	c.newSession(f)
}

// EventsLost says that a partition is not followed now. Until EventsResumed or a new session the channel vouches for
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

// EventSeq checks the sequence number of a relay's event. A number that skips ahead begins a session; a known number
// was published again. It reports whether there was a gap. 0 is no number and is ignored.
func (f *Fence) EventSeq(p int, seq uint64) (gap bool) {
	return f.sequence(p, seq, 1, nil)
}

// EventBarrier takes a barrier of a partition: the last event before it must have been seen.
//
// A barrier of a relay that knew another number of partitions shows nothing. It may follow events of a key in the
// partition where they were before there were more, and be taken for one that follows them where they are now.
func (f *Fence) EventBarrier(p int, m coherence.Barrier) (gap bool) {
	return f.sequence(p, m.Seq, 0, &m)
}

// sequence checks that seq is at most step past the last number. The first number of a session is taken as it comes;
// the 0 of a barrier is a number too, and says that there has been no event yet.
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
