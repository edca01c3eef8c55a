package nearcache_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/l2"
	"github.com/nearcache/nearcache-go/internal/services/servicestest"
	"github.com/nearcache/nearcache-go/internal/testkit"
	"github.com/nearcache/nearcache-go/nearcache"
)

// leastBySentinel connects to the primary that the Sentinel names, with the rights that the documents name on both.
func leastBySentinel(t *testing.T, r *servicestest.Replicated) rueidis.ClientOption {
	t.Helper()
	opt := testkit.Least(l2.Use{Alone: true, Sentinel: true}, r.Primary, r.Replica)
	opt.InitAddress = []string{r.Sentinel}
	opt.Sentinel = rueidis.SentinelOption{
		MasterSet: servicestest.SentinelName, Username: "looker", Password: "secret",
	}
	user := []string{"ACL", "SETUSER", opt.Sentinel.Username, "reset", "on", ">" + opt.Sentinel.Password}
	servicestest.RedisDo(t, r.Sentinel, append(user, strings.Fields(l2.SentinelRights)...)...)
	return opt
}

// behindSentinel opens a cache of an instance that has Redis behind a Sentinel, and nothing else.
func behindSentinel(t *testing.T, opt rueidis.ClientOption, src *source) *nearcache.Cache[string, string] {
	t.Helper()
	client := newClient(t, nearcache.Config{Heartbeat: 50 * time.Millisecond, Redis: opt})
	if err := client.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	return newCache(t, client, nearcache.Options[string, string]{Find: src.value})
}

// Behind a Sentinel the client asks the server for its role.
func TestSentinel_NeedsTheRightToAskForTheRole(t *testing.T) {
	t.Parallel()
	r := servicestest.StartReplicated(t)
	opt := leastBySentinel(t, r)
	r.Primary.Do("ACL", "SETUSER", opt.Username, "-role")
	c, err := nearcache.New(nearcache.Config{Redis: opt})
	if err == nil {
		_ = c.Close()
	}
	if !errors.Is(err, coherence.ErrMisconfigured) || !strings.Contains(err.Error(), "not allowed: role") {
		t.Errorf("got error %v, want a misconfiguration that names the right", err)
	}
}

// A client that may not ask the Sentinels for the primary says so, and does not wait.
func TestSentinel_NeedsItsRightsOnTheSentinels(t *testing.T) {
	t.Parallel()
	r := servicestest.StartReplicated(t)
	opt := leastBySentinel(t, r)
	for right, want := range map[string]string{
		"sentinel|sentinels":               "ClientOption.Sentinel",
		"sentinel|get-master-addr-by-name": "ClientOption.Sentinel",
		"client|tracking":                  "not allowed: client|tracking",
	} {
		servicestest.RedisDo(t, r.Sentinel, "ACL", "SETUSER", opt.Sentinel.Username, "-"+right)
		c, err := nearcache.New(nearcache.Config{Redis: opt})
		if err == nil {
			_ = c.Close()
		}
		if !errors.Is(err, coherence.ErrMisconfigured) || !strings.Contains(err.Error(), want) {
			t.Errorf("without %s: got error %v, want a misconfiguration with %q", right, err, want)
		}
		servicestest.RedisDo(t, r.Sentinel, "ACL", "SETUSER", opt.Sentinel.Username, "+"+right)
	}
}

const sentinelKeys = 200

func sentinelKey(i int) string { return fmt.Sprint("key ", i) }

// wrong counts the keys of which a cache serves another value than the source has.
func wrong(t *testing.T, c *nearcache.Cache[string, string], src *source) (n int) {
	t.Helper()
	for i := range sentinelKeys {
		want, _ := src.value(t.Context(), sentinelKey(i))
		if get(t, c, sentinelKey(i)).Value != want {
			n++
		}
	}
	return n
}

// fromRedis waits until Redis serves reads again, or L1 does.
func fromRedis(t *testing.T, caches ...*nearcache.Cache[string, string]) {
	t.Helper()
	for _, c := range caches {
		testkit.Eventually(t, "Redis is used again", func() bool {
			return get(t, c, sentinelKey(0)).Tier != nearcache.TierSource
		})
	}
}

// A primary dies before its replica has its last invalidations, and the Sentinel promotes that replica. No key is
// served as it was before its write.
func TestSentinel_PromotesAReplicaThatLacksWrites(t *testing.T) { // C2
	t.Parallel()
	r, src := servicestest.StartReplicated(t), newSource()
	opt := leastBySentinel(t, r)
	for i := range sentinelKeys {
		src.put(sentinelKey(i), "old")
	}
	writer, reader := behindSentinel(t, opt, src), behindSentinel(t, opt, src)
	for i := range sentinelKeys {
		resident(t, writer, sentinelKey(i))
		get(t, reader, sentinelKey(i))
	}
	r.Cut()
	for i := range sentinelKeys {
		write(t, writer, src, sentinelKey(i), "new")
	}
	r.Primary.Kill()
	r.Promoted()
	if n, err := strconv.Atoi(r.Replica.Do("DBSIZE")); err != nil || n < sentinelKeys {
		t.Fatalf("the replica has %d keys and error %v; it should have all the old records", n, err)
	}
	late := behindSentinel(t, opt, src)
	fromRedis(t, writer, reader, late)
	for name, c := range map[string]*nearcache.Cache[string, string]{"writer": writer, "reader": reader, "late": late} {
		if n := wrong(t, c, src); n > 0 {
			t.Errorf("%s: %d of %d keys are wrong", name, n, sentinelKeys)
		}
	}
}

// The Sentinel is asked to fail over while an instance writes. The old primary goes on acknowledging for some time; in
// the end nothing of that is lost.
func TestSentinel_FailsOverUnderWrites(t *testing.T) { // C2
	t.Parallel()
	r, src := servicestest.StartReplicated(t), newSource()
	opt := leastBySentinel(t, r)
	for i := range sentinelKeys {
		src.put(sentinelKey(i), "old")
	}
	writer, reader := behindSentinel(t, opt, src), behindSentinel(t, opt, src)
	for i := range sentinelKeys {
		get(t, writer, sentinelKey(i))
		get(t, reader, sentinelKey(i))
	}
	servicestest.RedisDo(t, r.Sentinel, "SENTINEL", "FAILOVER", servicestest.SentinelName)
	round := 0
	writes := func() {
		round++
		k := sentinelKey(round % sentinelKeys)
		_, err := writer.Write(t.Context(), k, func(context.Context) (nearcache.Version, error) {
			src.put(k, fmt.Sprint("round ", round))
			return 0, nil
		})
		if err != nil && !errors.Is(err, nearcache.ErrNotInvalidated) {
			t.Fatal(err)
		}
		get(t, reader, k)
	}
	testkit.Eventually(t, "the replica is the primary, and the old one is a replica", func() bool {
		writes()
		return r.Swapped()
	})
	for range sentinelKeys {
		writes()
	}
	for name, c := range map[string]*nearcache.Cache[string, string]{"writer": writer, "reader": reader} {
		testkit.Eventually(t, name+" is right of every key, by Redis", func() bool {
			return get(t, c, sentinelKey(0)).Tier != nearcache.TierSource && wrong(t, c, src) == 0
		})
	}
}
