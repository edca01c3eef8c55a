package nearcache_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nearcache/nearcache-go/nearcache"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
)

// inBubbleOf is n instances on one Redis, and fake time.
func inBubbleOf(t *testing.T, n int, o nearcache.Options[string, string],
	test func(t *testing.T, r *nearcachetest.Redis, cs []*nearcache.Cache[string, string])) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r, err := nearcachetest.StartRedis("")
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		var cs []*nearcache.Cache[string, string]
		for range n {
			client, err := nearcache.New(nearcache.Config{Redis: r.PipeOption()})
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			if err := client.Ready(t.Context()); err != nil {
				t.Fatal(err)
			}
			cs = append(cs, newCache(t, client, o))
		}
		test(t, r, cs)
		time.Sleep(5 * time.Second) // loads that the last reads have begun end within the bubble
	})
}

func TestRefresh_OneOfAllInstancesBeforeItExpires(t *testing.T) {
	for name, refresh := range map[string]nearcache.Refresh{"after": {After: 0.8}, "beta": {Beta: 3}} {
		t.Run(name, func(t *testing.T) {
			var loads, waited atomic.Int64
			o := nearcache.Options[string, string]{TTL: 10 * time.Second, Refresh: refresh,
				Load: func(context.Context, string) (nearcache.Entry[string], error) {
					<-time.After(200 * time.Millisecond)
					return nearcache.Entry[string]{Value: fmt.Sprint(loads.Add(1))}, nil
				}}
			inBubbleOf(t, 3, o, func(t *testing.T, _ *nearcachetest.Redis, cs []*nearcache.Cache[string, string]) {
				for _, c := range cs {
					resident(t, c, "a")
				}
				for range 60 * 100 { // a minute of reads, ten milliseconds apart
					for _, c := range cs {
						begun := time.Now()
						if _, err := c.Get(t.Context(), "a"); err != nil {
							t.Fatal(err)
						}
						if time.Since(begun) > 100*time.Millisecond {
							waited.Add(1)
						}
					}
					time.Sleep(10 * time.Millisecond)
				}
				if name == "after" && waited.Load() > 0 {
					t.Errorf("%d reads waited for a load", waited.Load())
				}
				if n := waited.Load(); n > 3*4 { // of 6 expiries, for 3 instances; with Beta some are not foreseen
					t.Errorf("%d reads waited for a load", n)
				}
				if n := loads.Load(); n < 6 || n > 12 {
					t.Errorf("%d loads in a minute with a TTL of ten seconds, on three instances", n)
				}
			})
		})
	}
}

func TestRefresh_FailureKeepsTheValue(t *testing.T) {
	var loads atomic.Int64
	o := nearcache.Options[string, string]{TTL: 10 * time.Second, Refresh: nearcache.Refresh{After: 0.5},
		Load: func(context.Context, string) (nearcache.Entry[string], error) {
			if loads.Add(1) > 1 {
				return nearcache.Entry[string]{}, errDown
			}
			return nearcache.Entry[string]{Value: "one"}, nil
		}}
	inBubbleOf(t, 3, o, func(t *testing.T, _ *nearcachetest.Redis, cs []*nearcache.Cache[string, string]) {
		resident(t, cs[0], "a")
		for range 90 {
			if v, err := cs[0].Get(t.Context(), "a"); err != nil || v != "one" {
				t.Fatalf("got %q and error %v, want \"one\"", v, err)
			}
			time.Sleep(100 * time.Millisecond)
		}
		if n := loads.Load(); n < 3 || n > 8 {
			t.Errorf("%d loads: it is tried again each second", n)
		}
	})
}

func TestRefresh_KeysThatFallDueTogetherAreLoadedTogether(t *testing.T) {
	var calls, keys atomic.Int64
	o := nearcache.Options[string, string]{TTL: 10 * time.Second, Refresh: nearcache.Refresh{After: 0.5},
		LoadMany: func(_ context.Context, ks []string) (map[string]nearcache.Entry[string], error) {
			calls.Add(1)
			keys.Add(int64(len(ks)))
			out := map[string]nearcache.Entry[string]{}
			for _, k := range ks {
				out[k] = nearcache.Entry[string]{Value: "v"}
			}
			return out, nil
		}}
	inBubbleOf(t, 3, o, func(t *testing.T, _ *nearcachetest.Redis, cs []*nearcache.Cache[string, string]) {
		var ks []string
		for i := range 50 {
			ks = append(ks, fmt.Sprint(i))
		}
		for range 5 {
			if _, err := cs[0].GetMany(t.Context(), ks); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		calls.Store(0)
		keys.Store(0)
		time.Sleep(6 * time.Second)
		for range 2 {
			if m, err := cs[0].GetMany(t.Context(), ks); err != nil || len(m) != 50 {
				t.Fatal(len(m), err)
			}
			time.Sleep(10 * time.Millisecond)
		}
		if calls.Load() > 5 || keys.Load() < 40 || keys.Load() > 50 {
			t.Errorf("%d keys in %d loads", keys.Load(), calls.Load())
		}
	})
}
