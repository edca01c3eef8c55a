package nearcache

import (
	"strings"
	"testing"
	"unsafe"
)

// TestEntry_KeepsItsNameWithin: the bytes of a short string lie behind the entry, and are nobody else's.
func TestEntry_KeepsItsNameWithin(t *testing.T) {
	for _, n := range []int{0, 1, 15, 16, 17, 32, 33, 64, 65, 1000} {
		name := []byte(strings.Repeat("n", n))
		request := string(name)
		e := newEntry[string, int](request, 7, n%2 == 0)
		if e.key != request || e.version != 7 || e.absent() != (n%2 == 0) {
			t.Fatalf("%d bytes: %+v", n, e)
		}
		at, from := uintptr(unsafe.Pointer(unsafe.StringData(e.key))), uintptr(unsafe.Pointer(e))
		within := at >= from+unsafe.Sizeof(*e) && at < from+unsafe.Sizeof(*e)+64
		if want := n > 0 && n <= 64; within != want {
			t.Errorf("a name of %d bytes is within: %v", n, within)
		}
	}
	type id string
	if e := newEntry[id, int]("a", 1, false); e.key != "a" {
		t.Errorf("key %q", e.key)
	}
	if e := newEntry[int64, int](-5, 1, false); e.key != -5 {
		t.Errorf("key %d", e.key)
	}
	type pair struct{ a, b string }
	if e := newEntry[pair, int](pair{"x", "y"}, 1, false); e.key != (pair{"x", "y"}) {
		t.Errorf("key %v", e.key)
	}
}

// TestEntry_IsSmall: a million entries are to cost at most a hundred bytes each over a bare table of their values.
func TestEntry_IsSmall(t *testing.T) {
	if size := unsafe.Sizeof(entry[string, struct{ _ [64]byte }]{}) - 64; size > 80 {
		t.Errorf("an entry takes %d bytes beside its value", size)
	}
}
