package nearcache_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/rueidis"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/services/servicestest"
	"github.com/nearcache/nearcache-go/nearcache"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
	"github.com/nearcache/nearcache-go/tier"
)

// onBoth runs a test on the embedded Redis and on a real one of its own, so that it may flush it.
func onBoth(t *testing.T, test func(t *testing.T, r redis)) {
	t.Helper()
	t.Run("embedded", func(t *testing.T) {
		e := nearcachetest.NewRedis(t)
		test(t, redis{e.ClientOption(), func(args ...string) string { return e.Do(args[0], args[1:]...) }})
	})
	t.Run("real", func(t *testing.T) {
		p := servicestest.StartRedis(t)
		test(t, redis{rueidis.ClientOption{InitAddress: []string{p.Addr}}, p.Do})
	})
}

type redis struct {
	opt rueidis.ClientOption
	do  func(args ...string) string // as a foreign client
}

// source is a source of truth in memory, with versions that go on after deletes.
type source struct {
	mu       sync.Mutex
	values   map[string]string
	versions map[string]nearcache.Version
	loads    atomic.Int64
	before   func(key string) // runs before a load reads
	after    func(key string) // runs after a load has read and before it returns
}

func newSource() *source {
	return &source{values: map[string]string{}, versions: map[string]nearcache.Version{}}
}

func (s *source) load(_ context.Context, k string) (nearcache.Entry[string], error) {
	s.loads.Add(1)
	if s.before != nil {
		s.before(k)
	}
	s.mu.Lock()
	v, ok := s.values[k]
	ver := s.versions[k]
	s.mu.Unlock()
	if s.after != nil {
		s.after(k)
	}
	if !ok {
		return nearcache.Entry[string]{Version: ver}, nearcache.ErrNotFound
	}
	return nearcache.Entry[string]{Value: v, Version: ver}, nil
}

func (s *source) put(k, v string) nearcache.Version {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.values[k] = v
	s.versions[k]++
	return s.versions[k]
}

func (s *source) del(k string) nearcache.Version {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.values, k)
	s.versions[k]++
	return s.versions[k]
}

func newClient(t testing.TB, cfg nearcache.Config) *nearcache.Client {
	t.Helper()
	c, err := nearcache.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func newCache(t testing.TB, c *nearcache.Client, o nearcache.Options[string, string]) *nearcache.Cache[string, string] {
	t.Helper()
	cache, err := nearcache.For(c, "t", o)
	if err != nil {
		t.Fatal(err)
	}
	return cache
}

// open is a client of its own with one cache over src.
func open(t testing.TB, opt rueidis.ClientOption, src *source) *nearcache.Cache[string, string] {
	t.Helper()
	c := newClient(t, nearcache.Config{Redis: opt})
	if err := c.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	return newCache(t, c, nearcache.Options[string, string]{Load: src.load})
}

// eventually waits for what another goroutine brings about.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not in 10 seconds: %s", what)
		}
		<-tick.C
	}
}

func get(t testing.TB, c *nearcache.Cache[string, string], k string) nearcache.Result[string] {
	t.Helper()
	r, err := c.Read(t.Context(), k, nearcache.ReadOptions{})
	if err != nil && !errors.Is(err, nearcache.ErrNotFound) {
		t.Fatal(err)
	}
	r.Age = 0
	return r
}

// resident reads until L1 serves the key.
func resident(t testing.TB, c *nearcache.Cache[string, string], k string) {
	t.Helper()
	eventually(t, k+" is in L1", func() bool { return get(t, c, k).Tier == nearcache.TierL1 })
}

