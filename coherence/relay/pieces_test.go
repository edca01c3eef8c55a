package relay_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/relay"
	"github.com/nearcache/nearcache-go/internal/l2"
	"github.com/nearcache/nearcache-go/internal/testkit"
)

// addLarge commits one transaction of n changes, of keys k0, k1 and so on.
func (o *outbox) addLarge(t *testing.T, n int) {
	t.Helper()
	tx := o.Begin()
	for i := range n {
		if _, err := tx.Write(t.Context(), "n", fmt.Sprint("k", i), coherence.OpUpdated); err != nil {
			t.Fatal(err)
		}
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
}

// counting is a Redis in memory that counts what it is given, and can be made to fail in the midst of that.
type counting struct {
	*redisFake
	changes, largest int
	failAfter        int // changes; 0: never
}

func (c *counting) ApplyBatch(ctx context.Context, b int, changes []l2.Change, from l2.Watermark,
	to coherence.Position) (l2.Watermark, bool, error) {
	c.mu.Lock()
	c.changes += len(changes)
	c.largest = max(c.largest, len(changes))
	full := c.failAfter > 0 && c.changes > c.failAfter
	c.mu.Unlock()
	if full {
		return l2.Watermark{}, false, errors.New("Redis is gone")
	}
	return c.redisFake.ApplyBatch(ctx, b, changes, from, to)
}

// done is how many of k0 to k(n-1) are applied.
func (r *redisFake) done(n int) (count int) {
	for i := range n {
		if r.version(fmt.Sprint("k", i)) == 1 {
			count++
		}
	}
	return count
}

func TestRelay_TakesALargeTransactionInPieces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rows, batch = 5_000, 100
		src, red, top := newOutbox(), &counting{redisFake: newRedisFake()}, testkit.NewTopic(3)
		ctx, stop := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := (relay.Relay{Source: src, Publisher: top, Batch: batch}).RunOn(ctx, red); err != nil {
				t.Error(err)
			}
		})
		time.Sleep(time.Second)
		src.addLarge(t, rows)
		src.add("after")
		time.Sleep(time.Minute)
		stop()
		wg.Wait()
		if n := red.done(rows); n != rows || red.version("after") != 1 || !red.reached(2) {
			t.Errorf("%d of %d applied, after it %d, reached %v", n, rows, red.version("after"), red.reached(2))
		}
		if red.changes != rows+1 || red.largest > batch {
			t.Errorf("Redis was given %d changes, %d at a time; want each of %d once, and at most %d at a time",
				red.changes, red.largest, rows+1, batch)
		}
		if n := len(top.Events(0)) + len(top.Events(1)) + len(top.Events(2)); n != rows+1 {
			t.Errorf("%d events are published, want %d", n, rows+1)
		}
	})
}

// TestRelay_GoesOnInsideALargeTransaction: its predecessor died in the midst of one. What was applied is not applied
// again. What a Redis that went back meanwhile has lost is applied again.
func TestRelay_GoesOnInsideALargeTransaction(t *testing.T) {
	for _, lost := range []bool{false, true} {
		t.Run(fmt.Sprint("Redis goes back: ", lost), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const rows, batch = 5_000, 100
				src, red := newOutbox(), &counting{redisFake: newRedisFake()}
				term := func() {
					ctx, stop := context.WithCancel(t.Context())
					var wg sync.WaitGroup
					wg.Go(func() { _ = relay.Relay{Source: src, Batch: batch}.RunOn(ctx, red) })
					time.Sleep(time.Minute)
					stop()
					wg.Wait()
				}
				term()
				replica := slices.Clone(red.watermarks)
				src.addLarge(t, rows)
				red.failAfter = rows / 2
				term()
				if done := red.done(rows); done < rows/3 || done > rows/2+batch || red.reached(1) {
					t.Fatalf("%d of %d are applied, at the end: %v", done, rows, red.reached(1))
				}
				before := red.changes
				red.failAfter = 0
				if lost {
					red.watermarks, red.applied = slices.Clone(replica), map[string]coherence.Version{}
				}
				term()
				if n := red.done(rows); n != rows || !red.reached(1) {
					t.Errorf("%d of %d applied, at the end: %v", n, rows, red.reached(1))
				}
				if again := red.changes - before; !lost && again > rows/2+2*batch {
					t.Errorf("%d changes were given to Redis after half of %d had been applied", again, rows)
				}
			})
		})
	}
}

