package nearcache

import (
	"sync/atomic"
	"unsafe"

	"github.com/nearcache/nearcache-go/internal/fence"
)

// entry is what L1 holds. It is immutable but for its stamp and its refresh. There may be millions of them: what most
// do not have is in rare, and what a hit looks at comes first, to be in one cache line. Made by newEntry.
type entry[K comparable, V any] struct {
	key      K
	deadline int64   // by the client's clock
	extras   *extras // nil: the value is there, and nothing else is to be known of it
	stamp    fence.Stamp
	version  Version
	value    V
}

// rare is what few entries have.
type extras struct {
	absent      bool
	unconfirmed bool         // a write of unknown outcome may have replaced the value: it has expired, but for fail-safe
	refresh     atomic.Int64 // when it is due to be refreshed, by the client's clock; 0: never
	tags        tagged
	sum         uint64 // CheckShared's; 0: none
}

// with is the entry's rare part, to be set before it is admitted.
func (e *entry[K, V]) ensureExtras() *extras {
	if e.extras == nil {
		e.extras = &extras{}
	}
	return e.extras
}

func (e *entry[K, V]) absent() bool { return e.extras != nil && e.extras.absent }

func (e *entry[K, V]) unconfirmed() bool { return e.extras != nil && e.extras.unconfirmed }

func (e *entry[K, V]) tags() tagged {
	if e.extras == nil {
		return nil
	}
	return e.extras.tags
}

// newEntry makes the entry of a key. The bytes of a short string are within the entry's own memory: a hit compares them
// with those of the caller, and finds them next to what it has read already. What the caller's string is a part of is
// not kept.
func newEntry[K comparable, V any](k K, version Version, absent bool) (e *entry[K, V]) {
	var s string
	_, isString := any((*K)(nil)).(*string) // and not an interface that holds one
	if isString {
		s, _ = any(k).(string)
	}
	switch n := len(s); {
	case !isString || n == 0 || n > 64:
		e = &entry[K, V]{key: k}
	case n <= 16:
		e = withName[K, V, [16]byte](s)
	case n <= 32:
		e = withName[K, V, [32]byte](s)
	default:
		e = withName[K, V, [64]byte](s)
	}
	e.version = version
	if absent {
		e.ensureExtras().absent = true
	}
	return e
}

// withName is an entry whose key is a string, in an array of bytes behind it.
func withName[K comparable, V, Bytes any](s string) *entry[K, V] {
	both := new(struct {
		entry entry[K, V]
		bytes Bytes
	})
	at := (*byte)(unsafe.Pointer(&both.bytes))
	copy(unsafe.Slice(at, unsafe.Sizeof(both.bytes)), s)
	// K is string, and the bytes are never written again
	*(*string)(unsafe.Pointer(&both.entry.key)) = unsafe.String(at, len(s))
	return &both.entry
}
