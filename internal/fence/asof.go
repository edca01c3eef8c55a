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
type asOf struct {
	session uint64
	moment  int64
}

// prove moves a proof forward; it is as good as the newest sample that the position covers.
func (f *Fence) advanceAsOf(old *asOf, session uint64, upto coherence.Position) *asOf {
	since := f.samples.asOf(upto)
	if since == 0 || old != nil && old.session == session && old.moment >= since {
		return old
	}
	return &asOf{session, since}
}

// proveRedis does so for a bucket: what its watermark covers was applied to L2, and pushed on the tracking connection before the watermark was
// read there. The caller holds b.mu.
func (f *Fence) advanceRedis(b *bucket) {
	if b.watermarkKnown {
		b.asOf.Store(f.advanceAsOf(b.asOf.Load(), b.session.Load(), b.watermark.Position))
	}
}

// proveEvents does so for the event channel: what the least barrier covers has been delivered, in whatever partition. The
// caller holds c.mu.
func (f *Fence) advanceEvents() {
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
		c.asOf.Store(f.advanceAsOf(c.asOf.Load(), c.session, upto))
	}
}

// proveAll looks at every channel again: there is a new sample.
func (f *Fence) advanceAll() {
	for i := range f.buckets {
		b := &f.buckets[i]
		b.mu.Lock()
		f.advanceRedis(b)
		b.mu.Unlock()
	}
	f.events.mu.Lock()
	f.advanceEvents()
	f.events.mu.Unlock()
}

// Proved is a moment, by the fence's clock, such that the entry is no older than the source was then: the best of what
// its own load proves and of what the channels do that vouch for it; 0 if nothing does. It holds if Check, called after
// it, does not find the entry Invalidated or Collided.
func (s *Stamp) AsOf(f *Fence) int64 {
	since := s.LoadedAsOf()
	if p := f.buckets[s.bucket].asOf.Load(); p != nil && session32(p.session) == s.redisSession {
		since = max(since, p.moment)
	}
	if p := f.events.asOf.Load(); p != nil && s.eventSession != 0 && session32(p.session) == s.eventSession {
		since = max(since, p.moment)
	}
	return since
}

// Bound is what the channels prove of all that they vouch for now, as moments of the fence's clock; 0: nothing.
type ChannelsAsOf struct {
	Redis  int64 // of the bucket that is furthest behind
	Events int64
}

// Bound reports what the channels prove.
func (f *Fence) ChannelsAsOf() (b ChannelsAsOf) {
	for i := range f.buckets {
		p := f.buckets[i].asOf.Load()
		if p == nil || p.session != f.buckets[i].session.Load() {
			b.Redis = 0
			break
		}
		if i == 0 || p.moment < b.Redis {
			b.Redis = p.moment
		}
	}
	if p := f.events.asOf.Load(); p != nil && p.session == f.events.live.Load() {
		b.Events = p.moment
	}
	return b
}
