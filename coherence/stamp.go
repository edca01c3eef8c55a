package coherence

import "sync/atomic"

// Stamp is an L1 entry's licence to be served: the generation and the sessions it was admitted under. An entry embeds
// it. The zero Stamp is never current. Only the fence makes stamps; its methods are safe for concurrent use.
type Stamp struct {
	slot  *slot
	hash  uint64
	gen   atomic.Uint64 // only ever moves between generations at which the entry was valid
	redis *atomic.Uint64
	kafka *atomic.Uint64
	rs    uint64 // the bucket's Redis session, 0 if tracking does not vouch for the entry
	ks    uint64 // the event channel's session, 0 if it does not vouch for the entry
	// Probe is when the load from the source that gave the entry began, 0 if it came from L2 (monotonic nanoseconds).
	Probe int64
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

// Check says whether the entry may be served now. It must be called after the entry was read.
func (s *Stamp) Check() Verdict {
	if s.slot == nil {
		return Unvouched
	}
	if s.slot.gen.Load() == s.gen.Load() && s.redis.Load() == s.rs {
		return Current
	}
	return s.checkSlowly()
}

func (s *Stamp) checkSlowly() Verdict {
	from := s.gen.Load()
	to, ok := s.slot.advance(from, s.hash)
	if !ok {
		if to-from > journalLen {
			return Collided
		}
		return Invalidated
	}
	if to != from {
		// Another reader may have stamped a later generation meanwhile. Going back to ours is safe: no bump of this key
		// lies at or before either.
		s.gen.Store(to)
	}
	if s.redis.Load() == s.rs || s.ks != 0 && s.kafka.Load() == s.ks {
		return Current
	}
	return Unvouched
}
