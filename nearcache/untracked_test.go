package nearcache_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/rueidis"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/relay"
	"github.com/nearcache/nearcache-go/internal/l2"
	"github.com/nearcache/nearcache-go/internal/services/servicestest"
	"github.com/nearcache/nearcache-go/internal/testkit"
	"github.com/nearcache/nearcache-go/nearcache"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
	"github.com/nearcache/nearcache-go/tier"
)

func inUntrackedBubble(t *testing.T, test func(t *testing.T, b *channels)) {
	t.Helper()
	src := &cursors{commits: &commits{source: newSource()}, by: map[string]coherence.Cursor{}}
	inChannelsBubbleOf(t, src, nearcache.Config{Source: src, Tracking: nearcache.TrackingOff}, test)
}

// Without tracking the events alone tell L1 of changes, and prove the bound.
func TestUntracked_EventsKeepL1(t *testing.T) { // C1
	inUntrackedBubble(t, func(t *testing.T, b *channels) {
		for i := range 20 {
			want := fmt.Sprint(i)
			b.src.write("a", want) // by another program: only the relay tells of it
			time.Sleep(delta)
			if r := b.read(t, nearcache.ReadOptions{}); r.Value != want {
				t.Fatalf("after the bound: got %+v, want %q", r, want)
			}
			resident(t, b.Cache, "a")
			loads := b.src.loads.Load()
			for range 100 {
				time.Sleep(7 * time.Millisecond)
				if r := b.read(t, nearcache.ReadOptions{}); r.Tier != nearcache.TierL1 || r.Staleness > delta {
					t.Fatalf("got %+v, want a hit in L1 within the bound: %+v", r, b.client.Status().Bound)
				}
			}
			if n := b.src.loads.Load() - loads; n > 0 {
				t.Fatalf("got %d loads, want none", n)
			}
		}
		s := b.client.Status()
		if s.Tracking != nearcache.TrackingOff || s.Bound.Channel != "events" || s.Bound.Redis != 0 || !s.Ready {
			t.Errorf("got %+v, want a client that is ready, without tracking, proved by events", s)
		}
		if got := codes(b.client); len(got) > 0 {
			t.Errorf("got the reasons %v, want none", got)
		}
		if n := b.redis.TrackedKeys(); n > 0 {
			t.Errorf("Redis tracks %d keys, want none", n)
		}
	})
}

// A value that was loaded and filled is served from L1 after one read of L2, also where the channel without a bound
// vouches for it.
func TestUntracked_WithoutABound(t *testing.T) {
	inUntrackedBubble(t, func(t *testing.T, b *channels) {
		unbounded, err := nearcache.NewCache(b.client, "unbounded", nearcache.Options[string, string]{Load: b.src.load})
		if err != nil {
			t.Fatal(err)
		}
		var tiers []nearcache.Tier
		for range 4 {
			tiers = append(tiers, get(t, unbounded, "a").Tier)
			time.Sleep(time.Millisecond)
		}
		if got := fmt.Sprint(tiers); got != "[source l2 l1 l1]" {
			t.Errorf("got the tiers %v, want the source, L2, and then L1", got)
		}
		b.link.cut()
		time.Sleep(time.Second)
		if r := get(t, unbounded, "a"); r.Tier == nearcache.TierL1 {
			t.Errorf("nobody follows the events: got %+v, want no hit in L1", r)
		}
	})
}

// A proxy may turn to another server, which is behind, from one command to the next. What it still has is judged by its
// own watermark.
func TestUntracked_AServerThatIsBehindProvesNothing(t *testing.T) { // C1
	if r := readBehind(t); r.Value != "new" || r.Tier != nearcache.TierSource {
		t.Errorf("got %+v, want the new value from the source", r)
	}
}

// readBehind is a bounded read of an instance whose proxy has just turned to a server that lacks a key's last change.
// Before, the instance has read another key of that bucket on a server that has it.
func readBehind(t *testing.T) (r nearcache.Result[string]) {
	t.Helper()
	inUntrackedBubble(t, func(t *testing.T, b *channels) {
		k, beside := key("a"), besideKey("a")
		mark := "nc:{" + bucketOf(k) + "}:w"
		b.src.write("a", "old")
		b.src.write(beside, "beside")
		time.Sleep(delta)
		resident(t, b.Cache, "a")
		oldRecord, _ := b.redis.Get(k.Record)
		oldMark, _ := b.redis.Get(mark)
		if oldRecord == "" || oldMark == "" {
			t.Fatal("L2 has no record, or no watermark")
		}
		b.src.write("a", "new")
		time.Sleep(delta)
		if r := b.read(t, nearcache.ReadOptions{}); r.Value != "new" {
			t.Fatalf("got %+v, want the new value", r)
		}
		other := newOther(t, b)
		testkit.Eventually(t, "the other instance has read the bucket in L2", func() bool {
			return get(t, other, beside).Tier == nearcache.TierL2
		})
		b.src.set(func() { b.src.stalled = true }) // the relay does not repair the other server
		b.redis.Do("SET", k.Record, oldRecord)
		b.redis.Do("SET", mark, oldMark)
		r = get(t, other, "a")
	})
	return r
}

