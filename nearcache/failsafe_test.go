package nearcache_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nearcache/nearcache-go/internal/l2"
	"github.com/nearcache/nearcache-go/nearcache"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
)

func key(name string) l2.Key { return l2.NewKeyspace("").Key("t", name) }

// failing is a source whose loads can fail or hang.
type failing struct {
	*source
	err  atomic.Pointer[error]
	slow atomic.Int64 // nanoseconds
}

func (f *failing) load(ctx context.Context, k string) (nearcache.Entry[string], error) {
	if d := f.slow.Load(); d > 0 {
		<-time.After(time.Duration(d))
	}
	if err := f.err.Load(); err != nil {
		f.loads.Add(1)
		return nearcache.Entry[string]{}, *err
	}
	return f.source.load(ctx, k)
}

func (f *failing) fail(err error) { f.err.Store(&err) }

func inFailSafeBubble(t *testing.T, o nearcache.Options[string, string],
	test func(t *testing.T, f *failing, r *nearcachetest.Redis, c *nearcache.Cache[string, string])) {
	t.Helper()
	inBubble(t, func(t *testing.T, r *nearcachetest.Redis, client *nearcache.Client) {
		f := &failing{source: newSource()}
		f.put("a", "one")
		o.Load = f.load
		test(t, f, r, newCache(t, client, o))
	})
}

func TestFailSafe_ServesTheLastValueAndSaysSo(t *testing.T) {
	o := nearcache.Options[string, string]{TTL: time.Second, FailSafe: nearcache.FailSafe{MaxAge: time.Minute}}
	inFailSafeBubble(t, o, func(t *testing.T, f *failing, r *nearcachetest.Redis, c *nearcache.Cache[string, string]) {
		resident(t, c, "a")
		f.fail(errDown)
		time.Sleep(10 * time.Second) // its TTL has passed in both tiers
		for range 100 {
			if v, err := c.Get(t.Context(), "a"); err != nil || v != "one" {
				t.Fatalf("got %q and error %v, want \"one\"", v, err)
			}
		}
		if got, err := c.Read(t.Context(), "a", nearcache.ReadOptions{}); err != nil ||
			!got.Stale || got.Age < 10*time.Second {
			t.Errorf("not labelled: %+v, %v", got, err)
		}
		if m, err := c.GetMany(t.Context(), []string{"a", "b"}); m["a"] != "one" || !errors.Is(err, errDown) {
			t.Errorf("got %v and error %v, want \"one\" for a and the source's error for b", m, err)
		}
		if _, err := c.Read(t.Context(), "a", nearcache.ReadOptions{ServeStale: -1}); !errors.Is(err, errDown) {
			t.Errorf("a read that puts up with nothing: %v", err)
		}
		f.put("a", "two")
		f.err.Store(nil)
		if got := get(t, c, "a"); got.Stale || got.Value != "two" {
			t.Errorf("the source is back: %+v", got)
		}
		f.fail(errDown)
		time.Sleep(2 * time.Minute)
		if _, err := c.Get(t.Context(), "a"); !errors.Is(err, errDown) {
			t.Errorf("older than was put up with: %v", err)
		}
	})
}

func TestFailSafe_AnInstanceThatNeverHadItAsksL2(t *testing.T) {
	inBubble(t, func(t *testing.T, r *nearcachetest.Redis, one *nearcache.Client) {
		f := &failing{source: newSource()}
		f.put("a", "one")
		o := nearcache.Options[string, string]{TTL: time.Second, Load: f.load,
			FailSafe: nearcache.FailSafe{MaxAge: time.Minute}}
		resident(t, newCache(t, one, o), "a")
		f.fail(errDown)
		time.Sleep(10 * time.Second)
		two, err := nearcache.New(nearcache.Config{Redis: r.PipeOption()})
		if err != nil {
			t.Fatal(err)
		}
		defer two.Close()
		got, err := newCache(t, two, o).Read(t.Context(), "a", nearcache.ReadOptions{})
		if err != nil || !got.Stale || got.Value != "one" || got.Tier != nearcache.TierL2 || got.Age < 9*time.Second {
			t.Errorf("got %+v and error %v, want a stale \"one\" of L2", got, err)
		}
	})
}

