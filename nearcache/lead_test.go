package nearcache_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nearcache/nearcache-go/coherence/relay"
	"github.com/nearcache/nearcache-go/internal/l2"
	"github.com/nearcache/nearcache-go/nearcache"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
)

// patrols is within what a reader's giving up is noticed.
const patrols = 10 * time.Millisecond

// replies hold back what Redis has answered, and count what it is sent.
type replies struct {
	held atomic.Pointer[chan struct{}]
	sent func([]byte)
}

func (r *replies) hold() (release func()) {
	gate := make(chan struct{})
	r.held.Store(&gate)
	return func() { r.held.Store(nil); close(gate) }
}

type heldConn struct {
	net.Conn
	r *replies
}

func (c heldConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if gate := c.r.held.Load(); gate != nil {
		<-*gate
	}
	return n, err
}

func (c heldConn) Write(b []byte) (int, error) {
	if c.r.sent != nil {
		c.r.sent(b)
	}
	return c.Conn.Write(b)
}

// inHeldBubble has a cache without L1 whose L2 holds key a, version 1, "one".
func inHeldBubble(t *testing.T, cfg nearcache.Config, o nearcache.Options[string, string],
	test func(t *testing.T, c *nearcache.Cache[string, string], client *nearcache.Client, src *source, r *replies)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		redis, err := nearcachetest.StartRedis("")
		if err != nil {
			t.Fatal(err)
		}
		defer redis.Close()
		var r replies
		cfg.Redis = redis.PipeOption()
		cfg.Redis.DialCtxFn = func(context.Context, string, *net.Dialer, *tls.Config) (net.Conn, error) {
			c, err := redis.Dial()
			return heldConn{c, &r}, err
		}
		cfg.Redis.ConnWriteTimeout = time.Minute // so that it is slow, and not gone
		client, err := nearcache.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		if err := client.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		src := newSource()
		src.put("a", "one")
		o.Load, o.L1Bytes = src.load, -1
		c := newCache(t, client, o)
		get(t, c, "a")
		if got := get(t, c, "a"); got.Tier != nearcache.TierL2 {
			t.Fatalf("L2 does not have it: %+v", got)
		}
		test(t, c, client, src, &r)
	})
}

// reading is a read on a goroutine of its own, under way.
type reading struct {
	nearcache.Result[string]
	err  error
	took time.Duration
	done chan struct{}
}

func startReading(ctx context.Context, c *nearcache.Cache[string, string], k string) *reading {
	r := &reading{done: make(chan struct{})}
	begun := time.Now()
	go func() {
		defer close(r.done)
		r.Result, r.err = c.Read(ctx, k, nearcache.ReadOptions{})
		r.took = time.Since(begun)
	}()
	synctest.Wait()
	return r
}

func TestLead_CancelledWhileOthersWait(t *testing.T) {
	for _, after := range []time.Duration{0, time.Millisecond, 7 * time.Millisecond, 100 * time.Millisecond} {
		inHeldBubble(t, nearcache.Config{}, nearcache.Options[string, string]{}, func(t *testing.T,
			c *nearcache.Cache[string, string], _ *nearcache.Client, src *source, r *replies) {
			release := r.hold()
			ctx, cancel := context.WithCancel(t.Context())
			first := startReading(ctx, c, "a")
			second, third := startReading(t.Context(), c, "a"), startReading(t.Context(), c, "a")
			time.Sleep(after)
			cancel()
			<-first.done
			if late := first.took - after; !errors.Is(first.err, context.Canceled) ||
				late > patrols || after > patrols && late != 0 {
				t.Errorf("cancelled after %v: %v after %v", after, first.err, first.took)
			}
			time.Sleep(10 * time.Millisecond)
			release()
			<-second.done
			<-third.done
			if second.err != nil || second.Value != "one" || second.Tier != nearcache.TierL2 ||
				third.Result != second.Result || third.err != nil {
				t.Errorf("those who waited with it: %+v, %v; %+v, %v", second.Result, second.err, third.Result, third.err)
			}
			if n := src.loads.Load(); n != 1 {
				t.Errorf("%d loads", n)
			}
		})
	}
}

func TestLead_CancelledAloneStillFills(t *testing.T) {
	inHeldBubble(t, nearcache.Config{}, nearcache.Options[string, string]{}, func(t *testing.T,
		c *nearcache.Cache[string, string], _ *nearcache.Client, src *source, r *replies) {
		src.put("b", "two")
		release := r.hold()
		var ctx context.Context
		for _, timeout := range []time.Duration{time.Millisecond, 50 * time.Millisecond} {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(t.Context(), timeout)
			defer cancel()
			first := startReading(ctx, c, "b")
			<-first.done
			if !errors.Is(first.err, context.DeadlineExceeded) || first.took != timeout {
				t.Errorf("%v after %v", first.err, first.took)
			}
		}
		release()
		synctest.Wait()
		if got := get(t, c, "b"); got.Tier != nearcache.TierL2 || src.loads.Load() != 2 {
			t.Errorf("its load did not go on: %+v after %d loads", got, src.loads.Load())
		}
		hang := make(chan struct{}) // else its load may end before the reader has looked at its context
		defer close(hang)
		src.before = func(string) { <-hang }
		begun := time.Now()
		if _, err := c.Get(ctx, "c"); !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) != 0 {
			t.Errorf("a context that had ended before: %v", err)
		}
	})
}