// besideKey is another key of a key's bucket.
func besideKey(name string) string {
	for i := 0; ; i++ {
		if beside := fmt.Sprint("beside ", i); key(beside).Bucket == key(name).Bucket {
			return beside
		}
	}
}

// newOther is a bounded cache of another instance, which has seen nothing yet.
func newOther(t *testing.T, b *channels) *nearcache.Cache[string, string] {
	t.Helper()
	client := newClient(t, nearcache.Config{Redis: b.redis.PipeOption(), Source: b.src,
		Tracking: nearcache.TrackingOff, Heartbeat: 25 * time.Millisecond})
	synctest.Wait()
	time.Sleep(100 * time.Millisecond)
	return newCache(t, client, nearcache.Options[string, string]{Load: b.src.load, MaxStaleness: delta})
}

// Without events too, a bounded cache may serve from L1 what its own load proves: each value for as long as the bound.
func TestUntracked_WithoutEventsAValueLivesForTheBound(t *testing.T) { // C1
	inUntrackedBubble(t, func(t *testing.T, b *channels) {
		other := newOther(t, b)
		loads := b.src.loads.Load()
		l1 := 0
		for i := range 1000 {
			if i%100 == 0 {
				b.src.write("a", fmt.Sprint(i))
			}
			time.Sleep(time.Millisecond)
			r := get(t, other, "a")
			if r.Staleness > delta {
				t.Fatalf("got %+v, want it within the bound", r)
			}
			if r.Tier == nearcache.TierL1 {
				l1++
			}
		}
		if n := b.src.loads.Load() - loads; n > 30 || l1 < 800 {
			t.Errorf("got %d loads and %d of 1000 hits in L1, want L1 to serve each value for the bound", n, l1)
		}
	})
}

// A tag's version comes by events, where the source tells versions.
func TestUntracked_EventsBringATagsVersion(t *testing.T) {
	inUntrackedBubble(t, func(t *testing.T, b *channels) {
		load := func(ctx context.Context, k string) (nearcache.Entry[string], error) {
			e, err := b.src.load(ctx, k)
			e.Tags = []string{"shop"}
			return e, err
		}
		tagged, err := nearcache.NewCache(b.client, "u", nearcache.Options[string, string]{Load: load})
		if err != nil {
			t.Fatal(err)
		}
		resident(t, tagged, "a")
		b.src.set(func() { b.src.put("a", "by its tag") })
		if _, err := b.src.BumpKey(t.Context(), nearcache.TagNamespace, nearcache.TagKey("u", "shop")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(delta / 2)
		if r := get(t, tagged, "a"); r.Value != "by its tag" {
			t.Errorf("got %+v, want \"by its tag\"", r)
		}
	})
}

// What nothing would keep right is refused by name.
func TestUntracked_RefusesWhatNothingKeepsRight(t *testing.T) {
	r := nearcachetest.NewRedis(t)
	for name, cfg := range map[string]nearcache.Config{
		"Relayed": {Relayed: true, Tracking: nearcache.TrackingOff},
		"9":       {Tracking: 9},
	} {
		cfg.Redis = r.ClientOption()
		if c, err := nearcache.New(cfg); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: got error %v, want one that says why", name, err)
			if err == nil {
				_ = c.Close()
			}
		}
	}
	src := newSource()
	withL1 := nearcache.Options[string, string]{Load: src.load}
	withoutL1, bounded := withL1, withL1
	withoutL1.L1Bytes, bounded.MaxStaleness = -1, time.Second
	for name, test := range map[string]struct {
		cfg    nearcache.Config
		o      nearcache.Options[string, string]
		refuse string
	}{
		"Redis alone, with L1":          {o: withL1, refuse: "L1Bytes to -1"},
		"Redis alone, without L1":       {o: withoutL1},
		"Redis alone, Clearable":        {o: clearable(withoutL1), refuse: "Clearable"},
		"a Source, no bound":            {cfg: sourced(), o: withL1, refuse: "Events"},
		"a Source, a bound":             {cfg: sourced(), o: bounded},
		"a Source, no bound, Clearable": {cfg: sourced(), o: clearable(withoutL1), refuse: "Clearable"},
		"events, and no Source":         {cfg: nearcache.Config{Events: idle{}}, o: withL1, refuse: "Source"},
	} {
		t.Run(name, func(t *testing.T) {
			test.cfg.Redis, test.cfg.Tracking = r.ClientOption(), nearcache.TrackingOff
			_, err := nearcache.NewCache(newClient(t, test.cfg), "t", test.o)
			if (err != nil) != (test.refuse != "") || err != nil && !strings.Contains(err.Error(), test.refuse) {
				t.Errorf("got error %v, want %q", err, test.refuse)
			}
		})
	}
}

