package suite

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"
)

// board is what the processes of a propagation run tell each other in memory that all of them have mapped: the driver
// which write comes, each process what it has seen of it and when, by the machine's one clock. Nothing is sent, so nothing
// but the caches and what they hear is timed.
type board struct {
	words []uint64
	n     int // processes
}

// The board's words: first the number of the write that is awaited, and then two cache lines for each process.
const (
	boardHead  = 16
	boardLine  = 16
	boardReady = iota - 2 // the write that the process has seen, and holds near again
	boardOld              // when the last read began that gave an older value
	boardNew              // when the first read began that gave the new one
	boardPush             // when Redis's own push came
	boardEvent            // when the event was delivered to the instance
	boardRaw              // when a plain consumer of Kafka had its message
	boardFails            // reads that failed
	boardEnd
)

func openBoard(file string, n int) (*board, error) {
	words, err := mapped(file, boardHead+n*boardLine)
	return &board{words, n}, err
}

// newBoard is a fresh one and its file.
func (e *Env) newBoard(n int) (*board, string, error) {
	dir, err := e.data("board")
	if err != nil {
		return nil, "", err
	}
	file := filepath.Join(dir, fmt.Sprint(e.names.Add(1)))
	b, err := openBoard(file, n)
	return b, file, err
}

func (b *board) close(file string) {
	unmap(b.words)
	_ = os.Remove(file)
}

func (b *board) awaited() uint64 { return atomic.LoadUint64(&b.words[0]) }

func (b *board) at(process, what int) *uint64 { return &b.words[boardHead+process*boardLine+what] }

// first writes down now, unless something is there.
func (b *board) first(process, what int) {
	atomic.CompareAndSwapUint64(b.at(process, what), 0, uint64(time.Now().UnixNano()))
}

// last is the latest moment of all processes, 0 if one has none.
func (b *board) last(what int) (ns int64) {
	for p := range b.n {
		v := int64(atomic.LoadUint64(b.at(p, what)))
		if v == 0 {
			return 0
		}
		ns = max(ns, v)
	}
	return ns
}

// seen is what became of one write. Moments are nanoseconds since it was begun, -1 where there is none.
type seen struct {
	old, new       float64 // the last read of the old value began; the first began that gave the new one, on the last instance
	push, pushLast float64 // Redis's push came to the first process; to the last one
	event          float64 // the event was delivered to the last instance
	fails          uint64
	begun          int64
}

const (
	boardIdle = 300 * time.Microsecond // between looks for the next write
	// boardLead is how long before a write it is announced: readers have reached their pace by then.
	boardLead = 1500 * time.Microsecond
	patience  = 10 * time.Second
)

var errUnseen = errors.New("suite: an instance does not see a write, or does not hold it near again")

// watch announces a write, has it made, and waits until every process has seen it and is ready for the next.
func (b *board) watch(seq uint64, write func() (begun int64, err error)) (s seen, err error) {
	b.clear()
	atomic.StoreUint64(&b.words[0], seq)
	nap(boardLead + time.Duration(rand.IntN(500))*time.Microsecond)
	if s.begun, err = write(); err != nil {
		return s, err
	}
	deadline := time.Now().Add(patience)
	for p := 0; p < b.n; {
		if atomic.LoadUint64(b.at(p, boardReady)) >= seq {
			p++
			continue
		}
		if time.Now().After(deadline) {
			return s, fmt.Errorf("%w: process %d, write %d, after %v (old read %v, new read %v, push %v, failed reads %d)", errUnseen, p, seq, patience,
				s.since(int64(atomic.LoadUint64(b.at(p, boardOld)))), s.since(int64(atomic.LoadUint64(b.at(p, boardNew)))), s.since(int64(atomic.LoadUint64(b.at(p, boardPush)))),
				atomic.LoadUint64(b.at(p, boardFails)))
		}
		nap(100 * time.Microsecond)
	}
	var old int64
	for p := range b.n {
		old = max(old, int64(atomic.LoadUint64(b.at(p, boardOld))))
		s.fails += atomic.LoadUint64(b.at(p, boardFails))
	}
	s.old, s.new = max(0, s.since(old)), max(0, s.since(b.last(boardNew)))
	s.push, s.pushLast, s.event = s.since(int64(atomic.LoadUint64(b.at(0, boardPush)))), s.since(b.last(boardPush)), s.since(b.last(boardEvent))
	return s, nil
}

func (b *board) clear() {
	for p := range b.n {
		for what := boardOld; what < boardEnd; what++ {
			atomic.StoreUint64(b.at(p, what), 0)
		}
	}
}

func (s *seen) since(ns int64) float64 {
	if ns == 0 {
		return -1
	}
	return float64(ns - s.begun)
}
