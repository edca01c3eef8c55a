package eventstest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/nearcache/nearcache-go/coherence"
)

// kind is a call of the sink.
type kind string

const (
	session   kind = "session"
	lost      kind = "lost"
	resumed   kind = "resumed"
	malformed kind = "malformed"
	delivered kind = "event"
	barrier   kind = "barrier"
	refused   kind = "refused" // a delivery that the sink answered with an error
)

// entry is a line of a partition's log.
type entry struct {
	kind  kind
	event coherence.Event
	at    uint64 // of a barrier: its position
}

// sink writes down what it is told, by partition. An event is written down once it took effect, which may wait; see
// hold. What breaks the contract of coherence.Sink at once is noted as a fault.
type sink struct {
	mu         sync.Mutex
	partitions int
	announced  int // how often a number of partitions was
	log        map[int][]entry
	delivering map[int]int // deliveries of events under way
	numbers    map[int]*number
	failures   []error
	faults     []string
	ended      bool          // Run has returned
	held       chan struct{} // while not nil, events wait until it is closed
	refuse     int           // that many deliveries of events are answered with an error
	position   func(ctx context.Context) (coherence.Position, error)
}

// number is the last one of a partition, where the follower passes the relay's numbers on.
type number struct {
	known bool
	seq   uint64
}

func newSink() *sink {
	return &sink{log: make(map[int][]entry), delivering: make(map[int]int), numbers: make(map[int]*number)}
}

// called takes the lock for a call of the follower's. The caller releases it.
func (s *sink) called(what string, p int) {
	s.mu.Lock()
	switch {
	case s.ended:
		s.fault("%s of partition %d after Run had returned", what, p)
	case p >= s.partitions:
		s.fault("%s of partition %d, where %d were announced", what, p, s.partitions)
	}
}

func (s *sink) fault(format string, args ...any) {
	s.faults = append(s.faults, fmt.Sprintf(format, args...))
}

func (s *sink) note(p int, e entry) { s.log[p] = append(s.log[p], e) }

// Session implements coherence.Sink.
func (s *sink) Session(p int) {
	s.called("Session", p)
	defer s.mu.Unlock()
	s.numbers[p] = nil
	s.note(p, entry{kind: session})
}

// Lost implements coherence.Sink.
func (s *sink) Lost(p int) {
	s.called("Lost", p)
	defer s.mu.Unlock()
	s.note(p, entry{kind: lost})
}

// Resumed implements coherence.Sink.
func (s *sink) Resumed(p int) {
	s.called("Resumed", p)
	defer s.mu.Unlock()
	s.note(p, entry{kind: resumed})
}

// Malformed implements coherence.Sink.
func (s *sink) Malformed(p int, _ error) {
	s.called("Malformed", p)
	defer s.mu.Unlock()
	s.note(p, entry{kind: malformed})
}

// Failed implements coherence.Sink.
func (s *sink) Failed(_ int, err error) {
	s.called("Failed", -1)
	defer s.mu.Unlock()
	if err == nil {
		s.fault("Failed without an error")
	}
	s.failures = append(s.failures, err)
}

// Partitions implements coherence.Sink.
func (s *sink) Partitions(n int) {
	s.called("Partitions", -1)
	defer s.mu.Unlock()
	s.partitions = n
	s.announced++
}

