package fence

import (
	"sync/atomic"

	"github.com/nearcache/nearcache-go/internal/ablate"
)

// Slots is the number of generations in a fence. All of them together are 32 KiB, which stay in the processor's caches:
// every hit reads one of them, whichever its key. What few slots cost, more keys that share each, long journals make up for.
const Slots = 1 << 12

// journalDepth is how many bumps of a slot its journal remembers at least, a power of two. See Fence.Remember.
const recentDepth = 1 << 7

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
type generations struct {
	current []atomic.Uint64 // their number is a power of two
	recent  atomic.Pointer[recentBumps]
}

// journal is apart from the generations: a hit does not touch it.
type recentBumps struct {
	entries []atomic.Uint64 // depth of them for each slot
	depth   uint64          // a power of two, at most 1 << tagBits
}

func (s *generations) init(n, depth int) {
	s.current = make([]atomic.Uint64, n)
	s.recent.Store(newRecentBumps(n, depth))
}

// newJournal is one whose entries all have another bump's tag: 0 can be right for the first of a slot alone, so that has a 1.
func newRecentBumps(n, depth int) *recentBumps {
	j := &recentBumps{make([]atomic.Uint64, n*depth), uint64(depth)}
	for slot := range uint64(n) {
		j.entry(slot, 0).Store(bumpEntry(1, 0))
	}
	return j
}

// deepen makes the journal remember so many bumps of each slot. What the old one holds is forgotten, and so is what a bump
// writes into it meanwhile: a reader in doubt drops what is behind.
func (s *generations) deepen(depth int) {
	for old := s.recent.Load(); uint64(depth) > old.depth; old = s.recent.Load() {
		s.recent.CompareAndSwap(old, newRecentBumps(len(s.current), depth))
	}
}

// of is the slot that a hash falls on.
func (s *generations) slot(hash uint64) uint64 { return hash & uint64(len(s.current)-1) }

// gen is the generation of a key's slot.
func (s *generations) of(hash uint64) uint64 { return s.current[s.slot(hash)].Load() }

// entry is the place of a slot's bump.
func (j *recentBumps) entry(slot, g uint64) *atomic.Uint64 {
	return &j.entries[slot*j.depth+g&(j.depth-1)]
}

// bump invalidates every load and entry of the key. It is lock-free and may run on any goroutine.
func (s *generations) bump(hash uint64) (g uint64) {
	slot := s.slot(hash)
	g = s.current[slot].Add(1)
	s.recent.Load().entry(slot, g).Store(bumpEntry(g, hash))
	return g
}

// advance returns the generation of the key's slot and whether none of the bumps since the generation `from` was the key's.
// If it is false, the key may have been invalidated.
func (s *generations) catchUp(from, hash uint64) (to uint64, ok bool) {
	to = s.of(hash)
	return to, s.onlyOthersBumped(from, to, hash)
}

// others reports whether the journal shows that every bump after from, up to and including to, was another key's.
func (s *generations) onlyOthersBumped(from, to, hash uint64) bool {
	j := s.recent.Load()
	if to-from > j.depth {
		return false
	}
	if ablate.Out(ablate.RecentBumps) {
		return true
	}
	slot := s.slot(hash)
	for g := from + 1; g <= to; g++ {
		e := j.entry(slot, g).Load()
		if e>>(64-tagBits) != g&(1<<tagBits-1) || e == bumpEntry(g, hash) {
			return false
		}
	}
	return true
}

// journalEntry packs the bump's tag and the hash bits that do not already choose the slot.
func bumpEntry(g, hash uint64) uint64 {
	return g<<(64-tagBits) | hash>>tagBits
}
