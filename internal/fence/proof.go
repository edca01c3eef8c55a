package fence

import (
	"github.com/nearcache/nearcache-go/coherence"
)

// proof is what a channel proves in one of its sessions: an entry that it vouches for, and whose generation is found
// standing after the proof was taken, is no older than the source was at since, by the fence's clock.
//
// It is replaced whole, so that a reader sees a session and a moment that belong together. The order matters:
//
//	reader: checks the generation, it stands
//	channel: invalidates the key, and then proves a later moment
//	reader: takes that proof, and serves a value older than it says
//
// So a reader takes the proof first and checks the generation after.
type proof struct {
	session uint64
	since   int64
}

// prove moves a proof forward; it is as good as the newest probe that the position covers.
func (f *Fence) prove(old *proof, session uint64, upto coherence.Position) *proof {
	since := f.probes.covered(upto)
	if since == 0 || old != nil && old.session == session && old.since >= since {
		return old
	}
	return &proof{session, since}
}

// proveRedis does so for a bucket: what its watermark covers was applied to L2, and pushed on the tracking connection before the watermark was
// read there. The caller holds b.mu.
func (f *Fence) proveRedis(b *bucket) {
	if b.known {
		b.proof.Store(f.prove(b.proof.Load(), b.redis.Load(), b.watermark.Position))
	}
}

// proveEvents does so for the event channel: what the least barrier covers has been delivered, in whatever partition. The
// caller holds c.mu.
func (f *Fence) proveEvents() {
	c := &f.events
	var upto coherence.Position
	for i := range c.parts {
		m := c.parts[i].barrier
		switch {
		case m.IsZero():
			return
		case i == 0 || upto.Covers(m):
			upto = m
		case !m.Covers(upto): // of another timeline: the two are not comparable
			return
		}
	}
	if len(c.parts) > 0 {
		c.proof.Store(f.prove(c.proof.Load(), c.session, upto))
	}
}

// proveAll looks at every channel again: there is a new probe.
func (f *Fence) proveAll() {
	for i := range f.buckets {
		b := &f.buckets[i]
		b.mu.Lock()
		f.proveRedis(b)
		b.mu.Unlock()
	}
	f.events.mu.Lock()
	f.proveEvents()
	f.events.mu.Unlock()
}

// Proved is a moment, by the fence's clock, such that the entry is no older than the source was then: the best of what
// its own load proves and of what the channels do that vouch for it; 0 if nothing does. It holds if Check, called after
// it, does not find the entry Invalidated or Collided.
func (s *Stamp) Proved(f *Fence) int64 {
	since := s.Probe()
	if p := f.buckets[s.bucket].proof.Load(); p != nil && session32(p.session) == s.redisSession {
		since = max(since, p.since)
	}
	if p := f.events.proof.Load(); p != nil && s.eventSession != 0 && session32(p.session) == s.eventSession {
		since = max(since, p.since)
	}
	return since
}

// Bound is what the channels prove of all that they vouch for now, as moments of the fence's clock; 0: nothing.
type Bound struct {
	Redis  int64 // of the bucket that is furthest behind
	Events int64
}

// Bound reports what the channels prove.
func (f *Fence) Bound() (b Bound) {
	for i := range f.buckets {
		p := f.buckets[i].proof.Load()
		if p == nil || p.session != f.buckets[i].redis.Load() {
			b.Redis = 0
			break
		}
		if i == 0 || p.since < b.Redis {
			b.Redis = p.since
		}
	}
	if p := f.events.proof.Load(); p != nil && p.session == f.events.live.Load() {
		b.Events = p.since
	}
	return b
}