func TestLead_RedisTimeoutIsExact(t *testing.T) {
	for _, timeout := range []time.Duration{time.Millisecond, 5 * time.Millisecond, 100 * time.Millisecond} {
		inHeldBubble(t, nearcache.Config{RedisTimeout: timeout}, nearcache.Options[string, string]{}, func(t *testing.T,
			c *nearcache.Cache[string, string], _ *nearcache.Client, src *source, r *replies) {
			defer r.hold()()
			time.Sleep(time.Second / 2) // between two heartbeats
			first := startReading(t.Context(), c, "a")
			second := startReading(t.Context(), c, "a")
			<-first.done
			<-second.done
			if first.err != nil || first.Tier != nearcache.TierSource || first.took != timeout || second.took != timeout {
				t.Errorf("timeout %v: %+v, %v after %v; the second after %v", timeout, first.Result,
					first.err, first.took, second.took)
			}
		})
	}
}

func TestLead_LoadTimeoutEndsItToo(t *testing.T) {
	o := nearcache.Options[string, string]{LoadTimeout: 50 * time.Millisecond}
	inHeldBubble(t, nearcache.Config{RedisTimeout: time.Second}, o, func(t *testing.T, c *nearcache.Cache[string, string],
		_ *nearcache.Client, src *source, r *replies) {
		defer r.hold()()
		// The question to Redis ends at the same moment. If that is heard first, the Loader is called; it must not be
		// in time by luck.
		hang := make(chan struct{})
		defer close(hang)
		src.before = func(string) { <-hang }
		first := startReading(t.Context(), c, "a")
		<-first.done
		if !errors.Is(first.err, context.DeadlineExceeded) || first.took != o.LoadTimeout {
			t.Errorf("%+v, %v after %v", first.Result, first.err, first.took)
		}
	})
}