func TestGet_ComesNearerWithEveryRead(t *testing.T) {
	onBoth(t, func(t *testing.T, r redis) {
		src := newSource()
		src.put("a", "one")
		c := open(t, r.opt, src)
		var tiers []string
		eventually(t, "a hit in L1", func() bool {
			res := get(t, c, "a")
			if res.Value != "one" || res.Version != 1 {
				t.Fatalf("got %+v", res)
			}
			if n := len(tiers); n == 0 || tiers[n-1] != res.Tier.String() {
				tiers = append(tiers, res.Tier.String())
			}
			return res.Tier == nearcache.TierL1
		})
		if diff := cmp.Diff([]string{"source", "l2", "l1"}, tiers); diff != "" {
			t.Error(diff)
		}
		if n := src.loads.Load(); n != 1 {
			t.Errorf("%d loads", n)
		}
	})
}

func TestForeignCommandsAreNoticed(t *testing.T) {
	onBoth(t, func(t *testing.T, r redis) {
		src := newSource()
		src.put("a", "one")
		c := open(t, r.opt, src)
		key := tier.NewKeyspace("").Key("t", "a")
		for _, cmd := range [][]string{{"DEL", key.Record}, {"SET", key.Record, "garbage"}, {"FLUSHALL"}, {"LPUSH", key.Record, "x"}} {
			if cmd[0] == "LPUSH" {
				r.do("DEL", key.Record)
			}
			resident(t, c, "a")
			src.mu.Lock()
			src.values["a"] = "changed before " + cmd[0]
			src.mu.Unlock()
			if cmd[0] == "LPUSH" {
				r.do("DEL", key.Record)
			}
			r.do(cmd...)
			eventually(t, "L1 lets go after "+cmd[0], func() bool { return get(t, c, "a").Value == "changed before "+cmd[0] })
		}
	})
}

func TestWrite_EveryInstanceNotices(t *testing.T) {
	onBoth(t, func(t *testing.T, r redis) {
		src := newSource()
		src.put("a", "one")
		x, y := open(t, r.opt, src), open(t, r.opt, src)
		resident(t, x, "a")
		resident(t, y, "a")
		v, err := x.Write(t.Context(), "a", func(context.Context) (nearcache.Version, error) { return src.put("a", "two"), nil })
		if err != nil || v != 2 {
			t.Fatalf("version %d, %v", v, err)
		}
		if got := get(t, x, "a"); got.Value != "two" {
			t.Errorf("the writer reads %+v", got)
		}
		eventually(t, "the other instance reads the new value", func() bool { return get(t, y, "a").Value == "two" })
		if _, err := y.Write(t.Context(), "a", func(context.Context) (nearcache.Version, error) { return src.del("a"), nil }); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the deletion is noticed", func() bool {
			_, err := x.Get(t.Context(), "a")
			return errors.Is(err, nearcache.ErrNotFound)
		})
	})
}

func TestLateFill_L2(t *testing.T) { // R1, C2
	onBoth(t, func(t *testing.T, r redis) {
		src := newSource()
		src.put("a", "old")
		x, y := open(t, r.opt, src), open(t, r.opt, src)
		src.after = func(string) { // x has read the old row; y writes and invalidates before x fills
			src.after = nil
			if _, err := y.Write(context.Background(), "a", func(context.Context) (nearcache.Version, error) { return src.put("a", "new"), nil }); err != nil {
				t.Error(err)
			}
		}
		get(t, x, "a")
		for range 5 {
			if got := get(t, x, "a"); got.Value != "new" {
				t.Errorf("x reads %+v", got)
			}
			if got := get(t, y, "a"); got.Value != "new" {
				t.Errorf("y reads %+v", got)
			}
		}
	})
}

func TestLateSet_IsNotBorn(t *testing.T) { // C5
	onBoth(t, func(t *testing.T, r redis) {
		src := newSource()
		v1 := src.put("a", "one")
		x, y := open(t, r.opt, src), open(t, r.opt, src)
		v2 := src.del("a")
		if err := x.Invalidate(t.Context(), "a", v2); err != nil {
			t.Fatal(err)
		}
		// The deletion is done and forgotten, L2 is empty; then the first write's Set arrives.
		if err := y.Set(t.Context(), "a", nearcache.Entry[string]{Value: "one", Version: v1}); err != nil {
			t.Fatal(err)
		}
		for range 4 {
			if _, err := y.Get(t.Context(), "a"); !errors.Is(err, nearcache.ErrNotFound) {
				t.Errorf("a deleted key reads %v", err)
			}
		}
	})
}

