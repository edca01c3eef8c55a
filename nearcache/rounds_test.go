package nearcache_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"regexp"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/rueidis"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/relay"
	"github.com/nearcache/nearcache-go/internal/l2"
	"github.com/nearcache/nearcache-go/nearcache"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
	"github.com/nearcache/nearcache-go/tier"
)

// wire counts the commands that clients send to a Redis.
type wire struct {
	mu   sync.Mutex
	sent []byte
}

var aCommand = regexp.MustCompile(`\*\d+\r\n\$\d+\r\n([A-Za-z]+)\r\n`)

func (w *wire) option(o rueidis.ClientOption) rueidis.ClientOption {
	dial := o.DialCtxFn
	o.DialCtxFn = func(ctx context.Context, addr string, d *net.Dialer, c *tls.Config) (net.Conn, error) {
		conn, err := dial(ctx, addr, d, c)
		return &tapped{conn, w}, err
	}
	return o
}

// commands are those sent since the last call.
func (w *wire) commands() (all int, by map[string]int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	by = map[string]int{}
	for _, m := range aCommand.FindAllSubmatch(w.sent, -1) {
		by[string(m[1])]++
		all++
	}
	w.sent = nil
	return all, by
}

type tapped struct {
	net.Conn
	w *wire
}

func (t *tapped) Write(b []byte) (int, error) {
	t.w.mu.Lock()
	t.w.sent = append(t.w.sent, b...)
	t.w.mu.Unlock()
	return t.Conn.Write(b)
}

// counting is a source that counts how often it is asked for its position.
type counting struct {
	*commits
	positions atomic.Int64
}

func (c *counting) Position(ctx context.Context) (coherence.Position, error) {
	c.positions.Add(1)
	return c.commits.Position(ctx)
}

// relayed is an instance and a relay, each with connections of its own, on fake time.
type relayed struct {
	*nearcache.Cache[string, string]
	client               *nearcache.Client
	src                  *counting // the instance's
	redis                *nearcachetest.Redis
	ofInstance, ofRelay  wire
	stopRelay, goOnRelay func()
	interval             time.Duration // of the relay
}

// inRelayedBubble starts the relay `later` than the instance.
func inRelayedBubble(t *testing.T, beat, bound, later time.Duration, test func(t *testing.T, f *relayed)) {
	t.Helper()
	src := &counting{commits: &commits{source: newSource()}}
	inRelayedBubbleOf(t, src, nearcache.Config{Source: src, Heartbeat: beat}, bound, later, test)
}

func inRelayedBubbleOf(t *testing.T, src *counting, cfg nearcache.Config, bound, later time.Duration,
	test func(t *testing.T, f *relayed)) {
	t.Helper()
	beat := cfg.Heartbeat
	synctest.Test(t, func(t *testing.T) {
		f := &relayed{src: src, interval: beat}
		var err error
		if f.redis, err = nearcachetest.StartRedis(""); err != nil {
			t.Fatal(err)
		}
		defer f.redis.Close()
		cfg.Redis = f.ofInstance.option(f.redis.PipeOption())
		if f.client, err = nearcache.New(cfg); err != nil {
			t.Fatal(err)
		}
		defer f.client.Close()
		f.Cache = newCache(t, f.client, nearcache.Options[string, string]{Load: f.src.load, MaxStaleness: bound})
		store, err := tier.Open(tier.Config{Redis: f.ofRelay.option(f.redis.PipeOption())})
		if err != nil {
			t.Fatal(err)
		}
		defer store.Close()
		time.Sleep(later)
		f.stopRelay = f.relays(t.Context(), store)
		defer func() { f.stopRelay() }()
		f.goOnRelay = func() { f.stopRelay = f.relays(t.Context(), store) }
		if err := f.client.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		test(t, f)
	})
}

func (f *relayed) relays(ctx context.Context, store *tier.L2) (stop func()) {
	interval := f.interval
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { _ = relay.Relay{Source: f.src.commits, L2: store, Interval: interval}.Run(ctx) })
	return sync.OnceFunc(func() { cancel(); wg.Wait() })
}

func TestRounds_CostOfAnIdleInstance(t *testing.T) {
	inRelayedBubble(t, 100*time.Millisecond, delta, 0, func(t *testing.T, f *relayed) {
		f.src.write("a", "1")
		f.src.positions.Store(0)
		f.ofInstance.commands()
		f.ofRelay.commands()
		const seconds = 300
		time.Sleep(seconds * time.Second)
		synctest.Wait()
		if n, by := f.ofInstance.commands(); n > 15*seconds || n < seconds/2 {
			t.Errorf("got %d commands of an idle instance in %ds, want at most 15 a second: %v", n, seconds, by)
		} else {
			t.Logf("an idle instance: %.1f commands a second: %v", float64(n)/seconds, by)
		}
		if n, by := f.ofRelay.commands(); n > 30*seconds || n < 10*seconds {
			t.Errorf("got %d commands of an idle relay in %ds, want at most 30 a second: %v", n, seconds, by)
		} else {
			t.Logf("an idle relay: %.1f commands a second: %v", float64(n)/seconds, by)
		}
		if n := f.src.positions.Load(); n > 0 {
			t.Errorf("the instance has asked the source for its position %d times, want never", n)
		}
	})
}