func TestLead_CloseEndsIt(t *testing.T) {
	inHeldBubble(t, nearcache.Config{RedisTimeout: time.Minute}, nearcache.Options[string, string]{
		LoadTimeout: time.Minute}, func(t *testing.T, c *nearcache.Cache[string, string],
		client *nearcache.Client, src *source, r *replies) {
		hang := make(chan struct{})
		defer close(hang)
		src.before = func(string) { <-hang }
		release := r.hold()
		first := startReading(t.Context(), c, "a")
		closed := make(chan struct{})
		go func() { _ = client.Close(); close(closed) }()
		<-first.done
		if first.err == nil || first.took > patrols {
			t.Errorf("%+v, %v after %v", first.Result, first.err, first.took)
		}
		release()
		<-closed
		if _, err := c.Get(t.Context(), "a"); !errors.Is(err, nearcache.ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
	})
}

func TestLead_ReadersWhoGiveUpDoNotOpenTheBreaker(t *testing.T) {
	inHeldBubble(t, nearcache.Config{}, nearcache.Options[string, string]{}, func(t *testing.T,
		c *nearcache.Cache[string, string], client *nearcache.Client, src *source, r *replies) {
		release := r.hold()
		for i := range 20 {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
			if got := c.ReadMany(ctx, []string{fmt.Sprint(i), "a"}, nearcache.ReadOptions{}); got[0].Err == nil {
				t.Errorf("got %+v, want an error for the first key", got)
			}
			cancel()
		}
		release()
		synctest.Wait()
		if got := get(t, c, "a"); got.Tier != nearcache.TierL2 {
			t.Errorf("Redis is passed over: %+v", got)
		}
	})
}

// hooked is a codec whose Decode does something.
type hooked struct{ decode func() }

func (hooked) Append(b []byte, v string) ([]byte, error) { return append(b, v...), nil }
func (h hooked) Decode(b []byte) (string, error)         { h.decode(); return string(b), nil }

func TestLead_CodecThatEndsItsGoroutine(t *testing.T) {
	for what, end := range map[string]func(){"panic": func() { panic("boom") }, "Goexit": runtime.Goexit} {
		var hook atomic.Pointer[func()]
		codec := hooked{func() {
			if f := hook.Load(); f != nil {
				(*f)()
			}
		}}
		inHeldBubble(t, nearcache.Config{}, nearcache.Options[string, string]{Codec: codec}, func(t *testing.T,
			c *nearcache.Cache[string, string], _ *nearcache.Client, src *source, _ *replies) {
			joined := make(chan struct{})
			f := func() { hook.Store(nil); <-joined; end() }
			hook.Store(&f)
			first := startReading(t.Context(), c, "a")
			second := startReading(t.Context(), c, "a")
			close(joined)
			<-first.done
			<-second.done
			switch what {
			case "panic": // is a miss, as whatever cannot be decoded
				if first.err != nil || first.Tier != nearcache.TierSource || second.Result != first.Result {
					t.Errorf("got %+v, error %v and %+v, error %v; want one load of the source for both", first.Result,
						first.err, second.Result, second.err)
				}
			case "Goexit":
				if first.took != 0 || first.Value != "" || !errors.Is(second.err, nearcache.ErrPanic) {
					t.Errorf("got %+v, error %v and %+v, error %v; want no answer for the first reader and ErrPanic for the second",
						first.Result, first.err, second.Result, second.err)
				}
			}
			if got := get(t, c, "a"); got.Value != "one" {
				t.Errorf("after a %s: %+v", what, got)
			}
		})
	}
}

// What ends one request must never reach another: their contexts are used again.
func TestLead_ManyWhoGiveUp(t *testing.T) {
	src := newSource()
	client := newClient(t, nearcache.Config{Redis: nearcachetest.NewRedis(t).ClientOption()})
	if err := client.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	c := newCache(t, client, nearcache.Options[string, string]{Load: src.load, L1Bytes: -1})
	var ks []string
	for i := range 50 {
		ks = append(ks, fmt.Sprint(i))
		src.put(ks[i], "value of "+ks[i])
	}
	if _, err := c.GetMany(t.Context(), ks); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var gave, got atomic.Int64
	for range 32 {
		wg.Go(func() {
			for range 300 {
				k := ks[rand.IntN(len(ks))]
				ctx, cancel := t.Context(), context.CancelFunc(func() {})
				if rand.IntN(2) == 0 {
					ctx, cancel = context.WithTimeout(ctx, time.Duration(rand.IntN(3000))*time.Microsecond)
				}
				v, err := c.Get(ctx, k)
				switch {
				case err == nil && v == "value of "+k:
					got.Add(1)
				case err != nil && ctx.Err() != nil:
					gave.Add(1)
				default:
					t.Errorf("key %s: got %q and error %v, want its value", k, v, err)
				}
				cancel()
			}
		})
	}
	wg.Wait()
	if got.Load() == 0 || gave.Load() == 0 {
		t.Errorf("%d read, %d gave up: this shows nothing", got.Load(), gave.Load())
	}
	if n := src.loads.Load(); n != int64(len(ks)) {
		t.Errorf("%d loads", n)
	}
}

// Each command that a read of L2 adds is paid by Redis for every read.
func TestBound_TheWatermarkIsReadOnlyWhenTheLastOneProvesTooLittle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		redis, err := nearcachetest.StartRedis("")
		if err != nil {
			t.Fatal(err)
		}
		defer redis.Close()
		keys := l2.NewKeyspace("")
		k := keys.Key("t", "a")
		pair := fmt.Sprintf("%s\r\n*2\r\n$3\r\nGET\r\n$%d\r\n%s\r\n", keys.Watermark(k.Bucket), len(k.Record), k.Record)
		var asked atomic.Bool
		r := replies{sent: func(b []byte) {
			if bytes.Contains(b, []byte(pair)) {
				asked.Store(true)
			}
		}}
		opt := redis.PipeOption()
		opt.DialCtxFn = func(context.Context, string, *net.Dialer, *tls.Config) (net.Conn, error) {
			c, err := redis.Dial()
			return heldConn{c, &r}, err
		}
		src := &commits{source: newSource()}
		src.write("a", "one")
		client, err := nearcache.New(nearcache.Config{Redis: opt, Source: src, Heartbeat: 25 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		ctx, stop := context.WithCancel(t.Context())
		var carrying sync.WaitGroup
		carrying.Go(func() { _ = relay.Relay{Source: src, L2: client.L2(), Interval: 25 * time.Millisecond}.Run(ctx) })
		defer carrying.Wait()
		defer stop()
		c := newCache(t, client, nearcache.Options[string, string]{Load: src.load, L1Bytes: -1, MaxStaleness: delta})
		if err := client.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		get(t, c, "a")
		src.set(func() { src.stalled = true })
		src.write("b", "committed") // which the watermark does not reach
		seen := map[bool]int{}
		for range 100 {
			asked.Store(false)
			got := get(t, c, "a")
			if got.Tier != nearcache.TierL2 {
				if got.Tier != nearcache.TierSource || got.Staleness > delta {
					t.Errorf("got %+v, want a value of the source within the bound", got)
				}
				break
			}
			if want := got.Staleness > delta-delta/4; asked.Load() != want {
				t.Errorf("proved %v ago; the watermark was read: %v", got.Staleness, asked.Load())
			}
			seen[asked.Load()]++
			time.Sleep(5 * time.Millisecond)
		}
		if seen[true] < 10 || seen[false] < 10 {
			t.Errorf("%v: this shows nothing", seen)
		}
	})
}
