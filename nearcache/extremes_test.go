package nearcache_test

import (
	"context"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nearcache/nearcache-go/nearcache"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
)

func TestOptions_ExtremesAreRefusedByName(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *nearcachetest.Redis, client *nearcache.Client) {
		for want, o := range map[string]nearcache.Options[string, string]{
			"TTL is negative":       {TTL: math.MinInt64},
			"LeaseTTL is below":     {LeaseTTL: 1},
			"WriteTTL is negative":  {WriteTTL: -1},
			"Jitter is NaN":         {Jitter: math.NaN()},
			"Jitter is +Inf":        {Jitter: math.Inf(1)},
			"Refresh.Beta is NaN":   {Refresh: nearcache.Refresh{Beta: math.NaN()}},
			"MaxStaleness is neg":   {MaxStaleness: math.MinInt64},
			"L1Bytes is 1:":         {L1Bytes: 1},
			"Warm.Keys is 92233720": {Warm: nearcache.Warm{File: "x", Keys: math.MaxInt}},
			"Warm.Rate 9223372036":  {Warm: nearcache.Warm{File: "x", Rate: math.MaxInt}},
		} {
			o.Load = newSource().load
			if _, err := nearcache.NewCache(client, "x", o); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want it to say %q", err, want)
			}
		}
	})
	for want, cfg := range map[string]nearcache.Config{
		"Config.Heartbeat is below": {Heartbeat: 1}, "Config.RedisTimeout is below": {RedisTimeout: 1},
		"Config.Heartbeat is negative": {Heartbeat: math.MinInt64},
	} {
		cfg.Redis = nearcachetest.NewRedis(t).ClientOption()
		if _, err := nearcache.New(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want it to say %q", err, want)
		}
	}
}

func TestOptions_LongestMeansForEver(t *testing.T) {
	const longest = math.MaxInt64
	cfg := nearcache.Config{Heartbeat: time.Minute}
	inBubbleWith(t, cfg, func(t *testing.T, _ *nearcachetest.Redis, client *nearcache.Client) {
		src := newSource()
		src.put("a", "one")
		c := newCache(t, client, nearcache.Options[string, string]{Load: src.load, TTL: longest, AbsentTTL: longest,
			LoadTimeout: longest,
			LeaseTTL:    longest, LeaseWait: longest, WriteTTL: longest, ErrorTTL: longest, L1Bytes: longest, MaxLoads: longest,
			FailSafe: nearcache.FailSafe{MaxAge: longest, SoftTimeout: longest}, Jitter: 0.9,
			Refresh: nearcache.Refresh{Beta: 1000},
			Size:    func(string) int64 { return 10 }})
		resident(t, c, "a")
		time.Sleep(time.Hour)
		if got := get(t, c, "a"); got.Tier != nearcache.TierL1 || got.Value != "one" {
			t.Errorf("after an hour: %+v", got)
		}
		for _, r := range client.Status().Reasons {
			if r.Code == "clock_skew" {
				t.Errorf("a clock is suspected: %s", r.Message)
			}
		}
	})
}

func TestSize_NegativeOrHugeIsNotAdmitted(t *testing.T) {
	for _, size := range []int64{math.MinInt64, -1, math.MaxInt64} {
		inBubble(t, func(t *testing.T, _ *nearcachetest.Redis, client *nearcache.Client) {
			src := newSource()
			src.put("a", "one")
			c := newCache(t, client, nearcache.Options[string, string]{Load: src.load, Size: func(string) int64 { return size }})
			for range 5 {
				if got := get(t, c, "a"); got.Value != "one" || got.Tier == nearcache.TierL1 {
					t.Errorf("Size %d: %+v", size, got)
				}
				synctest.Wait()
			}
		})
	}
}

func TestEntry_OfAnExpiredTokenIsNotKept(t *testing.T) {
	for _, ttl := range []time.Duration{-1, math.MinInt64} {
		inBubble(t, func(t *testing.T, _ *nearcachetest.Redis, client *nearcache.Client) {
			loads := 0
			c := newCache(t, client, nearcache.Options[string, string]{Load: func(context.Context,
				string) (nearcache.Entry[string], error) {
				loads++
				return nearcache.Entry[string]{Value: "token", TTL: ttl}, nil
			}})
			for range 3 {
				if got := get(t, c, "a"); got.Value != "token" || got.Tier != nearcache.TierSource {
					t.Errorf("TTL %v: %+v", ttl, got)
				}
			}
			if loads != 3 {
				t.Errorf("TTL %v: %d loads for 3 reads", ttl, loads)
			}
		})
	}
}

func TestTags_ThatCannotBeKept(t *testing.T) {
	many := make([]string, 70_000)
	for i := range many {
		many[i] = strings.Repeat("t", 1+i%9)
	}
	for name, tags := range map[string][]string{"empty": {""}, "1025 bytes": {strings.Repeat("t", 1025)}, "70,000": many} {
		inBubble(t, func(t *testing.T, _ *nearcachetest.Redis, client *nearcache.Client) {
			c := newCache(t, client, nearcache.Options[string, string]{Load: func(context.Context,
				string) (nearcache.Entry[string], error) {
				return nearcache.Entry[string]{Value: "v", Version: 1, Tags: tags}, nil
			}})
			for range 3 {
				begun := time.Now()
				if got := get(t, c, "a"); got.Value != "v" || got.Tier != nearcache.TierSource {
					t.Errorf("%s: %+v", name, got)
				}
				if took := time.Since(begun); took > time.Second {
					t.Errorf("%s: the read took %v", name, took)
				}
			}
		})
	}
}

func TestVersionsAndKeys_Extremes(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *nearcachetest.Redis, client *nearcache.Client) {
		src := newSource()
		keys := []string{"", strings.Repeat("k", 1<<20), "\nnc:{7}"}
		for _, k := range keys {
			src.put(k, "value")
		}
		c := newCache(t, client, nearcache.Options[string, string]{Load: src.load})
		for _, k := range keys {
			resident(t, c, k)
			if err := c.Invalidate(t.Context(), k, math.MaxUint64); err != nil {
				t.Error(err)
			}
			begun := time.Now()
			if v, err := c.Get(t.Context(), k); v != "value" || err != nil || time.Since(begun) > time.Second {
				t.Errorf("%.9q: %q, %v after %v", k, v, err, time.Since(begun))
			}
		}
	})
}

func TestKeys_ThatDoNotEqualThemselvesAreRefused(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *nearcachetest.Redis, client *nearcache.Client) {
		c, err := nearcache.NewCache(client, "odd", nearcache.Options[any, string]{EncodeKey: func(any) string { return "k" },
			Load: func(context.Context, any) (nearcache.Entry[string], error) {
				return nearcache.Entry[string]{Value: "v"}, nil
			}})
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range []any{[]int{1}, math.NaN(), [1]any{func() {}}} {
			for _, err := range []error{
				func() error { _, err := c.Get(t.Context(), k); return err }(),
				c.ReadMany(t.Context(), []any{k, "fine", k}, nearcache.ReadOptions{})[0].Err,
				func() error { _, err := c.GetMany(t.Context(), []any{"fine", k}); return err }(),
				c.Invalidate(t.Context(), k, 0),
			} {
				if err == nil || !strings.Contains(err.Error(), "does not equal itself") {
					t.Errorf("%T: got %v", k, err)
				}
			}
		}
		for range 3 {
			if v, err := c.Get(t.Context(), "fine"); v != "v" || err != nil {
				t.Errorf("another key: %q, %v", v, err)
			}
		}
	})
}
