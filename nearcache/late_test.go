package nearcache_test

import (
	"context"
	"errors"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/nearcache/nearcache-go/internal/testkit"
	"github.com/nearcache/nearcache-go/nearcache"
)

func TestLateFill_L2(t *testing.T) { // R1, C2
	testkit.OnBothRedis(t, func(t *testing.T, r testkit.Redis) {
		src := newSource()
		src.put("a", "old")
		x, y := open(t, r.Option, src), open(t, r.Option, src)
		src.after = func(string) { // x has read the old row; y writes and invalidates before x fills
			src.after = nil
			if _, err := y.Write(context.Background(), "a", func(context.Context) (nearcache.Version, error) {
				return src.put("a", "new"), nil
			}); err != nil {
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
	testkit.OnBothRedis(t, func(t *testing.T, r testkit.Redis) {
		src := newSource()
		v1 := src.put("a", "one")
		x, y := open(t, r.Option, src), open(t, r.Option, src)
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

// held is a Codec that can stop a Decode: there a load has its answer from Redis and has not yet been judged.
type held struct {
	nearcache.JSON[string]
	decoded func(string)
}

func (h *held) Decode(b []byte) (string, error) {
	v, err := h.JSON.Decode(b)
	if h.decoded != nil {
		h.decoded(v)
	}
	return v, err
}

func TestLateFill_L1(t *testing.T) { // R3, C2
	testkit.OnBothRedis(t, func(t *testing.T, r testkit.Redis) {
		src := newSource()
		src.put("a", "old")
		src.put("other", "")
		reg := prometheus.NewRegistry()
		client := newClient(t, nearcache.Config{Redis: r.Option, Registerer: reg})
		if err := client.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		codec := &held{}
		x := newCache(t, client, nearcache.Options[string, string]{Load: src.load, Codec: codec})
		other := newClient(t, nearcache.Config{Redis: r.Option})
		y := newCache(t, other, nearcache.Options[string, string]{Load: src.load, Codec: &held{}})
		get(t, y, "a")                 // fills L2
		codec.decoded = func(string) { // x has the old value from L2; y writes, and Redis pushes, before x admits it
			codec.decoded = nil
			before := testkit.Metric(t, reg, "nearcache_invalidations_total", "redis")
			if err := y.Invalidate(context.Background(), "a", src.put("a", "new")); err != nil {
				t.Error(err)
			}
			testkit.Eventually(t, "the push", func() bool {
				return testkit.Metric(t, reg, "nearcache_invalidations_total", "redis") > before
			})
		}
		if got := get(t, x, "a"); got.Value != "old" || got.Tier != nearcache.TierL2 {
			t.Errorf("x has not met the race: %+v", got)
		}
		resident(t, x, "other") // ristretto takes sets in order: an admitted "old" is in by now
		for range 5 {
			if got := get(t, x, "a"); got.Value != "new" {
				t.Errorf("x reads %+v", got)
			}
		}
		resident(t, x, "a")
	})
}
