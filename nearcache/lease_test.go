package nearcache_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nearcache/nearcache-go/internal/l2"
	"github.com/nearcache/nearcache-go/nearcache"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
)

// inBubble runs a test on fake time, with a real client over a pipe.
func inBubble(t *testing.T, test func(t *testing.T, r *nearcachetest.Redis, c *nearcache.Client)) {
	t.Helper()
	inBubbleWith(t, nearcache.Config{}, test)
}

// inBubbleWith is inBubble for a Client with a Config, whose Redis it sets. Each heartbeat of a bubble costs real time:
// a test that lets hours pass in it sets a long one.
func inBubbleWith(t *testing.T, cfg nearcache.Config,
	test func(t *testing.T, r *nearcachetest.Redis, c *nearcache.Client)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r, err := nearcachetest.StartRedis("")
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		cfg.Redis = r.PipeOption()
		c, err := nearcache.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := c.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		test(t, r, c)
	})
}

func TestLease_IsRenewedWhileItsLoadRuns(t *testing.T) {
	inBubble(t, func(t *testing.T, r *nearcachetest.Redis, client *nearcache.Client) {
		c := newCache(t, client, nearcache.Options[string, string]{LeaseTTL: time.Second, LoadTimeout: time.Minute,
			Load: func(context.Context, string) (nearcache.Entry[string], error) {
				time.Sleep(10 * time.Second) // ten times the lease
				return nearcache.Entry[string]{Value: "slow"}, nil
			}})
		if _, err := c.Get(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		if got := get(t, c, "a"); got.Tier != nearcache.TierL2 {
			t.Errorf("the slow load's fill was refused: %+v", got)
		}
	})
}

func TestLease_OfADeadHolderCostsItsTTL(t *testing.T) {
	inBubble(t, func(t *testing.T, r *nearcachetest.Redis, client *nearcache.Client) {
		src := newSource()
		src.put("a", "v")
		c := newCache(t, client, nearcache.Options[string, string]{Load: src.load, LeaseTTL: 2 * time.Second})
		k := l2.NewKeyspace("").Key("t", "a")
		token := l2.NewLeaseID()
		r.Do("SET", k.Lease, "R"+string(token[:]), "PX", "2000") // somebody acquired it, and died
		begun := time.Now()
		if got := get(t, c, "a"); got.Value != "v" {
			t.Errorf("got %+v, want \"v\"", got)
		}
		if waited := time.Since(begun); waited < 1500*time.Millisecond || waited > 3*time.Second {
			t.Errorf("waited %v for a lease of 2s", waited)
		}
	})
}

func TestTTL_IsTheRecordsInBothTiers(t *testing.T) {
	inBubble(t, func(t *testing.T, r *nearcachetest.Redis, client *nearcache.Client) {
		src := newSource()
		src.put("a", "v")
		c := newCache(t, client, nearcache.Options[string, string]{Load: src.load, TTL: 10 * time.Second})
		get(t, c, "a")
		time.Sleep(6 * time.Second)
		resident(t, c, "a") // admitted to L1 with 4 seconds left, not 10
		src.mu.Lock()
		src.values["a"] = "later"
		src.mu.Unlock()
		time.Sleep(3 * time.Second)
		if got := get(t, c, "a"); got.Tier != nearcache.TierL1 {
			t.Errorf("with a second left: %+v", got)
		}
		time.Sleep(1200 * time.Millisecond)
		if got := get(t, c, "a"); got.Value != "later" {
			t.Errorf("after its TTL: %+v", got)
		}
	})
}

func TestWrite_OfADeadWriterEndsWithItsIntent(t *testing.T) {
	inBubble(t, func(t *testing.T, r *nearcachetest.Redis, client *nearcache.Client) {
		src := newSource()
		src.put("a", "old")
		c := newCache(t, client, nearcache.Options[string, string]{Load: src.load})
		resident(t, c, "a")
		k := l2.NewKeyspace("").Key("t", "a")
		token := l2.NewLeaseID()
		r.Do("SET", k.Lease, "W"+string(token[:]), "PX", "10000") // a writer placed its intent ...
		r.Do("DEL", k.Record)
		synctest.Wait()
		src.put("a", "new") // ... committed, and died
		for range 3 {
			if got := get(t, c, "a"); got.Value != "new" || got.Tier != nearcache.TierSource {
				t.Errorf("while the intent stands: %+v", got)
			}
		}
		time.Sleep(11 * time.Second)
		resident(t, c, "a")
	})
}
