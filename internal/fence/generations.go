package fence

import (
	"sync/atomic"

	"github.com/nearcache/nearcache-go/internal/ablate"
)

// Slots is the number of generations in a fence. All of them together are 32 KiB, which stay in the processor's caches:
// every hit reads one of them, whichever its key. Fewer slots mean more keys that share each; more recent bumps
// compensate.
const Slots = 1 << 12

// recentDepth is how many bumps of a slot are remembered at least, a power of two. See Fence.Remember.
const recentDepth = 1 << 7

// tagBits is how much of an entry in recentBumps names the bump it belongs to. The rest is hash bits of the key that
// bumped. A stamp has no more of its key's hash than these. Twelve of them choose the slot. So of the bumps of other
// keys, one in 268 million (2^28) is taken for the key's own.
const (
	tagBits  = 24
	hashBits = 64 - tagBits
)

// generations are counters, one for each slot. All keys whose hash falls on a slot share its generation. Of each slot
// the fence remembers the last keys that bumped it.
//
// A bump first takes the next generation, and then writes its entry in recent, tagged with that generation. A reader
// that is behind looks up every bump between its own generation and the present one. An entry that is missing, because
// it has been overwritten or is not written yet, has another tag, and then the reader must assume that its own key was
// meant:
//
//	bump A: generation 6          reader at 5: generation is 7
//	bump B: generation 7                       recent[6] has tag 6, another key: goes on
//	bump A: recent[6]                          recent[7] has an older tag: not believed, so the entry is dropped
//	bump B: recent[7]
//
// So neither needs a lock, and neither order of the two bumps' stores can hide one.
type generations struct {
	current []atomic.Uint64 // by slot; their number is a power of two
	recent  atomic.Pointer[recentBumps]
}

// recentBumps is apart from the generations: a hit does not touch it.
type recentBumps struct {
	entries []atomic.Uint64 // depth of them for each slot
	depth   uint64          // a power of two, at most 1 << tagBits
}

func (g *generations) init(n, depth int) {
	g.current = make([]atomic.Uint64, n)
	g.recent.Store(newRecentBumps(n, depth))
}

// newRecentBumps has entries that all bear the tag of another bump. The tag 0 can be right only for the first entry of
// a slot, so that one bears 1.
func newRecentBumps(n, depth int) *recentBumps {
	r := &recentBumps{make([]atomic.Uint64, n*depth), uint64(depth)}
	for slot := range uint64(n) {
		r.entry(slot, 0).Store(bumpEntry(1, 0))
	}
	return r
}

// deepen has at least depth bumps of each slot remembered. The old ones are forgotten, and so is every bump that is
// written to the old place meanwhile: a reader that finds no entry drops what is behind.
func (g *generations) deepen(depth int) {
	for old := g.recent.Load(); uint64(depth) > old.depth; old = g.recent.Load() {
		g.recent.CompareAndSwap(old, newRecentBumps(len(g.current), depth))
	}
}

// slot is the slot that a hash falls on.
func (g *generations) slot(hash uint64) uint64 { return hash & uint64(len(g.current)-1) }

// of is the generation of a key's slot.
func (g *generations) of(hash uint64) uint64 { return g.current[g.slot(hash)].Load() }

// entry is the place of a slot's bump.
func (r *recentBumps) entry(slot, generation uint64) *atomic.Uint64 {
	return &r.entries[slot*r.depth+generation&(r.depth-1)]
}

// bump invalidates every load and entry of the key. It is lock-free and may run on any goroutine.
func (g *generations) bump(hash uint64) (generation uint64) {
	slot := g.slot(hash)
	generation = g.current[slot].Add(1)
	g.recent.Load().entry(slot, generation).Store(bumpEntry(generation, hash))
	return generation
}

// catchUp returns the generation of the key's slot, and whether none of the bumps since the generation from was the
// key's. If one may have been, the key may have been invalidated.
func (g *generations) catchUp(from, hash uint64) (to uint64, ok bool) {
	to = g.of(hash)
	return to, g.onlyOthersBumped(from, to, hash)
}

// onlyOthersBumped reports whether every bump after from, up to and including to, is remembered as another key's.
func (g *generations) onlyOthersBumped(from, to, hash uint64) bool {
	r := g.recent.Load()
	if to-from > r.depth {
		return false
	}
	if ablate.Out(ablate.RecentBumps) {
		return true
	}
	slot := g.slot(hash)
	for generation := from + 1; generation <= to; generation++ {
		e := r.entry(slot, generation).Load()
		if e>>hashBits != generation&(1<<tagBits-1) || e == bumpEntry(generation, hash) {
			return false
		}
	}
	return true
}

// bumpEntry packs the bump's tag and bits of the hash.
func bumpEntry(generation, hash uint64) uint64 { return generation<<hashBits | hash&(1<<hashBits-1) }
