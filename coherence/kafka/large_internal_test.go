//go:build !race

package kafka

import (
	"errors"
	"runtime"
	"slices"
	"testing"

	"github.com/segmentio/kafka-go/protocol"
)

// TestLarge_ABombTakesBoundedMemory: a batch of some hundred kilobytes took 340 MB on every instance.
func TestLarge_ABombTakesBoundedMemory(t *testing.T) {
	zeros := make([]byte, 150<<20)
	for _, compression := range []protocol.Attributes{protocol.Gzip, protocol.Zstd, protocol.Lz4, protocol.Snappy} {
		b := recordBatch(t, 0, compression, -1, zeros, []byte("after"))
		var before, after runtime.MemStats
		var size int64
		var last string
		rd := &reading{lost: func(_, _ int64, err error) error { return err },
			record: func(r *record) error { size, last = max(size, r.value.size), string(r.value.data); return nil }}
		runtime.ReadMemStats(&before)
		err := rd.read(b)
		runtime.ReadMemStats(&after)
		if err != nil || size != 150<<20 || last != "after" || rd.next != 2 {
			t.Errorf("%v: %d bytes, %q, next %d, %v", compression, size, last, rd.next, err)
		}
		most := uint64(32 << 20)
		if compression == protocol.Snappy { // its blocks are allocated, one after the other
			most = 512 << 20
		}
		if n := after.TotalAlloc - before.TotalAlloc; n > most {
			t.Errorf("%v: %d bytes of batch took %d MB", compression, len(b), n>>20)
		}
	}
}

// TestLarge_ABatchThatInflatesForEver is given up, and what follows is read.
func TestLarge_ABatchThatInflatesForEver(t *testing.T) {
	many := recordBatch(t, 0, protocol.Gzip, -1, make([][]byte, maxInBatch+1)...)
	if s := readAll(t, 0, nil, many); len(s.lost) != 1 || !errors.Is(s.lost[0], errBomb) ||
		len(s.values) != maxInBatch || s.next != maxInBatch+1 {
		t.Errorf("%v, %d values, next %d", s.lost, len(s.values), s.next)
	}
	zeros := make([]byte, 90<<20)
	data := slices.Concat(recordBatch(t, 0, protocol.Gzip, -1, zeros, zeros, zeros), recordBatch(t, 3, 0, -1,
		[]byte("after")))
	s := readAll(t, 0, nil, data)
	if len(s.lost) != 1 || !errors.Is(s.lost[0], errBomb) || s.values[len(s.values)-1] != "after" || s.next != 4 {
		t.Errorf("%v, %d values, next %d", s.lost, len(s.values), s.next)
	}
}
