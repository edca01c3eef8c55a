package l1_test

import (
	"runtime"
	"testing"
	"unsafe"

	"github.com/nearcache/nearcache-go/internal/l1"
)

// item is an entry that knows its hash.
type item struct {
	hash  uint64
	value []byte
	_     [10]uint64
}

func newL1(t *testing.T, bytes int64) *l1.Cache[item] {
	t.Helper()
	l, err := l1.New(l1.Config[item]{MaxBytes: bytes, Hash: func(e *item) uint64 { return e.hash }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

// spread makes a hash of a small number.
func spread(i int) uint64 { return (uint64(i) + 1) * 0x9E3779B97F4A7C15 }

func TestL1_HeapIsWhatItCounts(t *testing.T) {
	heap := func() int64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	for _, size := range []int{16, 128, 4 << 10} {
		l := newL1(t, 4<<20)
		empty := heap()
		for i := 0; l.Stats().Evicted < 100; i++ { // until it is full
			l.Set(spread(i), &item{hash: spread(i), value: make([]byte, size)}, int64(size)+int64(unsafe.Sizeof(item{})))
			if i%64 == 0 {
				l.Wait()
			}
		}
		l.Wait()
		counted, grown := l.Stats().Bytes, heap()-empty
		t.Logf("values of %d bytes: %d KiB counted, heap grown by %d KiB", size, counted>>10, grown>>10)
		if ratio := float64(grown) / float64(counted); ratio < 0.8 || ratio > 1.25 {
			t.Errorf("values of %d bytes: the heap has grown by %.2f of what is counted", size, ratio)
		}
		runtime.KeepAlive(l)
	}
}

func TestL1_StaysWithinItsBoundWhenEntriesGrow(t *testing.T) {
	const bound = 1 << 20
	l := newL1(t, bound)
	for round := 1; round <= 64; round++ { // the same keys, larger each time: in the end four times what there is room for
		for i := range 64 {
			l.Set(spread(i), &item{hash: spread(i)}, int64(round)<<10)
			l.Wait()
			if got := l.Stats().Bytes; got > bound+int64(round)<<10+l1.EntryBytes {
				t.Fatalf("round %d: %d bytes of %d", round, got, bound)
			}
		}
	}
	if got := l.Stats().Bytes; got < bound/2 {
		t.Errorf("%d bytes of %d: it holds next to nothing", got, bound)
	}
	l.Set(spread(1<<20), &item{hash: spread(1 << 20)}, 2*bound)
	l.Wait()
	if _, ok := l.Get(spread(1 << 20)); ok {
		t.Error("an entry larger than all of L1 is in it")
	}
}
