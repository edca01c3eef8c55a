package nearcache

import (
	"errors"
	"unsafe"
)

// maxBytes is more than any memory.
const maxBytes = 1 << 50

var errNegativeSize = errors.New("nearcache: Options.Size is negative")

// cost is what an entry counts for under L1Bytes: its value by Options.Size, and the entry itself with its key and
// tags. What L1 adds is l1.EntryBytes.
func (c *Cache[K, V]) cost(e *entry[K, V], encoded int) (int64, error) {
	size := int64(encoded)
	if c.opt.Size != nil && !e.absent() {
		var err error
		if size, err = safely(func() (int64, error) { return c.opt.Size(e.value), nil }); err != nil {
			return 0, err
		}
		if size < 0 {
			return 0, errNegativeSize
		}
	}
	size = min(size, maxBytes) // what is larger never fits, and must not overflow
	if s, ok := any(e.key).(string); ok {
		size += int64(len(s))
	}
	if x := e.extras(); x != nil {
		size += int64(unsafe.Sizeof(*x)) + int64(len(x.tags))*int64(unsafe.Sizeof(tagRef{}))
	}
	return size + int64(unsafe.Sizeof(*e)), nil
}