func TestSet_ReplacesOlderValue(t *testing.T) {
	onBoth(t, func(t *testing.T, r redis) {
		src := newSource()
		src.put("a", "one")
		x, y := open(t, r.opt, src), open(t, r.opt, src)
		resident(t, y, "a")
		loads := src.loads.Load()
		if err := x.Set(t.Context(), "a", nearcache.Entry[string]{Value: "two", Version: src.put("a", "two")}); err != nil {
			t.Fatal(err)
		}
		eventually(t, "y has the new value", func() bool { return get(t, y, "a").Value == "two" })
		if n := src.loads.Load(); n != loads {
			t.Errorf("%d loads for a value that Set brought", n-loads)
		}
		if err := x.Set(t.Context(), "a", nearcache.Entry[string]{Value: "one", Version: 1}); err != nil {
			t.Fatal(err)
		}
		if got := get(t, x, "a"); got.Value != "two" {
			t.Errorf("after a late Set: %+v", got)
		}
	})
}

func TestStampede_OneLoadOverAllInstances(t *testing.T) {
	onBoth(t, func(t *testing.T, r redis) {
		src := newSource()
		src.put("hot", "v")
		gate := make(chan struct{})
		src.before = func(string) { <-gate }
		var caches []*nearcache.Cache[string, string]
		for range 3 {
			caches = append(caches, open(t, r.opt, src))
		}
		var wg sync.WaitGroup
		for _, c := range caches {
			for range 1000 {
				wg.Go(func() {
					if v, err := c.Get(t.Context(), "hot"); v != "v" || err != nil {
						t.Errorf("%q, %v", v, err)
					}
				})
			}
		}
		eventually(t, "somebody loads", func() bool { return src.loads.Load() > 0 })
		close(gate)
		wg.Wait()
		if n := src.loads.Load(); n != 1 {
			t.Errorf("3 instances x 1,000 readers of a cold key: %d loads, want 1", n)
		}
	})
}

func TestFlight_IsNotJoinedAfterInvalidation(t *testing.T) {
	src := newSource()
	src.put("a", "old")
	c := open(t, nearcachetest.NewRedis(t).ClientOption(), src)
	read, release := make(chan struct{}), make(chan struct{})
	src.after = func(string) { src.after = nil; close(read); <-release }
	first := make(chan string)
	go func() { v, _ := c.Get(context.Background(), "a"); first <- v }()
	<-read
	if err := c.Invalidate(t.Context(), "a", src.put("a", "new")); err != nil {
		t.Fatal(err)
	}
	second := make(chan string)
	go func() { v, _ := c.Get(context.Background(), "a"); second <- v }()
	close(release)
	if v := <-second; v != "new" {
		t.Errorf("a read that began after the write's end got %q", v)
	}
	<-first
}

func TestReadYourWrites_AtLeast(t *testing.T) { // C4
	src := newSource()
	src.put("a", "one")
	opt := nearcachetest.NewRedis(t).ClientOption()
	c := open(t, opt, src)
	resident(t, c, "a")
	v := src.put("a", "two") // nobody tells the cache
	if got := get(t, c, "a"); got.Value != "one" {
		t.Fatalf("the write was noticed: %+v", got)
	}
	r, err := c.Read(t.Context(), "a", nearcache.ReadOptions{AtLeast: v})
	if err != nil || r.Value != "two" || r.Version != v {
		t.Errorf("%+v, %v", r, err)
	}
	if got := get(t, c, "a"); got.Version < v {
		t.Errorf("then it went back to %+v", got) // C3
	}
	if _, err := c.Read(t.Context(), "a", nearcache.ReadOptions{AtLeast: 1 << 63}); !errors.Is(err, nearcache.ErrNotReady) {
		t.Errorf("a version that is not there: %v", err)
	}
	if got := get(t, c, "a"); got.Value != "two" {
		t.Errorf("a forged version has disabled the key: %+v", got)
	}
}

