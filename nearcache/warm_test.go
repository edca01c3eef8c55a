package nearcache_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/nearcache/nearcache-go/internal/testkit"
	"github.com/nearcache/nearcache-go/nearcache"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
)

// kept is a registry that goes on showing what a closed client counted.
type kept struct{ *prometheus.Registry }

func (kept) Unregister(prometheus.Collector) bool { return true }

// life is one process's: a client and a cache with Warm.
type life struct {
	*nearcache.Cache[string, string]
	client *nearcache.Client
	reg    *prometheus.Registry
}

func live(t *testing.T, r *nearcachetest.Redis, o nearcache.Options[string, string]) life {
	t.Helper()
	l := life{reg: prometheus.NewRegistry()}
	var err error
	if l.client, err = nearcache.New(nearcache.Config{Redis: r.PipeOption(), Registerer: kept{l.reg}}); err != nil {
		t.Fatal(err)
	}
	l.Cache = newCache(t, l.client, o)
	if err := l.client.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	return l
}

func (l life) warm(t *testing.T, result string) int {
	return int(testkit.Metric(t, l.reg, "nearcache_warm_keys_total", result) +
		testkit.Metric(t, l.reg, "nearcache_warm_files_total", result))
}

// inWarmBubble is a Redis, a source of 20 hot and 50 cold keys, and the options for them.
func inWarmBubble(t *testing.T,
	test func(t *testing.T, r *nearcachetest.Redis, src *source, o nearcache.Options[string, string])) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "warm")
	synctest.Test(t, func(t *testing.T) {
		r, err := nearcachetest.StartRedis("")
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		src := newSource()
		for i := range 20 {
			src.put(fmt.Sprint("hot", i), "v")
		}
		for i := range 50 {
			src.put(fmt.Sprint("cold", i), "v")
		}
		test(t, r, src, nearcache.Options[string, string]{Load: src.load, TTL: time.Hour,
			Warm: nearcache.Warm{File: file, Keys: 20, Rate: 10}})
	})
}

