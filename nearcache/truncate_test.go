package nearcache_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/nearcache"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
)

// truncate gives every key another value, and tells of it by one event.
func (s *commits) truncate(v string) coherence.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	top := nearcache.Version(0)
	for k := range s.values {
		top = max(top, s.put(k, v))
	}
	e := coherence.Event{Namespace: "t", Op: coherence.OpTruncated, Version: top,
		Position: coherence.Position{Timeline: 1 + s.lost, N: uint64(len(s.events) + 2)}}
	s.events = append(s.events, e)
	return e
}

// TestTruncate_ReachesEveryTierByOneEvent, whichever channels there are.
func TestTruncate_ReachesEveryTierByOneEvent(t *testing.T) { // C1
	for name, fault := range map[string]func(b *channels){
		"both channels": func(*channels) {},
		"Kafka alone":   func(b *channels) { b.redis.Stop() },
		"Redis alone":   func(b *channels) { b.link.cut() },
	} {
		t.Run(name, func(t *testing.T) {
			inChannelsBubble(t, func(t *testing.T, b *channels) {
				fault(b)
				time.Sleep(2 * time.Second)
				b.warm(t)
				b.src.truncate("two")
				time.Sleep(delta + time.Millisecond) // an entry that was proved just before may be served for delta
				for range 100 {
					if r := b.read(t, nearcache.ReadOptions{}); r.Value != "two" || r.Stale {
						t.Fatalf("got %+v, want \"two\"", r)
					}
					time.Sleep(10 * time.Millisecond)
				}
				b.warm(t)
				b.src.write("a", "three")
				time.Sleep(delta)
				if r := b.read(t, nearcache.ReadOptions{}); r.Value != "three" || r.Stale {
					t.Errorf("after a later write: got %+v, want \"three\"", r)
				}
			})
		})
	}
}

// scripted is an event channel of one partition that delivers what it is given.
type scripted chan coherence.Message

func (s scripted) Run(ctx context.Context, sink coherence.Sink) error {
	sink.Partitions(1)
	sink.Session(0)
	for {
		select {
		case m := <-s:
			if err := sink.Deliver(ctx, 0, []coherence.Message{m}); err != nil {
				return err
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// TestTruncate_WithoutASourceTheFirstInstanceTellsL2: nobody else does. The others find it done.
func TestTruncate_WithoutASourceTheFirstInstanceTellsL2(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		redis, err := nearcachetest.StartRedis("")
		if err != nil {
			t.Fatal(err)
		}
		defer redis.Close()
		src := &commits{source: newSource()}
		src.put("a", "one")
		var caches []*nearcache.Cache[string, string]
		var channels []scripted
		for range 2 {
			events := make(scripted)
			c, err := nearcache.New(nearcache.Config{Redis: redis.PipeOption(), Events: events})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if err := c.Ready(t.Context()); err != nil {
				t.Fatal(err)
			}
			caches = append(caches, newCache(t, c, nearcache.Options[string, string]{Load: src.load}))
			channels = append(channels, events)
		}
		for _, c := range caches {
			resident(t, c, "a")
		}
		e := src.truncate("two")
		loads := src.loads.Load()
		for _, ch := range channels {
			ch <- coherence.Message{Event: e}
		}
		time.Sleep(time.Second)
		for i, c := range caches {
			if r := get(t, c, "a"); r.Value != "two" {
				t.Errorf("instance %d: got %+v, want \"two\"", i, r)
			}
		}
		if n := src.loads.Load() - loads; n != 1 {
			t.Errorf("%d loads, want 1: the second instance does not reset L2 again", n)
		}
	})
}
