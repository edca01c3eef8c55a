package nearcache_test

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

	"github.com/prometheus/client_golang/prometheus"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/relay"
	"github.com/nearcache/nearcache-go/nearcache"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
)

// commits is a source of truth in memory that keeps its commits in order: a relay and a sample of the position read it.
type commits struct {
	*source
	mu      sync.Mutex
	events  []coherence.Event
	down    bool   // nothing answers
	stalled bool   // an open transaction: changes settle no further, and samples go on
	asked   int    // calls of Version
	lost    uint64 // histories before this one
}

var errDown = errors.New("the source is down")

func (s *commits) write(k, v string) nearcache.Version {
	s.mu.Lock()
	defer s.mu.Unlock()
	ver := s.put(k, v)
	s.events = append(s.events,
		coherence.Event{Namespace: "t", Key: k, Version: ver,
			Position: coherence.Position{Timeline: 1 + s.lost, N: uint64(len(s.events) + 2)}})
	return ver
}

func (s *commits) load(ctx context.Context, k string) (nearcache.Entry[string], error) {
	if s.isDown() {
		return nearcache.Entry[string]{}, errDown
	}
	return s.source.load(ctx, k)
}

func (s *commits) isDown() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.down
}

func (s *commits) set(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

func (s *commits) Position(context.Context) (coherence.Position, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return coherence.Position{}, errDown
	}
	return coherence.Position{Timeline: 1 + s.lost, N: uint64(len(s.events) + 1)}, nil
}

func (s *commits) Abilities() coherence.Abilities { return coherence.Abilities{} }

func (s *commits) Changes(_ context.Context, after coherence.Position,
	limit int) ([]coherence.Event, coherence.Position, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down || s.stalled {
		return nil, coherence.Position{}, errDown
	}
	upto := coherence.Position{Timeline: 1 + s.lost, N: uint64(len(s.events) + 1)}
	if !after.IsZero() && after.Timeline != upto.Timeline {
		return nil, coherence.Position{}, coherence.ErrTrimmed
	}
	if limit == 0 {
		return nil, upto, nil
	}
	return s.events[max(1, after.N)-1:], upto, nil
}

func (s *commits) Version(_ context.Context, _, k string) (coherence.Version, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return 0, errDown
	}
	s.asked++
	s.source.mu.Lock()
	defer s.source.mu.Unlock()
	return s.versions[k], nil
}

// bounded is a cache with a bound of 250ms on fake time, a relay to its L2, and the source that both serve.
type bounded struct {
	*nearcache.Cache[string, string]
	src    *commits
	redis  *nearcachetest.Redis
	client *nearcache.Client
	reg    *prometheus.Registry
}

const delta = 250 * time.Millisecond

func inBoundedBubble(t *testing.T, test func(t *testing.T, b *bounded)) {
	t.Helper()
	inBoundedBubbleWith(t, nearcache.Audit[string, string]{}, test)
}

func inBoundedBubbleWith(t *testing.T, audit nearcache.Audit[string, string], test func(t *testing.T, b *bounded)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &bounded{src: &commits{source: newSource()}, reg: prometheus.NewRegistry()}
		var err error
		if b.redis, err = nearcachetest.StartRedis(""); err != nil {
			t.Fatal(err)
		}
		defer b.redis.Close()
		if b.client, err = nearcache.New(nearcache.Config{Redis: b.redis.PipeOption(), Source: b.src,
			Heartbeat: 25 * time.Millisecond, Registerer: b.reg}); err != nil {
			t.Fatal(err)
		}
		defer b.client.Close()
		ctx, stop := context.WithCancel(t.Context())
		var carrying sync.WaitGroup
		carrying.Go(func() {
			_ = relay.Relay{Source: b.src, L2: b.client.L2(), Interval: 25 * time.Millisecond}.Run(ctx)
		})
		defer carrying.Wait()
		defer stop()
		b.Cache = newCache(t, b.client, nearcache.Options[string, string]{Load: b.src.load, MaxStaleness: delta,
			Audit: audit})
		if err := b.client.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		test(t, b)
	})
}