func TestWrite_KeepsReadersAtTheSourceMeanwhile(t *testing.T) {
	onBoth(t, func(t *testing.T, r redis) {
		src := newSource()
		src.put("a", "one")
		x := newCache(t, newClient(t, nearcache.Config{Redis: r.opt}), nearcache.Options[string, string]{Load: src.load, WriteTTL: time.Hour})
		y := open(t, r.opt, src)
		resident(t, y, "a")
		_, err := x.Write(t.Context(), "a", func(context.Context) (nearcache.Version, error) {
			eventually(t, "y reads the source during the write", func() bool { return get(t, y, "a").Tier == nearcache.TierSource })
			for range 3 {
				if got := get(t, y, "a"); got.Tier != nearcache.TierSource {
					t.Errorf("a read during the write was cached: %+v", got)
				}
			}
			src.put("a", "two")
			return 0, errors.New("the connection broke during the commit") // its outcome is unknown, and it went through
		})
		if err == nil {
			t.Error("the transaction's error is lost")
		}
		eventually(t, "y reads what was committed", func() bool { return get(t, y, "a").Value == "two" })
		resident(t, y, "a") // the mark was lifted, and did not have to run out
	})
}

// still is a source of truth whose position does not move.
type still struct{}

func (still) Position(context.Context) (coherence.Position, error) {
	return coherence.Position{Epoch: 1, N: 1}, nil
}

func (still) Changes(context.Context, coherence.Position, int) ([]coherence.Event, coherence.Position, error) {
	return nil, coherence.Position{Epoch: 1, N: 1}, nil
}

func TestWrite_WithASourceDropsWhatMayHaveChanged(t *testing.T) {
	onBoth(t, func(t *testing.T, r redis) {
		src := newSource()
		src.put("a", "one")
		c := newCache(t, newClient(t, nearcache.Config{Redis: r.opt, Source: still{}}), nearcache.Options[string, string]{Load: src.load})
		resident(t, c, "a")
		lost := errors.New("the connection broke during the commit")
		if _, err := c.Write(t.Context(), "a", func(context.Context) (nearcache.Version, error) { src.put("a", "two"); return 0, lost }); !errors.Is(err, lost) {
			t.Errorf("%v", err)
		}
		if got := get(t, c, "a"); got.Value != "two" {
			t.Errorf("after a commit of unknown outcome: %+v", got)
		}
		resident(t, c, "a")
		loads := src.loads.Load()
		refused := fmt.Errorf("%w: a conflict", nearcache.ErrNotCommitted)
		if _, err := c.Write(t.Context(), "a", func(context.Context) (nearcache.Version, error) { return 0, refused }); !errors.Is(err, refused) {
			t.Errorf("%v", err)
		}
		if got := get(t, c, "a"); got.Tier != nearcache.TierL1 || src.loads.Load() != loads {
			t.Errorf("a write that certainly changed nothing has evicted: %+v", got)
		}
	})
}

func TestTTL_NoPushTellsOfExpiry(t *testing.T) {
	src := newSource()
	p := servicestest.StartRedis(t)
	p.Do("DEBUG", "SET-ACTIVE-EXPIRE", "0") // a busy Redis may be as late
	c := newCache(t, newClient(t, nearcache.Config{Redis: rueidis.ClientOption{InitAddress: []string{p.Addr}}}), nearcache.Options[string, string]{TTL: time.Hour,
		Load: func(ctx context.Context, k string) (nearcache.Entry[string], error) {
			e, err := src.load(ctx, k)
			e.TTL = 700 * time.Millisecond
			return e, err
		}})
	src.put("a", "one")
	resident(t, c, "a")
	src.mu.Lock()
	src.values["a"] = "two"
	src.mu.Unlock()
	eventually(t, "the record's own TTL ends it in L1", func() bool { return get(t, c, "a").Value == "two" })
}

