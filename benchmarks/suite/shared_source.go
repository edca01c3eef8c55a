package suite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"github.com/nearcache/nearcache-go/benchmarks/peers"
	"github.com/nearcache/nearcache-go/coherence"
)

// sharedSource is the source of truth of several processes, in a file that all of them map into memory. A reader can
// tell without a request whether the value it got was already old when it began to read. A value is a sequence number
// and padding.
//
// For each key it holds the number in the source, the number whose write was acknowledged, and the times of the last
// acknowledgements.
type sharedSource struct {
	words []uint64
	bytes int // of a value
}

const (
	sharedHeaderWords = 8  // before the keys; the first word is the position in the commit order
	sharedTimes       = 30 // the times that are kept for each key
	sharedKeyWords    = 2 + sharedTimes
)

func openSharedSource(file string, keys, bytes int) (*sharedSource, error) {
	words, err := mapFile(file, sharedHeaderWords+keys*sharedKeyWords)
	return &sharedSource{words: words, bytes: bytes}, err
}

// mapFile maps a file into memory, shared with every process that maps it.
func mapFile(file string, words int) ([]uint64, error) {
	f, err := os.OpenFile(file, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size := 8 * words
	if err := f.Truncate(int64(size)); err != nil {
		return nil, err
	}
	b, err := syscall.Mmap(int(f.Fd()), 0, size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("suite: map %s: %w", file, err)
	}
	return unsafe.Slice((*uint64)(unsafe.Pointer(&b[0])), words), nil
}

func unmapFile(words []uint64) {
	_ = syscall.Munmap(unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), len(words)*8))
}

func (t *sharedSource) close() { unmapFile(t.words) }

func (t *sharedSource) stored(k int) *uint64 { return &t.words[sharedHeaderWords+k*sharedKeyWords] }
func (t *sharedSource) committed(k int) *uint64 {
	return &t.words[sharedHeaderWords+k*sharedKeyWords+1]
}
func (t *sharedSource) commitTime(k int, seq uint64) *uint64 {
	return &t.words[sharedHeaderWords+k*sharedKeyWords+2+int(seq%sharedTimes)]
}

// commit records that the write of a number was acknowledged.
func (t *sharedSource) commit(k int, seq uint64) {
	atomic.StoreUint64(t.commitTime(k, seq), uint64(time.Now().UnixNano()))
	atomic.StoreUint64(t.committed(k), seq)
}

// age returns how old the value seq was at a moment, if a later one was acknowledged before: the time since the first
// of the later ones, or since the first whose time is still known.
func (t *sharedSource) age(k int, seq, committed uint64, at time.Time) time.Duration {
	first := seq + 1
	if committed-seq > sharedTimes-2 {
		first = committed - sharedTimes + 2
	}
	return time.Duration(at.UnixNano() - int64(atomic.LoadUint64(t.commitTime(k, first))))
}

// value returns the value of a number.
func (t *sharedSource) value(seq uint64) string {
	b := make([]byte, t.bytes)
	for i := range b {
		b[i] = '.'
	}
	copy(b, fmt.Sprintf("%016x", seq))
	return string(b)
}

// sequenceOf returns the number of a value.
func sequenceOf(v string) (n uint64) {
	if len(v) < 16 {
		return 0
	}
	for i := range 16 {
		c := uint64(v[i])
		if c >= 'a' {
			c -= 'a' - 10
		} else {
			c -= '0'
		}
		n = n<<4 | c&15
	}
	return n
}

// keyName is key number k in all processes.
func keyName(prefix string, k int) string { return fmt.Sprintf("%s-%06d", prefix, k) }

// Load implements peers.Source.
func (t *sharedSource) Load(_ context.Context, key string) (string, uint64, error) {
	k, err := strconv.Atoi(key[len(key)-6:])
	if err != nil {
		return "", 0, err
	}
	seq := atomic.LoadUint64(t.stored(k))
	return t.value(seq), seq, nil
}

// Store implements peers.Source.
func (t *sharedSource) Store(context.Context, string, string) (uint64, error) { return 0, errReadOnly }

// Remove implements peers.Source.
func (t *sharedSource) Remove(context.Context, string) (uint64, error) { return 0, errReadOnly }

var errReadOnly = errors.New("suite: this source is read-only")

// Abilities implements coherence.Source.
func (t *sharedSource) Abilities() coherence.Abilities { return coherence.Abilities{} }

// Position implements coherence.Source.
func (t *sharedSource) Position(context.Context) (coherence.Position, error) {
	return coherence.Position{Timeline: 1, N: atomic.LoadUint64(&t.words[0])}, nil
}

// Changes implements coherence.Source. No relay uses this source.
func (t *sharedSource) Changes(context.Context, coherence.Position, int) ([]coherence.Event, coherence.Position,
	error) {
	return nil, coherence.Position{}, errReadOnly
}

var _ peers.Source[string] = (*sharedSource)(nil)