// AskPositions implements coherence.PositionSink.
func (s *sink) AskPositions(position func(ctx context.Context) (coherence.Position, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.position = position
}

// Deliver implements coherence.Sink.
func (s *sink) Deliver(ctx context.Context, p int, batch []coherence.Message) error {
	events := slices.ContainsFunc(batch, func(m coherence.Message) bool { return m.Barrier == nil })
	if err := s.begin(p, events); err != nil {
		return err
	}
	defer s.end(p, events)
	for _, m := range batch {
		if m.Barrier == nil {
			if err := s.wait(ctx); err != nil {
				return err
			}
		}
		s.took(p, m)
	}
	return nil
}

var errRefused = errors.New("eventstest: the sink refuses a delivery")

func (s *sink) begin(p int, events bool) error {
	s.called("Deliver", p)
	defer s.mu.Unlock()
	if !slices.ContainsFunc(s.log[p], func(e entry) bool { return e.kind == session || e.kind == resumed }) {
		s.fault("a delivery to partition %d before its session", p)
	}
	if !events {
		return nil
	}
	if s.refuse > 0 {
		s.refuse--
		s.note(p, entry{kind: refused})
		return errRefused
	}
	if s.delivering[p]++; s.delivering[p] > 1 {
		s.fault("two deliveries of events to partition %d at a time", p)
	}
	return nil
}

func (s *sink) end(p int, events bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if events {
		s.delivering[p]--
	}
}

// wait waits while deliveries are held.
func (s *sink) wait(ctx context.Context) error {
	s.mu.Lock()
	held := s.held
	s.mu.Unlock()
	if held == nil {
		return ctx.Err()
	}
	select {
	case <-held:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// took writes down a message that took effect. A number that skips ahead counts as a session, as a client sees it.
func (s *sink) took(p int, m coherence.Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	seq, step := m.Event.Seq, uint64(1)
	if m.Barrier != nil {
		seq, step = m.Barrier.Seq, 0
	}
	last := s.numbers[p]
	if last == nil {
		last = &number{}
		s.numbers[p] = last
	}
	if seq > 0 {
		if last.known && seq > last.seq+step {
			s.note(p, entry{kind: session})
		}
		last.known, last.seq = true, max(last.seq, seq)
	}
	if m.Barrier == nil {
		s.note(p, entry{kind: delivered, event: m.Event})
		return
	}
	if m.Barrier.Partitions == s.partitions {
		s.note(p, entry{kind: barrier, at: m.Barrier.Position.N})
	}
}

// hold makes events wait until the function that it returns is called.
func (s *sink) hold() (release func()) {
	held := make(chan struct{})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held = held
	return sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.held = nil
		close(held)
	})
}

// busy reports whether a delivery of events is under way.
func (s *sink) busy() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range s.delivering {
		if n > 0 {
			return true
		}
	}
	return false
}

func (s *sink) of(p int) []entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.log[p])
}

func (s *sink) count(p int, k kind) (n int) {
	for _, e := range s.of(p) {
		if e.kind == k {
			n++
		}
	}
	return n
}

func (s *sink) has(p int, key string) bool {
	return slices.ContainsFunc(s.of(p), func(e entry) bool { return e.kind == delivered && e.event.Key == key })
}

func (s *sink) hasBarrier(p int, at uint64) bool {
	return slices.ContainsFunc(s.of(p), func(e entry) bool { return e.kind == barrier && e.at >= at })
}

func (s *sink) failed() []error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.failures)
}

// follower is a Run of an EventSource.
type follower struct {
	*sink
	t      T
	cancel context.CancelFunc
	done   chan struct{}
	err    error // once done is closed
}

// follow begins to follow. The caller stops it.
func follow(t T, events coherence.EventSource) *follower {
	ctx, cancel := context.WithCancel(t.Context())
	f := &follower{sink: newSink(), t: t, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(f.done)
		f.err = events.Run(ctx, f.sink)
		f.mu.Lock()
		defer f.mu.Unlock()
		f.ended = true
	}()
	return f
}

// following follows, and waits for the session of each partition.
func following(t T, h Harness, n int) *follower {
	t.Helper()
	f := follow(t, h.Events())
	f.sessions(n, 1)
	return f
}

// sessions waits until each of n partitions has begun that many sessions.
func (f *follower) sessions(n, sessions int) {
	f.t.Helper()
	for p := range n {
		eventually(f.t, fmt.Sprintf("session %d of partition %d", sessions, p), func() bool {
			return f.count(p, session) >= sessions
		})
	}
}

// delivers waits until each partition has its key.
func (f *follower) delivers(keys []string) {
	f.t.Helper()
	for p, key := range keys {
		eventually(f.t, fmt.Sprintf("%s is delivered to partition %d", key, p), func() bool { return f.has(p, key) })
	}
}

// stop ends it, and reports what broke the contract. It is deferred, so it also runs after a Fatalf.
func (f *follower) stop() {
	f.t.Helper()
	f.cancel()
	select {
	case <-f.done:
	case <-time.After(patience):
		f.t.Errorf("Run has not returned %v after its context ended", patience)
		return
	}
	if f.err != nil && !errors.Is(f.err, context.Canceled) {
		f.t.Errorf("Run returned %v, want nil or its context's error", f.err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, fault := range f.faults {
		f.t.Errorf("%s", fault)
	}
}
