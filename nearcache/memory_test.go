package nearcache_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/nearcache/nearcache-go/internal/testkit"
	"github.com/nearcache/nearcache-go/nearcache"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
)

func TestL1Bytes_HoldsForSmallAndBigValues(t *testing.T) {
	const bound = 256 << 10
	for name, size := range map[string]func(string) int64{
		"encoded":  nil,
		"ten-fold": func(v string) int64 { return 10 * int64(len(v)) },
	} {
		t.Run(name, func(t *testing.T) {
			reg := prometheus.NewRegistry()
			client := newClient(t, nearcache.Config{Redis: nearcachetest.NewRedis(t).ClientOption(), Registerer: reg})
			if err := client.Ready(t.Context()); err != nil {
				t.Fatal(err)
			}
			c := newCache(t, client, nearcache.Options[string, string]{L1Bytes: bound, Size: size, Find: func(_ context.Context,
				k string) (string, error) {
				var n, size int
				_, _ = fmt.Sscanf(k, "%d of %d", &n, &size)
				return strings.Repeat("v", size), nil
			}})
			held := func() int64 {
				n := int64(testkit.Metric(t, reg, "nearcache_l1_bytes"))
				if n > bound {
					t.Fatalf("L1 holds %d bytes of %d", n, bound)
				}
				return n
			}
			var most int64
			for _, size := range []int{10, 60 << 10, 100, 5 << 10, 300 << 10, 1} {
				for i := range 30 {
					k := fmt.Sprintf("%d of %d", i, size)
					for range 2 { // filled, and then read from L2 and admitted
						get(t, c, k)
					}
					most = max(most, held())
				}
			}
			if most < bound/4 {
				t.Errorf("L1 never held more than %d bytes of %d: this shows nothing", most, bound)
			}
		})
	}
}

func TestSize_CountsAndMayPanic(t *testing.T) {
	reg := prometheus.NewRegistry()
	client := newClient(t, nearcache.Config{Redis: nearcachetest.NewRedis(t).ClientOption(), Registerer: reg})
	if err := client.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	src := newSource()
	c := newCache(t, client, nearcache.Options[string, string]{Load: src.load, Size: func(v string) int64 {
		if v == "panics" {
			panic("ouch")
		}
		return 12345
	}})
	empty := testkit.Metric(t, reg, "nearcache_l1_bytes")
	src.put("a", "small")
	resident(t, c, "a")
	testkit.Eventually(t, "what Size says is counted", func() bool {
		n := testkit.Metric(t, reg, "nearcache_l1_bytes") - empty
		return n > 12345 && n < 12345+500
	})
	src.put("b", "panics")
	for range 3 {
		if got := get(t, c, "b"); got.Value != "panics" || got.Tier == nearcache.TierL1 {
			t.Errorf("got %+v, want \"panics\", not from L1", got)
		}
	}
	if testkit.Metric(t, reg, "nearcache_rejected_total", "size") == 0 {
		t.Error("a value that has no size is not counted")
	}
}