// The gate stays open, however the heartbeats and the relay's rounds fall.
func TestRounds_ProveTheBound(t *testing.T) {
	for _, c := range []struct{ beat, bound time.Duration }{
		{100 * time.Millisecond, 250 * time.Millisecond},
		{25 * time.Millisecond, 100 * time.Millisecond},
	} {
		for part := range 10 {
			later := c.beat / 10 * time.Duration(part)
			t.Run(fmt.Sprint(c.beat, " and ", later), func(t *testing.T) {
				inRelayedBubble(t, c.beat, c.bound, later, func(t *testing.T, f *relayed) {
					f.src.write("a", "1")
					resident(t, f.Cache, "a")
					for i := range 1000 {
						time.Sleep(7 * time.Millisecond)
						if r := get(t, f.Cache, "a"); r.Tier != nearcache.TierL1 {
							t.Fatalf("read %d is served by %v, want L1: %+v", i, r.Tier, f.client.Status().Bound)
						}
					}
				})
			})
		}
	}
}

// A change is seen within the bound, also after the relay was away, and after Redis has lost the rounds.
func TestRounds_BringChanges(t *testing.T) {
	inRelayedBubble(t, 100*time.Millisecond, delta, 0, func(t *testing.T, f *relayed) {
		for i, fault := range []func(){
			func() {},
			func() { f.stopRelay(); time.Sleep(time.Minute); f.goOnRelay() },
			func() { f.redis.Do("DEL", l2.NewKeyspace("").Round(l2.RoundBucket)) },
			func() { f.redis.Do("FLUSHALL") },
			func() { f.redis.Do("DEL", l2.NewKeyspace("").Watermark(5), l2.NewKeyspace("").Watermark(0)) },
			func() { f.redis.KillClients() },
		} {
			f.src.write("a", fmt.Sprint(i))
			fault()
			time.Sleep(delta + time.Millisecond)
			if r := get(t, f.Cache, "a"); r.Value != fmt.Sprint(i) {
				t.Errorf("fault %d: got %q from %v after the bound, want %d", i, r.Value, r.Tier, i)
			}
			time.Sleep(2 * time.Second)
			resident(t, f.Cache, "a")
			time.Sleep(50 * time.Millisecond)
			if r := get(t, f.Cache, "a"); r.Tier != nearcache.TierL1 || r.Value != fmt.Sprint(i) {
				t.Errorf("fault %d: got %q from %v, want %d from L1 again", i, r.Value, r.Tier, i)
			}
		}
	})
}

// Without rounds the source shows whether it answers, and no more often than a person would look.
func TestRounds_WithoutARelayTheSourceIsAskedRarely(t *testing.T) {
	inRelayedBubble(t, 100*time.Millisecond, delta, 0, func(t *testing.T, f *relayed) {
		f.stopRelay()
		time.Sleep(time.Second)
		f.src.positions.Store(0)
		time.Sleep(time.Minute)
		if n := f.src.positions.Load(); n < 50 || n > 61 {
			t.Errorf("the source was asked %d times in a minute without rounds, want once a second", n)
		}
	})
}

// Without a bound nothing needs the heartbeats; a read with one has them fast again, and the gate open soon.
func TestPace_FollowsTheBound(t *testing.T) {
	inRelayedBubble(t, 100*time.Millisecond, 0, 0, func(t *testing.T, f *relayed) {
		f.src.write("a", "1")
		perSecond := func() int {
			synctest.Wait()
			f.ofInstance.commands()
			time.Sleep(20 * time.Second)
			synctest.Wait()
			_, by := f.ofInstance.commands()
			return by["GETEX"] / 20
		}
		if n := perSecond(); n != 1 {
			t.Errorf("got %d heartbeats a second without a bound, want one", n)
		}
		bounded := nearcache.ReadOptions{MaxStaleness: delta}
		for range 100 {
			if _, err := f.Read(t.Context(), "a", bounded); err != nil {
				t.Fatal(err)
			}
			time.Sleep(20 * time.Millisecond)
		}
		if r, err := f.Read(t.Context(), "a", bounded); err != nil || r.Tier != nearcache.TierL1 {
			t.Errorf("got %v from %v, 2s after the first read with a bound, want L1", err, r.Tier)
		}
		synctest.Wait()
		f.ofInstance.commands()
		time.Sleep(5 * time.Second)
		if _, by := f.ofInstance.commands(); by["GETEX"] < 45 {
			t.Errorf("got %d heartbeats in 5s after reads with a bound, want ten a second", by["GETEX"])
		}
		time.Sleep(10 * time.Second)
		if n := perSecond(); n != 1 {
			t.Errorf("got %d heartbeats a second long after the last bound, want one", n)
		}
	})
}