func clearable(o nearcache.Options[string, string]) nearcache.Options[string, string] {
	o.Clearable = true
	return o
}

func sourced() nearcache.Config {
	return nearcache.Config{Source: &commits{source: newSource()}}
}

// idle is a stream of events without any.
type idle struct{}

func (idle) Run(ctx context.Context, sink coherence.Sink) error {
	sink.Partitions(1)
	sink.Session(0)
	<-ctx.Done()
	return nil
}

// scriptConn counts the scripts that are sent on it.
type scriptConn struct {
	net.Conn
	n *atomic.Int64
}

func (c scriptConn) Write(b []byte) (int, error) {
	c.n.Add(int64(bytes.Count(b, []byte("EVALSHA"))))
	return c.Conn.Write(b)
}

// Those that wait for another process's load ask again at growing intervals: none calls the Loader, none waits long,
// and Redis is not asked all the time.
func TestUntracked_WaitersAsk(t *testing.T) {
	const instances, took = 10, time.Second
	synctest.Test(t, func(t *testing.T) {
		r, err := nearcachetest.StartRedis("")
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		var loads, scripts atomic.Int64
		load := func(context.Context, string) (nearcache.Entry[string], error) {
			loads.Add(1)
			time.Sleep(took)
			return nearcache.Entry[string]{Value: "v"}, nil
		}
		late := make(chan time.Duration, instances)
		begun := time.Now()
		for i := range instances {
			opt := r.PipeOption()
			opt.DialCtxFn = func(context.Context, string, *net.Dialer, *tls.Config) (net.Conn, error) {
				conn, err := r.Dial()
				return scriptConn{conn, &scripts}, err
			}
			c := newClient(t, nearcache.Config{Redis: opt, Tracking: nearcache.TrackingOff})
			cache := newCache(t, c, nearcache.Options[string, string]{Load: load, L1Bytes: -1})
			go func() {
				time.Sleep(time.Duration(i) * time.Millisecond)
				if v, err := cache.Get(t.Context(), "a"); v != "v" || err != nil {
					t.Errorf("got %q and error %v, want the value", v, err)
				}
				late <- time.Since(begun) - took
			}()
		}
		for range instances {
			if d := <-late; d > 300*time.Millisecond {
				t.Errorf("a reader waited %v longer than the load took", d)
			}
		}
		if n := loads.Load(); n != 1 {
			t.Errorf("got %d loads, want one", n)
		}
		// Each asks with two scripts, some 20 times; the heartbeats come once a second.
		if n := scripts.Load(); n > instances*100 {
			t.Errorf("got %d scripts of %d readers in %v, want some 40 each", n, instances, took)
		}
		t.Logf("%d scripts of %d readers in %v", scripts.Load(), instances, took)
	})
}

// A reader that waits for a load whose process has died ends with the lease, and not before the Loader can be called.
func TestUntracked_NobodyWaitsForADeadHolder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, err := nearcachetest.StartRedis("")
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		c := newClient(t, nearcache.Config{Redis: r.PipeOption(), Tracking: nearcache.TrackingOff})
		src := newSource()
		src.put("a", "v")
		cache := newCache(t, c, nearcache.Options[string, string]{Load: src.load, L1Bytes: -1})
		r.Do("SET", key("a").Lease, "R"+strings.Repeat("\x01", 16), "PX", "1500")
		begun := time.Now()
		if res := get(t, cache, "a"); res.Value != "v" || res.Tier != nearcache.TierSource {
			t.Errorf("got %+v, want the source's value", res)
		}
		if d := time.Since(begun); d < time.Second || d > 1600*time.Millisecond {
			t.Errorf("the read took %v, want until the lease has expired", d)
		}
	})
}