func TestFailSafe_SoftTimeoutServesAndTheLoadGoesOn(t *testing.T) {
	o := nearcache.Options[string, string]{TTL: time.Second,
		FailSafe: nearcache.FailSafe{MaxAge: time.Minute, SoftTimeout: 50 * time.Millisecond}}
	inFailSafeBubble(t, o, func(t *testing.T, f *failing, r *nearcachetest.Redis, c *nearcache.Cache[string, string]) {
		resident(t, c, "a")
		time.Sleep(2 * time.Second)
		f.put("a", "two")
		f.slow.Store(int64(time.Second))
		loads, begun := f.loads.Load(), time.Now()
		if got := get(t, c, "a"); !got.Stale || got.Value != "one" || time.Since(begun) != 50*time.Millisecond {
			t.Errorf("%+v after %v", got, time.Since(begun))
		}
		time.Sleep(time.Second)
		if got := get(t, c, "a"); got.Stale || got.Value != "two" || f.loads.Load() != loads+1 {
			t.Errorf("%+v after %d loads", got, f.loads.Load()-loads)
		}
		f.put("b", "new")
		if got := get(t, c, "b"); got.Value != "new" || got.Stale {
			t.Errorf("there is nothing to serve instead: %+v", got)
		}
	})
}

func TestErrorTTL_SparesTheLoader(t *testing.T) {
	o := nearcache.Options[string, string]{ErrorTTL: time.Second}
	inFailSafeBubble(t, o, func(t *testing.T, f *failing, r *nearcachetest.Redis, c *nearcache.Cache[string, string]) {
		f.fail(errDown)
		for range 50 {
			if _, err := c.Get(t.Context(), "a"); !errors.Is(err, errDown) {
				t.Fatal(err)
			}
		}
		if n := f.loads.Load(); n != 1 {
			t.Errorf("%d loads while the error was remembered", n)
		}
		f.err.Store(nil)
		time.Sleep(time.Second)
		if got := get(t, c, "a"); got.Value != "one" {
			t.Errorf("got %+v, want \"one\"", got)
		}
	})
}

