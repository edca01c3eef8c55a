package nearcache_test

import (
	"context"
	"errors"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/nearcache/nearcache-go/internal/l2"
	"github.com/nearcache/nearcache-go/internal/testkit"
	"github.com/nearcache/nearcache-go/nearcache"
	"github.com/nearcache/nearcache-go/nearcache/codec/compress"
	"github.com/nearcache/nearcache-go/nearcache/codec/msgpack"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
)

type productV1 struct {
	ID    string `json:"id"`
	Price int
}

// productV2 has one field more. Its build must not read zeros from what the old build has written.
type productV2 struct {
	Price int    // in another order
	ID    string `json:"id"`
	Stock int
}

// reordered is productV1 for JSON.
type reordered struct {
	Price int
	Name  string `json:"id,omitempty"`
}

func always[V any](v V) nearcache.Loader[string, V] {
	return func(context.Context, string) (nearcache.Entry[V], error) {
		return nearcache.Entry[V]{Value: v, Version: 1}, nil
	}
}

// build is a build of a service: a client of its own with one cache.
func build[V any](t *testing.T, r testkit.Redis, reg prometheus.Registerer,
	o nearcache.Options[string, V]) *nearcache.Cache[string, V] {
	t.Helper()
	client := newClient(t, nearcache.Config{Redis: r.Option, Registerer: reg})
	if err := client.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	c, err := nearcache.NewCache(client, "t", o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func readTier[V any](t *testing.T, c *nearcache.Cache[string, V], k string) (V, nearcache.Tier) {
	t.Helper()
	r, err := c.Read(t.Context(), k, nearcache.ReadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return r.Value, r.Tier
}

func TestShape_AFieldMoreIsAMiss(t *testing.T) {
	testkit.OnBothRedis(t, func(t *testing.T, r testkit.Redis) {
		old := build(t, r, nil, nearcache.Options[string, productV1]{Load: always(productV1{"1", 5})})
		readTier(t, old, "1")
		if v, tier := readTier(t, build(t, r, nil, nearcache.Options[string, reordered]{Load: always(reordered{})}),
			"1"); tier != nearcache.TierL2 || v != (reordered{5, "1"}) {
			t.Errorf("a type that JSON reads alike: got %+v from %v, want the old build's record", v, tier)
		}
		reg := prometheus.NewRegistry()
		now := build(t, r, reg, nearcache.Options[string, productV2]{Load: always(productV2{5, "1", 7})})
		if v, tier := readTier(t, now, "1"); v.Stock != 7 || tier != nearcache.TierSource {
			t.Errorf("got %+v from %v, want the loaded value and not a zero from the old record", v, tier)
		}
		if got := testkit.Metric(t, reg, "nearcache_misses_total", "t", "l2", "shape"); got != 1 {
			t.Errorf("%v misses by shape, want 1", got)
		}
		if _, tier := readTier(t, now, "1"); tier == nearcache.TierSource {
			t.Error("the old record stands in the way")
		}
	})
}

func TestShape_OptionSaysThatBuildsAgree(t *testing.T) {
	r := testkit.Redis{Option: nearcachetest.NewRedis(t).ClientOption()}
	old := build(t, r, nil, nearcache.Options[string, productV1]{Load: always(productV1{"1", 5}), Shape: "product"})
	readTier(t, old, "1")
	now := build(t, r, nil, nearcache.Options[string, productV2]{Load: always(productV2{}), Shape: "product"})
	if v, tier := readTier(t, now, "1"); tier != nearcache.TierL2 || v.Price != 5 {
		t.Errorf("got %+v from %v, want the old build's record", v, tier)
	}
}

// A record names its key: under another key's name it is a miss, whoever put it there.
// TestShape_OfAnotherCodec: what one Codec has encoded may be another value to another one. The digit 5 of JSON is the
// number 53 of MessagePack.
func TestShape_OfAnotherCodec(t *testing.T) {
	compressed := func(inner nearcache.Codec[int]) nearcache.Codec[int] {
		c, err := compress.New(inner, compress.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	codecs := map[string]nearcache.Codec[int]{"json": nil,
		"compressed json": compressed(nil), "compressed msgpack": compressed(msgpack.Codec[int]{})}
	r := testkit.Redis{Option: nearcachetest.NewRedis(t).ClientOption()}
	for first, a := range codecs {
		for second, b := range codecs {
			key := first + " " + second
			old := build(t, r, nil, nearcache.Options[string, int]{Load: always(5), Codec: a})
			if v, tier := readTier(t, old, key); v != 5 || tier != nearcache.TierSource {
				t.Errorf("%s: the first read has %d from %v", key, v, tier)
			}
			want := nearcache.TierSource
			if first == second {
				want = nearcache.TierL2
			}
			next := build(t, r, nil, nearcache.Options[string, int]{Load: always(5), Codec: b})
			if v, tier := readTier(t, next, key); v != 5 || tier != want {
				t.Errorf("%s, then %s: %d from %v, want 5 from %v", first, second, v, tier, want)
			}
		}
	}
}

func TestRecord_OfAnotherKey(t *testing.T) {
	testkit.OnBothRedis(t, func(t *testing.T, r testkit.Redis) {
		src := newSource()
		src.put("a", "one")
		src.put("b", "two")
		c := open(t, r.Option, src)
		get(t, c, "a")
		get(t, c, "b")
		space := l2.NewKeyspace("")
		a, b := space.Key("t", "a"), space.Key("t", "b")
		if got := r.Do("EVAL", "return redis.call('SET', KEYS[1], redis.call('GET', KEYS[2])) and 1", "2",
			b.Record, a.Record); got == "" {
			t.Fatal("the record was not copied")
		}
		for range 3 {
			if got := get(t, c, "b"); got.Value != "two" {
				t.Fatalf("b is %q from %v: the record of a", got.Value, got.Tier)
			}
		}
		resident(t, c, "b")
	})
}

type loose struct {
	Name string
	Any  map[string]any
}

// What JSON does not keep is found out at every encoding, and not at the first alone.
func TestLossy_IsFoundOutLate(t *testing.T) {
	for name, bad := range map[string]loose{
		"not UTF-8":         {Name: "\xff\xfe"},
		"an int64 in a map": {Any: map[string]any{"id": int64(1<<53 + 1)}},
	} {
		for policy, want := range map[nearcache.LossyPolicy]struct {
			fails, cached, decoded bool
		}{
			nearcache.LossyFail:   {fails: true},
			nearcache.LossyCheck:  {},
			nearcache.LossyDecode: {cached: true, decoded: true},
		} {
			r := testkit.Redis{Option: nearcachetest.NewRedis(t).ClientOption()}
			reg := prometheus.NewRegistry()
			c := build(t, r, reg, nearcache.Options[string, loose]{Lossy: policy,
				Load: func(_ context.Context, k string) (nearcache.Entry[loose], error) {
					if k == "bad" {
						return nearcache.Entry[loose]{Value: bad, Version: 1}, nil
					}
					return nearcache.Entry[loose]{Value: loose{Name: k}, Version: 1}, nil
				}})
			for range 3 {
				readTier(t, c, "good")
			}
			var values []loose
			for range 3 {
				r, err := c.Read(t.Context(), "bad", nearcache.ReadOptions{})
				if failed := errors.Is(err, nearcache.ErrCodec); failed != want.fails {
					t.Fatalf("%s, policy %d: got %v", name, policy, err)
				}
				if err == nil && (r.Tier != nearcache.TierSource) && !want.cached {
					t.Errorf("%s, policy %d: served from %v", name, policy, r.Tier)
				}
				values = append(values, r.Value)
			}
			for _, v := range values[1:] {
				if !want.fails && !same(v, values[0]) {
					t.Errorf("%s, policy %d: %+v first and %+v later: it differs by tier", name, policy, values[0], v)
				}
			}
			if got := testkit.Metric(t, reg, "nearcache_rejected_total", "t"); (got > 0) != (want.fails || !want.cached) {
				t.Errorf("%s, policy %d: %v values rejected", name, policy, got)
			}
		}
	}
}

func same(a, b loose) bool {
	return a.Name == b.Name && len(a.Any) == len(b.Any) && (len(a.Any) == 0 || a.Any["id"] == b.Any["id"])
}
