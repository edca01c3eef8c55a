package nearcache_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/nearcache/nearcache-go/internal/testkit"
	"github.com/nearcache/nearcache-go/nearcache"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
)

func TestGet_ComesNearerWithEveryRead(t *testing.T) {
	testkit.OnBothRedis(t, func(t *testing.T, r testkit.Redis) {
		src := newSource()
		src.put("a", "one")
		c := open(t, r.Option, src)
		var tiers []string
		testkit.Eventually(t, "a hit in L1", func() bool {
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

func TestStampede_OneLoadOverAllInstances(t *testing.T) {
	testkit.OnBothRedis(t, func(t *testing.T, r testkit.Redis) {
		src := newSource()
		src.put("hot", "v")
		gate := make(chan struct{})
		src.before = func(string) { <-gate }
		var caches []*nearcache.Cache[string, string]
		for range 3 {
			caches = append(caches, open(t, r.Option, src))
		}
		var wg sync.WaitGroup
		for _, c := range caches {
			for range 1000 {
				wg.Go(func() {
					if v, err := c.Get(t.Context(), "hot"); v != "v" || err != nil {
						t.Errorf("got %q and error %v, want \"v\"", v, err)
					}
				})
			}
		}
		testkit.Eventually(t, "somebody loads", func() bool { return src.loads.Load() > 0 })
		close(gate)
		wg.Wait()
		if n := src.loads.Load(); n != 1 {
			t.Errorf("3 instances x 1,000 readers of a cold key: %d loads, want 1", n)
		}
	})
}

// heldLoad lets the first load read its row and then waits, while change happens and a second read begins and has to
// wait for something. It returns what the second read gets.
func heldLoad(t *testing.T, ro nearcache.ReadOptions,
	change func(*nearcache.Cache[string, string], *source)) (second string) {
	t.Helper()
	inBubble(t, func(t *testing.T, _ *nearcachetest.Redis, client *nearcache.Client) {
		src := newSource()
		src.put("a", "old")
		c := newCache(t, client, nearcache.Options[string, string]{Load: src.load})
		release := make(chan struct{})
		src.after = func(string) { src.after = nil; <-release }
		var wg sync.WaitGroup
		read := func(into *string) {
			wg.Go(func() {
				r, err := c.Read(context.Background(), "a", ro)
				if err != nil {
					t.Error(err)
				}
				*into = r.Value
			})
			synctest.Wait()
		}
		var first string
		read(&first)
		change(c, src)
		time.Sleep(time.Millisecond) // the second read begins later, by the clock too
		read(&second)
		close(release)
		wg.Wait()
		if first != "old" {
			t.Errorf("the first read got %q: this shows nothing", first)
		}
	})
	return second
}

func TestFlight_IsNotJoinedAfterInvalidation(t *testing.T) {
	got := heldLoad(t, nearcache.ReadOptions{}, func(c *nearcache.Cache[string, string], src *source) {
		if err := c.Invalidate(t.Context(), "a", src.put("a", "new")); err != nil {
			t.Error(err)
		}
	})
	if got != "new" {
		t.Errorf("a read that began after the write's end got %q", got)
	}
}

func TestFlight_IsJoinedWhileNothingChanged(t *testing.T) {
	got := heldLoad(t, nearcache.ReadOptions{}, func(_ *nearcache.Cache[string, string], src *source) {
		src.put("a", "new")
	})
	if got != "old" {
		t.Errorf("%q: a second load ran beside the first, and nobody had invalidated", got)
	}
}

func TestFresh_JoinsNoEarlierLoad(t *testing.T) {
	got := heldLoad(t, nearcache.ReadOptions{Fresh: true}, func(_ *nearcache.Cache[string, string], src *source) {
		src.put("a", "new")
	})
	if got != "new" {
		t.Errorf("a Fresh read that began after the change got %q", got)
	}
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
		t.Errorf("got %+v and error %v, want \"two\" of the written version", r, err)
	}
	if got := get(t, c, "a"); got.Version < v {
		t.Errorf("then it went back to %+v", got) // C3
	}
	if _, err := c.Read(t.Context(), "a",
		nearcache.ReadOptions{AtLeast: 1 << 63}); !errors.Is(err, nearcache.ErrNotReady) {
		t.Errorf("a version that is not there: %v", err)
	}
	if got := get(t, c, "a"); got.Value != "two" {
		t.Errorf("a forged version has disabled the key: %+v", got)
	}
}

func TestAbsence_IsCachedWithItsVersion(t *testing.T) {
	src := newSource()
	src.put("a", "x")
	src.del("a")
	opt := nearcachetest.NewRedis(t).ClientOption()
	x, y := open(t, opt, src), open(t, opt, src)
	testkit.Eventually(t, "the absence is in L1", func() bool {
		r, err := y.Read(t.Context(), "a", nearcache.ReadOptions{})
		if !errors.Is(err, nearcache.ErrNotFound) || r.Version != 2 {
			t.Fatalf("got %+v and error %v, want the absence of version 2", r, err)
		}
		return r.Tier == nearcache.TierL1
	})
	if err := x.Set(t.Context(), "a",
		nearcache.Entry[string]{Value: "born again", Version: src.put("a", "born again")}); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "the creation ends the absence everywhere", func() bool {
		return get(t, y, "a").Value == "born again"
	})
}

func TestReadMany_OrderDuplicatesAndErrors(t *testing.T) {
	testkit.OnBothRedis(t, func(t *testing.T, r testkit.Redis) {
		src := newSource()
		for _, k := range []string{"a", "b", "c"} {
			src.put(k, "value of "+k)
		}
		boom := errors.New("boom")
		client := newClient(t, nearcache.Config{Redis: r.Option})
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
	if err := client.SetMode(nearcache.ModeShadow); err != nil {
		t.Fatal(err)
	}
	src.put("a", "two") // the cache is not told
	if got := get(t, c, "a"); got.Value != "two" || got.Tier != nearcache.TierSource {
		t.Errorf("got %+v, want \"two\" of the source", got)
	}
	older := testkit.Metric(t, reg, "nearcache_shadow_total", "older")
	if older != 1 {
		t.Errorf("%v reads counted as older", older)
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
	c := newCache(t, client, nearcache.Options[string, string]{Load: func(ctx context.Context,
		k string) (nearcache.Entry[string], error) {
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
