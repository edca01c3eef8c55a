package relay_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/relay"
	"github.com/nearcache/nearcache-go/internal/fence"
	"github.com/nearcache/nearcache-go/internal/testkit"
)

// narrow is a log that never takes events of some keys, and takes barriers only while open.
type narrow struct {
	*testkit.Topic
	never  []string
	closed bool
}

func (n *narrow) Publish(ctx context.Context, batch []coherence.PartitionMessage) error {
	left := map[int]error{}
	var rest []coherence.PartitionMessage
	for i, m := range batch {
		switch {
		case m.Barrier != nil && n.closed:
			return errors.New("no barriers now")
		case m.Barrier == nil && slices.Contains(n.never, m.Event.Key):
			left[i] = errors.New("too large")
		default:
			rest = append(rest, m)
		}
	}
	if err := n.Topic.Publish(ctx, rest); err != nil || len(left) == 0 {
		return err
	}
	return &coherence.UnpublishedError{Messages: left}
}

// TestRelay_AnEventThatCannotBePublishedIsAGap: one such event stopped the relay for good. No barrier may pass over it
// in silence: a follower that sees the barrier, or the next event, begins a session.
func TestRelay_AnEventThatCannotBePublishedIsAGap(t *testing.T) {
	for name, keys := range map[string][]string{"before others": {"a", "huge", "b"},
		"last": {"a", "huge"}, "first": {"huge", "a"}} {
		synctest.Test(t, func(t *testing.T) {
			src, top := newOutbox(), &narrow{Topic: testkit.NewTopic(1), never: []string{"huge"}}
			follower := fence.New(fence.Config{Complete: true, Now: func() int64 { return 1 }})
			follower.EventPartitions(1)
			follower.EventSession(0)
			follower.EventBarrier(0, coherence.Barrier{Position: at(0), Partitions: 1}) // it follows from the beginning
			for _, key := range keys {
				src.add(key)
			}
			stop := start(t, relay.Relay{Source: src, Publisher: top}, nil)
			time.Sleep(time.Second)
			stop()
			gaps, last := 0, coherence.Position{}
			for _, m := range top.Messages(0) {
				gap := false
				if m.Barrier != nil {
					gap, last = follower.EventBarrier(0, *m.Barrier), m.Barrier.Position
				} else {
					gap = follower.EventSeq(0, m.Event.Seq)
				}
				if gap {
					gaps++
				}
			}
			if gaps != 1 || last != at(uint64(len(keys))) || len(top.Events(0)) != len(keys)-1 {
				t.Errorf("%s: %d gaps, up to %v, %v", name, gaps, last, top.Events(0))
			}
		})
	}
}

// TestRelay_AnIdleSourceIsNearlySilent: barriers at each interval were 455 MB a day.
func TestRelay_AnIdleSourceIsNearlySilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, top := newOutbox(), testkit.NewTopic(4)
		src.add("a")
		stop := start(t, relay.Relay{Source: src, Publisher: top}, newRedisFake())
		time.Sleep(20 * time.Second)
		stop()
		if n := len(top.Messages(0)); n < 10 || n > 24 {
			t.Errorf("%d messages in 20 seconds, where one a second is wanted", n)
		}
	})
}

// restless is a source whose position moves when a cursor is saved, as a database's does with each commit.
type restless struct {
	*outbox
	saves atomic.Uint64
}

func (r *restless) SaveCursor(ctx context.Context, name string, c coherence.Cursor) error {
	r.saves.Add(1)
	return r.outbox.SaveCursor(ctx, name, c)
}

func (r *restless) Changes(ctx context.Context, after coherence.Position, limit int) (
	[]coherence.Event, coherence.Position, error) {
	after.N -= min(after.N, 1000*(after.N/1000))
	events, upto, err := r.outbox.Changes(ctx, after, limit)
	upto.N += 1000 * r.saves.Load()
	return events, upto, err
}

// TestRelay_SavesNoCursorForItsOwnCommits: each would be a commit, and move the position again.
func TestRelay_SavesNoCursorForItsOwnCommits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, top := &restless{outbox: newOutbox()}, testkit.NewTopic(1)
		src.add("a")
		stop := start(t, relay.Relay{Source: src, Publisher: top}, nil)
		time.Sleep(100 * time.Second)
		stop()
		if n := src.saves.Load(); n < 9 || n > 12 {
			t.Errorf("the cursor was saved %d times in 100 idle seconds, want once in ten", n)
		}
	})
}

// TestRelay_BarriersThatFailRepeatNoEvents: the events before them were published again at each attempt.
func TestRelay_BarriersThatFailRepeatNoEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, top := newOutbox(), &narrow{Topic: testkit.NewTopic(1), closed: true}
		src.add("a")
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { _ = relay.Relay{Source: src, Publisher: top}.Run(ctx) })
		time.Sleep(time.Minute)
		cancel()
		wg.Wait()
		if got := top.Events(0); !slices.Equal(got, []string{"a@1"}) {
			t.Errorf("%v", got)
		}
	})
}
