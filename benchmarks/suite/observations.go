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

// observations is memory that the processes of a propagation run share. The driver announces a write there, and each
// process records what it has seen of the write and when, by the one clock of the machine. The processes send each
// other nothing, so that only the caches are timed.
type observations struct {
	words     []uint64
	processes int // processes
}

// The words: first the number of the announced write, and then two cache lines for each process.
const (
	obsHeaderWords  = 16
	obsProcessWords = 16
	obsReady        = iota - 2 // the write that the process has seen, and holds in L1
	obsOldRead                 // when the last read began that returned an older value
	obsNewRead                 // when the first read began that returned the new one
	obsPush                    // when Redis's own push arrived
	obsEvent                   // when the event was delivered to the instance
	obsPlain                   // when the plain consumer of Kafka had its message
	obsFailedReads             // reads that failed
	obsEnd
)

func openObservations(file string, n int) (*observations, error) {
	words, err := mapFile(file, obsHeaderWords+n*obsProcessWords)
	return &observations{words, n}, err
}

// newObservations makes a file and maps it.
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

// recordOnce records the time, unless there is one already.
func (b *observations) recordOnce(process, what int) {
	atomic.CompareAndSwapUint64(b.at(process, what), 0, uint64(time.Now().UnixNano()))
}

// latest is the latest time of all processes, or 0 if one of them has none.
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

// observation is what all processes saw of one write. Times are nanoseconds since its start, -1 if there is none.
type observation struct {
	oldRead        float64 // the last read of the old value began
	newRead        float64 // the last instance began its first read of the new value
	push, pushLast float64 // Redis's push reached the first process; the last one
	event          float64 // the event was delivered to the last instance
	failedReads    uint64
	start          int64
}

const (
	obsIdle = 300 * time.Microsecond // the interval between looks for the next write
	// obsLead is the time from the announcement to the write. By then the readers read at their pace.
	obsLead        = 1500 * time.Microsecond
	observeTimeout = 10 * time.Second
)

var errNotObserved = errors.New("suite: an instance does not see a write, or does not hold it in L1")

// observe announces a write, makes it, and waits until every process has seen it and is ready for the next one.
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
			at := func(what int) float64 { return s.since(int64(atomic.LoadUint64(b.at(p, what)))) }
			return s, fmt.Errorf("%w: process %d, write %d, after %v (old read %v, new read %v, push %v, failed reads %d)",
				errNotObserved, p, seq, observeTimeout, at(obsOldRead), at(obsNewRead), at(obsPush),
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
