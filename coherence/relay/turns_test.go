package relay_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/relay"
	"github.com/nearcache/nearcache-go/internal/l2"
)

// unhurried is a Redis in memory that is at a distance, and knows how many scripts it has before it at a time.
type unhurried struct {
	*redisFake
	roundTrip   time.Duration
	mu          sync.Mutex
	under, most int
}

func (u *unhurried) ApplyBatch(ctx context.Context, b int, changes []l2.Change, from l2.Watermark,
	to coherence.Position) (l2.Watermark, bool, error) {
	u.mu.Lock()
	u.under++
	u.most = max(u.most, u.under)
	u.mu.Unlock()
	<-time.After(u.roundTrip)
	u.mu.Lock()
	u.under--
	u.mu.Unlock()
	return u.redisFake.ApplyBatch(ctx, b, changes, from, to)
}

// TestRelay_LeavesTurnsToOthers: of a large transaction's scripts Redis has a few before it at a time, because it runs
// all that it has of one client before it serves another. A distant one has more of them, and is not slower for it.
func TestRelay_LeavesTurnsToOthers(t *testing.T) {
	for _, c := range []struct {
		roundTrip time.Duration
		atOnce    int
	}{{time.Millisecond / 10, 8}, {time.Millisecond, 8}, {3 * time.Millisecond, 24}, {30 * time.Millisecond, 64}} {
		t.Run(c.roundTrip.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const rows = 5_000
				src, red := newOutbox(), &unhurried{redisFake: newRedisFake(), roundTrip: c.roundTrip}
				ctx, stop := context.WithCancel(t.Context())
				var wg sync.WaitGroup
				wg.Go(func() { _ = relay.Relay{Source: src}.RunOn(ctx, red) })
				defer wg.Wait()
				defer stop()
				time.Sleep(time.Second)
				src.add("first")
				time.Sleep(time.Second)
				red.mu.Lock()
				red.most = 0
				red.mu.Unlock()
				src.addLarge(t, rows)
				time.Sleep(time.Minute)
				if n := red.done(rows); n != rows || red.most != c.atOnce {
					t.Errorf("%d of %d are applied, by up to %d scripts at a time; want all, by up to %d", n, rows,
						red.most, c.atOnce)
				}
			})
		})
	}
}
