package relay_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nearcache/nearcache-go/coherence/relay"
	"github.com/nearcache/nearcache-go/internal/l2"
)

// ClaimBuckets lets every number of buckets in.
func (r *redisFake) ClaimBuckets(context.Context) error { return nil }

// Claim lets every system in.
func (r *redisFake) Claim(context.Context, string) error { return nil }

// owned is a Redis whose prefix belongs to the first system that asks.
type owned struct {
	*redisFake
	mu    sync.Mutex
	owner string
}

func (o *owned) Claim(_ context.Context, system string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.owner == "" {
		o.owner = system
	}
	if o.owner != system {
		return &l2.OwnedError{Prefix: "nc", Owner: o.owner, System: system}
	}
	return nil
}

// TestRelay_OfAnotherSystemAppliesNothing: two systems on one prefix would reset each other's watermarks for ever.
func TestRelay_OfAnotherSystemAppliesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		red := &owned{redisFake: newRedisFake()}
		var said strings.Builder
		start := func(ctx context.Context, system string) (done chan error) {
			src := newOutbox()
			done = make(chan error, 1)
			go func() {
				done <- relay.Relay{Source: src, System: system, Interval: 100 * time.Millisecond,
					Logger: slog.New(slog.NewTextHandler(&said, nil))}.RunOn(ctx, red)
			}()
			time.Sleep(time.Second) // a relay that has no watermarks begins at the present position
			src.add(system)
			return done
		}
		ctx, stop := context.WithCancel(t.Context())
		first := start(ctx, "one")
		second := start(ctx, "two")
		time.Sleep(time.Minute)
		synctest.Wait()
		if red.version("one") != 1 || red.version("two") != 0 {
			t.Errorf("applied: one %d, two %d", red.version("one"), red.version("two"))
		}
		stop()
		if err := errors.Join(<-first, <-second); err != nil {
			t.Error(err)
		}
		if !strings.Contains(said.String(), `belongs to the system \"one\"`) {
			t.Errorf("the owner is not named:\n%s", said.String())
		}
	})
}
