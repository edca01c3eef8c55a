package fence

import (
	"math"
	"sync/atomic"
	"time"

	"github.com/nearcache/nearcache-go/internal/ablate"
)

// Stamp is an L1 entry's licence to be served: the generation and the sessions it was admitted under, what its own load
// shows, and until when it may be served. An entry embeds it: 40 bytes, without pointers. The zero Stamp is never
// current. Only a fence makes stamps, and only that fence can judge them. Before an entry is admitted, its stamp is
// judged, and then has its TTL set; after that, the methods are safe for concurrent use.
type Stamp struct {
	generation   atomic.Uint64 // only ever moves between generations at which the entry was valid
	began        int64
	hashLow      uint32 // the key's hash, as far as generations look at it: see hashBits
	ttl          span   // after began
	asOf         span   // before began
	redisSession uint32 // the bucket's, 0 if tracking does not vouch for the entry; see session32
	eventSession uint32 // the event channel's, 0 if it does not vouch for the entry
	bucket       uint16
	hashHigh     uint8
	timeline     uint8 // its number in timelines, 0: not known; and stampMark
}

// stampMark is the bit of Stamp.timeline that belongs to the entry.
const stampMark = 1 << 7

// SetMark sets a bit that means nothing to the fence: the entry has no room for one of its own.
func (s *Stamp) SetMark() { s.timeline |= stampMark }

// Marked reports whether SetMark was called.
func (s *Stamp) Marked() bool { return s.timeline&stampMark != 0 }

func (s *Stamp) hash() uint64 { return uint64(s.hashLow) | uint64(s.hashHigh)<<32 }

func (s *Stamp) setHash(hash uint64) { s.hashLow, s.hashHigh = uint32(hash), uint8(hash>>32) }

func (s *Stamp) setTimeline(number uint8) { s.timeline = s.timeline&stampMark | number }

// MaxTTL is the longest TTL of an entry in L1, about three days. A key that is read after that is read in L2 again.
const MaxTTL = time.Duration(longestTTL&^spanLong) << spanShift

// SetDeadline sets until when the entry may be served, by the fence's clock, a little earlier at most. With a deadline
// before the load, or without one, it may not be served at all. It must follow the judgement of the load.
func (s *Stamp) SetDeadline(at int64) { s.ttl = ttlOf(at - s.began) }

// Deadline is when the entry may not be served any more, by the fence's clock.
func (s *Stamp) Deadline() int64 { return s.began + s.ttl.least() }

// Expired reports whether that moment has come. The reader's clock may be behind that of the load.
func (s *Stamp) Expired(now int64) bool { return s.ttl == 0 || s.Deadline() <= now }

// session32 is the part of a session's number that a stamp keeps. Two sessions that share it lie four billion
// connections apart. 0 says that there is no session; nextSession passes it over.
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
	Collided                   // its slot was bumped more often than is remembered, probably by other keys
	Unvouched                  // no live session vouches for it
)

// Vouched reports whether a channel vouched for the entry when it was admitted.
func (s *Stamp) Vouched() bool { return s.redisSession|s.eventSession != 0 }

// VouchedBy returns the sessions that vouch for the entry now, 0 for a channel that does not.
func (s *Stamp) VouchedBy(f *Fence) (redis, events uint64) {
	if live := f.buckets[s.bucket].session.Load(); s.redisSession != 0 && session32(live) == s.redisSession {
		redis = live
	}
	if live := f.events.live.Load(); s.eventSession != 0 && session32(live) == s.eventSession {
		events = live
	}
	return redis, events
}

// Began is a moment, by the fence's clock, within the entry's load and before its value was there.
func (s *Stamp) Began() int64 { return s.began }

// LoadedAsOf is a moment, by the fence's clock, at which the source held nothing newer than the loaded value: when the
// load from the source began or, of a value from L2, when the newest sample began that its watermark covers; 0: none.
func (s *Stamp) LoadedAsOf() int64 {
	if s.asOf == never {
		return 0
	}
	return s.began - s.asOf.least()
}

// loaded sets what the entry's own load shows. The sample may have begun after the load did; the value came after both.
func (s *Stamp) loaded(began, asOf int64, timeline uint8) {
	s.began, s.asOf = max(began, asOf), never
	s.setTimeline(timeline)
	if asOf > 0 {
		s.asOf = spanOf(s.began - asOf)
	}
}

// span is a duration in nanoseconds: exact under two seconds, within an eighth of a millisecond above, up to three
// days.
type span uint32

const (
	never      span = math.MaxUint32
	longestTTL span = math.MaxUint32 - 1
	spanLong   span = 1 << 31
	spanShift       = 17
)

// spanOf rounds up: a proof may be older than it need be, and never newer.
func spanOf(d int64) span {
	if d < int64(spanLong) {
		return span(d)
	}
	if d = (d + 1<<spanShift - 1) >> spanShift; d >= int64(spanLong)-1 {
		return never
	}
	return span(d) | spanLong
}

// ttlOf rounds down.
func ttlOf(d int64) span {
	switch {
	case d <= 0:
		return 0
	case d < int64(spanLong):
		return span(d)
	}
	return min(span(min(d>>spanShift, int64(spanLong)-1))|spanLong, longestTTL)
}

func (s span) least() int64 {
	if s&spanLong == 0 {
		return int64(s)
	}
	return int64(s&^spanLong) << spanShift
}

// Check says whether the entry may be served now. It must be called after the entry was read.
func (s *Stamp) Check(f *Fence) Verdict {
	if s.Stands(f) {
		return Current
	}
	return s.checkSlowly(f)
}

// Stands is the part of Check that suffices for most hits, and that the compiler can inline: true means Current, and
// false means that Check must be asked.
func (s *Stamp) Stands(f *Fence) bool {
	return f.generations.of(uint64(s.hashLow)) == s.generation.Load() &&
		session32(f.buckets[s.bucket].session.Load()) == s.redisSession
}

func (s *Stamp) checkSlowly(f *Fence) Verdict {
	from := s.generation.Load()
	to, ok := f.generations.catchUp(from, s.hash())
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
	byTracking := s.redisSession != 0 && session32(f.buckets[s.bucket].session.Load()) == s.redisSession
	if byTracking || s.eventSession != 0 && session32(f.events.live.Load()) == s.eventSession {
		return Current
	}
	return Unvouched
}
