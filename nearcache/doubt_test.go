package nearcache_test

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nearcache/nearcache-go/nearcache"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
)

// TestDoubt_AServerThatTakesNoWrites takes no invalidations either. So L1 serves nothing that was read there, from the
// next heartbeat on, and says why. When the server takes writes again, so does L1.
func TestDoubt_AServerThatTakesNoWrites(t *testing.T) {
	for code, message := range map[string]string{
		"redis_read_only":    "READONLY You can't write against a read only replica.",
		"redis_misconf":      "MISCONF Redis is configured to save RDB snapshots, but it's unable to persist to disk.",
		"redis_no_replicas":  "NOREPLICAS Not enough good replicas to write.",
		"redis_master_down":  "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
		"redis_loading":      "LOADING Redis is loading the dataset in memory",
		"redis_cluster_down": "CLUSTERDOWN The cluster is down",
	} {
		t.Run(code, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				redis, client, cache, src := unversionedOn(t)
				src.put("a", "old")
				resident(t, cache, "a")
				redis.FailCommand("GETEX", message) // whatever writes; Redis counts it among those
				redis.FailCommand("EVALSHA", message)
				src.put("a", "new") // and its writer cannot tell
				time.Sleep(1100 * time.Millisecond)
				if r := get(t, cache, "a"); r.Value != "new" || r.Tier != nearcache.TierSource {
					t.Errorf("got %q from %v after a heartbeat, want the new value from the source", r.Value, r.Tier)
				}
				if got := codes(client); !slices.Contains(got, code) {
					t.Errorf("the reasons are %v, want %s", got, code)
				}
				redis.FailCommand("GETEX", "")
				redis.FailCommand("EVALSHA", "")
				redis.Evict(key("a").Record) // as a new primary would not have it
				time.Sleep(5 * time.Second)
				resident(t, cache, "a")
				if got := codes(client); len(got) > 0 {
					t.Errorf("the reasons are %v at the end, want none", got)
				}
			})
		})
	}
}

// TestPending_IsReadPastL2: a change without a version could not be sent. Until L2 has it, its key is read past L2 by
// its writer; and it goes soon after Redis answers, however long it was away.
func TestPending_IsReadPastL2(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		redis, client, cache, src := unversionedOn(t)
		src.put("a", "old")
		resident(t, cache, "a")
		redis.Stop()
		src.put("a", "new")
		if err := cache.Invalidate(t.Context(), "a", 0); !errors.Is(err, nearcache.ErrNotInvalidated) {
			t.Fatalf("got error %v, want ErrNotInvalidated", err)
		}
		time.Sleep(time.Minute)
		if err := redis.Start(); err != nil {
			t.Fatal(err)
		}
		began, sentAfter := time.Now(), time.Duration(0)
		for range 3000 {
			if r := get(t, cache, "a"); r.Value != "new" {
				t.Fatalf("%v after Redis is back its writer reads %q from %v", time.Since(began), r.Value, r.Tier)
			}
			if sentAfter == 0 && client.Status().Pending == 0 {
				sentAfter = time.Since(began)
			}
			time.Sleep(time.Millisecond)
		}
		if sentAfter == 0 || sentAfter > 600*time.Millisecond {
			t.Errorf("it was sent %v after Redis was back, want within half a second", sentAfter)
		}
		resident(t, cache, "a")
	})
}

// unversionedOn is an instance without a Source on an embedded Redis.
func unversionedOn(t *testing.T) (*nearcachetest.Redis, *nearcache.Client, *nearcache.Cache[string, string],
	*source) {
	t.Helper()
	redis, err := nearcachetest.StartRedis("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(redis.Close)
	client := newClient(t, nearcache.Config{Redis: redis.PipeOption()})
	if err := client.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	src := newSource()
	return redis, client, newCache(t, client, nearcache.Options[string, string]{Find: src.value}), src
}