// A primary that was demoted still says that the lease is held, and takes no fill: readers go to the source.
func TestUntracked_NobodyWaitsForARedisThatTakesNoWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, err := nearcachetest.StartRedis("")
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		c := newClient(t, nearcache.Config{Redis: r.PipeOption(), Tracking: nearcache.TrackingOff,
			Heartbeat: 25 * time.Millisecond})
		src := newSource()
		src.put("a", "v")
		cache := newCache(t, c, nearcache.Options[string, string]{Load: src.load, L1Bytes: -1})
		r.Do("SET", key("a").Lease, "R"+strings.Repeat("\x01", 16), "PX", "4000")
		time.AfterFunc(300*time.Millisecond, func() {
			for _, command := range []string{"SET", "DEL", "PEXPIRE"} {
				r.FailCommand(command, "READONLY You can't write against a read only replica.")
			}
		})
		begun := time.Now()
		if res := get(t, cache, "a"); res.Value != "v" || res.Tier != nearcache.TierSource {
			t.Errorf("got %+v, want the source's value", res)
		}
		if d := time.Since(begun); d < 300*time.Millisecond || d > 600*time.Millisecond {
			t.Errorf("the read took %v, want until Redis took no more writes at 300ms", d)
		}
	})
}

// A real Redis that offers neither RESP3 nor CLIENT TRACKING nor GETEX to this user.
func TestUntracked_OnARedisWithoutTracking(t *testing.T) {
	p := servicestest.StartRedis(t)
	opt := testkit.Least(l2.Use{Untracked: true}, p)
	if c, err := nearcache.New(nearcache.Config{Redis: opt}); err == nil || !errors.Is(err, coherence.ErrMisconfigured) {
		t.Errorf("with tracking: got error %v, want a misconfiguration", err)
		if err == nil {
			_ = c.Close()
		}
	}
	p.Do("ACL", "LOG", "RESET")
	src := newSource()
	src.put("a", "one")
	open := func() *nearcache.Cache[string, string] {
		c := newClient(t, nearcache.Config{Redis: opt, Tracking: nearcache.TrackingOff})
		if err := c.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		return newCache(t, c, nearcache.Options[string, string]{Load: src.load, L1Bytes: -1})
	}
	a, b := open(), open()
	if r := get(t, a, "a"); r.Value != "one" || r.Tier != nearcache.TierSource {
		t.Fatalf("got %+v, want the source's value", r)
	}
	testkit.Eventually(t, "the other instance reads L2", func() bool { return get(t, b, "a").Tier == nearcache.TierL2 })
	version, err := a.Write(t.Context(), "a", func(context.Context) (nearcache.Version, error) {
		return src.put("a", "two"), nil
	})
	if err != nil || version != 2 {
		t.Fatalf("write: got version %d and error %v", version, err)
	}
	for _, c := range []*nearcache.Cache[string, string]{a, b} {
		if r := get(t, c, "a"); r.Value != "two" {
			t.Errorf("after the write: got %+v, want the new value", r)
		}
	}
	many, err := b.GetMany(t.Context(), []string{"a", "absent"})
	if err != nil || len(many) != 1 || many["a"] != "two" {
		t.Errorf("got %v and error %v, want one value", many, err)
	}
	if log := strings.ToLower(p.Do("ACL", "LOG")); strings.Contains(log, "getex") || strings.Contains(log, "tracking") {
		t.Errorf("commands were refused: %s", log)
	}
	if info := p.Do("INFO", "clients"); !strings.Contains(info, "tracking_clients:0") {
		t.Errorf("got %s, want no client that tracks", info)
	}
}

// Twemproxy knows neither RESP3, HELLO, CLIENT, CLUSTER nor GETEX, and closes the connection when it sees one of them.
// Two Redis servers are behind it.
func TestUntracked_BehindTwemproxy(t *testing.T) {
	addr := servicestest.StartTwemproxy(t, servicestest.StartRedis(t).Addr, servicestest.StartRedis(t).Addr)
	tracked := newClient(t, nearcache.Config{Redis: rueidis.ClientOption{InitAddress: []string{addr}}})
	testkit.Eventually(t, "a client with tracking says what to do", func() bool {
		return slices.ContainsFunc(tracked.Status().Reasons, func(r nearcache.Reason) bool {
			return strings.Contains(r.Message, "TrackingOff") && strings.Contains(r.Message, "ForceSingleClient")
		})
	})
	src := newSource()
	open := func() *nearcache.Cache[string, string] {
		c := newClient(t, nearcache.Config{Redis: proxied(addr), Tracking: nearcache.TrackingOff})
		if err := c.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		return newCache(t, c, nearcache.Options[string, string]{Load: src.load, L1Bytes: -1})
	}
	a, b := open(), open()
	var ks []string
	for i := range 50 { // on both servers
		k := fmt.Sprint(i)
		src.put(k, k)
		ks = append(ks, k)
		get(t, a, k)
	}
	loads := src.loads.Load()
	testkit.Eventually(t, "the other instance finds all in L2", func() bool {
		before := src.loads.Load()
		m, err := b.GetMany(t.Context(), ks)
		return err == nil && len(m) == len(ks) && src.loads.Load() == before
	})
	if n := src.loads.Load() - loads; n > 0 {
		t.Logf("%d keys were loaded twice, before their fills had come", n)
	}
}

