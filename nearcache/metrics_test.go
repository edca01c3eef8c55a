package nearcache_test

import (
	"context"
	"errors"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/nearcache/nearcache-go/internal/testkit"
	"github.com/nearcache/nearcache-go/nearcache"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
)

// samples is how many observations a histogram has with the given value of a label.
func samples(t *testing.T, reg *prometheus.Registry, name, value string) (n uint64) {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if f.GetName() == name && l.GetValue() == value {
					n += m.GetHistogram().GetSampleCount()
				}
			}
		}
	}
	return n
}

func TestMetrics_TellWhichTierAnswersAndHowLongItTakes(t *testing.T) {
	const lookups = "nearcache_lookup_duration_seconds"
	reg := prometheus.NewRegistry()
	client := newClient(t, nearcache.Config{Redis: nearcachetest.NewRedis(t).ClientOption(), Registerer: reg})
	failure := errors.New("no such luck")
	fails := false
	c, err := nearcache.NewCache(client, "n", nearcache.Options[string, string]{
		Load: func(context.Context, string) (nearcache.Entry[string], error) {
			if fails {
				return nearcache.Entry[string]{}, failure
			}
			return nearcache.Entry[string]{Value: "v", Version: 1}, nil
		}})
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	read := func(key string, want nearcache.Tier) {
		t.Helper()
		r, err := c.Read(ctx, key, nearcache.ReadOptions{})
		if err != nil || r.Tier != want {
			t.Fatalf("read of %s: tier %v, error %v; want %v", key, r.Tier, err, want)
		}
	}
	if err := client.Ready(ctx); err != nil {
		t.Fatal(err)
	}
	read("a", nearcache.TierSource)
	byL2 := 0.0
	testkit.Eventually(t, "L1 answers", func() bool {
		r, err := c.Read(ctx, "a", nearcache.ReadOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if r.Tier == nearcache.TierL2 {
			byL2++
		}
		return r.Tier == nearcache.TierL1
	})
	read("a", nearcache.TierL1)
	read("a", nearcache.TierL1)
	fails = true
	if _, err := c.Get(ctx, "b"); !errors.Is(err, failure) {
		t.Fatal(err)
	}
	for value, want := range map[string]uint64{"source": 1, "l2": uint64(byL2), "none": 1} {
		if n := samples(t, reg, lookups, value); n != want {
			t.Errorf("%d look-ups are timed with tier %s, want %d", n, value, want)
		}
	}
	for tier, want := range map[string]float64{"l1": 3, "l2": byL2} {
		if n := testkit.Metric(t, reg, "nearcache_hits_total", tier); n != want {
			t.Errorf("%v hits of %s, want %v", n, tier, want)
		}
	}
	// This goroutine's hits fall on one counter, or on a few where its stack has moved.
	const hits = 64 << 10
	for i := range hits {
		if i%2 == 0 {
			_, err = c.Get(ctx, "a")
		} else {
			_, err = c.Read(ctx, "a", nearcache.ReadOptions{})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if n := samples(t, reg, lookups, "l1"); n < hits/1024-3 || n > hits/1024+3 {
		t.Errorf("of %d hits of L1 %d are timed, want one in 1,024", hits, n)
	}
	if n := testing.AllocsPerRun(5000, func() { _, _ = c.Get(ctx, "a") }); n != 0 {
		t.Errorf("a hit that may be timed makes %v allocations", n)
	}
}

func TestMetrics_LeasesHeldAreThoseOfLoadsUnderWay(t *testing.T) {
	reg := prometheus.NewRegistry()
	client := newClient(t, nearcache.Config{Redis: nearcachetest.NewRedis(t).ClientOption(), Registerer: reg})
	held := -1.0
	c, err := nearcache.NewCache(client, "n", nearcache.Options[string, string]{
		Load: func(_ context.Context, key string) (nearcache.Entry[string], error) {
			held = testkit.Metric(t, reg, "nearcache_leases_held")
			if key == "fails" {
				return nearcache.Entry[string]{}, errors.New("it does")
			}
			return nearcache.Entry[string]{Value: "v", Version: 1}, nil
		}})
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"works", "fails"} {
		_, _ = c.Get(t.Context(), key)
		if held != 1 {
			t.Errorf("%s: %v leases are held during the load, want 1", key, held)
		}
		testkit.Eventually(t, "no lease is held after the load", func() bool {
			return testkit.Metric(t, reg, "nearcache_leases_held") == 0
		})
	}
}

func TestMetrics_CountInvalidationsByChannel(t *testing.T) {
	reg := prometheus.NewRegistry()
	redis := nearcachetest.NewRedis(t)
	client := newClient(t, nearcache.Config{Redis: redis.ClientOption(), Registerer: reg})
	c, err := nearcache.NewCache(client, "n", nearcache.Options[string, string]{
		Load: func(context.Context, string) (nearcache.Entry[string], error) {
			return nearcache.Entry[string]{Value: "v", Version: 1}, nil
		}})
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "L1 has the key", func() bool {
		r, err := c.Read(t.Context(), "a", nearcache.ReadOptions{})
		return err == nil && r.Tier == nearcache.TierL1
	})
	if err := c.Invalidate(t.Context(), "a", 2); err != nil {
		t.Fatal(err)
	}
	if n := testkit.Metric(t, reg, "nearcache_invalidations_total", "write"); n != 1 {
		t.Errorf("%v invalidations by writes, want 1", n)
	}
	testkit.Eventually(t, "Redis pushes the key", func() bool {
		return testkit.Metric(t, reg, "nearcache_invalidations_total", "redis") > 0
	})
	if n := testkit.Metric(t, reg, "nearcache_channel_up", "redis"); n != 1 {
		t.Errorf("channel_up of redis is %v, want 1", n)
	}
}

func TestMetrics_RedisErrorsHaveACode(t *testing.T) {
	reg := prometheus.NewRegistry()
	redis := nearcachetest.NewRedis(t)
	client := newClient(t, nearcache.Config{Redis: redis.ClientOption(), Registerer: reg})
	c, err := nearcache.NewCache(client, "n", nearcache.Options[string, string]{
		Load: func(context.Context, string) (nearcache.Entry[string], error) {
			return nearcache.Entry[string]{Value: "v", Version: 1}, nil
		}})
	if err != nil {
		t.Fatal(err)
	}
	if n := testkit.Metric(t, reg, "nearcache_redis_errors_total"); n != 0 {
		t.Errorf("%v errors before there is one", n)
	}
	redis.Close()
	testkit.Eventually(t, "an error has the code redis_unreachable", func() bool {
		_, _ = c.Get(t.Context(), "a")
		return testkit.Metric(t, reg, "nearcache_redis_errors_total", "redis_unreachable") > 0
	})
	testkit.Eventually(t, "redis_up is 0", func() bool {
		_, _ = c.Get(t.Context(), "a")
		return testkit.Metric(t, reg, "nearcache_redis_up") == 0
	})
}
