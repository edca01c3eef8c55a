package coherence

import (
	"sync/atomic"

	"github.com/nearcache/nearcache-go/internal/ablate"
)

// Stamp is an L1 entry's licence to be served: the generation and the sessions it was admitted under. An entry embeds
// it. The zero Stamp is never current. Only the fence makes stamps; its methods are safe for concurrent use.
type Stamp struct {
	slot    *slot
	hash    uint64
	gen     atomic.Uint64 // only ever moves between generations at which the entry was valid
	bucket  *bucket
	channel *channel
	rs      uint64 // the bucket's Redis session, 0 if tracking does not vouch for the entry
	ks      uint64 // the event channel's session, 0 if it does not vouch for the entry
	// Probe is a moment, by the fence's clock, such that the entry's own load found it no older than the source was then:
	// when its load from the source began, or, of one from L2, the newest probe that its watermark covers; 0: none.
	Probe int64
	// History is the epoch of the source that the value was loaded in, or an earlier one if it changed during the load; 0:
	// not known. Versions of different epochs tell nothing about each other, even if they are equal.
	History uint64
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
func (s *Stamp) Vouched() bool { return s.rs|s.ks != 0 }

// Check says whether the entry may be served now. It must be called after the entry was read.
func (s *Stamp) Check() Verdict {
	if s.slot == nil {
		return Unvouched
	}
	if s.slot.gen.Load() == s.gen.Load() && s.bucket.redis.Load() == s.rs {
		return Current
	}
	return s.checkSlowly()
}

func (s *Stamp) checkSlowly() Verdict {
	from := s.gen.Load()
	to, ok := s.slot.advance(from, s.hash)
	if !ok && !ablate.Out(ablate.Generation) {
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
	if s.bucket.redis.Load() == s.rs || s.ks != 0 && s.channel.live.Load() == s.ks {
		return Current
	}
	return Unvouched
}
