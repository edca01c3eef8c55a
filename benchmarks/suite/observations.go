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
type observations struct {
	words     []uint64
	processes int // processes
}

// The board's words: first the number of the write that is awaited, and then two cache lines for each process.
const (
	obsHeaderWords  = 16
	obsProcessWords = 16
	obsReady        = iota - 2 // the write that the process has seen, and holds near again
	obsOldRead                 // when the last read began that gave an older value
	obsNewRead                 // when the first read began that gave the new one
	obsPush                    // when Redis's own push came
	obsEvent                   // when the event was delivered to the instance
	obsPlain                   // when a plain consumer of Kafka had its message
	obsFailedReads             // reads that failed
	obsEnd
)

func openObservations(file string, n int) (*observations, error) {
	words, err := mapFile(file, obsHeaderWords+n*obsProcessWords)
	return &observations{words, n}, err
}

// newBoard is a fresh one and its file.
func (e *Env) newObservations(n int) (*observations, string, error) {
	dir, err := e.dataDir("board")
	if err != nil {
		return nil, "", err
	}
	file := filepath.Join(dir, fmt.Sprint(e.names.Add(1)))
	b, err := openObservations(file, n)
	return b, file, err
}

func (b *observations) close(file string) {
	unmapFile(b.words)
	_ = os.Remove(file)
}

func (b *observations) awaited() uint64 { return atomic.LoadUint64(&b.words[0]) }

func (b *observations) at(process, what int) *uint64 {
	return &b.words[obsHeaderWords+process*obsProcessWords+what]
}

// first writes down now, unless something is there.
func (b *observations) recordOnce(process, what int) {
	atomic.CompareAndSwapUint64(b.at(process, what), 0, uint64(time.Now().UnixNano()))
}

// last is the latest moment of all processes, 0 if one has none.
func (b *observations) latest(what int) (ns int64) {
	for p := range b.processes {
		v := int64(atomic.LoadUint64(b.at(p, what)))
		if v == 0 {
			return 0
		}
		ns = max(ns, v)
	}
	return ns
}

// seen is what became of one write. Moments are nanoseconds since it was begun, -1 where there is none.
type observation struct {
	oldRead, newRead float64 // the last read of the old value began; the first began that gave the new one, on the last instance
	push, pushLast   float64 // Redis's push came to the first process; to the last one
	event            float64 // the event was delivered to the last instance
	failedReads      uint64
	start            int64
}

const (
	obsIdle = 300 * time.Microsecond // between looks for the next write
	// boardLead is how long before a write it is announced: readers have reached their pace by then.
	obsLead        = 1500 * time.Microsecond
	observeTimeout = 10 * time.Second
)

var errNotObserved = errors.New("suite: an instance does not see a write, or does not hold it near again")

// watch announces a write, has it made, and waits until every process has seen it and is ready for the next.
func (b *observations) observe(seq uint64, write func() (begun int64, err error)) (s observation, err error) {
	b.clear()
	atomic.StoreUint64(&b.words[0], seq)
	preciseSleep(obsLead + time.Duration(rand.IntN(500))*time.Microsecond)
	if s.start, err = write(); err != nil {
		return s, err
	}
	deadline := time.Now().Add(observeTimeout)
	for p := 0; p < b.processes; {
		if atomic.LoadUint64(b.at(p, obsReady)) >= seq {
			p++
			continue
		}
		if time.Now().After(deadline) {
			return s, fmt.Errorf("%w: process %d, write %d, after %v (old read %v, new read %v, push %v, failed reads %d)", errNotObserved, p, seq, observeTimeout,
				s.since(int64(atomic.LoadUint64(b.at(p, obsOldRead)))),
				s.since(int64(atomic.LoadUint64(b.at(p, obsNewRead)))),
				s.since(int64(atomic.LoadUint64(b.at(p, obsPush)))),
				atomic.LoadUint64(b.at(p, obsFailedReads)))
		}
		preciseSleep(100 * time.Microsecond)
	}
	var old int64
	for p := range b.processes {
		old = max(old, int64(atomic.LoadUint64(b.at(p, obsOldRead))))
		s.failedReads += atomic.LoadUint64(b.at(p, obsFailedReads))
	}
	s.oldRead, s.newRead = max(0, s.since(old)), max(0, s.since(b.latest(obsNewRead)))
	s.push, s.pushLast, s.event = s.since(int64(atomic.LoadUint64(b.at(0, obsPush)))), s.since(b.latest(obsPush)),
		s.since(b.latest(obsEvent))
	return s, nil
}

func (b *observations) clear() {
	for p := range b.processes {
		for what := obsOldRead; what < obsEnd; what++ {
			atomic.StoreUint64(b.at(p, what), 0)
		}
	}
}

func (s *observation) since(ns int64) float64 {
	if ns == 0 {
		return -1
	}
	return float64(ns - s.start)
}
