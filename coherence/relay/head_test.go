package relay_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/relay"
	"github.com/nearcache/nearcache-go/internal/l2"
	"github.com/nearcache/nearcache-go/internal/testkit"
)

// idling is a source that counts what it is asked. A test may hold its Position, after it was read.
type idling struct {
	waking
	positions, changes, saved atomic.Int64
	hold                      atomic.Pointer[chan struct{}]
	stuck                     *coherence.Position // what Position says in any case; nil: the truth
}

func newIdling() *idling {
	return &idling{waking: waking{outbox: newOutbox(), wake: make(chan struct{})}}
}

func (s *idling) Position(ctx context.Context) (coherence.Position, error) {
	s.positions.Add(1)
	p, err := s.waking.Position(ctx)
	if hold := s.hold.Load(); hold != nil {
		<-*hold
	}
	if s.stuck != nil {
		p = *s.stuck
	}
	return p, err
}

func (s *idling) Changes(ctx context.Context, after coherence.Position, limit int) ([]coherence.Event,
	coherence.Position, error) {
	s.changes.Add(1)
	return s.waking.Changes(ctx, after, limit)
}

func (s *idling) SaveCursor(ctx context.Context, name string, c coherence.Cursor) error {
	s.saved.Add(1)
	return s.waking.SaveCursor(ctx, name, c)
}

// late is a topic whose first answer takes half an interval: so the rounds of the two channels alternate.
type late struct {
	*testkit.Topic
	once sync.Once
}

func (l *late) Partitions(ctx context.Context) (int, error) {
	l.once.Do(func() { <-time.After(50 * time.Millisecond) })
	return l.Topic.Partitions(ctx)
}

// sleeper is a source whose commits wake nobody.
type sleeper struct{ coherence.Source }

func (s sleeper) Abilities() coherence.Abilities {
	a := coherence.AbilitiesOf(s.Source)
	a.Waker = nil
	return a
}

func announced(s *idling) coherence.Source { return s }

// polled has nothing but the interval make the relay look.
func polled(s *idling) coherence.Source { return sleeper{s} }

// inIdleBubble relays a source to a Redis and a topic on fake time, until the end of f.
func inIdleBubble(
	t *testing.T,
	as func(*idling) coherence.Source,
	f func(src *idling, red *redisFake, top *testkit.Topic),
) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		top := testkit.NewTopic(1)
		idle := newIdling()
		red := onServers(t, idle.outbox, l2.AllBuckets)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			r := relay.Relay{Source: as(idle), Publisher: &late{Topic: top}, Interval: 100 * time.Millisecond}
			if err := r.RunOn(ctx, red); err != nil {
				t.Error(err)
			}
		})
		defer wg.Wait()
		defer cancel()
		pass(time.Second)
		idle.add("a")
		pass(9 * time.Second)
		f(idle, red, top)
	})
}

func TestRelay_AsksAnIdleSourceForItsPositionAlone(t *testing.T) {
	inIdleBubble(t, polled, func(src *idling, red *redisFake, top *testkit.Topic) {
		positions, changes, saved := src.positions.Load(), src.changes.Load(), src.saved.Load()
		rounds := red.state().published
		pass(time.Minute)
		if got := src.changes.Load() - changes; got > 2*61 {
			t.Errorf("asked for changes %d times in an idle minute, want once a second for each channel", got)
		}
		if got := src.positions.Load() - positions; got < 590 {
			t.Errorf("asked for the position %d times in a minute, want once for each round", got)
		}
		if got := red.state().published - rounds; got < 590 {
			t.Errorf("%d rounds in a minute, want ten a second", got)
		}
		if got := src.saved.Load() - saved; got > 0 {
			t.Errorf("the cursor was saved %d times, and nothing had happened", got)
		}
	})
}

// A commit that nothing announces is found by the next round of Redis, and goes to the topic at once.
func TestRelay_PollsForBothChannels(t *testing.T) {
	inIdleBubble(t, polled, func(src *idling, red *redisFake, top *testkit.Topic) {
		for range 20 {
			before := len(top.Events(0))
			until := red.state().published
			for red.state().published == until { // just after a round
				pass(time.Millisecond)
			}
			pass(20 * time.Millisecond)
			src.add("b") // the topic's round comes before that of Redis
			for begun := time.Now(); len(top.Events(0)) == before; pass(time.Millisecond) {
				if time.Since(begun) > 85*time.Millisecond {
					t.Fatal("an event waited for a round of its channel, and Redis had found it before")
				}
			}
			pass(310 * time.Millisecond)
		}
	})
}

// A position that was being read when the source woke the relay says nothing about what woke it.
func TestRelay_AWakeIsNewerThanTheHead(t *testing.T) {
	inIdleBubble(t, announced, func(src *idling, red *redisFake, top *testkit.Topic) {
		pass(300 * time.Millisecond) // the topic's barrier was sent, and with it the head was read
		before := len(top.Events(0))
		hold := make(chan struct{})
		src.hold.Store(&hold)
		pass(105 * time.Millisecond) // Redis's round has read the position, and waits
		src.add("b")
		src.wake <- struct{}{}
		synctest.Wait()
		if got := len(top.Events(0)) - before; got != 1 {
			t.Errorf("%d events were published when the source woke the relay, want the one", got)
		}
		src.hold.Store(nil)
		close(hold)
	})
}

// A source whose position stands still, against its contract, is late and not silent.
func TestRelay_AsksNowAndThenWhateverThePosition(t *testing.T) {
	inIdleBubble(t, polled, func(src *idling, red *redisFake, top *testkit.Topic) {
		stuck, err := src.outbox.Position(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		src.stuck = &stuck
		src.add("b")
		pass(1500 * time.Millisecond)
		if red.version("b") != 1 || len(top.Events(0)) != 2 {
			t.Errorf("Redis has version %d of b and the topic %v, want the change", red.version("b"), top.Events(0))
		}
	})
}

// The cursor follows commits of which the topic gets nothing, but not each of them.
func TestRelay_SavesAnIdleCursorNowAndThen(t *testing.T) {
	inIdleBubble(t, polled, func(src *idling, red *redisFake, top *testkit.Topic) {
		saved := src.saved.Load()
		src.Begin().Rollback() // the position moves
		pass(30 * time.Second)
		if got := src.saved.Load() - saved; got != 1 {
			t.Errorf("the cursor was saved %d times after the position moved once, want once", got)
		}
	})
}
