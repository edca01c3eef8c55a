package coherence_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/nearcache/nearcache-go/coherence"
)

// journal is a sink that writes down what it is told, and knows which partitions are followed.
type journal struct {
	mu       sync.Mutex
	lines    []string
	followed []bool
}

func (j *journal) add(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, fmt.Sprintf(format, args...))
}

func (j *journal) set(p int, is bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.followed[p] = is
}

func (j *journal) Session(p int) { j.set(p, true); j.add("session %d", p) }
func (j *journal) Lost(p int)    { j.set(p, false); j.add("lost %d", p) }
func (j *journal) Resumed(p int) { j.set(p, true); j.add("resumed %d", p) }
func (j *journal) Partitions(n int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for len(j.followed) < n {
		j.followed = append(j.followed, false)
	}
	j.followed = j.followed[:n]
}
func (j *journal) Deliver(_ context.Context, p int, batch []coherence.Message) error {
	for _, m := range batch {
		j.add("%s at %d, barrier %t", m.Event.Key, p, m.Barrier != nil)
	}
	return nil
}
func (j *journal) Malformed(p int, err error) { j.add("malformed %d: %v", p, err) }
func (j *journal) Failed(p int, err error)    { j.add("failed %d: %v", p, err) }

// all reports whether every partition is followed, which is when a client vouches by events.
func (j *journal) all() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.followed) > 0 && !slices.Contains(j.followed, false)
}

// take returns the lines so far, and forgets them.
func (j *journal) take() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	lines := j.lines
	j.lines = nil
	return lines
}

// stream is an EventSource that a test drives by its sink.
type stream struct {
	sink chan coherence.Sink
	end  chan error
	ping error
}

func newStream() *stream {
	return &stream{sink: make(chan coherence.Sink, 1), end: make(chan error, 1)}
}

func (s *stream) Run(ctx context.Context, sink coherence.Sink) error {
	s.sink <- sink
	select {
	case <-ctx.Done():
		return ctx.Err()
	case err := <-s.end:
		return err
	}
}

func (s *stream) Ping(context.Context) error { return s.ping }

func change(key string) []coherence.Message {
	return []coherence.Message{{Event: coherence.Event{Namespace: "n", Key: key}}, {Barrier: &coherence.Barrier{}}}
}

func TestJoinEvents(t *testing.T) {
	a, b, out := newStream(), newStream(), &journal{}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- coherence.JoinEvents(a, b).Run(ctx, out) }()
	sa, sb := <-a.sink, <-b.sink
	expect := func(what string, all bool, want ...string) {
		t.Helper()
		if got := out.take(); !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", what, got, want)
		}
		if got := out.all(); got != all {
			t.Errorf("%s: everything followed is %t, want %t", what, got, all)
		}
	}
	deliver := func(s coherence.Sink, p int, key string) {
		t.Helper()
		if err := s.Deliver(ctx, p, change(key)); err != nil {
			t.Fatal(err)
		}
	}

	sa.Partitions(2)
	sa.Session(0)
	sa.Session(1)
	expect("the second stream has said nothing", false, "session 0", "session 1")
	sb.Failed(-1, errors.New("no topic"))
	expect("it fails as a whole", false, "failed 2: no topic")
	sb.Partitions(1)
	sb.Session(0)
	expect("both are followed", true, "session 2")
	deliver(sb, 0, "x")
	deliver(sa, 1, "y")
	expect("events keep their partitions, and barriers go", true, "x at 2, barrier false", "y at 1, barrier false")

	sa.Partitions(3)
	expect("a partition more moves the others", false, "resumed 0", "resumed 1", "resumed 3")
	deliver(sb, 0, "x")
	expect("they are delivered under their new numbers", false, "x at 3, barrier false")
	sa.Session(2)
	expect("the new one is followed", true, "session 2")

	sb.Lost(0)
	sb.Malformed(0, errors.New("bytes"))
	sa.Partitions(2) // another topic of the name, in a source that does not announce 0 before
	expect("what is lost stays lost", false, "lost 3", "malformed 3: bytes", "resumed 0", "resumed 1")
	sb.Resumed(0)
	expect("it goes on", true, "resumed 2")
	sa.Partitions(0)
	expect("a topic that is gone is not followed", false, "resumed 1")
	deliver(sa, 1, "z")
	sa.Session(1)
	expect("nothing comes of a partition that is not there", false)

	b.end <- errors.New("it can never work")
	if err := <-done; err == nil || err.Error() != "it can never work" {
		t.Errorf("got error %v, want that of the stream", err)
	}
}

func TestJoinEvents_EndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := coherence.JoinEvents(newStream(), newStream()).Run(ctx, &journal{}); !errors.Is(err, context.Canceled) {
		t.Errorf("got error %v, want context.Canceled", err)
	}
	if err := coherence.JoinEvents().Run(t.Context(), &journal{}); err == nil {
		t.Error("no streams: got no error")
	}
}

func TestJoinEvents_Pings(t *testing.T) {
	a, b := newStream(), newStream()
	b.ping = coherence.ErrMisconfigured
	p := coherence.JoinEvents(a, b).(coherence.Pinger)
	if err := p.Ping(t.Context()); !errors.Is(err, coherence.ErrMisconfigured) {
		t.Errorf("got error %v, want that of the second stream", err)
	}
	b.ping = nil
	if err := p.Ping(t.Context()); err != nil {
		t.Errorf("got error %v, want none", err)
	}
}

// slow is a journal whose Deliver waits.
type slow struct {
	journal
	delivering, end chan struct{}
}

func (s *slow) Deliver(context.Context, int, []coherence.Message) error {
	close(s.delivering)
	<-s.end
	return nil
}

// TestJoinEvents_LostDoesNotWait for what another stream delivers: a client must cease to vouch at once.
func TestJoinEvents_LostDoesNotWait(t *testing.T) {
	a, b := newStream(), newStream()
	out := &slow{delivering: make(chan struct{}), end: make(chan struct{})}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() { _ = coherence.JoinEvents(a, b).Run(ctx, out) }()
	sa, sb := <-a.sink, <-b.sink
	sa.Session(0)
	sb.Session(0)
	delivered := make(chan error, 1)
	go func() { delivered <- sa.Deliver(ctx, 0, change("x")) }()
	<-out.delivering
	sb.Lost(0)
	if out.all() {
		t.Error("the lost partition is followed")
	}
	close(out.end)
	if err := <-delivered; err != nil {
		t.Error(err)
	}
}
