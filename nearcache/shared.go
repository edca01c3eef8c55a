package nearcache

import (
	"hash/maphash"

	"github.com/cespare/xxhash/v2"
)

// checksum is that of a value's encoding, never 0; 0 if there is none.
func (c *Cache[K, V]) checksum(e *entry[K, V]) uint64 {
	if e.absent() {
		return 0
	}
	b, err := c.encoded(e.value)
	if err != nil {
		return 0
	}
	return max(1, xxhash.Sum64(b))
}

// intact reports whether an entry's value still is what it was when it was admitted. One that is not leaves L1, so that
// nothing else can be made of it either: a stale answer, or a Loader's Old.
func (c *Cache[K, V]) intact(e *entry[K, V]) bool {
	if x := e.extras(); x == nil || x.sum == 0 || c.checksum(e) == x.sum {
		return true
	}
	c.l1.Delete(maphash.Comparable(c.seed, e.key))
	c.m.mutated.Inc()
	name, _ := c.encode(e.key)
	c.client.log.Error("a caller has modified a value that it shares with others", "cache", c.namespace, "key", name)
	return false
}