// read reads once and wants no error.
func (b *bounded) read(t *testing.T, ro nearcache.ReadOptions) nearcache.Result[string] {
	t.Helper()
	r, err := b.Read(t.Context(), "a", ro)
	if err != nil {
		t.Fatal(err)
	}
	if r.Staleness <= 0 || r.Staleness > delta && !r.Stale {
		t.Errorf("%+v: not proved within the bound", r)
	}
	return r
}

// gathered wants metrics of these names.
func (b *bounded) gathered(t *testing.T, names ...string) {
	t.Helper()
	fs, err := b.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range fs {
		got = append(got, f.GetName())
	}
	for _, name := range names {
		if !slices.Contains(got, name) {
			t.Errorf("%s is no metric", name)
		}
	}
}

// warm reads until L1 serves.
func (b *bounded) warm(t *testing.T) {
	t.Helper()
	for range 100 {
		if b.read(t, nearcache.ReadOptions{}).Tier == nearcache.TierL1 {
			return
		}
		synctest.Wait()
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("L1 never serves; %+v", b.client.Status().Bound)
}

func TestBound_GateClosesWithoutRelayAndOpensAgain(t *testing.T) { // C1, and the failure table's row "the relay"
	inBoundedBubble(t, func(t *testing.T, b *bounded) {
		b.src.write("a", "one")
		time.Sleep(time.Second)
		b.warm(t)
		if s := b.client.Status(); s.Bound.Channel != "redis" || s.Bound.Staleness > 150*time.Millisecond ||
			!s.Caches["t"].Open || s.Caches["t"].Slack < delta-150*time.Millisecond {
			t.Errorf("got %+v and caches %+v, want the channel \"redis\" at most 150 ms behind, and an open cache", s.Bound,
				s.Caches)
		}
		b.src.set(func() { b.src.stalled = true })
		b.src.write("a", "two") // nobody is told: its writer has died, and the relay sees nothing
		time.Sleep(delta + time.Millisecond)
		before := b.src.loads.Load()
		if r := b.read(t, nearcache.ReadOptions{}); r.Value != "two" {
			t.Errorf("older than the bound: %+v", r)
		}
		if s := b.client.Status(); s.Caches["t"].Open || s.Caches["t"].Slack >= 0 {
			t.Errorf("the gate is open: %+v", s.Caches)
		}
		// Meanwhile a key costs one load for each bound, whoever reads how often.
		for range 100 {
			b.read(t, nearcache.ReadOptions{})
			time.Sleep(10 * time.Millisecond)
		}
		if n := b.src.loads.Load() - before; n > 1+1000/250+1 {
			t.Errorf("%d loads in a second", n)
		}
		b.gathered(t, "nearcache_proved_staleness_seconds", "nearcache_gate_open", "nearcache_gate_slack_seconds",
			"nearcache_max_staleness_seconds", "nearcache_watermark_lag_seconds")
		b.src.set(func() { b.src.stalled = false })
		time.Sleep(time.Second)
		b.warm(t)
		if s := b.client.Status(); !s.Caches["t"].Open {
			t.Errorf("the gate stays closed: %+v", s)
		}
	})
}

// a stopped process: its clock goes on, and it hears nothing
func TestBound_PausedInstanceServesNothingOld(t *testing.T) {
	inBoundedBubble(t, func(t *testing.T, b *bounded) {
		b.src.write("a", "one")
		time.Sleep(time.Second)
		b.warm(t)
		b.redis.Pause()
		b.src.write("a", "two")
		time.Sleep(delta + time.Millisecond)
		if r, err := b.Read(t.Context(), "a", nearcache.ReadOptions{}); err != nil || r.Value != "two" {
			t.Errorf("got %+v and error %v, want \"two\"", r, err)
		}
		if r := b.read(t, nearcache.ReadOptions{}); r.Tier != nearcache.TierL1 || r.Value != "two" {
			t.Errorf("what the source has just said: %+v", r)
		}
		b.redis.Resume()
		time.Sleep(time.Second)
		b.warm(t)
	})
}

func TestBound_PlainReadGoesOnWhereBoundedOnesStop(t *testing.T) {
	inBoundedBubble(t, func(t *testing.T, b *bounded) {
		b.src.write("a", "one")
		time.Sleep(time.Second)
		b.warm(t)
		b.src.set(func() { b.src.down = true })
		time.Sleep(time.Second)
		if r, err := b.Read(t.Context(), "a",
			nearcache.ReadOptions{MaxStaleness: -1}); err != nil || r.Tier != nearcache.TierL1 {
			t.Errorf("without a bound: %+v, %v", r, err)
		}
		if r, err := b.Get(t.Context(), "a"); !errors.Is(err, errDown) {
			t.Errorf("within the bound: %q, %v", r, err)
		}
		if r, err := b.Read(t.Context(), "a", nearcache.ReadOptions{MaxStaleness: time.Minute}); err != nil ||
			r.Tier != nearcache.TierL1 || r.Staleness < time.Second {
			t.Errorf("within a minute: %+v, %v", r, err)
		}
	})
}

// TestBound_HoldsForAYoungClient: what L2 holds may be of any age, and a client that is younger than its bound knows
// that no better than another one.
func TestBound_HoldsForAYoungClient(t *testing.T) { // C1
	synctest.Test(t, func(t *testing.T) {
		src := &commits{source: newSource(), stalled: true}
		redis, err := nearcachetest.StartRedis("")
		if err != nil {
			t.Fatal(err)
		}
		defer redis.Close()
		open := func() (*nearcache.Client, *nearcache.Cache[string, string]) {
			client, err := nearcache.New(nearcache.Config{Redis: redis.PipeOption(), Source: src,
				Heartbeat: 25 * time.Millisecond})
			if err != nil {
				t.Fatal(err)
			}
			return client, newCache(t, client, nearcache.Options[string, string]{Load: src.load, MaxStaleness: 5 * time.Second})
		}
		client, c := open()
		src.write("a", "one")
		if r, err := c.Read(t.Context(), "a", nearcache.ReadOptions{}); err != nil || r.Value != "one" {
			t.Fatalf("got %+v and error %v, want \"one\"", r, err)
		}
		client.Close()
		src.write("a", "two") // and there is no relay that would tell L2
		time.Sleep(time.Minute)
		client, c = open()
		defer client.Close()
		time.Sleep(time.Second)
		if r, err := c.Read(t.Context(), "a", nearcache.ReadOptions{}); err != nil || r.Value != "two" || r.Staleness == 0 {
			t.Errorf("a minute old: %+v, %v", r, err)
		}
		for _, r := range c.ReadMany(t.Context(), []string{"a", "b"}, nearcache.ReadOptions{MaxStaleness: 4 * time.Second}) {
			if r.Err == nil && r.Value != "two" {
				t.Errorf("a minute old, of many: %+v", r)
			}
		}
	})
}

func TestServeStale_IsLabelledAndCapped(t *testing.T) {
	inBoundedBubble(t, func(t *testing.T, b *bounded) {
		b.src.write("a", "one")
		time.Sleep(time.Second)
		b.warm(t)
		b.src.set(func() { b.src.down = true })
		time.Sleep(time.Second)
		r := b.read(t, nearcache.ReadOptions{ServeStale: 2 * time.Second})
		if !r.Stale || r.Value != "one" || r.Staleness < time.Second {
			t.Errorf("got %+v, want a stale \"one\" of at least a second", r)
		}
		if _, err := b.Read(t.Context(), "a",
			nearcache.ReadOptions{ServeStale: 900 * time.Millisecond}); !errors.Is(err, errDown) {
			t.Errorf("older than was put up with: %v", err)
		}
		b.src.set(func() { b.src.down = false })
		time.Sleep(time.Second)
		if r := b.read(t, nearcache.ReadOptions{ServeStale: time.Minute}); r.Stale {
			t.Errorf("the source is back: %+v", r)
		}
	})
}

func TestFresh_IsValidatedByVersion(t *testing.T) {
	inBoundedBubble(t, func(t *testing.T, b *bounded) {
		b.src.write("a", "one")
		time.Sleep(time.Second)
		b.warm(t)
		loads, asked := b.src.loads.Load(), b.src.asked
		if r := b.read(t, nearcache.ReadOptions{Fresh: true}); r.Value != "one" ||
			b.src.loads.Load() != loads || b.src.asked != asked+1 {
			t.Errorf("got %+v with %d loads and %d versions asked for, want 0 and 1",
				r, b.src.loads.Load()-loads, b.src.asked-asked)
		}
		b.src.set(func() { b.src.stalled = true })
		b.src.write("a", "two")
		if r := b.read(t, nearcache.ReadOptions{Fresh: true}); r.Value != "two" || r.Tier != nearcache.TierSource {
			t.Errorf("got %+v, want \"two\" of the source", r)
		}
		v := b.src.write("a", "three")
		if r := b.read(t, nearcache.ReadOptions{AtLeast: v}); r.Value != "three" {
			t.Errorf("got %+v, want \"three\"", r)
		}
		if _, err := b.Read(t.Context(), "a", nearcache.ReadOptions{AtLeast: v + 1}); !errors.Is(err, nearcache.ErrNotReady) {
			t.Errorf("a version that is not there: %v", err)
		}
	})
}

// TestFresh_VersionOfALostHistory: after a fail-over that lost version 2, the next write is a version 2 again, and what
// L1 holds of the first is not it.
func TestFresh_VersionOfALostHistory(t *testing.T) { // C1, C5, R21
	failOver := func(b *bounded) {
		b.src.source.mu.Lock()
		b.src.values["a"] = "another two"
		b.src.source.mu.Unlock()
		b.src.set(func() { b.src.lost, b.src.events = 1, nil })
	}
	for name, wait := range map[string]time.Duration{"noticed": time.Second, "not yet noticed": 0} {
		t.Run(name, func(t *testing.T) {
			inBoundedBubble(t, func(t *testing.T, b *bounded) {
				b.src.write("a", "one")
				b.src.write("a", "two")
				time.Sleep(time.Second)
				b.warm(t)
				failOver(b)
				time.Sleep(wait)
				if r := b.read(t, nearcache.ReadOptions{Fresh: true}); r.Value != "another two" {
					t.Errorf("got %+v, want \"another two\"", r)
				}
				time.Sleep(time.Second)
				b.warm(t)
				if r := b.read(t, nearcache.ReadOptions{}); r.Value != "another two" {
					t.Errorf("in L1: %+v", r)
				}
			})
		})
	}
}

// TestMode_OffAndOnAgainDoesNotGoBack: nobody has told of version 2 yet when it is read past the caches.
func TestMode_OffAndOnAgainDoesNotGoBack(t *testing.T) { // C3
	inBoundedBubble(t, func(t *testing.T, b *bounded) {
		b.src.write("a", "one")
		time.Sleep(time.Second)
		b.warm(t)
		b.src.set(func() { b.src.stalled = true })
		b.src.write("a", "two")
		for _, mode := range []nearcache.Mode{nearcache.ModeOff, nearcache.ModeOn} {
			if err := b.client.SetMode(mode); err != nil {
				t.Fatal(err)
			}
			if r := b.read(t, nearcache.ReadOptions{}); r.Value != "two" {
				t.Errorf("mode %v: %+v", mode, r)
			}
		}
	})
}

func TestFresh_TTLIsNotOutlived(t *testing.T) {
	inBoundedBubble(t, func(t *testing.T, b *bounded) {
		b.src.write("a", "one")
		time.Sleep(time.Second)
		c, err := nearcache.NewCache(b.client, "short",
			nearcache.Options[string, string]{Load: b.src.load, TTL: 300 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		read := func(want int64) {
			t.Helper()
			loads := b.src.loads.Load()
			if _, err := c.Read(t.Context(), "a", nearcache.ReadOptions{Fresh: true}); err != nil ||
				b.src.loads.Load()-loads != want {
				t.Errorf("%d loads, want %d; %v", b.src.loads.Load()-loads, want, err)
			}
			synctest.Wait()
			time.Sleep(10 * time.Millisecond)
		}
		read(1)
		read(0)
		time.Sleep(300 * time.Millisecond)
		read(1)
	})
}

func TestBound_ManyKeysInOneLoad(t *testing.T) {
	inBoundedBubble(t, func(t *testing.T, b *bounded) {
		var ks []string
		for i := range 20 {
			ks = append(ks, fmt.Sprint("k", i))
			b.src.write(ks[i], "v")
		}
		time.Sleep(time.Second)
		for range 2 {
			if _, err := b.GetMany(t.Context(), ks); err != nil {
				t.Fatal(err)
			}
		}
		b.src.set(func() { b.src.stalled = true })
		b.src.write("other", "v")
		for _, k := range ks { // so that their versions do not do
			b.src.write(k, "w")
		}
		time.Sleep(2 * delta)
		for i, r := range b.ReadMany(t.Context(), ks, nearcache.ReadOptions{}) {
			if r.Err != nil || r.Tier != nearcache.TierSource || r.Staleness <= 0 {
				t.Errorf("key %s: got %+v, want a value of the source with its staleness", ks[i], r)
			}
		}
		for range 10 { // ristretto may drop what it is given
			synctest.Wait()
			b.ReadMany(t.Context(), ks, nearcache.ReadOptions{})
		}
		for i, r := range b.ReadMany(t.Context(), ks, nearcache.ReadOptions{}) {
			if r.Err != nil || r.Tier != nearcache.TierL1 {
				t.Errorf("%s again: %+v", ks[i], r)
			}
		}
	})
}

func TestBound_NeedsItsPremises(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *nearcachetest.Redis, client *nearcache.Client) {
		src := newSource()
		src.put("a", "v")
		_, err := nearcache.NewCache(client, "u",
			nearcache.Options[string, string]{Load: src.load, MaxStaleness: time.Second})
		if !errors.Is(err, nearcache.ErrUnsupported) || !strings.Contains(err.Error(), "MaxStaleness") ||
			!strings.Contains(err.Error(), "Config.Source") {
			t.Errorf("got error %v, want ErrUnsupported that names MaxStaleness and Config.Source", err)
		}
		c := newCache(t, client, nearcache.Options[string, string]{Load: src.load})
		if _, err := c.Read(t.Context(), "a",
			nearcache.ReadOptions{MaxStaleness: time.Second}); !errors.Is(err, nearcache.ErrUnsupported) {
			t.Errorf("got error %v, want ErrUnsupported", err)
		}
		if r := get(t, c, "a"); r.Staleness != 0 && r.Tier != nearcache.TierSource {
			t.Errorf("proved without a source: %+v", r)
		}
	})
	inBoundedBubble(t, func(t *testing.T, b *bounded) {
		_, err := nearcache.NewCache(b.client, "u",
			nearcache.Options[string, string]{Load: b.src.load, MaxStaleness: 40 * time.Millisecond})
		if err == nil || !strings.Contains(err.Error(), "MaxStaleness") ||
			!strings.Contains(err.Error(), "Config.Heartbeat") {
			t.Errorf("got error %v, want one that names MaxStaleness and Config.Heartbeat", err)
		}
	})
}

// TestBound_ChangedWhileItIsLoaded: what a Loader read before a write of which this instance heard meanwhile is as new
// as a bound asks for, and is not kept. A Loader that returns less than was known before it was asked is behind.
func TestBound_ChangedWhileItIsLoaded(t *testing.T) { // C1, C3
	inBoundedBubble(t, func(t *testing.T, b *bounded) {
		b.src.write("a", "one")
		var c *nearcache.Cache[string, string]
		var overtaken bool
		var behind nearcache.Entry[string]
		var err error
		c, err = nearcache.NewCache(b.client, "u", nearcache.Options[string, string]{MaxStaleness: delta,
			Load: func(ctx context.Context, k string) (nearcache.Entry[string], error) {
				if behind.Version > 0 {
					return behind, nil
				}
				e, err := b.src.load(ctx, k)
				if overtaken && err == nil {
					overtaken = false
					_, err = c.Write(ctx, k, func(context.Context) (nearcache.Version, error) { return b.src.write(k, "two"), nil })
				}
				return e, err
			}})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		overtaken = true
		old, err := c.Read(t.Context(), "a", nearcache.ReadOptions{Fresh: true})
		if err != nil || old.Value != "one" || old.Stale || old.Staleness <= 0 || old.Staleness > delta {
			t.Errorf("got %+v and error %v, want \"one\" within the bound", old, err)
		}
		if r, err := c.Read(t.Context(), "a", nearcache.ReadOptions{}); err != nil || r.Value != "two" {
			t.Errorf("the next read: %+v, %v", r, err)
		}
		behind = nearcache.Entry[string]{Value: "one", Version: old.Version} // a replica
		if r, err := c.Read(t.Context(), "a", nearcache.ReadOptions{Fresh: true}); !errors.Is(err, nearcache.ErrNotReady) {
			t.Errorf("got %+v and error %v, want ErrNotReady", r, err)
		}
	})
}