func TestUnversionedEvent_DropsBothTiers(t *testing.T) {
	onBoth(t, func(t *testing.T, r redis) {
		src := newSource()
		src.put("a", "one")
		client := newClient(t, nearcache.Config{Redis: r.opt})
		if err := client.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		c := newCache(t, client, nearcache.Options[string, string]{Load: src.load})
		resident(t, c, "a")
		src.mu.Lock()
		src.values["a"] = "changed, same version"
		src.mu.Unlock()
		if err := client.Apply(t.Context(), coherence.Event{Namespace: "t", Key: "a"}); err != nil {
			t.Fatal(err)
		}
		if got := get(t, c, "a"); got.Value != "changed, same version" {
			t.Errorf("right after the event: %+v", got)
		}
		resident(t, c, "a") // a reload of the same version is welcome
	})
}

func TestRedisDown_ServesFromTheSourceAndComesBack(t *testing.T) {
	src := newSource()
	src.put("a", "one")
	p := servicestest.StartRedis(t)
	p.Kill()
	client := newClient(t, nearcache.Config{Redis: rueidis.ClientOption{InitAddress: []string{p.Addr}}})
	c := newCache(t, client, nearcache.Options[string, string]{Load: src.load})
	for range 3 {
		if got := get(t, c, "a"); got.Value != "one" || got.Tier != nearcache.TierSource {
			t.Errorf("with Redis down: %+v", got)
		}
	}
	_, err := c.Write(t.Context(), "a", func(context.Context) (nearcache.Version, error) { return src.put("a", "two"), nil })
	if !errors.Is(err, nearcache.ErrNotInvalidated) {
		t.Errorf("a write that nobody hears of: %v", err)
	}
	p.Restart()
	resident(t, c, "a")
	p.Kill()
	eventually(t, "Redis died, and nothing vouches for L1 any more", func() bool { return get(t, c, "a").Tier == nearcache.TierSource })
	p.Restart()
	resident(t, c, "a")
	eventually(t, "the failed invalidation went out", func() bool { return client.Status().Pending == 0 })
}

