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

// to is an asOf moved forward to a moment, unless it is there already. Without a moment, 0, it stays. An asOf never
// changes, so several buckets may share one: last, which may be nil, is returned if it is the same.
func (a *asOf) to(session uint64, moment int64, last *asOf) *asOf {
	switch {
	case moment == 0 || a != nil && a.session == session && a.moment >= moment:
		return a
	case last != nil && *last == asOf{session, moment}:
		return last
	}
	return &asOf{session, moment}
}

// advanceRedis moves a bucket's asOf to the newest sample that its watermark covers: what the watermark covers was
// applied to L2, and pushed on the tracking connection before the watermark was read there. The caller holds b.mu.
func (f *Fence) advanceRedis(b *bucket) {
	if b.watermarkKnown {
		f.advance(b, f.samples.asOf(b.watermark.Position))
	}
}

// advance is advanceRedis with the moment of that sample. Most buckets move together, and share the asOf that the last
// of them has got: hits within a bound then read one cache line. The caller holds b.mu.
func (f *Fence) advance(b *bucket, moment int64) {
	if f.pushesDoubted.Load() {
		return
	}
	last := f.lastAsOf.Load()
	now := b.asOf.Load().to(b.session.Load(), moment, last)
	if now != last {
		f.lastAsOf.Store(now)
	}
	b.asOf.Store(now)
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
		c.asOf.Store(c.asOf.Load().to(c.session, f.samples.asOf(upto), nil))
	}
}

// advanceAll looks at every channel again: there is a new sample. Most buckets are at the same position, and so at the
// same moment.
func (f *Fence) advanceAll() {
	var at coherence.Position
	var moment int64
	for i := range f.buckets {
		b := &f.buckets[i]
		b.mu.Lock()
		if b.watermarkKnown {
			if upto := b.watermark.Position; upto != at {
				at, moment = upto, f.samples.asOf(upto)
			}
			f.advance(b, moment)
		}
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
