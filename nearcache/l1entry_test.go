package nearcache

import (
	"math"
	"runtime"
	"strings"
	"testing"
	"unsafe"
)

// TestEntry_KeepsItsNameWithin: the bytes of a short string lie before the entry, and are nobody else's. So do its
// extras.
func TestEntry_KeepsItsNameWithin(t *testing.T) {
	for _, n := range []int{0, 1, 15, 16, 17, 24, 25, 32, 33, 48, 49, 64, 65, 1000} {
		request := strings.Repeat("n", n)
		plain, rich := newEntry[string, int](request, 7), newEntryWithExtras[string, int](request, 7)
		if plain.extras() != nil || plain.absent() || plain.unconfirmed() || plain.tags() != nil {
			t.Errorf("%d bytes: an entry without extras has %+v", n, plain.extras())
		}
		x := rich.extras()
		x.absent, x.unconfirmed, x.tags, x.sum = true, true, tagged{{name: "t"}}, math.MaxUint64
		x.refresh.Store(-1)
		runtime.GC() // finds what only the extras point to
		if !rich.absent() || !rich.unconfirmed() || len(rich.tags()) != 1 || rich.tags()[0].name != "t" {
			t.Errorf("%d bytes: extras %+v", n, rich.extras())
		}
		for _, e := range []*entry[string, int]{plain, rich} {
			if e.key != request || e.version != 7 || e.value != 0 {
				t.Fatalf("%d bytes: %+v", n, e)
			}
			at, from := uintptr(unsafe.Pointer(unsafe.StringData(e.key))), uintptr(unsafe.Pointer(e))
			within := at < from && at+64+unsafe.Sizeof(extras{}) >= from
			if want := n > 0 && n <= 64; within != want {
				t.Errorf("a name of %d bytes is within: %v", n, within)
			}
		}
	}
	type id string
	if e := newEntry[id, int]("a", 1); e.key != "a" {
		t.Errorf("key %q", e.key)
	}
	if e := newEntryWithExtras[int64, int](-5, 1); e.key != -5 || e.absent() {
		t.Errorf("key %d", e.key)
	}
	type pair struct{ a, b string }
	if e := newEntry[pair, int](pair{"x", "y"}, 1); e.key != (pair{"x", "y"}) {
		t.Errorf("key %v", e.key)
	}
}

// TestEntry_IsSmall: a million entries are to cost at most 80 bytes each over a bare table of their values, with the
// bytes of a short key.
func TestEntry_IsSmall(t *testing.T) {
	if size := unsafe.Sizeof(entry[string, struct{ _ [64]byte }]{}) - 64; size > 64 {
		t.Errorf("an entry takes %d bytes beside its value", size)
	}
	type value [64]byte
	const n = 100_000 // beside which the allocations of others are nothing
	var before, after runtime.MemStats
	entries := make([]*entry[string, value], n)
	runtime.ReadMemStats(&before)
	for i := range entries {
		entries[i] = newEntry[string, value]("s1-000000000042", 1)
	}
	runtime.ReadMemStats(&after)
	const most = 80 + 64
	if each := (after.TotalAlloc - before.TotalAlloc) / n; each > most {
		t.Errorf("an entry with a key of 15 bytes and a value of 64 takes %d bytes, want at most %d", each, most)
	}
	runtime.KeepAlive(entries)
}
