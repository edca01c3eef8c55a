package coherence

import (
	"sync/atomic"

	"github.com/nearcache/nearcache-go/internal/ablate"
)

// Slots is the number of generations in a fence.
const Slots = 1 << 16

// journalLen makes a slot one cache line of 64 bytes: the generation and the journal.
const journalLen = 7

// tagBits is how much of a journal entry names the bump it belongs to; the rest is hash bits of the key that bumped.
const tagBits = 24

// slot is one generation, shared by all keys whose hash falls on it, with a journal of the last keys that bumped it.
//
// A bump first takes the next generation and then writes its journal entry, tagged with that generation. A reader that
// is behind looks up every bump between its own generation and the present one; an entry that is missing, because it
// has been overwritten or is not written yet, has another tag, and the reader must assume that its own key was meant:
//
//	bump A: generation 6          reader at 5: generation is 7
//	bump B: generation 7                       journal[6%7] has tag 6, another key: goes on
//	bump A: journal[6%7]                       journal[7%7] has tag 0: in doubt, so dropped
//	bump B: journal[7%7]
//
// So neither needs a lock, and neither order of the two bumps' stores can hide one.
type slot struct {
	gen     atomic.Uint64
	journal [journalLen]atomic.Uint64
}

// bump invalidates every load and entry of the key. It is lock-free and may run on any goroutine.
func (s *slot) bump(hash uint64) (g uint64) {
	g = s.gen.Add(1)
	s.journal[g%journalLen].Store(journalEntry(g, hash))
	return g
}

// advance returns the slot's generation and whether none of the bumps since the generation `from` was the key's. If it
// is false, the key may have been invalidated.
func (s *slot) advance(from, hash uint64) (to uint64, ok bool) {
	to = s.gen.Load()
	return to, s.others(from, to, hash)
}

// others reports whether the journal shows that every bump after from, up to and including to, was another key's.
func (s *slot) others(from, to, hash uint64) bool {
	if to-from > journalLen {
		return false
	}
	if ablate.Out(ablate.Journal) {
		return true
	}
	for g := from + 1; g <= to; g++ {
		e := s.journal[g%journalLen].Load()
		if e>>(64-tagBits) != g&(1<<tagBits-1) || e == journalEntry(g, hash) {
			return false
		}
	}
	return true
}

// journalEntry packs the bump's tag and the hash bits that do not already choose the slot.
func journalEntry(g, hash uint64) uint64 {
	return g<<(64-tagBits) | hash>>tagBits
}