func TestCheckShared_FindsWhoModifiesAValue(t *testing.T) {
	reg, log := prometheus.NewRegistry(), &bytes.Buffer{}
	client := newClient(t, nearcache.Config{Redis: nearcachetest.NewRedis(t).ClientOption(), Registerer: reg,
		Logger: slog.New(slog.NewTextHandler(log, nil))})
	if err := client.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	c, err := nearcache.NewCache(client, "t", nearcache.Options[string, map[string]int]{CheckShared: true,
		Find: func(context.Context, string) (map[string]int, error) { return map[string]int{"x": 1, "y": 2}, nil }})
	if err != nil {
		t.Fatal(err)
	}
	read := func() (nearcache.Result[map[string]int], int) {
		r, err := c.Read(t.Context(), "the key", nearcache.ReadOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return r, int(testkit.Metric(t, reg, "nearcache_mutated_total"))
	}
	for round := range 3 {
		var shared map[string]int
		testkit.Eventually(t, "it is in L1", func() bool {
			r, n := read()
			if n != round {
				t.Fatalf("%d counted, and nobody has modified anything", n)
			}
			shared = r.Value
			return r.Tier == nearcache.TierL1
		})
		shared["x"] = 7
		if r, n := read(); r.Value["x"] != 1 || r.Tier == nearcache.TierL1 || n != round+1 {
			t.Errorf("after a modification: %+v, %d counted", r, n)
		}
	}
	if !strings.Contains(log.String(), "the key") {
		t.Errorf("the log does not name the key: %s", log)
	}
	if n := testkit.Metric(t, reg, "nearcache_misses_total", "l1", "mutated"); n != 3 {
		t.Errorf("%v misses", n)
	}
}

func TestCheckShared_NothingIsMadeOfAModifiedValue(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *nearcachetest.Redis, client *nearcache.Client) {
		down := false
		c, err := nearcache.NewCache(client, "t",
			nearcache.Options[string, map[string]int]{CheckShared: true, FailSafe: nearcache.FailSafe{MaxAge: 1 << 40},
				Load: func(ctx context.Context, _ string) (nearcache.Entry[map[string]int], error) {
					if old, ok := nearcache.Previous[map[string]int](ctx); ok && old.Value["x"] != 1 {
						t.Errorf("the Loader is shown %v", old.Value)
					}
					if down {
						return nearcache.Entry[map[string]int]{}, errDown
					}
					return nearcache.Entry[map[string]int]{Value: map[string]int{"x": 1}}, nil
				}})
		if err != nil {
			t.Fatal(err)
		}
		var r nearcache.Result[map[string]int]
		testkit.Eventually(t, "it is in L1", func() bool {
			r, err = c.Read(t.Context(), "a", nearcache.ReadOptions{})
			return err == nil && r.Tier == nearcache.TierL1
		})
		r.Value["x"] = 7
		down = true
		if r, err = c.Read(t.Context(), "a", nearcache.ReadOptions{Fresh: true}); err == nil && r.Value["x"] != 1 {
			t.Errorf("fail-safe serves %+v", r)
		}
	})
}

// A caller that modifies what it got would change it for everybody. CheckShared finds out who.
func ExampleOptions_checkShared() {
	log := slog.New(slog.NewTextHandler(writer(func(line string) {
		_, after, _ := strings.Cut(line, "msg=")
		fmt.Print(after)
	}), &slog.HandlerOptions{Level: slog.LevelWarn}))
	redis, err := nearcachetest.StartRedis("127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	defer redis.Close()
	client, err := nearcache.New(nearcache.Config{Redis: redis.ClientOption(), Logger: log})
	if err != nil {
		panic(err)
	}
	defer client.Close()
	prices, err := nearcache.NewCache(client, "prices", nearcache.Options[string, []int]{CheckShared: true,
		Find: func(context.Context, string) ([]int, error) { return []int{100, 200}, nil }})
	if err != nil {
		panic(err)
	}
	ctx := context.Background()
	r, _ := prices.Read(ctx, "42", nearcache.ReadOptions{})
	for r.Tier != nearcache.TierL1 {
		r, _ = prices.Read(ctx, "42", nearcache.ReadOptions{})
	}
	r.Value[0] = 0
	fmt.Println(prices.Get(ctx, "42"))
	// Output:
	// "a caller has modified a value that it shares with others" cache=prices key=42
	// [100 200] <nil>
}

// writer makes a Writer of a function.
type writer func(string)

func (w writer) Write(b []byte) (int, error) { w(string(b)); return len(b), nil }

// What a value takes in memory can be far from what its encoding takes.
func ExampleOptions_size() {
	type document struct{ Index map[string][]int }
	_ = nearcache.Options[string, document]{
		L1Bytes: 256 << 20,
		Size: func(d document) (n int64) {
			for word, places := range d.Index {
				n += int64(len(word)+8*cap(places)) + 64
			}
			return n
		},
	}
}
