package nearcache_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nearcache/nearcache-go/internal/testkit"
	"github.com/nearcache/nearcache-go/nearcache"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
)

func TestHit_AllocatesNothingWhileReadsAreAudited(t *testing.T) {
	src := newSource()
	src.put("a", "one")
	client := newClient(t, nearcache.Config{Redis: nearcachetest.NewRedis(t).ClientOption()})
	c := newCache(t, client, nearcache.Options[string, string]{Load: src.load,
		Audit: nearcache.Audit[string, string]{Rate: 0.001}})
	resident(t, c, "a")
	ctx := t.Context()
	if n := testing.AllocsPerRun(1000, func() { _, _ = c.Get(ctx, "a") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestAudit_ComparesAtItsRate: each sample costs a load, so a rate is kept however many reads there are, and a mode in
// which the cache does not answer is not audited.
func TestAudit_ComparesAtItsRate(t *testing.T) {
	inBoundedBubbleWith(t, nearcache.Audit[string, string]{Rate: 20}, func(t *testing.T, b *bounded) {
		b.src.write("a", "one")
		time.Sleep(time.Second)
		b.warm(t)
		status := func() nearcache.AuditStatus { return b.client.Status().Caches["t"].Audit }
		busy := func(d time.Duration) {
			for began := time.Now(); time.Since(began) < d; {
				for range 20 {
					_, _ = b.Get(t.Context(), "a")
				}
				time.Sleep(time.Millisecond)
			}
		}
		if s := status(); !s.On || s.Wait != delta || len(s.Scales) != 5 {
			t.Errorf("got %+v, want the bound as Wait, and five scales", s)
		}
		before, loads := status(), b.src.loads.Load()
		busy(10 * time.Second)
		after, loaded := status(), uint64(b.src.loads.Load()-loads)
		if n := after.Reads - before.Reads; n < 120 || n > 280 || loaded < n || loaded > n+5 {
			t.Errorf("%d reads compared with %d loads, want about 200", n, loaded)
		}
		if after.Inconsistent > 0 || after.Undecided > 0 {
			t.Errorf("got %+v", after)
		}
		if err := b.client.SetMode(nearcache.ModeOff); err != nil {
			t.Fatal(err)
		}
		before = status()
		busy(3 * time.Second)
		if after := status(); after.Reads > before.Reads+1 {
			t.Errorf("%d reads are compared while the source answers all of them", after.Reads-before.Reads)
		}
		b.gathered(t, "nearcache_audit_checks_total", "nearcache_audit_inconsistencies_total",
			"nearcache_audit_undecided_total")
		got := testkit.Metric(t, b.reg, "nearcache_audit_checks_total", "250ms", "consistent")
		if got != float64(after.Reads) {
			t.Errorf("got %v reads judged within 250ms, want %d", got, after.Reads)
		}
		s := after.Scales[0]
		if s.Within != 100*time.Millisecond || s.Share != 1 || s.Low < 0.96 || s.High < 0.999 || s.Nines < 1.4 {
			t.Errorf("got %+v, want more than one nine of %d reads", s, after.Reads)
		}
	})
}

// TestAudit_AFaultOfTheSourceIsUndecided: who cannot be asked proves nothing against the cache.
func TestAudit_AFaultOfTheSourceIsUndecided(t *testing.T) {
	inBoundedBubbleWith(t, nearcache.Audit[string, string]{Rate: 100}, func(t *testing.T, b *bounded) {
		b.src.write("a", "one")
		time.Sleep(time.Second)
		b.warm(t)
		b.src.set(func() { b.src.down = true })
		for range 400 {
			_, _ = b.Get(t.Context(), "a")
			time.Sleep(time.Millisecond)
		}
		if s := b.client.Status().Caches["t"].Audit; s.Undecided == 0 || s.Inconsistent > 0 {
			t.Errorf("got %+v, want undecided reads alone", s)
		}
	})
}

// TestAudit_EndsWithTheClient while a difference is followed, and while the source hangs.
func TestAudit_EndsWithTheClient(t *testing.T) {
	for _, hangs := range []bool{false, true} {
		t.Run(fmt.Sprintf("the Loader hangs %v", hangs), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				redis, err := nearcachetest.StartRedis("")
				if err != nil {
					t.Fatal(err)
				}
				defer redis.Close()
				src := newSource()
				src.put("a", "one")
				client := newClient(t, nearcache.Config{Redis: redis.PipeOption()})
				free := make(chan struct{})
				var once sync.Once
				asked := make(chan struct{})
				c := newCache(t, client, nearcache.Options[string, string]{Load: src.load,
					Audit: nearcache.Audit[string, string]{Rate: 100, Load: func(ctx context.Context,
						k string) (nearcache.Entry[string], error) {
						once.Do(func() { close(asked) })
						if hangs {
							<-free // its context has ended long ago
						}
						return nearcache.Entry[string]{Value: "another"}, nil
					}}})
				resident(t, c, "a")
				for done := false; !done; {
					_, _ = c.Get(t.Context(), "a")
					time.Sleep(time.Millisecond)
					select {
					case <-asked:
						done = true
					default:
					}
				}
				began := time.Now()
				if err := client.Close(); err != nil || time.Since(began) > time.Second {
					t.Errorf("Close: %v after %v", err, time.Since(began))
				}
				close(free)
			})
		})
	}
}

