package nearcache_test

import (
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nearcache/nearcache-go/internal/testkit"
	"github.com/nearcache/nearcache-go/nearcache"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
	"github.com/nearcache/nearcache-go/tier"
)

// A server whose pushes come late proves no bound. A dial may lead to another server, so the client looks again then.
func TestProbe_LatePushesProveNoBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		redis, err := nearcachetest.StartRedis("")
		if err != nil {
			t.Fatal(err)
		}
		defer redis.Close()
		var inOrder atomic.Bool
		f := &relayed{src: &counting{commits: &commits{source: newSource()}}, interval: 100 * time.Millisecond}
		f.client, err = nearcache.New(nearcache.Config{Redis: testkit.Late(redis.PipeOption(), &inOrder), Relayed: true})
		if err != nil {
			t.Fatal(err)
		}
		defer f.client.Close()
		f.Cache = newCache(t, f.client, nearcache.Options[string, string]{Load: f.src.load, MaxStaleness: delta})
		store, err := tier.Open(tier.Config{Redis: redis.PipeOption()})
		if err != nil {
			t.Fatal(err)
		}
		defer store.Close()
		defer f.relays(t.Context(), store)()
		if err := f.client.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		f.src.write("a", "1")
		time.Sleep(10 * time.Second)
		s := f.client.Status()
		if !slices.Contains(codes(f.client), "redis_push_order") || s.Bound.Redis != 0 || s.Caches["t"].Open {
			t.Errorf("got the reasons %v and %+v, want redis_push_order and a closed gate", codes(f.client), s.Bound)
		}
		if len(s.Servers) != 1 || s.Servers[0].Role != "master" {
			t.Errorf("got the servers %+v, want one master", s.Servers)
		}
		for range 3 {
			if r := get(t, f.Cache, "a"); r.Value != "1" {
				t.Errorf("got %+v", r)
			}
			time.Sleep(delta + time.Millisecond) // what the load itself proved is over
			if r := get(t, f.Cache, "a"); r.Tier == nearcache.TierL1 {
				t.Errorf("got %v, which nothing proves", r.Tier)
			}
		}
		inOrder.Store(true)
		redis.KillClients()
		time.Sleep(10 * time.Second)
		resident(t, f.Cache, "a")
		time.Sleep(delta + time.Millisecond)
		if r := get(t, f.Cache, "a"); r.Tier != nearcache.TierL1 {
			t.Errorf("got %v once pushes come in order, want L1", r.Tier)
		}
		if got := codes(f.client); len(got) > 0 {
			t.Errorf("got the reasons %v once pushes come in order, want none", got)
		}
	})
}

// A client that starts while Redis is away looks at it once it answers.
func TestProbe_RunsWhenRedisFirstAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		redis, err := nearcachetest.StartRedis("")
		if err != nil {
			t.Fatal(err)
		}
		defer redis.Close()
		redis.Stop()
		client, err := nearcache.New(nearcache.Config{Redis: redis.PipeOption(), Relayed: true})
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		time.Sleep(3 * time.Second)
		if s := client.Status(); len(s.Servers) != 0 {
			t.Errorf("got the servers %+v while Redis is away", s.Servers)
		}
		if err := redis.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		if s := client.Status(); len(s.Servers) != 1 || slices.Contains(codes(client), "redis_push_order") {
			t.Errorf("got the servers %+v and the reasons %v, want one that keeps the order", s.Servers, codes(client))
		}
	})
}
