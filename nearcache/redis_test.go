package nearcache_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/l2"
	"github.com/nearcache/nearcache-go/internal/services/servicestest"
	"github.com/nearcache/nearcache-go/internal/testkit"
	"github.com/nearcache/nearcache-go/nearcache"
)

func TestForeignCommandsAreNoticed(t *testing.T) {
	testkit.OnBothRedis(t, func(t *testing.T, r testkit.Redis) {
		src := newSource()
		src.put("a", "one")
		c := open(t, r.Option, src)
		key := l2.NewKeyspace("").Key("t", "a")
		for _, cmd := range [][]string{{"DEL", key.Record}, {"SET", key.Record, "garbage"},
			{"FLUSHALL"}, {"LPUSH", key.Record, "x"}} {
			if cmd[0] == "LPUSH" {
				r.Do("DEL", key.Record)
			}
			resident(t, c, "a")
			src.mu.Lock()
			src.values["a"] = "changed before " + cmd[0]
			src.mu.Unlock()
			if cmd[0] == "LPUSH" {
				r.Do("DEL", key.Record)
			}
			r.Do(cmd...)
			testkit.Eventually(t, "L1 lets go after "+cmd[0], func() bool {
				return get(t, c, "a").Value == "changed before "+cmd[0]
			})
		}
	})
}

func TestTTL_NoPushTellsOfExpiry(t *testing.T) {
	src := newSource()
	p := servicestest.StartRedis(t)
	p.Do("DEBUG", "SET-ACTIVE-EXPIRE", "0") // a busy Redis may be as late
	c := newCache(t, newClient(t, nearcache.Config{Redis: testkit.Least(l2.Use{Alone: true}, p)}),
		nearcache.Options[string, string]{TTL: time.Hour,
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
	testkit.Eventually(t, "the record's own TTL ends it in L1", func() bool { return get(t, c, "a").Value == "two" })
}

func TestRedisDown_ServesFromTheSourceAndComesBack(t *testing.T) { // C6, C7
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
	_, err := c.Write(t.Context(), "a", func(context.Context) (nearcache.Version, error) {
		return src.put("a", "two"), nil
	})
	if !errors.Is(err, nearcache.ErrNotInvalidated) {
		t.Errorf("a write that nobody hears of: %v", err)
	}
	p.Restart()
	resident(t, c, "a")
	p.Kill()
	testkit.Eventually(t, "Redis died, and nothing vouches for L1 any more", func() bool {
		return get(t, c, "a").Tier == nearcache.TierSource
	})
	p.Restart()
	resident(t, c, "a")
	testkit.Eventually(t, "the failed invalidation went out", func() bool { return client.Status().Pending == 0 })
}

func TestFullTrackingTable_EvictsAndNeverServesOld(t *testing.T) { // R9, the NOLOOP trap
	src := newSource()
	p := servicestest.StartRedis(t, "--tracking-table-max-keys", "10")
	opt := testkit.Least(l2.Use{Alone: true}, p)
	x, y := open(t, opt, src), open(t, opt, src)
	for round := range 3 {
		for i := range 100 {
			src.put(fmt.Sprint(i), fmt.Sprint("round ", round))
			if err := x.Invalidate(t.Context(), fmt.Sprint(i), nearcache.Version(round+1)); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 100 {
			testkit.Eventually(t, "y reads the new round", func() bool {
				return get(t, y, fmt.Sprint(i)).Value == fmt.Sprint("round ", round)
			})
			get(t, y, fmt.Sprint(i))
			get(t, y, fmt.Sprint(i))
		}
	}
}

func TestMaxmemoryEviction_IsPushed(t *testing.T) {
	src := newSource()
	p := servicestest.StartRedis(t, "--maxmemory-policy", "allkeys-random")
	c := open(t, testkit.Least(l2.Use{Alone: true}, p), src)
	src.put("a", "one")
	resident(t, c, "a")
	src.mu.Lock()
	src.values["a"] = "two"
	src.mu.Unlock()
	p.Do("CONFIG", "SET", "maxmemory", "1") // evicts everything
	testkit.Eventually(t, "the evicted key left L1 too", func() bool { return get(t, c, "a").Value == "two" })
}

func TestIncarnation_ARecordOfAnotherIsAMiss(t *testing.T) {
	testkit.OnBothRedis(t, func(t *testing.T, r testkit.Redis) {
		src := newSource()
		src.put("a", "one")
		client := newClient(t, nearcache.Config{Redis: r.Option, Heartbeat: 10 * time.Millisecond})
		if err := client.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		c := newCache(t, client, nearcache.Options[string, string]{Load: src.load})
		resident(t, c, "a")
		src.mu.Lock()
		src.values["a"] = "changed while nobody told Redis"
		src.mu.Unlock()
		store := l2.FromHandle(client.L2().Handle()) // as a relay that found the bucket's watermark gone
		marks, err := store.Watermarks(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		bucket := store.Keyspace().Key("t", "a").Bucket
		if _, err := store.ResetWatermark(t.Context(), bucket, marks[bucket],
			coherence.Position{Timeline: 1, N: 1}); err != nil {
			t.Fatal(err)
		}
		testkit.Eventually(t, "neither tier serves what the new incarnation does not vouch for", func() bool {
			return get(t, c, "a").Value != "one"
		})
		resident(t, c, "a")
	})
}
