package nearcache

import (
	"sync/atomic"
	"unsafe"

	"github.com/nearcache/nearcache-go/internal/fence"
)

// entry is what L1 holds. It is immutable but for its stamp and its extras. There may be millions of them: what most do
// not have is in extras, and what a hit looks at comes first, to be in few cache lines. Made by newEntry.
//
// The memory of an entry holds, beside each other: the bytes of a short string that is the key, the extras if there are
// any, and the entry.
type entry[K comparable, V any] struct {
	key     K
	stamp   fence.Stamp // its mark says that there are extras
	version Version
	value   V
}

// extras are what few entries have.
type extras struct {
	absent      bool
	unconfirmed bool         // a write of unknown outcome may have replaced the value: it has expired, but for fail-safe
	refresh     atomic.Int64 // when it is due to be refreshed, by the client's clock; 0: never
	tags        tagged
	sum         uint64 // CheckShared's; 0: none
}

// extras are the entry's, nil if it has none.
func (e *entry[K, V]) extras() *extras {
	if !e.stamp.Marked() {
		return nil
	}
	return (*extras)(unsafe.Add(unsafe.Pointer(e), -int(unsafe.Sizeof(extras{})))) // see entryFor
}

func (e *entry[K, V]) absent() bool {
	x := e.extras()
	return x != nil && x.absent
}

func (e *entry[K, V]) unconfirmed() bool {
	x := e.extras()
	return x != nil && x.unconfirmed
}

func (e *entry[K, V]) tags() tagged {
	if x := e.extras(); x != nil {
		return x.tags
	}
	return nil
}

// entryOf makes the entry of a value or an absence with so many tags. It has extras if something will be set in them.
func (c *Cache[K, V]) entryOf(k K, version Version, absent bool, tags int) *entry[K, V] {
	if !absent && tags == 0 && !c.opt.Refresh.on() && !c.opt.CheckShared {
		return newEntry[K, V](k, version)
	}
	e := newEntryWithExtras[K, V](k, version)
	e.extras().absent = absent
	return e
}

// newEntry makes the entry of a key. The bytes of a short string are within the entry's own memory: a hit compares them
// with those of the caller, and finds them next to what it has read already. What the caller's string is a part of is
// not kept.
func newEntry[K comparable, V any](k K, version Version) *entry[K, V] {
	e := entryFor[K, V, struct{}](k)
	e.version = version
	return e
}

// newEntryWithExtras is newEntry for an entry that has extras.
func newEntryWithExtras[K comparable, V any](k K, version Version) *entry[K, V] {
	e := entryFor[K, V, extras](k)
	e.stamp.SetMark()
	e.version = version
	return e
}

// entryFor is an entry with its key, and behind a Before, which is the extras or nothing.
func entryFor[K comparable, V, Before any](k K) *entry[K, V] {
	var s string
	_, isString := any((*K)(nil)).(*string) // and not an interface that holds one
	if isString {
		s, _ = any(k).(string)
	}
	switch n := len(s); {
	case !isString || n == 0 || n > 64:
		e := &new(struct {
			before Before
			entry  entry[K, V]
		}).entry
		e.key = k
		return e
	case n <= 16:
		return withName[K, V, [16]byte, Before](s)
	case n <= 24:
		return withName[K, V, [24]byte, Before](s)
	case n <= 32:
		return withName[K, V, [32]byte, Before](s)
	case n <= 48:
		return withName[K, V, [48]byte, Before](s)
	default:
		return withName[K, V, [64]byte, Before](s)
	}
}

// withName is an entry whose key is a string, in an array of bytes before it.
func withName[K comparable, V, Bytes, Before any](s string) *entry[K, V] {
	all := new(struct {
		bytes  Bytes
		before Before
		entry  entry[K, V]
	})
	at := (*byte)(unsafe.Pointer(&all.bytes))
	copy(unsafe.Slice(at, unsafe.Sizeof(all.bytes)), s)
	// K is string, and the bytes are never written again
	*(*string)(unsafe.Pointer(&all.entry.key)) = unsafe.String(at, len(s))
	return &all.entry
}