// TestRelay_PublishesTheSameInsideALargeTransaction: a relay that dies in the midst of one is followed by one that
// begins with the piece whose cursor was not saved, and gives the same numbers.
func TestRelay_PublishesTheSameInsideALargeTransaction(t *testing.T) { // R23
	synctest.Test(t, func(t *testing.T) {
		const rows, batch = 1_000, 64
		src, top := newOutbox(), testkit.NewTopic(1)
		src.addLarge(t, rows)
		dying := &dying{outbox: src, saves: 5}
		term := func(s coherence.Source) {
			ctx, stop := context.WithCancel(t.Context())
			var wg sync.WaitGroup
			wg.Go(func() { _ = relay.Relay{Source: s, Publisher: top, Batch: batch}.Run(ctx) })
			time.Sleep(100 * time.Millisecond)
			stop()
			wg.Wait()
		}
		term(dying)
		events := top.Events(0)
		if len(events) < 6*batch || len(events) == rows {
			t.Fatalf("%d events are published by the relay that died", len(events))
		}
		if cur, err := src.LoadCursor(t.Context(), "relay"); err != nil || cur.Position.Part == 0 || cur.Seqs[0] != 5*batch {
			t.Fatalf("the cursor is %+v, %v", cur, err)
		}
		term(src)
		number := map[string]uint64{}
		last := uint64(0)
		for _, m := range top.Messages(0) {
			if m.Barrier != nil {
				if m.Barrier.Position.Part != 0 || m.Barrier.Position.Covers(at(1)) && last != rows {
					t.Errorf("the barrier %+v comes after event %d of %d", m.Barrier, last, rows)
				}
				continue
			}
			if n, again := number[m.Event.Key]; again && n != m.Event.Seq {
				t.Errorf("%s has the numbers %d and %d", m.Event.Key, n, m.Event.Seq)
			}
			number[m.Event.Key] = m.Event.Seq
			last = max(last, m.Event.Seq)
		}
		if len(number) != rows || last != rows {
			t.Errorf("%d keys are published, up to number %d; want %d", len(number), last, rows)
		}
	})
}

// dying is an outbox whose cursor can be saved so often and no more.
type dying struct {
	*outbox
	saves int
}

func (d *dying) SaveCursor(ctx context.Context, name string, c coherence.Cursor) error {
	if d.saves--; d.saves < 0 {
		return errors.New("the relay is dead")
	}
	return d.outbox.SaveCursor(ctx, name, c)
}

// TestRelay_AppliesAKeyOnce: of several changes of a key in one batch the last makes the others needless.
func TestRelay_AppliesAKeyOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, red := newOutbox(), &counting{redisFake: newRedisFake()}
		ctx, stop := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { _ = relay.Relay{Source: src}.RunOn(ctx, red) })
		defer wg.Wait()
		defer stop()
		time.Sleep(time.Second)
		tx := src.Begin()
		for range 300 {
			if _, err := tx.Write(ctx, "n", "hot", coherence.OpUpdated); err != nil {
				t.Fatal(err)
			}
		}
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if red.version("hot") != 300 || red.changes != 1 {
			t.Errorf("version %d, by %d changes; want 300 by one", red.version("hot"), red.changes)
		}
	})
}

func TestRelay_RefusesABatchThatHoldsRedisUp(t *testing.T) {
	err := relay.Relay{Source: newOutbox(), Batch: 10_001}.RunOn(t.Context(), newRedisFake())
	if err == nil || !strings.Contains(err.Error(), "Batch is 10001; it is at most 10000") {
		t.Errorf("got %v", err)
	}
}