// serve reads the hot keys often, and the cold ones a few times.
func (l life) serve(t *testing.T) {
	t.Helper()
	for i := range 50 {
		resident(t, l.Cache, fmt.Sprint("cold", i))
	}
	for i := range 20 {
		k := fmt.Sprint("hot", i)
		resident(t, l.Cache, k)
		for range 2000 {
			if _, err := l.Get(t.Context(), k); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func (l life) resident(t *testing.T) (n int) {
	t.Helper()
	for i := range 20 {
		if r := get(t, l.Cache, fmt.Sprint("hot", i)); r.Tier == nearcache.TierL1 {
			n++
		}
	}
	return n
}

func TestWarm_TheHottestKeysAreRefilledThroughL2(t *testing.T) {
	inWarmBubble(t, func(t *testing.T, r *nearcachetest.Redis, src *source, o nearcache.Options[string, string]) {
		one := live(t, r, o)
		one.serve(t)
		if err := one.client.Close(); err != nil {
			t.Fatal(err)
		}
		if one.warm(t, "saved") != 20+1 || one.warm(t, "missing") != 1 {
			t.Errorf("%d keys and files saved", one.warm(t, "saved"))
		}
		loads := src.loads.Load()
		// Between the two lives one key is changed and one deleted from L2: the file knows nothing of that.
		r.Do("DEL", key("hot7").Record)
		other := live(t, r, nearcache.Options[string, string]{Load: src.load})
		if err := other.Set(t.Context(), "hot3",
			nearcache.Entry[string]{Value: "changed", Version: src.put("hot3", "changed")}); err != nil {
			t.Fatal(err)
		}
		defer other.client.Close()

		two := live(t, r, o)
		defer two.client.Close()
		time.Sleep(time.Second)
		if n := two.warm(t, "refilled") + two.warm(t, "missed"); n < 9 || n > 12 {
			t.Errorf("%d keys after a second, at 10 a second", n)
		}
		time.Sleep(2 * time.Second)
		if two.warm(t, "refilled") != 19 || two.warm(t, "missed") != 1 {
			t.Errorf("%d keys refilled, %d missed", two.warm(t, "refilled"), two.warm(t, "missed"))
		}
		if n := src.loads.Load() - loads; n != 0 {
			t.Errorf("%d loads", n)
		}
		if got := get(t, two.Cache, "hot3"); got.Value != "changed" || got.Tier != nearcache.TierL1 {
			t.Errorf("changed between the lives: %+v", got)
		}
		if n := two.resident(t); n != 19 {
			t.Errorf("%d keys are in L1", n)
		}
	})
}

func TestWarm_CloseEndsIt(t *testing.T) {
	inWarmBubble(t, func(t *testing.T, r *nearcachetest.Redis, src *source, o nearcache.Options[string, string]) {
		one := live(t, r, o)
		one.serve(t)
		if err := one.client.Close(); err != nil {
			t.Fatal(err)
		}
		o.Warm.Rate = 1
		two := live(t, r, o)
		time.Sleep(time.Second)
		begun := time.Now()
		if err := two.client.Close(); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(begun); d > time.Second {
			t.Errorf("Close took %v", d)
		}
		if n := two.warm(t, "refilled"); n > 3 {
			t.Errorf("%d keys in a second, at 1 a second", n)
		}
		if n := two.warm(t, "saved"); n != 20+1 {
			t.Errorf("a life too short to find what is hot passes on %d", n-1)
		}
	})
}

func TestWarm_OtherFilesAreNotBelieved(t *testing.T) {
	inWarmBubble(t, func(t *testing.T, r *nearcachetest.Redis, src *source, o nearcache.Options[string, string]) {
		one := live(t, r, o)
		one.serve(t)
		if err := one.client.Close(); err != nil {
			t.Fatal(err)
		}
		good, err := os.ReadFile(o.Warm.File)
		if err != nil {
			t.Fatal(err)
		}
		flipped := bytes.Clone(good)
		flipped[len(flipped)/2] ^= 1
		for name, b := range map[string][]byte{"empty": {}, "cut short": good[:len(good)-1], "damaged": flipped,
			"something follows": append(bytes.Clone(good), 0),
			"foreign bytes":     []byte("#!/bin/sh"), "of a later release": append([]byte("NCWARM\x02"), good[7:]...)} {
			if err := os.WriteFile(o.Warm.File, b, 0o600); err != nil {
				t.Fatal(err)
			}
			l := live(t, r, o)
			resident(t, l.Cache, "hot1")
			for range 2000 {
				get(t, l.Cache, "hot1")
			}
			if err := l.client.Close(); err != nil {
				t.Fatal(err)
			}
			if l.warm(t, "damaged") != 1 || l.warm(t, "refilled") != 0 || l.warm(t, "saved") != 1+1 {
				t.Errorf("%s: damaged %d, refilled %d, saved %d", name, l.warm(t, "damaged"),
					l.warm(t, "refilled"), l.warm(t, "saved"))
			}
		}
		if err := os.WriteFile(o.Warm.File, good, 0o600); err != nil {
			t.Fatal(err)
		}
		client, err := nearcache.New(nearcache.Config{Redis: r.PipeOption(), Prefix: "other"})
		if err != nil {
			t.Fatal(err)
		}
		c := newCache(t, client, o)
		resident(t, c, "hot1")
		for range 2000 {
			get(t, c, "hot1")
		}
		if err := client.Close(); err != nil {
			t.Fatal(err)
		}
		if b, err := os.ReadFile(o.Warm.File); err != nil || !bytes.Equal(b, good) {
			t.Errorf("another cache's file was overwritten, %v", err)
		}
		if left, err := filepath.Glob(o.Warm.File + "*"); err != nil || len(left) != 1 {
			t.Errorf("%v are left, %v", left, err)
		}
	})
}

func TestHit_AllocatesNothingWhileHotKeysAreSought(t *testing.T) {
	src := newSource()
	src.put("a", "one")
	client := newClient(t, nearcache.Config{Redis: nearcachetest.NewRedis(t).ClientOption()})
	if err := client.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	c := newCache(t, client,
		nearcache.Options[string, string]{Load: src.load, Warm: nearcache.Warm{File: filepath.Join(t.TempDir(), "warm")}})
	resident(t, c, "a")
	ctx := t.Context()
	if n := testing.AllocsPerRun(1000, func() { _, _ = c.Get(ctx, "a") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// What was hot when the program ended is in L1 soon after it has started again, before anybody asks.
func ExampleWarm() {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	redis, err := nearcachetest.StartRedis("127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	defer redis.Close()
	process := func(work func(*nearcache.Cache[string, product])) {
		client, err := nearcache.New(nearcache.Config{Redis: redis.ClientOption()})
		if err != nil {
			panic(err)
		}
		defer client.Close()
		products, err := nearcache.NewCache(client, "product", nearcache.Options[string, product]{Load: newShop().find,
			Warm: nearcache.Warm{File: filepath.Join(dir, "product.warm")}})
		if err != nil {
			panic(err)
		}
		work(products)
	}
	ctx := context.Background()
	process(func(products *nearcache.Cache[string, product]) {
		for range 10_000 {
			_, _ = products.Get(ctx, "42")
		}
	})
	process(func(products *nearcache.Cache[string, product]) {
		r, err := products.Read(ctx, "42", nearcache.ReadOptions{})
		for r.Tier != nearcache.TierL1 {
			r, err = products.Read(ctx, "42", nearcache.ReadOptions{})
		}
		fmt.Println(r.Value.Name, r.Tier, err)
	})
	// Output: espresso machine l1 <nil>
}
