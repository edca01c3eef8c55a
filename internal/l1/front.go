package l1

import (
	"math/rand/v2"
	"sync/atomic"
	"unsafe"
)

// front is a table of pointers in front of ristretto. Most reads find their entry there, without ristretto's lock, map
// and buffers. It holds nothing of its own: an entry is in the table only while ristretto holds it too. An invalidation
// need not touch it, because an entry is validated by its reader after it was found. An entry that ristretto has just
// replaced may be found for a moment, as by a reader that found it before and was stopped: its stamp decides. A newer
// version has ended that stamp before it was offered to L1 (rule serve-bumps). So the protocol's explorer, which judges
// entries by their stamps in every state, need not know the table.
//
// A key has one set of two places, and in it a home, where its reader looks first. A key that finds both places taken
// goes to ristretto, and now and then it takes the place of the key at its home. So the keys that are read most are the
// most likely to be in the table.
//
// A reader may find an entry in ristretto, be stopped, and store it in the table after ristretto dropped it. So each
// departure is counted before the entry is removed from the table, and a reader that has stored an entry removes it
// again if the count has moved:
//
//	reader: count is 7
//	reader: ristretto has e      ristretto: drops e
//	                             count is 8; e is not in the table
//	reader: stores e; the count is not 7 any more: removes e
//
// If the reader stored e before the removal, the removal finds it. The methods are safe for concurrent use. A copy of a
// front is the same table.
type front[E any] struct {
	sets       []Places[E] // their number is a power of two
	departures *[departureCounts]atomic.Uint32
}

// Places are those of the keys whose hashes share a set of the front table.
type Places[E any] [2]atomic.Pointer[E]

// departureCounts is the number of counts. Two entries that share one cost no more than a removal in vain.
const departureCounts = 256

// takeOver is that one read in so many takes the place of another key.
const takeOver = 4

// frontShare is that there is a place for so many bytes of L1: about two for each entry of ordinary size.
const frontShare = 256

// maxSets bounds the table at 128 MiB, which is enough for an L1 of 4 GiB. In a larger one, the keys that are read most
// have the places.
const maxSets = 1 << 23

// newFront returns a table for an L1 of a size: it takes a 24th to a 48th of that, or less.
func newFront[E any](maxBytes int64) front[E] {
	sets := int64(1)
	for sets < maxSets && 3*sets*frontShare < maxBytes { // the nearest power of two
		sets *= 2
	}
	return front[E]{make([]Places[E], sets), new([departureCounts]atomic.Uint32)}
}

// bytes is what the places take.
func (f *front[E]) bytes() int64 { return int64(len(f.sets)) * int64(unsafe.Sizeof(Places[E]{})) }

// places and Home do not use the low byte of a hash: ristretto chooses one of its maps by it.
func (f *front[E]) places(hash uint64) *Places[E] { return &f.sets[hash>>8&uint64(len(f.sets)-1)] }

// Home is the place where a reader looks first; the other is Home(hash)^1.
func Home(hash uint64) uint64 { return hash >> 63 }

func (f *front[E]) departure(hash uint64) *atomic.Uint32 {
	return &f.departures[hash>>48&(departureCounts-1)]
}

// offer stores an entry that ristretto held when the count of departures was known, if there is a place for it.
func (f *front[E]) offer(hash uint64, e *E, known uint32) {
	s, at := f.places(hash), Home(hash)
	switch atHome, away := s[at].Load(), s[at^1].Load(); {
	case atHome == e || away == e:
		return
	case atHome == nil:
	case away == nil:
		at ^= 1
	case rand.Uint32()%takeOver != 0:
		return
	}
	s[at].Store(e)
	if f.departure(hash).Load() != known {
		f.remove(hash, e)
	}
}

// leave removes an entry that ristretto holds no more.
func (f *front[E]) leave(hash uint64, e *E) {
	f.departure(hash).Add(1)
	f.remove(hash, e)
}

func (f *front[E]) remove(hash uint64, e *E) {
	s := f.places(hash)
	for i := range s {
		if s[i].Load() == e {
			s[i].CompareAndSwap(e, nil)
		}
	}
}
