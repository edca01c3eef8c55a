//go:build unix

package history

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// Op is what an operation was.
type Op uint8

// The operations.
const (
	Plain       Op = iota + 1 // a read that asks for nothing
	Bounded                   // a read with a bound on staleness
	AtLeast                   // a read with a least version
	Fresh                     // a read of the source
	ServeStale                // a read that takes a stale value if need be, with a bound otherwise
	Sweep                     // a plain read while all is quiet: it must give the newest version
	Begin                     // a write is about to begin; Hash is its number
	End                       // a write's transaction has ended; Hash is its number
	Invalidated               // a write's invalidation has ended as well, as far as its process takes part in it
	Gate                      // a look at what is proved: Staleness, negative for nothing
	Ask                       // a question to Redis or to the source, to know whether it answers
)

var opNames = [...]string{"?", "plain", "bounded", "at least", "fresh", "serve stale", "sweep", "begin", "end",
	"invalidated", "gate", "ask"}

// String is the operation's name.
func (o Op) String() string { return opNames[min(int(o), len(opNames)-1)] }

// Tier is where a value came from. The numbers are nearcache's.
type Tier uint8

// The tiers.
const (
	None Tier = iota
	L1
	L2
	Source
	Hidden // by a Get, which does not say
	tiers
)

var tierNames = [...]string{"none", "L1", "L2", "source", "hidden"}

// String is the tier's name.
func (t Tier) String() string { return tierNames[min(int(t), len(tierNames)-1)] }

// Flags are what a result said about itself.
type Flags uint8

// The flags.
const (
	Absent   Flags = 1 << iota // the key does not exist
	Stale                      // the result is labelled stale
	Failed                     // there was an error instead of a result; a write's End: it certainly changed nothing
	NotReady                   // the error was that the least version is not there yet
	Unknown                    // a write's End: whether it committed is not known; a read: an absence without its version
)

// Record is one operation as its process saw it.
type Record struct {
	Invoke    int64
	Return    int64
	Version   uint64
	Hash      uint64        // of the value; of a write: its number
	Bound     time.Duration // the bound asked for; 0: none
	Param     uint64        // AtLeast's version, or ServeStale's cap in nanoseconds
	Staleness time.Duration // what the result claims, or Gate found
	Age       time.Duration
	Key       uint32
	Process   uint16
	Op        Op
	Tier      Tier
	Flags     Flags
}

// recordSize is a record's length in a file: everything but the process, which the file's header has.
const recordSize = 8*8 + 4 + 3 + 1

// magic begins a file, and names the format.
const magic = "NCHIST01"

// Header says whose a file is.
type Header struct {
	Process    uint16        // unique in a run: a program started again is another process
	Instance   uint16        // which of the instances it is; NoInstance: something else, a writer
	ClockError time.Duration // how far its clock is off at most
}

// NoInstance is the Instance of a process without a cache.
const NoInstance = 0xffff

const headerSize = len(magic) + 2 + 2 + 8

// Log streams the records of one process to a file. Safe for concurrent use.
type Log struct {
	Clock
	mu  sync.Mutex
	f   *os.File
	w   *bufio.Writer
	err error
}

// Create makes a process's file.
func Create(path string, h Header) (*Log, error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, fmt.Errorf("history: %w", err)
	}
	l := &Log{Clock: NewClock(), f: f, w: bufio.NewWriterSize(f, 512*recordSize)}
	b := append(make([]byte, 0, headerSize), magic...)
	b = binary.LittleEndian.AppendUint16(b, h.Process)
	b = binary.LittleEndian.AppendUint16(b, h.Instance)
	b = binary.LittleEndian.AppendUint64(b, uint64(l.Error))
	if _, err := f.Write(b); err != nil {
		return nil, fmt.Errorf("history: %w", errors.Join(err, f.Close()))
	}
	return l, nil
}

// Append adds a record. The last ones are lost if the process is killed.
func (l *Log) Append(r *Record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.append(r)
}

// AppendNow adds a record that outlives the process from here on: that a write begins must be known whatever happens.
func (l *Log) AppendNow(r *Record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.append(r)
	l.fail(l.w.Flush())
}

func (l *Log) append(r *Record) {
	var a [recordSize]byte
	b := a[:0]
	for _, v := range [...]uint64{uint64(r.Invoke), uint64(r.Return), r.Version, r.Hash, uint64(r.Bound), r.Param,
		uint64(r.Staleness), uint64(r.Age)} {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	b = binary.LittleEndian.AppendUint32(b, r.Key)
	b = append(b, byte(r.Op), byte(r.Tier), byte(r.Flags), 0)
	_, err := l.w.Write(b)
	l.fail(err)
}

func (l *Log) fail(err error) {
	if l.err == nil && err != nil {
		l.err = err
	}
}

// Flush hands over what is buffered, and says whether anything was lost so far.
func (l *Log) Flush() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fail(l.w.Flush())
	if l.err != nil {
		return fmt.Errorf("history: %w", l.err)
	}
	return nil
}

// Close flushes and closes the file.
func (l *Log) Close() error { return errors.Join(l.Flush(), l.f.Close()) }

// ReadFile reads a process's file. A file may end within a record if its process was killed; that record counts as
// not written.
func ReadFile(path string, each func(Record)) (h Header, err error) {
	f, err := os.Open(path)
	if err != nil {
		return h, fmt.Errorf("history: %w", err)
	}
	defer f.Close()
	in := bufio.NewReaderSize(f, 1<<20)
	var head [headerSize]byte
	if _, err := io.ReadFull(in, head[:]); err != nil || string(head[:len(magic)]) != magic {
		return h, fmt.Errorf("history: %s is not a history: it begins with %q", path, head[:len(magic)])
	}
	rest := head[len(magic):]
	h = Header{Process: binary.LittleEndian.Uint16(rest), Instance: binary.LittleEndian.Uint16(rest[2:]),
		ClockError: time.Duration(binary.LittleEndian.Uint64(rest[4:]))}
	var b [recordSize]byte
	for {
		switch _, err := io.ReadFull(in, b[:]); {
		case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
			return h, nil
		case err != nil:
			return h, fmt.Errorf("history: %s: %w", path, err)
		}
		u := func(i int) uint64 { return binary.LittleEndian.Uint64(b[8*i:]) }
		each(Record{Invoke: int64(u(0)), Return: int64(u(1)), Version: u(2), Hash: u(3), Bound: time.Duration(u(4)),
			Param:     u(5),
			Staleness: time.Duration(u(6)), Age: time.Duration(u(7)),
			Key: binary.LittleEndian.Uint32(b[64:]), Process: h.Process,
			Op: Op(b[68]), Tier: Tier(b[69]), Flags: Flags(b[70])})
	}
}
