package relay_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/relay"
	"github.com/nearcache/nearcache-go/internal/testkit"
)

// headed is a source whose position is how many barriers had been published when it was asked for.
type headed struct {
	*outbox
	top *marked
}

func (c *headed) Position(context.Context) (coherence.Position, error) {
	return coherence.Position{Timeline: 1, N: uint64(c.top.barriers.Load())}, nil
}

// marked counts the barriers of its first partition.
type marked struct {
	*testkit.Topic
	barriers atomic.Int64
}

func (m *marked) Publish(ctx context.Context, batch []coherence.PartitionMessage) error {
	err := m.Topic.Publish(ctx, batch)
	if err == nil && len(batch) > 0 && batch[0].Barrier != nil {
		m.barriers.Add(1)
	}
	return err
}

func barriersOf(top *marked) (all []coherence.Barrier) {
	for _, m := range top.Messages(0) {
		if m.Barrier != nil {
			all = append(all, *m.Barrier)
		}
	}
	return all
}

// TestRelay_AsksForTheHeadAfterTheBarriersBefore: an instance that sees a round knows that the source was read after
// the round before had come.
func TestRelay_AsksForTheHeadAfterTheBarriersBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		top := &marked{Topic: testkit.NewTopic(1)}
		src := &headed{outbox: newOutbox(), top: top}
		stop := start(t, relay.Relay{Source: src, Publisher: top}, nil)
		for range 5 {
			src.add("a")
			time.Sleep(20 * time.Millisecond)
			top.Fail(errors.New("no broker"))
			time.Sleep(50 * time.Millisecond)
			top.Fail(nil)
			time.Sleep(100 * time.Millisecond)
		}
		stop()
		all, skipped := barriersOf(top), 0
		if len(all) < 100 {
			t.Fatalf("%d barriers, want one for each interval", len(all))
		}
		for i, b := range all {
			if b.Head.N != uint64(i) || b.Term == 0 || b.Term != all[0].Term {
				t.Fatalf("barrier %d is %+v, want the head that was asked for after the one before", i, b)
			}
			if i > 0 && b.Round <= all[i-1].Round {
				t.Fatalf("round %d follows round %d", b.Round, all[i-1].Round)
			}
			if i > 0 && b.Round != all[i-1].Round+1 {
				skipped++
			}
		}
		if skipped == 0 {
			t.Error("rounds that failed have no numbers")
		}
	})
}

// TestRelay_IdleBarriers: while Redis takes the rounds an idle relay sends barriers once a second. When it does not,
// they come at each interval: then they alone show the source's position.
func TestRelay_IdleBarriers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		top, red := &marked{Topic: testkit.NewTopic(1)}, newRedisFake()
		src := &headed{outbox: newOutbox(), top: top}
		start(t, relay.Relay{Source: src, Publisher: top}, red)
		within := func(d time.Duration) int64 {
			before := top.barriers.Load()
			time.Sleep(d)
			return top.barriers.Load() - before
		}
		within(time.Second)
		if n := within(3 * time.Second); n < 2 || n > 4 {
			t.Errorf("with Redis: %d barriers in 3 seconds, want one a second", n)
		}
		for _, b := range barriersOf(top)[2:] {
			if b.Head.IsZero() {
				t.Fatalf("got %+v, want a head", b)
			}
		}
		red.mu.Lock()
		red.fail = errors.New("no Redis")
		red.mu.Unlock()
		if n := within(200 * time.Millisecond); n < 100 {
			t.Errorf("without Redis: %d barriers in 200 intervals, want one for each", n)
		}
		red.mu.Lock()
		red.fail = nil
		red.mu.Unlock()
		within(3 * time.Second)
		if n := within(2 * time.Second); n > 3 {
			t.Errorf("with Redis again: %d barriers in 2 seconds, want one a second", n)
		}
	})
}
