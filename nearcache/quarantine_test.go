package nearcache_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/nearcache/nearcache-go/internal/testkit"
	"github.com/nearcache/nearcache-go/nearcache"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
)

// TestRetries_OverflowIsNotForgotten: while Redis is gone more writes fail than are remembered, and they have no
// versions. When Redis is back with all the old values, the writer's instance serves none of those that it has
// forgotten, and the others cease to.
func TestRetries_OverflowIsNotForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		redis, err := nearcachetest.StartRedis("")
		if err != nil {
			t.Fatal(err)
		}
		defer redis.Close()
		src, reg := newSource(), prometheus.NewRegistry()
		var caches [2]*nearcache.Cache[string, string]
		var clients [2]*nearcache.Client
		for i := range caches {
			cfg := nearcache.Config{Redis: redis.PipeOption()}
			if i == 0 {
				cfg.Registerer = reg
			}
			if clients[i], err = nearcache.New(cfg); err != nil {
				t.Fatal(err)
			}
			defer clients[i].Close()
			if err := clients[i].Ready(t.Context()); err != nil {
				t.Fatal(err)
			}
			caches[i] = newCache(t, clients[i], nearcache.Options[string, string]{Find: src.value})
		}
		x, y := caches[0], caches[1]
		clients[0].LimitRetries(2)
		var ks []string
		buckets := map[int]bool{}
		for i := 0; len(ks) < 10; i++ {
			if k := fmt.Sprint("k", i); !buckets[key(k).Bucket] {
				buckets[key(k).Bucket] = true
				ks = append(ks, k)
			}
		}
		ks, untouched := ks[:9], ks[9]
		for _, k := range append(ks, untouched) {
			src.put(k, "old")
			resident(t, x, k)
			resident(t, y, k)
		}
		redis.Stop()
		for _, k := range ks {
			src.put(k, "new")
			if err := x.Invalidate(t.Context(), k, 0); !errors.Is(err, nearcache.ErrNotInvalidated) {
				t.Fatal(err)
			}
		}
		if s := clients[0].Status(); s.Pending != 2 || s.Quarantined != 7 ||
			testkit.Metric(t, reg, "nearcache_quarantined_buckets") != 7 ||
			testkit.Metric(t, reg, "nearcache_retries_dropped_total") != 7 {
			t.Errorf("%d pending, %d buckets quarantined: the limit is 2", s.Pending, s.Quarantined)
		}
		if err := redis.Start(); err != nil {
			t.Fatal(err)
		}
		asked := false // L2, while it still had what it should not have
		for range 1000 {
			for _, k := range ks[2:] {
				if v, err := x.Get(t.Context(), k); err != nil || v != "new" {
					t.Fatalf("%s is %q again, %v", k, v, err)
				}
			}
			asked = asked || testkit.Metric(t, reg, "nearcache_misses_total", "l2", "behind") > 0
			time.Sleep(10 * time.Millisecond)
		}
		if !asked {
			t.Error("L2 was not asked while the buckets were in quarantine: this shows nothing")
		}
		if s := clients[0].Status(); s.Pending != 0 || s.Quarantined != 0 {
			t.Errorf("%d pending, %d buckets quarantined, long after Redis is back", s.Pending, s.Quarantined)
		}
		for _, k := range ks {
			if got := get(t, y, k); got.Value != "new" {
				t.Errorf("the other instance serves %s: %+v", k, got)
			}
			resident(t, x, k)
			resident(t, y, k)
		}
		if got := get(t, y, untouched); got.Tier == nearcache.TierSource {
			t.Errorf("a bucket that was not in quarantine was started anew: %+v", got)
		}
	})
}
