package relay_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/relay"
)

// broken is a Publisher that can be broken.
type broken struct{ fails atomic.Bool }

func (*broken) Partitions(context.Context) (int, error) { return 4, nil }

func (b *broken) Publish(context.Context, []coherence.PartitionMessage) error {
	if b.fails.Load() {
		return errors.New("no broker answers")
	}
	return nil
}

// TestRelay_MeasuresWhatAChannelLacksWhileItFails: the rounds of a channel that is down end before they measure
// anything, and an operator must see how much waits for it all the same.
func TestRelay_MeasuresWhatAChannelLacksWhileItFails(t *testing.T) {
	for _, from := range []string{"the start", "later"} {
		t.Run("it fails from "+from, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				src, log, reg := newOutbox(), &broken{}, prometheus.NewRegistry()
				if err := src.SaveCursor(t.Context(), "relay", coherence.Cursor{Position: positionOf(t, src),
					Seqs: make([]uint64, 4)}); err != nil {
					t.Fatal(err)
				}
				log.fails.Store(from == "the start")
				ctx, stop := context.WithCancel(t.Context())
				var wg sync.WaitGroup
				defer wg.Wait()
				defer stop()
				wg.Go(func() {
					_ = relay.Relay{Source: src, Publisher: log, Registerer: reg}.RunOn(ctx, newRedisFake())
				})
				time.Sleep(time.Second)
				src.add("first")
				time.Sleep(time.Second)
				log.fails.Store(true)
				for range 3 {
					src.add("k")
				}
				time.Sleep(30 * time.Second)
				synctest.Wait()
				left, oldest := 3.0, 30.0
				if from == "the start" {
					left, oldest = 4, 31
				}
				if n := gauge(t, reg, "lag_changes", "events"); n != left {
					t.Errorf("events lack %v changes, want %v", n, left)
				}
				if s := gauge(t, reg, "lag_seconds", "events"); s < oldest-6 || s > oldest {
					t.Errorf("the oldest is %v seconds old, want up to %v, measured every 5", s, oldest)
				}
				if n := gauge(t, reg, "lag_changes", "redis"); n != 0 {
					t.Errorf("redis lacks %v changes, and it works", n)
				}
				log.fails.Store(false)
				time.Sleep(10 * time.Second)
				synctest.Wait()
				if n, s := gauge(t, reg, "lag_changes", "events"), gauge(t, reg, "lag_seconds", "events"); n != 0 || s != 0 {
					t.Errorf("when it works again events lack %v changes of %v seconds", n, s)
				}
			})
		})
	}
}

// positionOf is the source's position.
func positionOf(t *testing.T, src coherence.Source) coherence.Position {
	t.Helper()
	p, err := src.Position(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return p
}