// TestAudit_WithoutASource finds a write that went around the cache, and shows it where people look.
func TestAudit_WithoutASource(t *testing.T) {
	for _, versioned := range []bool{true, false} {
		t.Run(fmt.Sprintf("versioned %v", versioned), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				redis, err := nearcachetest.StartRedis("")
				if err != nil {
					t.Fatal(err)
				}
				defer redis.Close()
				src := newSource()
				src.put("a", "one")
				client := newClient(t, nearcache.Config{Redis: redis.PipeOption(), Heartbeat: 10 * time.Second})
				o := nearcache.Options[string, string]{Load: src.load, Audit: nearcache.Audit[string, string]{Rate: 100,
					Wait: 3 * time.Second}}
				if !versioned {
					o.Load, o.Find = nil, src.value
				}
				c := newCache(t, client, o)
				resident(t, c, "a")
				src.put("a", "two") // and nobody is told
				began := time.Now()
				for client.Status().Caches["t"].Audit.Inconsistent == 0 && time.Since(began) < time.Minute {
					_, _ = c.Get(t.Context(), "a")
					time.Sleep(5 * time.Millisecond)
				}
				if took := time.Since(began); took < 3*time.Second || took > 10*time.Second {
					t.Errorf("found after %v, want some time after Wait", took)
				}
				status, answer := ask(t, nearcache.DebugHandler(client), "")
				d, _ := field(answer, "caches.t.audit.differences").([]any)
				if status != 200 || len(d) != 1 || d[0].(map[string]any)["cause"] != "write_unseen" ||
					d[0].(map[string]any)["key"] != "a" || field(answer, "caches.t.audit.inconsistent") != 1.0 {
					t.Errorf("DebugHandler has %v", field(answer, "caches.t.audit"))
				}
				reason := func() bool {
					for _, r := range client.Status().Reasons {
						if r.Code == "cache_and_source_differ" && strings.Contains(r.Message, "write_unseen") {
							return true
						}
					}
					return false
				}
				if !reason() {
					t.Errorf("the reasons are %v", client.Status().Reasons)
				}
				if err := c.Invalidate(t.Context(), "a", 0); err != nil {
					t.Fatal(err)
				}
				time.Sleep(15 * time.Minute)
				if reason() {
					t.Error("the reason outlasts the fault")
				}
			})
		})
	}
}

func TestAudit_RefusesWhatCannotWork(t *testing.T) {
	client := newClient(t, nearcache.Config{Redis: nearcachetest.NewRedis(t).ClientOption()})
	for want, a := range map[string]nearcache.Audit[string, string]{
		"Audit.Rate is -1": {Rate: -1},
		"Audit.Rate is 2":  {Rate: 2000},
		"Audit.Wait":       {Rate: 1, Wait: -1},
		"Audit.Rate is 0":  {Found: func(nearcache.Difference) {}},
	} {
		_, err := nearcache.NewCache(client, "t", nearcache.Options[string, string]{Load: newSource().load, Audit: a})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: got %v, want %q", a, err, want)
		}
	}
}

// TestAudit_SurvivesItsCallbacks: a panic in one of them is that callback's own.
func TestAudit_SurvivesItsCallbacks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		redis, err := nearcachetest.StartRedis("")
		if err != nil {
			t.Fatal(err)
		}
		defer redis.Close()
		src := newSource()
		src.put("a", "one")
		src.put("b", "one")
		client := newClient(t, nearcache.Config{Redis: redis.PipeOption()})
		c := newCache(t, client, nearcache.Options[string, string]{Load: src.load,
			Audit: nearcache.Audit[string, string]{Rate: 100,
				Load: func(_ context.Context, k string) (nearcache.Entry[string], error) {
					if k == "b" {
						panic("Load")
					}
					return nearcache.Entry[string]{Version: 1}, nearcache.ErrNotFound
				},
				Equal: func(a, b string) bool { panic("Equal") }, Found: func(nearcache.Difference) { panic("Found") }}})
		for range 2000 {
			for _, k := range []string{"a", "b"} {
				if _, err := c.Get(t.Context(), k); err != nil && !errors.Is(err, nearcache.ErrNotFound) {
					t.Fatal(err)
				}
			}
			time.Sleep(time.Millisecond)
		}
		if s := client.Status().Caches["t"].Audit; s.Inconsistent != 1 || s.Undecided == 0 {
			t.Errorf("got %+v, want one inconsistency, of the key that the source does not have", s)
		}
	})
}

// A sample of the reads is compared with the database. Somebody changes a row behind the cache's back.
func ExampleAudit() {
	redis, err := nearcachetest.StartRedis("127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	defer redis.Close()
	client, err := nearcache.New(nearcache.Config{Redis: redis.ClientOption()})
	if err != nil {
		panic(err)
	}
	defer client.Close()
	database := newSource()
	database.put("42", "lamp")
	found := make(chan nearcache.Difference, 1)
	products, err := nearcache.NewCache(client, "product", nearcache.Options[string, string]{Load: database.load,
		Audit: nearcache.Audit[string, string]{Rate: 100, Wait: 50 * time.Millisecond,
			Found: func(d nearcache.Difference) { found <- d }}})
	if err != nil {
		panic(err)
	}
	_, _ = products.Get(context.Background(), "42")
	database.put("42", "desk lamp")
	for len(found) == 0 {
		_, _ = products.Get(context.Background(), "42")
	}
	d := <-found
	fmt.Println(d.Key, d.Cause, "served", d.Served, "source", d.Source)
	// Output: 42 write_unseen served 1 source 2
}
