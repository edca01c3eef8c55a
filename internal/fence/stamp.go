package fence

import (
	"math"
	"sync"
	"sync/atomic"

	"github.com/nearcache/nearcache-go/internal/ablate"
)

// Stamp is an L1 entry's licence to be served: the generation and the sessions it was admitted under, and what its own load
// proves. An entry embeds it: it is 40 bytes, without pointers. The zero Stamp is never current. Only the fence makes
// stamps, and only that fence can judge them; the methods are safe for concurrent use.
type Stamp struct {
	hash         uint64
	generation   atomic.Uint64 // only ever moves between generations at which the entry was valid
	began        int64
	asOf         span   // before began
	redisSession uint32 // the bucket's Redis session, 0 if tracking does not vouch for the entry; see session32
	eventSession uint32 // the event channel's session, 0 if it does not vouch for the entry
	timeline     uint16 // in timelines; 0: not known
	bucket       uint8
}

// session32 is what a stamp keeps of a session's number. Two sessions that are alike in it lie four billion connections apart,
// and 0, which says that there is none, is passed over (see nextSession).
func session32(session uint64) uint32 { return uint32(session) }

func nextSession(session uint64) uint64 {
	if session++; session32(session) == 0 {
		session++
	}
	return session
}

// Verdict is what a stamp says about its entry. The values are the reasons in metrics.
type Verdict uint8

// The verdicts.
const (
	Current     Verdict = iota // the entry may be served
	Invalidated                // its key was invalidated
	Collided                   // its slot was bumped more often than the journal remembers: probably by other keys
	Unvouched                  // no live session vouches for it
)

// Vouched reports whether a channel vouched for the entry when it was admitted.
func (s *Stamp) Vouched() bool { return s.redisSession|s.eventSession != 0 }

// Began is a moment, by the fence's clock, that lies within the entry's load, and before its value was there.
func (s *Stamp) Began() int64 { return s.began }

// Sample is a moment, by the fence's clock, such that the entry's own load found it no older than the source was then:
// when its load from the source began, or, of one from L2, the newest sample that its watermark covers; 0: none.
func (s *Stamp) LoadedAsOf() int64 {
	if s.asOf == never {
		return 0
	}
	return s.began - s.asOf.least()
}

// loaded sets what the entry's own load tells of it. A sample may have begun after the load did: the value came after both.
func (s *Stamp) loaded(began, asOf int64, timeline uint16) {
	s.began, s.timeline, s.asOf = max(began, asOf), timeline, never
	if asOf > 0 {
		s.asOf = spanOf(s.began - asOf)
	}
}

// span is a duration in nanoseconds, rounded up: exact under two seconds, by an eighth of a millisecond above, for three days.
type span uint32

const (
	never     span = math.MaxUint32
	spanLong  span = 1 << 31
	spanShift      = 17
)

func spanOf(d int64) span {
	if d < int64(spanLong) {
		return span(d)
	}
	if d = (d + 1<<spanShift - 1) >> spanShift; d >= int64(spanLong)-1 {
		return never
	}
	return span(d) | spanLong
}

func (s span) least() int64 {
	if s&spanLong == 0 {
		return int64(s)
	}
	return int64(s&^spanLong) << spanShift
}

// Check says whether the entry may be served now. It must be called after the entry was read.
func (s *Stamp) Check(f *Fence) Verdict {
	if f.generations.of(s.hash) == s.generation.Load() && session32(f.buckets[s.bucket].session.Load()) == s.redisSession {
		return Current
	}
	return s.checkSlowly(f)
}

func (s *Stamp) checkSlowly(f *Fence) Verdict {
	from := s.generation.Load()
	to, ok := f.generations.catchUp(from, s.hash)
	if !ok && !ablate.Out(ablate.Generation) {
		if to-from > f.generations.recent.Load().depth {
			return Collided
		}
		return Invalidated
	}
	if to != from {
		// Another reader may have stamped a later generation meanwhile. Going back to ours is safe: no bump of this key
		// lies at or before either.
		s.generation.Store(to)
	}
	if s.redisSession != 0 && session32(f.buckets[s.bucket].session.Load()) == s.redisSession || s.eventSession != 0 && session32(f.events.live.Load()) == s.eventSession {
		return Current
	}
	return Unvouched
}

// SameHistory reports whether the source was in this timeline when the entry's value was loaded, and has not changed it during
// the load. Versions of different timelines tell nothing about each other, even if they are equal.
func (s *Stamp) SameTimeline(f *Fence, timeline uint64) bool {
	return timeline != 0 && s.timeline != 0 && f.timelines.number(timeline) == s.timeline
}

// timelines numbers the timelines of the source that this process has met, so that a stamp can name one in two bytes.
type timelines struct {
	mu  sync.Mutex
	ids []uint64
}

// number is that of an timeline; 0 if there is none, or no number is left.
func (h *timelines) number(timeline uint64) uint16 {
	if timeline == 0 {
		return 0
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := len(h.ids); i > 0; i-- { // the last is almost always meant
		if h.ids[i-1] == timeline {
			return uint16(i)
		}
	}
	if len(h.ids) == math.MaxUint16 {
		return 0
	}
	h.ids = append(h.ids, timeline)
	return uint16(len(h.ids))
}