func TestFullTrackingTable_EvictsAndNeverServesOld(t *testing.T) { // R9, the NOLOOP trap
	src := newSource()
	p := servicestest.StartRedis(t, "--tracking-table-max-keys", "10")
	opt := rueidis.ClientOption{InitAddress: []string{p.Addr}}
	x, y := open(t, opt, src), open(t, opt, src)
	for round := range 3 {
		for i := range 100 {
			src.put(fmt.Sprint(i), fmt.Sprint("round ", round))
			if err := x.Invalidate(t.Context(), fmt.Sprint(i), nearcache.Version(round+1)); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 100 {
			eventually(t, "y reads the new round", func() bool { return get(t, y, fmt.Sprint(i)).Value == fmt.Sprint("round ", round) })
			get(t, y, fmt.Sprint(i))
			get(t, y, fmt.Sprint(i))
		}
	}
}

func TestMaxmemoryEviction_IsPushed(t *testing.T) {
	src := newSource()
	p := servicestest.StartRedis(t, "--maxmemory-policy", "allkeys-random")
	c := open(t, rueidis.ClientOption{InitAddress: []string{p.Addr}}, src)
	src.put("a", "one")
	resident(t, c, "a")
	src.mu.Lock()
	src.values["a"] = "two"
	src.mu.Unlock()
	p.Do("CONFIG", "SET", "maxmemory", "1") // evicts everything
	eventually(t, "the evicted key left L1 too", func() bool { return get(t, c, "a").Value == "two" })
}

func TestLoader_Misbehaves(t *testing.T) {
	opt := nearcachetest.NewRedis(t).ClientOption()
	boom := errors.New("boom")
	release := make(chan struct{})
	defer close(release)
	reg := prometheus.NewRegistry()
	client := newClient(t, nearcache.Config{Redis: opt, Registerer: reg})
	c := newCache(t, client, nearcache.Options[string, string]{LoadTimeout: 100 * time.Millisecond,
		Load: func(_ context.Context, k string) (nearcache.Entry[string], error) {
			switch k {
			case "panics":
				panic("ouch")
			case "blocks":
				<-release // and ignores its context
			case "fails":
				return nearcache.Entry[string]{}, boom
			}
			return nearcache.Entry[string]{Value: "v", TTL: time.Hour}, nil
		}})
	for k, want := range map[string]error{"panics": nearcache.ErrPanic, "blocks": context.DeadlineExceeded, "fails": boom} {
		if _, err := c.Get(t.Context(), k); !errors.Is(err, want) {
			t.Errorf("%s: %v", k, err)
		} else if !strings.Contains(err.Error(), k) && k != "fails" {
			t.Errorf("the error does not name the key: %v", err)
		}
	}
	if v, err := c.Get(t.Context(), "fine"); v != "v" || err != nil {
		t.Errorf("afterwards: %q, %v", v, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Get(ctx, "blocks"); !errors.Is(err, context.Canceled) {
		t.Errorf("a caller that left: %v", err)
	}
}

func TestKeysAndValues_OfAllKinds(t *testing.T) {
	onBoth(t, func(t *testing.T, r redis) {
		src := newSource()
		c := open(t, r.opt, src)
		for _, k := range []string{"", " ", "a b", "nul\x00byte", "co:lon:s", "{brace}", "\xff\xfe", strings.Repeat("k", 10<<10), "日本"} {
			src.put(k, "value of "+k)
			if v, err := c.Get(t.Context(), k); v != "value of "+k || err != nil {
				t.Errorf("%.20q: %.20q, %v", k, v, err)
			}
		}
		big := strings.Repeat("x", 10<<20)
		src.put("big", big)
		for range 3 {
			if got := get(t, c, "big"); got.Value != big {
				t.Errorf("10 MB came back as %d bytes", len(got.Value))
			}
		}
		resident(t, c, "co:lon:s")
	})
}

func TestGarbageInL2_IsAMissAndIsReplaced(t *testing.T) {
	onBoth(t, func(t *testing.T, r redis) {
		src := newSource()
		src.put("a", "one")
		c := open(t, r.opt, src)
		key := tier.NewKeyspace("").Key("t", "a")
		get(t, c, "a")
		good, err := tier.AppendRecord(nil, tier.Record{Version: 9, Payload: []byte(`"forged"`)})
		if err != nil {
			t.Fatal(err)
		}
		flipped := append([]byte(nil), good...)
		flipped[len(flipped)-2] ^= 1
		notJSON, err := tier.AppendRecord(nil, tier.Record{Version: 9, Payload: []byte(`not JSON`)})
		if err != nil {
			t.Fatal(err)
		}
		for name, b := range map[string]string{"empty": "", "foreign": "hello", "truncated": string(good[:40]), "cut short": string(good[:len(good)-1]),
			"damaged": string(flipped), "undecodable": string(notJSON), "header only": string(good[:tier.HeaderSize])} {
			r.do("SET", key.Record, b)
			for range 3 {
				eventually(t, name, func() bool { return get(t, c, "a").Value == "one" })
			}
			resident(t, c, "a")
		}
	})
}

func TestSchemas_SideBySide(t *testing.T) {
	onBoth(t, func(t *testing.T, r redis) {
		src := newSource()
		src.put("a", "one")
		older := newCache(t, newClient(t, nearcache.Config{Redis: r.opt}), nearcache.Options[string, string]{Load: src.load, Schema: 1})
		newer := newCache(t, newClient(t, nearcache.Config{Redis: r.opt}), nearcache.Options[string, string]{Load: src.load, Schema: 2})
		get(t, older, "a")
		if got := get(t, newer, "a"); got.Tier != nearcache.TierSource {
			t.Errorf("the newer build reads an older schema: %+v", got)
		}
		if got := get(t, newer, "a"); got.Tier != nearcache.TierL2 {
			t.Errorf("the newer build did not replace it: %+v", got)
		}
		for range 3 {
			if got := get(t, older, "a"); got.Tier != nearcache.TierSource || got.Value != "one" {
				t.Errorf("the older build reads %+v", got)
			}
		}
		resident(t, newer, "a") // the older one has not overwritten it
	})
}

type lossy struct {
	Name   string
	secret int
}

func TestCodec_ThatLosesAField(t *testing.T) {
	client := newClient(t, nearcache.Config{Redis: nearcachetest.NewRedis(t).ClientOption()})
	load := func(context.Context, string) (nearcache.Entry[lossy], error) {
		return nearcache.Entry[lossy]{Value: lossy{"n", 7}}, nil
	}
	c, err := nearcache.For(client, "lossy", nearcache.Options[string, lossy]{Load: load})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Get(t.Context(), "a"); !errors.Is(err, nearcache.ErrCodec) || !strings.Contains(err.Error(), "secret") {
		t.Errorf("the error does not name the field: %v", err)
	}
	ok, err := nearcache.For(client, "meant", nearcache.Options[string, lossy]{Load: load, Lossy: true})
	if err != nil {
		t.Fatal(err)
	}
	if v, err := ok.Get(t.Context(), "a"); err != nil || v.secret != 7 {
		t.Errorf("%+v, %v", v, err)
	}
}

func TestAbsence_IsCachedWithItsVersion(t *testing.T) {
	src := newSource()
	src.put("a", "x")
	src.del("a")
	opt := nearcachetest.NewRedis(t).ClientOption()
	x, y := open(t, opt, src), open(t, opt, src)
	eventually(t, "the absence is in L1", func() bool {
		r, err := y.Read(t.Context(), "a", nearcache.ReadOptions{})
		if !errors.Is(err, nearcache.ErrNotFound) || r.Version != 2 {
			t.Fatalf("%+v, %v", r, err)
		}
		return r.Tier == nearcache.TierL1
	})
	if err := x.Set(t.Context(), "a", nearcache.Entry[string]{Value: "born again", Version: src.put("a", "born again")}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the creation ends the absence everywhere", func() bool { return get(t, y, "a").Value == "born again" })
}

func TestReadMany_OrderDuplicatesAndErrors(t *testing.T) {
	onBoth(t, func(t *testing.T, r redis) {
		src := newSource()
		for _, k := range []string{"a", "b", "c"} {
			src.put(k, "value of "+k)
		}
		boom := errors.New("boom")
		client := newClient(t, nearcache.Config{Redis: r.opt})
		if err := client.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		var batches [][]string
		many := newCache(t, client, nearcache.Options[string, string]{Load: src.load,
			LoadMany: func(ctx context.Context, ks []string) (map[string]nearcache.Entry[string], error) {
				batches = append(batches, ks)
				out := map[string]nearcache.Entry[string]{}
				for _, k := range ks {
					if k == "bad" {
						return nil, boom
					}
					if e, err := src.load(ctx, k); err == nil {
						out[k] = e
					}
				}
				return out, nil
			}})
		ks := []string{"c", "a", "none", "a", "b"}
		for round := range 4 {
			var got []string
			for _, res := range many.ReadMany(t.Context(), ks, nearcache.ReadOptions{}) {
				if res.Err != nil && !errors.Is(res.Err, nearcache.ErrNotFound) {
					t.Fatal(res.Err)
				}
				got = append(got, res.Value)
			}
			if diff := cmp.Diff([]string{"value of c", "value of a", "", "value of a", "value of b"}, got); diff != "" {
				t.Errorf("round %d: %s", round, diff)
			}
		}
		if diff := cmp.Diff([][]string{{"c", "a", "none", "b"}}, batches); diff != "" {
			t.Errorf("batches: %s", diff)
		}
		m, err := many.GetMany(t.Context(), []string{"a", "bad", "worse"})
		if !errors.Is(err, boom) {
			t.Errorf("a failing batch: %v", err)
		}
		if diff := cmp.Diff(map[string]string{"a": "value of a"}, m); diff != "" {
			t.Error(diff)
		}
	})
}

func TestShadow_AnswersFromTheSourceAndCounts(t *testing.T) {
	src := newSource()
	src.put("a", "one")
	reg := prometheus.NewRegistry()
	client := newClient(t, nearcache.Config{Redis: nearcachetest.NewRedis(t).ClientOption(), Registerer: reg})
	c := newCache(t, client, nearcache.Options[string, string]{Load: src.load})
	resident(t, c, "a")
	if err := client.SetMode(nearcache.Shadow); err != nil {
		t.Fatal(err)
	}
	src.put("a", "two") // the cache is not told
	if got := get(t, c, "a"); got.Value != "two" || got.Tier != nearcache.TierSource {
		t.Errorf("%+v", got)
	}
	mfs, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	older := 0.0
	for _, mf := range mfs {
		if mf.GetName() == "nearcache_shadow_total" {
			for _, m := range mf.GetMetric() {
				for _, l := range m.GetLabel() {
					if l.GetValue() == "older" {
						older = m.GetCounter().GetValue()
					}
				}
			}
		}
	}
	if older != 1 {
		t.Errorf("%v reads counted as older", older)
	}
}

func TestOptions_AreCheckedTogether(t *testing.T) {
	client := newClient(t, nearcache.Config{Redis: nearcachetest.NewRedis(t).ClientOption()})
	_, err := nearcache.For(client, "a:b", nearcache.Options[struct{ X int }, string]{TTL: -1, MaxStaleness: time.Second, L1Bytes: 1})
	for _, want := range []string{"a:b", "Load", "TTL", "MaxStaleness", "L1Bytes", "EncodeKey"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not name %s: %v", want, err)
		}
	}
	if _, err := nearcache.New(nearcache.Config{Redis: rueidis.ClientOption{InitAddress: []string{"x"}, DisableCache: true}}); err == nil {
		t.Error("an option that belongs to the client is taken")
	}
	src := newSource()
	newCache(t, client, nearcache.Options[string, string]{Load: src.load})
	if _, err := nearcache.For(client, "t", nearcache.Options[string, string]{Load: src.load}); err == nil {
		t.Error("two caches of one namespace")
	}
}

func TestHit_AllocatesNothing(t *testing.T) {
	src := newSource()
	src.put("a", "one")
	c := open(t, nearcachetest.NewRedis(t).ClientOption(), src)
	resident(t, c, "a")
	ctx := t.Context()
	if n := testing.AllocsPerRun(1000, func() { _, _ = c.Get(ctx, "a") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestClose_EndsReadsAndGoroutines(t *testing.T) {
	started := make(chan struct{})
	client := newClient(t, nearcache.Config{Redis: nearcachetest.NewRedis(t).ClientOption()})
	hang := make(chan struct{})
	defer close(hang)
	c := newCache(t, client, nearcache.Options[string, string]{Load: func(ctx context.Context, k string) (nearcache.Entry[string], error) {
		close(started)
		<-hang
		return nearcache.Entry[string]{}, nil
	}})
	errs := make(chan error)
	go func() { _, err := c.Get(context.Background(), "a"); errs <- err }()
	<-started
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-errs; err == nil {
		t.Error("a load that Close has ended gave no error")
	}
	if _, err := c.Get(t.Context(), "b"); !errors.Is(err, nearcache.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}