func TestMaxLoads_FurtherOnesWait(t *testing.T) {
	o := nearcache.Options[string, string]{MaxLoads: 3, LoadTimeout: 4500 * time.Millisecond}
	var running, most atomic.Int64
	inBubble(t, func(t *testing.T, r *nearcachetest.Redis, client *nearcache.Client) {
		o.Load = func(context.Context, string) (nearcache.Entry[string], error) {
			if n := running.Add(1); n > most.Load() {
				most.Store(n)
			}
			time.Sleep(time.Second) // and does not look at its context
			running.Add(-1)
			return nearcache.Entry[string]{Value: "v"}, nil
		}
		c := newCache(t, client, o)
		var wg sync.WaitGroup
		var ok, failed atomic.Int64
		for i := range 20 {
			wg.Go(func() {
				if _, err := c.Get(t.Context(), fmt.Sprint(i)); err == nil {
					ok.Add(1)
				} else if failed.Add(1); !strings.Contains(err.Error(), "MaxLoads") && !errors.Is(err, context.DeadlineExceeded) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		time.Sleep(5 * time.Second) // Loaders that nobody waits for any more
		if most.Load() != 3 || ok.Load() != 12 || failed.Load() != 8 {
			t.Errorf("%d at a time, %d loaded, %d gave up; want 3, 12 in four seconds, 8", most.Load(), ok.Load(), failed.Load())
		}
	})
}

func TestLeaseWait_ThenLoadsWithoutFilling(t *testing.T) {
	o := nearcache.Options[string, string]{LeaseWait: 300 * time.Millisecond, LeaseTTL: time.Minute}
	inFailSafeBubble(t, o, func(t *testing.T, f *failing, r *nearcachetest.Redis, c *nearcache.Cache[string, string]) {
		k := key("a")
		r.Do("SET", k.Lease, "R0123456789abcdef", "PX", "60000") // a holder that is slow, and alive
		begun := time.Now()
		if got := get(t, c, "a"); got.Value != "one" || time.Since(begun) > 400*time.Millisecond {
			t.Errorf("%+v after %v", got, time.Since(begun))
		}
		if _, ok := r.Get(k.Record); ok {
			t.Error("filled without a lease")
		}
	})
}

func TestJitter_SpreadsWhatWasFilledTogether(t *testing.T) {
	o := nearcache.Options[string, string]{TTL: 100 * time.Second, Jitter: 0.5}
	inFailSafeBubble(t, o, func(t *testing.T, f *failing, r *nearcachetest.Redis, c *nearcache.Cache[string, string]) {
		ks := make([]string, 200)
		for i := range ks {
			ks[i] = fmt.Sprint("k", i)
			f.put(ks[i], "v")
		}
		if _, err := c.GetMany(t.Context(), ks); err != nil {
			t.Fatal(err)
		}
		expired := 0
		for sec := range 10 {
			time.Sleep(10 * time.Second)
			left := 0
			for _, k := range ks {
				if _, ok := r.Get(key(k).Record); ok {
					left++
				}
			}
			if gone := len(ks) - left - expired; sec >= 5 && sec < 9 && (gone < 10 || gone > 80) {
				t.Errorf("%d of %d expire between %d and %d seconds", gone, len(ks), 10*sec, 10*sec+10)
			}
			expired = len(ks) - left
		}
		if expired != len(ks) {
			t.Errorf("%d are left after their TTL", len(ks)-expired)
		}
	})
}

// delayedConn delays what comes from Redis.
type delayedConn struct {
	net.Conn
	delay *atomic.Int64
}

func (c delayedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if d := c.delay.Load(); d > 0 {
		<-time.After(time.Duration(d))
	}
	return n, err
}

func TestBreaker_SlowRedisDoesNotSlowReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, err := nearcachetest.StartRedis("")
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		var delay atomic.Int64
		opt := r.PipeOption()
		opt.DialCtxFn = func(context.Context, string, *net.Dialer, *tls.Config) (net.Conn, error) {
			c, err := r.Dial()
			return delayedConn{c, &delay}, err
		}
		opt.ConnWriteTimeout = 10 * time.Second // so that it is slow, and not gone
		client, err := nearcache.New(nearcache.Config{Redis: opt, RedisTimeout: 100 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		if err := client.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		src := newSource()
		c := newCache(t, client, nearcache.Options[string, string]{Load: src.load})
		for i := range 200 {
			src.put(fmt.Sprint(i), "v")
		}
		delay.Store(int64(2 * time.Second))
		var took []time.Duration
		for i := range 200 {
			begun := time.Now()
			if _, err := c.Get(t.Context(), fmt.Sprint(i)); err != nil {
				t.Fatal(err)
			}
			took = append(took, time.Since(begun))
		}
		slow := 0
		for _, d := range took {
			if d > 100*time.Millisecond {
				t.Errorf("a read took %v", d)
			}
			if d > 0 {
				slow++
			}
		}
		if slow > 5 {
			t.Errorf("%d of 200 reads waited for Redis", slow)
		}
		delay.Store(0)
		time.Sleep(10 * time.Second)
		resident(t, c, "0")
	})
}

func TestOptions_PoliciesThatClash(t *testing.T) {
	client := newClient(t, nearcache.Config{Redis: nearcachetest.NewRedis(t).ClientOption(),
		Source: &commits{source: newSource()}})
	load := newSource().load
	for want, o := range map[string]nearcache.Options[string, string]{
		"Jitter":                {Load: load, Jitter: 1},
		"LeaseWait LoadTimeout": {Load: load, LeaseWait: time.Hour},
		"FailSafe.SoftTimeout FailSafe.MaxAge": {Load: load,
			FailSafe: nearcache.FailSafe{SoftTimeout: time.Second}},
		"FailSafe.SoftTimeout LoadTimeout": {Load: load,
			FailSafe: nearcache.FailSafe{SoftTimeout: time.Hour, MaxAge: time.Hour}},
		"FailSafe.MaxAge MaxStaleness FailSafe.BeyondBound": {Load: load, MaxStaleness: time.Second,
			FailSafe: nearcache.FailSafe{MaxAge: time.Minute}},
		"Size L1Bytes":        {Load: load, L1Bytes: -1, Size: func(string) int64 { return 1 }},
		"CheckShared L1Bytes": {Load: load, L1Bytes: -1, CheckShared: true},
		"Warm.File L1Bytes":   {Load: load, L1Bytes: -1, Warm: nearcache.Warm{File: "f"}},
		"Warm.File DecodeKey": {Load: load, EncodeKey: strings.ToLower, Warm: nearcache.Warm{File: "f"}},
		"Warm.Keys Warm.File": {Load: load, Warm: nearcache.Warm{Keys: 1}},
		"Warm.Rate Warm.Keys": {Load: load, Warm: nearcache.Warm{File: "f", Rate: -1}},
		"CheckShared Clone":   {Load: load, CheckShared: true, Clone: strings.Clone},
	} {
		_, err := nearcache.NewCache(client, "clash", o)
		for _, field := range strings.Fields(want) {
			if err == nil || !strings.Contains(err.Error(), field) {
				t.Errorf("got error %[2]v, want one that names %[1]s", want, err)
			}
		}
	}
}
