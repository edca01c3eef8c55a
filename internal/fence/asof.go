package fence

import "github.com/nearcache/nearcache-go/coherence"

// asOf is what a channel shows in one of its sessions: an entry for which it vouches, and whose generation is found
// standing after the asOf was taken, is no older than the source was at that moment, by the fence's clock.
//
// It is replaced as a whole, so that a reader sees a session and a moment that belong together. The order matters:
//
//	reader: checks the generation, which stands
//	channel: invalidates the key, and then moves to a later moment
//	reader: takes that moment, and serves a value that is older
//
// So a reader takes the asOf first and checks the generation after.
type asOf struct {
	session uint64
	moment  int64
}

// advanceAsOf is old moved forward to the newest sample that a position covers.
//
// Most buckets of a server are in sessions of one number and move together. They share what the first of them made: a
// heartbeat makes one object and not 64, and the hits within a bound read one cache line.
func (f *Fence) advanceAsOf(old *asOf, session uint64, upto coherence.Position) *asOf {
	moment := f.samples.asOf(upto)
	if moment == 0 || old != nil && old.session == session && old.moment >= moment {
		return old
	}
	if last := f.lastAsOf.Load(); last != nil && *last == (asOf{session, moment}) {
		return last
	}
	made := &asOf{session, moment}
	f.lastAsOf.Store(made)
	return made
}

// advanceRedis does so for a bucket: what its watermark covers was applied to L2, and pushed on the tracking connection
// before the watermark was read there. The caller holds b.mu.
func (f *Fence) advanceRedis(b *bucket) {
	if b.watermarkKnown && !f.pushesDoubted.Load() {
		b.asOf.Store(f.advanceAsOf(b.asOf.Load(), b.session.Load(), b.watermark.Position))
	}
}

// advanceEvents does so for the event channel: what the least barrier covers has been delivered, in every partition.
// The caller holds c.mu.
func (f *Fence) advanceEvents() {
	c := &f.events
	var upto coherence.Position
	for i := range c.parts {
		at := c.parts[i].barrier
		switch {
		case at.IsZero():
			return
		case i == 0 || upto.Covers(at):
			upto = at
		case !at.Covers(upto): // of another timeline: the two are not comparable
			return
		}
	}
	if len(c.parts) > 0 {
		c.asOf.Store(f.advanceAsOf(c.asOf.Load(), c.session, upto))
	}
}

// advanceAll looks at every channel again: there is a new sample.
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

// AsOf is a moment, by the fence's clock, at which the source held nothing newer than the entry: the best of what its
// own load shows and of what the channels show that vouch for it; 0 if there is none. It holds if Check, called after
// it, does not find the entry Invalidated or Collided.
func (s *Stamp) AsOf(f *Fence) int64 {
	moment := s.LoadedAsOf()
	if a := f.buckets[s.bucket].asOf.Load(); a != nil && session32(a.session) == s.redisSession {
		moment = max(moment, a.moment)
	}
	if a := f.events.asOf.Load(); a != nil && s.eventSession != 0 && session32(a.session) == s.eventSession {
		moment = max(moment, a.moment)
	}
	return moment
}

// ChannelsAsOf is what the channels show of all that they vouch for now, as moments by the fence's clock; 0: nothing.
type ChannelsAsOf struct {
	Redis  int64 // of the bucket that is furthest behind
	Events int64
}

// ChannelsAsOf reports what the channels show now.
func (f *Fence) ChannelsAsOf() (c ChannelsAsOf) {
	for i := range f.buckets {
		a := f.buckets[i].asOf.Load()
		if a == nil || a.session != f.buckets[i].session.Load() {
			c.Redis = 0
			break
		}
		if i == 0 || a.moment < c.Redis {
			c.Redis = a.moment
		}
	}
	if a := f.events.asOf.Load(); a != nil && a.session == f.events.live.Load() {
		c.Events = a.moment
	}
	return c
}
