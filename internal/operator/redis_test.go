package operator_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/l2"
	"github.com/nearcache/nearcache-go/internal/testkit"
	"github.com/nearcache/nearcache-go/nearcache"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
)

// engineOf is an engine on a Redis.
func engineOf(t *testing.T, redis *nearcachetest.Redis) *l2.L2 {
	t.Helper()
	store, err := l2.Open(l2.Config{Redis: redis.ClientOption()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	return store
}

// put fills a record as a cache does.
func put(t *testing.T, store *l2.L2, k l2.Key, rec l2.Record) {
	t.Helper()
	lease, err := store.Acquire(t.Context(), k, l2.NewLeaseID(), time.Minute, l2.AcquireOptions{})
	if err != nil {
		t.Fatal(err)
	}
	rec.WrittenAt, rec.ExpiresAt = time.Now(), time.Now().Add(time.Minute)
	if got, err := store.Fill(t.Context(), k, lease.ID, lease.Incarnation, rec,
		time.Minute); err != nil || got != l2.Filled {
		t.Fatalf("fill: %v, %v", got, err)
	}
}

func TestKey_NeedsNoService(t *testing.T) {
	must(t, nil, "nc:{147}:v:product:42", "key", "product:42")
	must(t, nil, "shop:{147}:v:product:42", "key", "product:42", "--prefix", "shop")
	must(t, map[string]string{"REDIS_PREFIX": "shop"}, "shop:{147}:l:product:42", "key", "shop:{147}:v:product:42")
	if m := object(t, nil, 0, "key", "a:b:c"); m["namespace"] != "a" || m["key"] != "b:c" || m["record"] == "" {
		t.Errorf("got %v, want the key b:c of a", m)
	}
}

func TestInspect_SaysWhatThereIs(t *testing.T) {
	redis := nearcachetest.NewRedis(t)
	store := engineOf(t, redis)
	env := map[string]string{"REDIS_URL": redis.Addr()}
	key := func(name string) l2.Key { return store.Keyspace().Key("product", name) }
	inspect := func(name string, want map[string]any) {
		t.Helper()
		m := object(t, env, 0, "inspect", "product:"+name)
		for path, v := range want {
			if got := field(m, path); got != v {
				t.Errorf("%s: got %s %v, want %v, in %v", name, path, got, v, m)
			}
		}
	}
	put(t, store, key("value"), l2.Record{Version: 7, Schema: 2, Payload: []byte(`{"a":1}`),
		Tags: []l2.Tag{{Name: "product:summer", Version: 3}}})
	put(t, store, key("absent"), l2.Record{Version: 8, Absent: true})
	inspect("nothing", map[string]any{"state": "none", "record": nil, "lease.holder": "none"})
	inspect("value", map[string]any{"state": "value", "record.version": 7.0, "record.schema": 2.0, "record.readable": true,
		"record.payload.codec": "json", "record.payload.value.a": 1.0, "lease.holder": "none", "problem": nil})
	inspect("absent", map[string]any{"state": "absence", "record.version": 8.0, "record.payload": nil})
	out := must(t, env, "state      value, version 7", "inspect", "product:value")
	for _, want := range []string{"tag        product:summer, version 3", `{"a":1}`, "lease      none", "ago)", "(in ",
		"no relay has applied anything"} {
		if !strings.Contains(out, want) {
			t.Errorf("got\n%s\nwant %q", out, want)
		}
	}

	if _, err := store.Acquire(t.Context(), key("loading"), l2.NewLeaseIDKnowing(4), time.Minute,
		l2.AcquireOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := store.PlaceIntent(t.Context(), key("written"), l2.NewLeaseID(), time.Minute); err != nil {
		t.Fatal(err)
	}
	inspect("loading", map[string]any{"state": "none", "lease.holder": "reader", "lease.known_version": 4.0})
	inspect("written", map[string]any{"lease.holder": "writers", "lease.writers": 1.0})
	must(t, env, "a reader loads", "inspect", "product:loading")
	must(t, env, "1 writers write", "inspect", "product:written")

	// What no cache reads.
	put(t, store, key("doubtful"), l2.Record{Version: 1, Payload: []byte("1")})
	if _, err := store.PlaceIntent(t.Context(), key("doubtful"), l2.NewLeaseID(), time.Minute); err != nil {
		t.Fatal(err)
	}
	inspect("doubtful", map[string]any{"state": "value", "record.readable": false, "lease.holder": "writers"})
	must(t, env, "it is unconfirmed", "inspect", "product:doubtful")
	redis.Do("RENAME", key("absent").Record, key("renamed").Record)
	redis.Do("SET", key("noise").Record, "noise")
	redis.Do("LPUSH", key("list").Record, "x")
	redis.Do("SET", key("future").Record, "NC\x09\x00")
	inspect("renamed", map[string]any{"state": "absence", "record.readable": false})
	inspect("noise", map[string]any{"state": "corrupt", "record": nil})
	inspect("list", map[string]any{"state": "wrong_type"})
	inspect("future", map[string]any{"state": "newer_format"})
	must(t, env, "another key's record", "inspect", "product:renamed")
	if _, err := store.ResetWatermark(t.Context(), key("value").Bucket, l2.Watermark{},
		coherence.Position{Timeline: 0xabc, N: 12}); err != nil {
		t.Fatal(err)
	}
	inspect("value", map[string]any{"state": "value", "record.readable": false, "watermark.position": "abc/12"})
	must(t, env, "another incarnation", "inspect", "product:value")
}

// instance is a client with a cache of numbers that it loads.
func instance(t *testing.T, redis *nearcachetest.Redis, o nearcache.Options[string, int]) *nearcache.Cache[string,
	int] {
	t.Helper()
	client, err := nearcache.New(nearcache.Config{Redis: redis.ClientOption()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	n := 0
	o.Find = func(context.Context, string) (int, error) { n++; return n, nil }
	cache, err := nearcache.NewCache(client, "product", o)
	if err != nil {
		t.Fatal(err)
	}
	return cache
}

// held reads a key until L1 serves it, and returns its value.
func held(t *testing.T, c *nearcache.Cache[string, int], k string) (v int) {
	t.Helper()
	testkit.Eventually(t, k+" is in L1", func() bool {
		r, err := c.Read(t.Context(), k, nearcache.ReadOptions{})
		v = r.Value
		return err == nil && r.Tier == nearcache.TierL1
	})
	return v
}

func TestPurge_WithoutASource(t *testing.T) {
	redis := nearcachetest.NewRedis(t)
	env := map[string]string{"REDIS_URL": redis.Addr()}
	c := instance(t, redis, nearcache.Options[string, int]{Clearable: true})
	before := map[string]int{}
	for i := range 3 {
		k := fmt.Sprint("p:", i)
		before[k] = held(t, c, k)
	}
	for _, line := range []string{"purge key product:p:1", "purge namespace product", "purge tag product summer"} {
		must(t, env, "nothing was done", strings.Fields(line)...)
	}
	if got := held(t, c, "p:1"); got != before["p:1"] {
		t.Errorf("a dry run has dropped the value: %d became %d", before["p:1"], got)
	}
	must(t, env, "applied", "purge", "key", "product:p:1", "--yes")
	testkit.Eventually(t, "the key is loaded again", func() bool { return held(t, c, "p:1") != before["p:1"] })
	if got := held(t, c, "p:0"); got != before["p:0"] {
		t.Errorf("another key was dropped, too: %d became %d", before["p:0"], got)
	}
	m := object(t, env, 0, "purge", "namespace", "product", "--yes")
	if m["keys"] != 4.0 || m["dry_run"] != false { // the tag of the namespace is one
		t.Errorf("got %v, want three keys and the namespace's tag", m)
	}
	testkit.Eventually(t, "every key is loaded again", func() bool {
		return held(t, c, "p:0") != before["p:0"] && held(t, c, "p:2") != before["p:2"]
	})

	// A bucket with a watermark is fed by a relay: then instances may hold what only the source can make them drop.
	store := engineOf(t, redis)
	k := store.Keyspace().Key("product", "p:1")
	marks, err := store.Watermarks(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.ResetWatermark(t.Context(), k.Bucket, marks[k.Bucket], coherence.Position{Timeline: 1,
		N: 12}); err != nil {
		t.Fatal(err)
	}
	must(t, env, "would not be reached", "purge", "key", "product:p:1")
	out := fails(t, env, 1, "--database", "purge", "key", "product:p:1", "--yes")
	if !strings.Contains(out, "events    not reached") {
		t.Errorf("got\n%s\nwant that the events were not reached", out)
	}
	must(t, env, "1 of 64 buckets", "relay", "status")
}

// TestInspect_ShowsNoControlCharacters: keys and tags are anybody's, and a terminal would obey them.
func TestInspect_ShowsNoControlCharacters(t *testing.T) {
	redis := nearcachetest.NewRedis(t)
	store := engineOf(t, redis)
	name := "a\x1b[2Jb\nstate      value"
	put(t, store, store.Keyspace().Key("product", name), l2.Record{Version: 7, Payload: []byte("x\x1b[31m"),
		Tags: []l2.Tag{{Name: "t\x1b]0;x\a", Version: 1}}})
	out := must(t, map[string]string{"REDIS_URL": redis.Addr()}, `product:a\x1b[2Jb\nstate`, "inspect", "product:"+name)
	if strings.ContainsAny(out, "\x1b\a") || strings.Count(out, "\nstate ") != 1 {
		t.Errorf("got %q, want no control characters, and one state", out)
	}
}
