package fence

import (
	"sync"

	"github.com/nearcache/nearcache-go/internal/ablate"
	"github.com/nearcache/nearcache-go/internal/l2"
)

// rounds follows the numbered rounds of the relay. A reading of the last round that was published is a sample that has
// begun: the clock was read before it. The sample ends when a later reading shows a round that was begun after the
// first reading. That round's head covers every commit acknowledged before the clock was read.
//
//	instance: reads its clock, and round 7       relay: begins 8, reads the source, publishes 8
//	instance: reads round 8: its head covers what was committed before the clock was read
//
// If round 8 had begun before the first reading, its head may be older than the clock's moment. Then round 9 ends the
// sample: it cannot begin before 8 is published.
//
// Both readings must be of one Redis session. The numbers of two servers say nothing about each other:
//
//	instance: reads round 7 on a server that was cut off       the other server is at round 50 by then
//	instance: dials that one, and reads round 51, which was begun before the first reading
type rounds struct {
	mu      sync.Mutex
	session uint64 // of the bucket whose node has the rounds
	last    l2.Round
	open    []openSample // at most one for each round to come that ends some
}

// openSample ends with a round of this number, or of a later one.
type openSample struct {
	ends   uint64
	sample Sample
}

// Round takes what a heartbeat read of the relay's rounds; the zero Round: there is none. It must be called with the
// readings in their order.
//
// A round that does not follow the last one that was read shows that the server went back in time, behind the same
// connection. All buckets are on the way of that: each begins a session.
func (f *Fence) Round(h *Heartbeat, r l2.Round) {
	s := &f.rounds
	s.mu.Lock()
	defer s.mu.Unlock()
	session := f.buckets[l2.RoundBucket].session.Load()
	if s.session != session && !ablate.Out(ablate.RoundSession) {
		s.last, s.open = l2.Round{}, s.open[:0]
	}
	s.session = session
	if h.sessions[l2.RoundBucket] != session {
		return
	}
	if !s.last.IsZero() && !r.Follows(s.last) && !ablate.Out(ablate.RoundSession) {
		s.last, s.open = l2.Round{}, s.open[:0]
		f.RedisSession()
		return
	}
	s.last = r
	if r.IsZero() {
		return
	}
	ended, ok := s.ended(r.Number)
	s.begin(h.sample, r)
	switch {
	case !ok || r.Head.IsZero():
	case ablate.Out(ablate.RoundHead):
		f.EndSample(ended, r.Upto)
	default:
		f.EndSample(ended, r.Head)
	}
}

// ended is the newest sample that a round ends. Older ones are of no use any more. The caller holds s.mu.
func (s *rounds) ended(number uint64) (newest Sample, ok bool) {
	left := s.open[:0]
	for _, o := range s.open {
		if o.ends > number {
			left = append(left, o)
		} else if !ok || o.sample.sample.seq > newest.sample.seq {
			newest, ok = o.sample, true
		}
	}
	s.open = left
	return newest, ok
}

// begin keeps a sample that began before round r was read. Of those that one round ends the newest shows most. The
// caller holds s.mu.
func (s *rounds) begin(sample Sample, r l2.Round) {
	ends := r.Number + 1
	if r.Token != 0 && !ablate.Out(ablate.RoundAfterNext) {
		ends++
	}
	for i := range s.open {
		if s.open[i].ends == ends {
			s.open[i].sample = sample
			return
		}
	}
	s.open = append(s.open, openSample{ends, sample})
}

// Cover moves the watermarks of all buckets to what a round that the heartbeat read came to, and reports whether it
// could. It cannot if the round does not hold for all buckets, or holds for other incarnations of them than those that
// were read in the present sessions. Then the caller must read the watermarks themselves; after that it may call Cover
// again with the same round.
//
// The relay writes no watermark for a bucket without changes. The round stands for it: it was published on the server
// that has the bucket, where every change up to the round's position had been applied, and pushed, before.
func (f *Fence) Cover(h *Heartbeat, r l2.Round) bool {
	if !r.Whole || r.Upto.IsZero() {
		return false
	}
	var incarnations [l2.Buckets]l2.Incarnation
	for i := range f.buckets {
		b := &f.buckets[i]
		b.mu.Lock()
		known := b.watermarkKnown && b.session.Load() == h.sessions[i]
		incarnations[i] = b.watermark.Incarnation
		b.mu.Unlock()
		if !known {
			return false
		}
	}
	if l2.DigestOf(incarnations[:len(f.buckets)]) != r.Incarnations && !ablate.Out(ablate.RoundIncarnations) {
		return false
	}
	for i := range f.buckets {
		f.cover(&f.buckets[i], h.sessions[i], l2.Watermark{Incarnation: incarnations[i], Position: r.Upto})
	}
	return true
}

// cover moves the watermark of one bucket, unless a session or an incarnation has begun meanwhile.
func (f *Fence) cover(b *bucket, session uint64, w l2.Watermark) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.session.Load() != session || !b.watermarkKnown || b.watermark.Incarnation != w.Incarnation {
		return
	}
	if w.Position.Covers(b.watermark.Position) {
		b.watermark = w
		f.advanceRedis(b)
	}
}
