package fence

import (
	"sync/atomic"

	"github.com/nearcache/nearcache-go/internal/ablate"
)

// Slots is the number of generations in a fence. All of them together are 32 KiB, which stay in the processor's caches:
// every hit reads one of them, whichever its key. What few slots cost, more keys that share each, long journals make up for.
const Slots = 1 << 12

// journalDepth is how many bumps of a slot its journal remembers at least, a power of two. See Fence.Remember.
const journalDepth = 1 << 7

// tagBits is how much of a journal entry names the bump it belongs to; the rest is hash bits of the key that bumped.
const tagBits = 24

// slots are generations, each shared by all keys whose hash falls on it, with a journal of the last keys that bumped it.
//
// A bump first takes the next generation and then writes its journal entry, tagged with that generation. A reader that
// is behind looks up every bump between its own generation and the present one; an entry that is missing, because it
// has been overwritten or is not written yet, has another tag, and the reader must assume that its own key was meant:
//
//	bump A: generation 6          reader at 5: generation is 7
//	bump B: generation 7                       journal[6] has tag 6, another key: goes on
//	bump A: journal[6]                         journal[7] has an older tag: in doubt, so dropped
//	bump B: journal[7]
//
// So neither needs a lock, and neither order of the two bumps' stores can hide one.
type slots struct {
	gens    []atomic.Uint64 // their number is a power of two
	journal atomic.Pointer[journal]
}

// journal is apart from the generations: a hit does not touch it.
type journal struct {
	entries []atomic.Uint64 // depth of them for each slot
	depth   uint64          // a power of two, at most 1 << tagBits
}

func (s *slots) init(n, depth int) {
	s.gens = make([]atomic.Uint64, n)
	s.journal.Store(newJournal(n, depth))
}

// newJournal is one whose entries all have another bump's tag: 0 can be right for the first of a slot alone, so that has a 1.
func newJournal(n, depth int) *journal {
	j := &journal{make([]atomic.Uint64, n*depth), uint64(depth)}
	for slot := range uint64(n) {
		j.entry(slot, 0).Store(journalEntry(1, 0))
	}
	return j
}

// deepen makes the journal remember so many bumps of each slot. What the old one holds is forgotten, and so is what a bump
// writes into it meanwhile: a reader in doubt drops what is behind.
func (s *slots) deepen(depth int) {
	for old := s.journal.Load(); uint64(depth) > old.depth; old = s.journal.Load() {
		s.journal.CompareAndSwap(old, newJournal(len(s.gens), depth))
	}
}

// of is the slot that a hash falls on.
func (s *slots) of(hash uint64) uint64 { return hash & uint64(len(s.gens)-1) }

// gen is the generation of a key's slot.
func (s *slots) gen(hash uint64) uint64 { return s.gens[s.of(hash)].Load() }

// entry is the place of a slot's bump.
func (j *journal) entry(slot, g uint64) *atomic.Uint64 {
	return &j.entries[slot*j.depth+g&(j.depth-1)]
}

// bump invalidates every load and entry of the key. It is lock-free and may run on any goroutine.
func (s *slots) bump(hash uint64) (g uint64) {
	slot := s.of(hash)
	g = s.gens[slot].Add(1)
	s.journal.Load().entry(slot, g).Store(journalEntry(g, hash))
	return g
}

// advance returns the generation of the key's slot and whether none of the bumps since the generation `from` was the key's.
// If it is false, the key may have been invalidated.
func (s *slots) advance(from, hash uint64) (to uint64, ok bool) {
	to = s.gen(hash)
	return to, s.others(from, to, hash)
}

// others reports whether the journal shows that every bump after from, up to and including to, was another key's.
func (s *slots) others(from, to, hash uint64) bool {
	j := s.journal.Load()
	if to-from > j.depth {
		return false
	}
	if ablate.Out(ablate.Journal) {
		return true
	}
	slot := s.of(hash)
	for g := from + 1; g <= to; g++ {
		e := j.entry(slot, g).Load()
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
