package fence

import (
	"sync"
	"sync/atomic"

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
//
// In a Cluster each server has rounds of its own, that say what its buckets have. Those of RoundBucket end samples.
type rounds struct {
	mu   sync.Mutex
	of   map[int]*followed // by the bucket that the rounds' key belongs to
	open []openSample      // at most one for each round to come that ends some
	// sampled is when the newest sample began that a round has ended.
	sampled atomic.Int64
}

// followed is what was read of the rounds of one server.
type followed struct {
	session uint64 // of the bucket that the rounds' key belongs to
	last    l2.Round
}

// openSample ends with a round of this number, or of a later one.
type openSample struct {
	ends   uint64
	sample Sample
}

// Round takes what a heartbeat read of the relay's rounds under the key of bucket `leader`; the zero Round: there is
// none. It must be called with the readings in their order.
//
// A round that does not follow the last one that was read shows that the server went back in time, behind the same
// connection. The buckets that it stood for are on the way of that: each begins a session.
func (f *Fence) Round(h *Heartbeat, leader int, r l2.Round) {
	s := &f.rounds
	s.mu.Lock()
	defer s.mu.Unlock()
	of, session := s.follow(leader), f.buckets[leader].session.Load()
	if of.session != session && !ablate.Out(ablate.RoundSession) {
		s.forget(leader)
	}
	of.session = session
	if h.sessions[leader] != session {
		return
	}
	if !of.last.IsZero() && !r.Follows(of.last) && !ablate.Out(ablate.RoundSession) && !ablate.Out(ablate.RoundFollows) {
		on := of.last.Buckets
		s.forget(leader)
		f.wentBack(leader, on)
		return
	}
	of.last = r
	if r.IsZero() || leader != l2.RoundBucket {
		return
	}
	ended, ok := s.ended(r.Number)
	s.begin(h.sample, r)
	switch {
	case !ok || r.Head.IsZero():
	case ablate.Out(ablate.RoundHead):
		s.sampled.Store(ended.sample.begun)
		f.EndSample(ended, r.Upto)
	default:
		s.sampled.Store(ended.sample.begun)
		f.EndSample(ended, r.Head)
	}
}

// RoundSampledAt is when the newest sample began that a round has ended, by the fence's clock; 0: none has.
func (f *Fence) RoundSampledAt() int64 { return f.rounds.sampled.Load() }

// follow is what was read of a server's rounds. The caller holds s.mu.
func (s *rounds) follow(leader int) *followed {
	of := s.of[leader]
	if of == nil {
		if s.of == nil {
			s.of = make(map[int]*followed)
		}
		of = new(followed)
		s.of[leader] = of
	}
	return of
}

// forget drops what was read of a server's rounds. The caller holds s.mu.
func (s *rounds) forget(leader int) {
	s.follow(leader).last = l2.Round{}
	if leader == l2.RoundBucket {
		s.open = s.open[:0]
	}
}

// wentBack begins a session of each bucket of a server; without any, the round did not say which.
func (f *Fence) wentBack(leader int, on l2.BucketSet) {
	if on.IsZero() {
		f.RedisSession()
		return
	}
	on.Add(leader)
	for b := range on.All() {
		f.BucketSession(b)
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

// Cover moves the watermarks of buckets to what a round came to that the heartbeat read, and returns those buckets. The
// round must stand for them, and for the incarnations that were read in the present sessions; so the caller must read
// the watermarks of the others themselves. After that it may call Cover again with the same round.
//
// The relay writes no watermark for a bucket without changes. The round stands for it: it was published on the server
// that has the bucket, where every change up to the round's position had been applied, and pushed, before. So the
// bucket must be read on the connection on which the round was: together are the buckets of which that holds.
//
//	relay: applies a change of bucket 3 to server A, and publishes A's round      bucket 3 moves to server B
//	server B fails over to a replica that lacks the change                        instance: reads bucket 3 on B
func (f *Fence) Cover(h *Heartbeat, leader int, r l2.Round, together l2.BucketSet) (covered l2.BucketSet) {
	if r.Buckets.IsZero() || r.Upto.IsZero() || f.buckets[leader].session.Load() != h.sessions[leader] {
		return covered
	}
	incarnations := make([]l2.Incarnation, 0, r.Buckets.Len())
	for i := range r.Buckets.All() {
		if i >= len(f.buckets) {
			break
		}
		b := &f.buckets[i]
		b.mu.Lock()
		known := b.watermarkKnown && b.session.Load() == h.sessions[i]
		incarnations = append(incarnations, b.watermark.Incarnation)
		b.mu.Unlock()
		if !known {
			return covered
		}
	}
	if l2.DigestOf(incarnations) != r.Incarnations && !ablate.Out(ablate.RoundIncarnations) {
		return covered
	}
	moment := f.samples.asOf(r.Upto)
	for i := range r.Buckets.All() {
		if i >= len(f.buckets) {
			break
		}
		if together.Has(i) || ablate.Out(ablate.RoundServer) {
			w := l2.Watermark{Incarnation: incarnations[0], Position: r.Upto}
			f.cover(&f.buckets[i], h.sessions[i], w, moment)
			covered.Add(i)
		}
		incarnations = incarnations[1:]
	}
	return covered
}

// cover moves the watermark of one bucket, unless a session or an incarnation has begun meanwhile. moment is that of
// the newest sample that the watermark covers.
func (f *Fence) cover(b *bucket, session uint64, w l2.Watermark, moment int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.session.Load() != session || !b.watermarkKnown || b.watermark.Incarnation != w.Incarnation {
		return
	}
	if w.Position.Covers(b.watermark.Position) {
		b.watermark = w
		f.advance(b, moment)
	}
}
