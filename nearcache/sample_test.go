package nearcache_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/testkit"
	"github.com/nearcache/nearcache-go/nearcache"
)

// TestSamples_ByEventsWithoutRedis: the relay's barriers show the source's position to instances that have no Source.
// They asked the source, each for itself, whenever Redis was away, and without a Source the cache closed. A Redis that
// hangs lets each heartbeat wait for two seconds.
func TestSamples_ByEventsWithoutRedis(t *testing.T) { // C1
	for name, fault := range map[string]func(b *channels){
		"it is down": func(b *channels) { b.redis.Stop() },
		"it hangs":   func(b *channels) { b.redis.Pause() },
	} {
		t.Run(name, func(t *testing.T) {
			src := &cursors{commits: &commits{source: newSource()}, by: map[string]coherence.Cursor{}}
			reg := prometheus.NewRegistry()
			cfg := nearcache.Config{Relayed: true, Registerer: reg}
			inChannelsBubbleOf(t, src, cfg, func(t *testing.T, b *channels) {
				if s := b.client.Status().Bound; s.SampledBy != "rounds" {
					t.Errorf("with Redis: got %+v, want the samples of the rounds", s)
				}
				fault(b)
				time.Sleep(delta) // until the relay has found out
				b.warm(t)
				loads := b.src.loads.Load()
				for range 300 {
					if r := b.read(t, nearcache.ReadOptions{}); r.Tier != nearcache.TierL1 {
						t.Fatalf("got %+v, want a hit in L1: %+v", r, b.client.Status().Bound)
					}
					time.Sleep(7 * time.Millisecond)
				}
				if n := b.src.loads.Load() - loads; n != 0 {
					t.Errorf("got %d loads, want none", n)
				}
				// What tracking had applied before Redis hung may cover a newer position too.
				if s := b.client.Status().Bound; s.Events == 0 || s.SampledBy != "events" {
					t.Errorf("got %+v, want proofs and samples of the events", s)
				}
				for i := range 20 {
					b.src.write("a", fmt.Sprint(i))
					time.Sleep(delta + time.Millisecond)
					if r := b.read(t, nearcache.ReadOptions{}); r.Value != fmt.Sprint(i) {
						t.Errorf("after a write: got %+v, want %d", r, i)
					}
				}
				if n := testkit.Metric(t, reg, "nearcache_samples_total", "events"); n < 100 {
					t.Errorf("%v samples are counted", n)
				}
			})
		})
	}
}

// TestSamples_TheSourceIsNotAsked by an instance whose event channel shows positions; it is when that is away too.
func TestSamples_TheSourceIsNotAsked(t *testing.T) {
	src := &cursors{commits: &commits{source: newSource()}, by: map[string]coherence.Cursor{}}
	own := &counting{commits: src.commits}
	inChannelsBubbleOf(t, src, nearcache.Config{Source: own}, func(t *testing.T, b *channels) {
		own.positions.Store(0)
		time.Sleep(10 * time.Second)
		if n := own.positions.Load(); n != 0 {
			t.Errorf("with Redis: the source was asked %d times", n)
		}
		b.redis.Stop()
		time.Sleep(10 * time.Second)
		if n := own.positions.Load(); n > 3 { // until the relay has found out, too
			t.Errorf("without Redis: the source was asked %d times", n)
		}
		b.link.cut()
		time.Sleep(10 * time.Second)
		if n := own.positions.Load(); n < 10 {
			t.Errorf("without both: the source was asked %d times", n)
		}
		if s := b.client.Status().Bound; s.SampledBy != "source" {
			t.Errorf("got %+v, want samples of the source", s)
		}
	})
}

// TestSamples_OfALateRound: a relay whose rounds come a little late had instances ask the source, although the rounds
// ended their samples. A heartbeat that came early, a quarter after the one before, counted the time from there.
func TestSamples_OfALateRound(t *testing.T) {
	for _, late := range []time.Duration{20 * time.Millisecond, 50 * time.Millisecond} {
		t.Run(late.String(), func(t *testing.T) {
			const beat = 100 * time.Millisecond
			src := &counting{commits: &commits{source: newSource()}}
			cfg := nearcache.Config{Source: src, Heartbeat: beat}
			inRelayedBubbleOf(t, src, cfg, time.Second, 0, func(t *testing.T, f *relayed) {
				f.stopRelay()
				f.interval = beat + late
				f.goOnRelay()
				time.Sleep(5 * time.Second)
				src.positions.Store(0)
				time.Sleep(30 * time.Second)
				if n := src.positions.Load(); n != 0 {
					t.Errorf("the source was asked %d times in half a minute", n)
				}
			})
		})
	}
}
