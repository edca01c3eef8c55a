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

// truth is the source of truth that several processes share, in a file that all of them have in memory: so that a reader
// can tell whether what it got was old when it asked, without asking anybody. A value is a sequence number and padding.
//
// Of each key it has the number that the source has, the number that a writer has been told is in Redis, and when each of
// the last of those was.
type truth struct {
	words []uint64
	bytes int // of a value
}

const (
	truthHead = 8  // words before the keys; the first is the position in the commit order
	truthRing = 30 // moments that are kept of each key
	truthKey  = 2 + truthRing
)

func openTruth(file string, keys, bytes int) (*truth, error) {
	words, err := mapped(file, truthHead+keys*truthKey)
	return &truth{words: words, bytes: bytes}, err
}

// mapped is a file's words in memory, which every process has that asks for them.
func mapped(file string, words int) ([]uint64, error) {
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

func unmap(words []uint64) {
	_ = syscall.Munmap(unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), len(words)*8))
}

func (t *truth) close() { unmap(t.words) }

func (t *truth) stored(k int) *uint64    { return &t.words[truthHead+k*truthKey] }
func (t *truth) committed(k int) *uint64 { return &t.words[truthHead+k*truthKey+1] }
func (t *truth) moment(k int, seq uint64) *uint64 {
	return &t.words[truthHead+k*truthKey+2+int(seq%truthRing)]
}

// commit says that the number is in Redis.
func (t *truth) commit(k int, seq uint64) {
	atomic.StoreUint64(t.moment(k, seq), uint64(time.Now().UnixNano()))
	atomic.StoreUint64(t.committed(k), seq)
}

// age is how old a value with a number was at a moment, when a later one had been committed before: since the first of
// those, or the first that is still known.
func (t *truth) age(k int, seq, committed uint64, at time.Time) time.Duration {
	first := seq + 1
	if committed-seq > truthRing-2 {
		first = committed - truthRing + 2
	}
	return time.Duration(at.UnixNano() - int64(atomic.LoadUint64(t.moment(k, first))))
}

// value is a number with its padding.
func (t *truth) value(seq uint64) string {
	b := make([]byte, t.bytes)
	for i := range b {
		b[i] = '.'
	}
	copy(b, fmt.Sprintf("%016x", seq))
	return string(b)
}

// number reads it again.
func number(v string) (n uint64) {
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

// keyName is the key that all processes call k.
func keyName(prefix string, k int) string { return fmt.Sprintf("%s-%06d", prefix, k) }

// Load implements peers.Source.
func (t *truth) Load(_ context.Context, key string) (string, uint64, error) {
	k, err := strconv.Atoi(key[len(key)-6:])
	if err != nil {
		return "", 0, err
	}
	seq := atomic.LoadUint64(t.stored(k))
	return t.value(seq), seq, nil
}

// Store implements peers.Source.
func (t *truth) Store(context.Context, string, string) (uint64, error) { return 0, errReadOnly }

// Remove implements peers.Source.
func (t *truth) Remove(context.Context, string) (uint64, error) { return 0, errReadOnly }

var errReadOnly = errors.New("suite: only the driver writes")

// Position implements coherence.Source.
func (t *truth) Position(context.Context) (coherence.Position, error) {
	return coherence.Position{Timeline: 1, N: atomic.LoadUint64(&t.words[0])}, nil
}

// Abilities implements coherence.Source.
func (t *truth) Abilities() coherence.Abilities { return coherence.Abilities{} }

// Changes implements coherence.Source; the relay asks the driver's own source.
func (t *truth) Changes(context.Context, coherence.Position, int) ([]coherence.Event, coherence.Position, error) {
	return nil, coherence.Position{}, errReadOnly
}

var _ peers.Source[string] = (*truth)(nil)
