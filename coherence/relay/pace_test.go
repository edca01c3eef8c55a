package relay_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/relay"
	"github.com/nearcache/nearcache-go/internal/testkit"
)

// slowTopic is a topic that takes its time for each batch.
type slowTopic struct {
	*testkit.Topic
	takes    time.Duration
	barriers atomic.Int64
}

func (s *slowTopic) Publish(ctx context.Context, batch []coherence.PartitionMessage) error {
	<-time.After(s.takes)
	if len(batch) > 0 && batch[0].Message.Barrier != nil {
		s.barriers.Add(1)
	}
	return s.Topic.Publish(ctx, batch)
}

// TestRounds_AreCountedFromTheirBeginning: what an instance can prove waits for the next round. So a round that takes
// long does not put off the next one, except by a pause of a quarter of the interval.
func TestRounds_AreCountedFromTheirBeginning(t *testing.T) {
	const interval = 100 * time.Millisecond
	for _, c := range []struct {
		takes time.Duration // a round, of either channel
		every time.Duration // a round begins
	}{{0, interval}, {30 * time.Millisecond, interval}, {70 * time.Millisecond, interval},
		{95 * time.Millisecond, 120 * time.Millisecond}, {200 * time.Millisecond, 225 * time.Millisecond}} {
		t.Run(c.takes.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				src := newOutbox()
				red := &unhurried{redisFake: onServers(t, src, keys.All()), roundTrip: c.takes}
				top := &slowTopic{Topic: testkit.NewTopic(1), takes: c.takes / 2} // the events, and then the barriers
				ctx, stop := context.WithCancel(t.Context())
				var wg sync.WaitGroup
				for _, r := range []relay.Relay{{Source: sleeper{src}, Interval: interval, Name: "redis"},
					{Source: sleeper{src}, Interval: interval, Name: "events", Publisher: top}} {
					wg.Go(func() {
						if r.Publisher == nil {
							_ = r.RunOn(ctx, red)
						} else {
							_ = r.Run(ctx)
						}
					})
				}
				pass(time.Second) // they begin at the present position
				wg.Go(func() {    // so that each round has a change
					for i := 0; ctx.Err() == nil; i++ {
						src.add(fmt.Sprint(i))
						<-time.After(interval / 10)
					}
				})
				defer wg.Wait()
				defer stop()
				pass(3 * time.Second)
				rounds, barriers := int64(red.state().published), top.barriers.Load()
				pass(9 * time.Second)
				want := int64(9 * time.Second / c.every)
				for what, got := range map[string]int64{"rounds": int64(red.state().published) - rounds,
					"barriers": top.barriers.Load() - barriers} {
					if got < want-1 || got > want+1 {
						t.Errorf("got %d %s in 9 seconds, want %d, one for each %v", got, what, want, c.every)
					}
				}
			})
		})
	}
}