// A relay can work through it too, if there is one server behind it.
func TestUntracked_ABoundBehindTwemproxy(t *testing.T) { // C1
	addr := servicestest.StartTwemproxy(t, servicestest.StartRedis(t).Addr)
	opt := proxied(addr)
	opt.AlwaysRESP2 = true
	store, err := tier.Open(tier.Config{Redis: opt})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	src := &commits{source: newSource()}
	src.write("a", "one")
	ctx, stop := context.WithCancel(t.Context())
	var relaying sync.WaitGroup
	relaying.Go(func() { _ = relay.Relay{Source: src, L2: store, Interval: 25 * time.Millisecond}.Run(ctx) })
	defer relaying.Wait()
	defer stop()
	open := func() *nearcache.Cache[string, string] {
		c := newClient(t, nearcache.Config{Redis: proxied(addr), Source: src, Tracking: nearcache.TrackingOff})
		return newCache(t, c, nearcache.Options[string, string]{Load: src.load, MaxStaleness: time.Minute, L1Bytes: -1})
	}
	a, b := open(), open()
	for _, want := range []string{"two", "three"} {
		src.write("a", want)
		testkit.Eventually(t, "L2 has the new value, and a proof", func() bool {
			get(t, a, "a")
			r := get(t, b, "a")
			return r.Value == want && r.Tier == nearcache.TierL2 && r.Staleness > 0
		})
	}
}

// proxied connects to a proxy that is no Cluster.
func proxied(addr string) rueidis.ClientOption {
	return rueidis.ClientOption{InitAddress: []string{addr}, ForceSingleClient: true}
}

// oldProtocol stands for a proxy that speaks RESP2 alone: the server is asked for a protocol that it does not have, and
// refuses it.
type oldProtocol struct{ net.Conn }

func (c oldProtocol) Write(p []byte) (int, error) {
	_, err := c.Conn.Write(bytes.Replace(p, []byte("HELLO\r\n$1\r\n3"), []byte("HELLO\r\n$1\r\n9"), 1))
	return len(p), err
}

// With tracking New refuses such a proxy, and names the way out. Without tracking two instances share L2 behind it.
func TestUntracked_BehindARESP2Proxy(t *testing.T) {
	p := servicestest.StartRedis(t)
	opt := testkit.Least(l2.Use{Untracked: true}, p)
	opt.DialCtxFn = func(ctx context.Context, addr string, d *net.Dialer, _ *tls.Config) (net.Conn, error) {
		conn, err := d.DialContext(ctx, "tcp", addr)
		if err != nil {
			return nil, err
		}
		return oldProtocol{conn}, nil
	}
	c, err := nearcache.New(nearcache.Config{Redis: opt})
	if err == nil {
		_ = c.Close()
	}
	if !errors.Is(err, coherence.ErrMisconfigured) || !strings.Contains(err.Error(), "TrackingOff") {
		t.Errorf("with tracking: got error %v, want a misconfiguration that names TrackingOff", err)
	}
	src := newSource()
	src.put("a", "one")
	open := func() *nearcache.Cache[string, string] {
		c := newClient(t, nearcache.Config{Redis: opt, Tracking: nearcache.TrackingOff})
		if err := c.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		return newCache(t, c, nearcache.Options[string, string]{Load: src.load, L1Bytes: -1})
	}
	a, b := open(), open()
	get(t, a, "a")
	testkit.Eventually(t, "the other instance reads L2", func() bool { return get(t, b, "a").Tier == nearcache.TierL2 })
	write(t, a, src, "a", "two")
	for _, c := range []*nearcache.Cache[string, string]{a, b} {
		if r := get(t, c, "a"); r.Value != "two" {
			t.Errorf("after the write: got %+v, want the new value", r)
		}
	}
}
