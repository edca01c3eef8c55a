package l2

import (
	"errors"
	"fmt"
	"iter"
	"math/bits"
	"strconv"
	"sync"
)

// DefaultBuckets is the number of buckets of a prefix for which none is configured.
//
// A key's record, its lease and the watermark of its bucket share one hash tag, so that one script can touch all three
// in a Redis Cluster. A bucket is therefore the least part of the data that a master can have. The number is a part of
// the format of L2: all programs of a prefix must have the same one.
const DefaultBuckets = 64

// MinBuckets and MaxBuckets bound the number of buckets.
const (
	MinBuckets = 64
	MaxBuckets = 4096
)

// ErrBuckets says that a number of buckets is not allowed.
var ErrBuckets = errors.New("the number of buckets must be a power of two from 64 to 4096")

// CheckBuckets returns a number of buckets, DefaultBuckets for 0, or ErrBuckets.
func CheckBuckets(n int) (int, error) {
	switch {
	case n == 0:
		return DefaultBuckets, nil
	case n < MinBuckets || n > MaxBuckets || n&(n-1) != 0:
		return 0, fmt.Errorf("%w, and not %d", ErrBuckets, n)
	}
	return n, nil
}

// slots is the number of slots of a Redis Cluster.
const slots = 1 << 14

// tagTables are the tags of each number of buckets that this process uses.
var tagTables sync.Map

// tagTable has the hash tags of buckets.
type tagTable struct {
	tags    []string    // by bucket
	buckets map[int]int // by tag
}

// bucketOf is the bucket of a tag. Of a tag that no bucket has, it is the bucket whose share of slots has the tag's
// slot: that one is mostly on the same server.
func (t *tagTable) bucketOf(tag int) int {
	if b, ok := t.buckets[tag]; ok {
		return b
	}
	return slotOf(strconv.Itoa(tag)) / (slots / len(t.tags))
}

// tagsOf finds the hash tags of buckets. Each bucket has an equal share of the Cluster's slots, in their order. Its
// tag is the least decimal number whose slot lies in the middle quarter of that share. Masters have ranges of slots, so
// each gets its part of the buckets, to within one.
//
// Finding them takes some milliseconds for 4,096 buckets, and much less for fewer.
func tagsOf(n int) *tagTable {
	if t, ok := tagTables.Load(n); ok {
		return t.(*tagTable)
	}
	tags := make([]string, n)
	buckets := make(map[int]int, n)
	share := slots / n
	for number, left := 0, n; left > 0; number++ {
		tag := strconv.Itoa(number)
		slot := slotOf(tag)
		if at := slot % share; tags[slot/share] == "" && 8*at >= 3*share && 8*at < 5*share {
			tags[slot/share], buckets[number] = tag, slot/share
			left--
		}
	}
	t, _ := tagTables.LoadOrStore(n, &tagTable{tags, buckets})
	return t.(*tagTable)
}

// slotOf is the slot of a hash tag: its CRC16, of the XMODEM kind, modulo the number of slots.
func slotOf(tag string) int {
	var crc uint16
	table := crcTable()
	for i := range len(tag) {
		crc = crc<<8 ^ table[byte(crc>>8)^tag[i]]
	}
	return int(crc) % slots
}

// crcTable has the CRC16 of each byte.
var crcTable = sync.OnceValue(func() *[256]uint16 {
	var table [256]uint16
	for i := range table {
		crc := uint16(i) << 8
		for range 8 {
			if crc&(1<<15) != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
		table[i] = crc
	}
	return &table
})

// BucketSet is a set of buckets. The zero BucketSet is empty.
type BucketSet [MaxBuckets / 64]uint64

// SetOf is a set of some buckets.
func SetOf(buckets ...int) (s BucketSet) {
	for _, b := range buckets {
		s.Add(b)
	}
	return s
}

// AllBuckets has the first n buckets: all of a prefix that has as many.
func AllBuckets(n int) (s BucketSet) {
	for i := range s {
		if at := 64 * i; at+64 <= n {
			s[i] = ^uint64(0)
		} else if at < n {
			s[i] = 1<<(n-at) - 1
		}
	}
	return s
}

// Has reports whether a bucket is in the set.
func (s *BucketSet) Has(bucket int) bool { return s[bucket/64]>>(bucket%64)&1 == 1 }

// Add puts a bucket into the set.
func (s *BucketSet) Add(bucket int) { s[bucket/64] |= 1 << (bucket % 64) }

// Remove takes a bucket out of the set.
func (s *BucketSet) Remove(bucket int) { s[bucket/64] &^= 1 << (bucket % 64) }

// Union is the buckets of both sets.
func (s BucketSet) Union(other BucketSet) BucketSet {
	for i := range s {
		s[i] |= other[i]
	}
	return s
}

// Minus is the set without the buckets of another one.
func (s BucketSet) Minus(other BucketSet) BucketSet {
	for i := range s {
		s[i] &^= other[i]
	}
	return s
}

// Both is the buckets that are in each of two sets.
func (s BucketSet) Both(other BucketSet) BucketSet {
	for i := range s {
		s[i] &= other[i]
	}
	return s
}

// IsZero reports whether the set is empty.
func (s *BucketSet) IsZero() bool { return *s == BucketSet{} }

// Len is how many buckets are in the set.
func (s *BucketSet) Len() (n int) {
	for _, part := range s {
		n += bits.OnesCount64(part)
	}
	return n
}

// First is the least bucket of the set, -1 if it is empty.
func (s *BucketSet) First() int {
	for b := range s.All() {
		return b
	}
	return -1
}

// All goes through the buckets of the set, in order.
func (s *BucketSet) All() iter.Seq[int] {
	return func(yield func(int) bool) {
		for i, part := range s {
			for ; part != 0; part &= part - 1 {
				if !yield(64*i + bits.TrailingZeros64(part)) {
					return
				}
			}
		}
	}
}
