package l2_test

import (
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/nearcache/nearcache-go/internal/l2"
)

// slotOfKey is the Cluster's slot of a key, computed apart from the package's own: CRC16 by bits of the hash tag.
func slotOfKey(key string) int {
	open := 0
	for key[open] != '{' {
		open++
	}
	crc := 0
	for _, c := range []byte(key[open+1:]) {
		if c == '}' {
			break
		}
		for bit := 7; bit >= 0; bit-- {
			top := crc>>15&1 ^ int(c)>>bit&1
			if crc = crc << 1 & 0xffff; top == 1 {
				crc ^= 0x1021
			}
		}
	}
	return crc % (1 << 14)
}

// A known slot, from the Cluster's specification: "123456789" has CRC 0x31C3.
func TestSlotOfKey_IsThatOfTheSpecification(t *testing.T) {
	if got := slotOfKey("{123456789}"); got != 0x31c3%(1<<14) {
		t.Errorf("got slot %d, want %d", got, 0x31c3%(1<<14))
	}
}

// fullest is how many buckets the fullest of some masters has, over the mean, and how many masters have none.
func fullest(keys *l2.Keyspace, masters int, masterOf func(slot int) int) (over float64, empty int) {
	has := make([]int, masters)
	for b := range keys.Buckets() {
		has[masterOf(slotOfKey(keys.Watermark(b)))]++
	}
	most := 0
	for _, n := range has {
		most = max(most, n)
		if n == 0 {
			empty++
		}
	}
	return float64(most) * float64(masters) / float64(keys.Buckets()), empty
}

// contiguous gives each master a range of slots, as redis-cli makes a Cluster.
func contiguous(masters int) func(slot int) int {
	return func(slot int) int { return slot * masters / (1 << 14) }
}

// resharded is a Cluster of six masters to which redis-cli has added others: each newcomer takes an equal number of
// slots from each of those that were there, the first ones of theirs.
func resharded(masters int) func(slot int) int {
	const first = 6
	var of [1 << 14]int
	owned := make([][]int, masters)
	for slot := range of {
		m := slot * first / len(of)
		owned[m] = append(owned[m], slot)
	}
	for m := first; m < masters; m++ {
		share := len(of) / (m + 1)
		for i := range m {
			n := share / m
			if i < share%m {
				n++
			}
			n = min(n, len(owned[i]))
			owned[m] = append(owned[m], owned[i][:n]...)
			owned[i] = owned[i][n:]
		}
	}
	for m, slots := range owned {
		for _, slot := range slots {
			of[slot] = m
		}
	}
	return func(slot int) int { return of[slot] }
}

func TestBuckets_AreSpreadOverMasters(t *testing.T) {
	for _, c := range []struct {
		masters, buckets int
		most             float64 // of the fullest master, over the mean, with contiguous ranges
		mostResharded    float64
	}{
		{1, 64, 1, 1.04},
		{3, 64, 1.04, 1.04},
		{6, 64, 1.04, 1.04},
		{10, 64, 1.10, 1.26},
		{3, 1024, 1.005, 1.005},
		{6, 1024, 1.005, 1.005},
		{32, 1024, 1, 1.1},
		{100, 1024, 1.08, 1.86},
		{100, 2048, 1.03, 1.42},
		{100, 4096, 1.01, 1.23},
	} {
		keys := l2.NewKeyspaceOf("nc", c.buckets)
		over, empty := fullest(keys, c.masters, contiguous(c.masters))
		overThen, emptyThen := fullest(keys, max(c.masters, 6), resharded(max(c.masters, 6)))
		t.Logf("%4d buckets on %3d masters: the fullest has %.3f of the mean; after resharding %.3f", c.buckets, c.masters,
			over, overThen)
		if over > c.most || empty > 0 {
			t.Errorf("%d buckets on %d masters: %.3f of the mean, %d masters without any; want at most %.3f, and none",
				c.buckets, c.masters, over, empty, c.most)
		}
		if overThen > c.mostResharded || emptyThen > 0 {
			t.Errorf("%d buckets on %d masters, resharded: %.3f of the mean, %d masters without any; want at most %.3f",
				c.buckets, c.masters, overThen, emptyThen, c.mostResharded)
		}
	}
}

// Each bucket has a tag of its own, in its own share of the slots, for each number of buckets.
func TestBuckets_HaveSharesOfTheSlots(t *testing.T) {
	for n := l2.MinBuckets; n <= l2.MaxBuckets; n *= 2 {
		keys := l2.NewKeyspaceOf("nc", n)
		for b := range n {
			if got := slotOfKey(keys.Watermark(b)) * n / (1 << 14); got != b {
				t.Fatalf("%d buckets: the slot of bucket %d is in the share of %d", n, b, got)
			}
		}
		for range 1000 {
			k := keys.Key("n", string(rune(rand.IntN(1<<20))))
			if slotOfKey(k.Record) != slotOfKey(keys.Watermark(k.Bucket)) || slotOfKey(k.Lease) != slotOfKey(k.Record) {
				t.Fatalf("%d buckets: the parts of %+v are of several slots", n, k)
			}
		}
	}
}

func TestCheckBuckets(t *testing.T) {
	for n, want := range map[int]int{0: 64, 64: 64, 128: 128, 4096: 4096} {
		if got, err := l2.CheckBuckets(n); got != want || err != nil {
			t.Errorf("%d: got %d and error %v, want %d", n, got, err, want)
		}
	}
	for _, n := range []int{-64, 1, 32, 63, 65, 96, 1000, 8192} {
		if _, err := l2.CheckBuckets(n); !errors.Is(err, l2.ErrBuckets) {
			t.Errorf("%d is allowed, with error %v", n, err)
		}
	}
}

// A set of buckets is what a plain set is.
func TestBucketSet_IsASet(t *testing.T) {
	for range 200 {
		plain, other := map[int]bool{}, map[int]bool{}
		var s, o l2.BucketSet
		for range rand.IntN(100) {
			b, c := rand.IntN(l2.MaxBuckets), rand.IntN(l2.MaxBuckets)
			plain[b], other[c] = true, true
			s.Add(b)
			o.Add(c)
			if rand.IntN(4) == 0 {
				delete(plain, b)
				s.Remove(b)
			}
		}
		both, less, last, first := s.Union(o), s.Minus(o), -1, -1
		for b := range s.All() {
			if !plain[b] || b <= last {
				t.Fatalf("%d comes after %d, and is in the set: %v", b, last, plain[b])
			}
			if last = b; first < 0 {
				first = b
			}
		}
		if s.Len() != len(plain) || s.IsZero() != (len(plain) == 0) || s.First() != first {
			t.Fatalf("got %d buckets from %d, want %d from %d", s.Len(), s.First(), len(plain), first)
		}
		for b := range l2.MaxBuckets {
			if both.Has(b) != (plain[b] || other[b]) || less.Has(b) != (plain[b] && !other[b]) || s.Has(b) != plain[b] {
				t.Fatalf("bucket %d: in the union %v, in the difference %v", b, both.Has(b), less.Has(b))
			}
		}
	}
	for _, n := range []int{0, 1, 63, 64, 65, 4096} {
		if all := l2.AllBuckets(n); all.Len() != n || n > 0 && !all.Has(n-1) || n < l2.MaxBuckets && all.Has(n) {
			t.Errorf("all of %d has %d", n, all.Len())
		}
	}
}
