package nearcache

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"
)

func TestHot_FindsTheHottestAmongManyOthers(t *testing.T) {
	const watched, wanted = 200, 50
	h := newHot[int](watched, 1)
	r := rand.New(rand.NewPCG(1, 2))
	zipf := rand.NewZipf(r, 1.2, 1, 1<<20)
	for range 200_000 {
		h.count(int(zipf.Uint64()))
	}
	if len(h.heap) != watched || len(h.at) != watched {
		t.Fatalf("%d watched, %d places", len(h.heap), len(h.at))
	}
	for k, i := range h.at {
		if h.heap[i].key != k || i > 0 && h.heap[(i-1)/2].n > h.heap[i].n {
			t.Fatalf("place %d is out of order", i)
		}
	}
	found := 0
	for _, k := range h.top(wanted) {
		if k < wanted {
			found++
		}
	}
	if found < wanted*8/10 {
		t.Errorf("%d of the %d hottest keys were found", found, wanted)
	}
	for i := range 100_000 { // another day, other keys
		h.count(1<<30 + i%wanted)
	}
	for _, k := range h.top(wanted) {
		if k < 1<<30 {
			t.Errorf("%d is hot no more", k)
		}
	}
	if got := h.top(1 << 20); len(got) != watched {
		t.Errorf("%d keys", len(got))
	}
}

func TestDecodeKey_IsTheInverse(t *testing.T) {
	inverse(t, "a:b\x00")
	inverse(t, int8(-128))
	inverse(t, uint64(1<<63))
	inverse(t, time.Duration(5)) // an integer by its kind
	inverse(t, netip.MustParseAddr("::1"))
	if _, err := decodeKey[int8](nil, nil)("128"); err == nil {
		t.Error("128 is an int8")
	}
	if decodeKey[[1]int](nil, nil) != nil || decodeKey(func(string) string { return "" }, nil) != nil {
		t.Error("an inverse of what is not known")
	}
}

func inverse[K comparable](t *testing.T, k K) {
	t.Helper()
	name, err := encodeKey[K](nil)(k)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := decodeKey[K](nil, nil)(name); got != k || err != nil {
		t.Errorf("%v is %q, and that is %v, %v", k, name, got, err)
	}
}

func TestWarmFile_IsFixed(t *testing.T) { // a later release reads what this one has saved
	b := encodeWarm("nc", "p", []string{"a", ""})
	if got := fmt.Sprintf("%q", b[:len(b)-8]); got != `"NCWARM\x01\x02nc\x01p\x02\x01a\x00"` {
		t.Error(got)
	}
}

func FuzzDecodeWarm(f *testing.F) {
	f.Add(encodeWarm("nc", "p", []string{"a", "", "日本"}))
	f.Add([]byte(warmMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := decodeWarm(b, "nc", "p"); err != nil && !errors.Is(err, errWarmDamaged) &&
			!errors.Is(err, errWarmForeign) {
			t.Errorf("got error %v, want none, or one of a damaged or foreign file", err)
		}
		// What is inside is taken on no more trust than the outside.
		sealed := encodeWarm("nc", "p", nil)
		sealed = slices.Concat(sealed[:len(sealed)-9], b)
		sealed = binary.BigEndian.AppendUint64(sealed, xxhash.Sum64(sealed))
		if names, err := decodeWarm(sealed, "nc", "p"); err == nil {
			if again, err := decodeWarm(encodeWarm("nc", "p", names), "nc", "p"); err != nil || !slices.Equal(again, names) {
				t.Errorf("%q comes back as %q, %v", names, again, err)
			}
		}
	})
}
