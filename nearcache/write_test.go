package nearcache_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/testkit"
	"github.com/nearcache/nearcache-go/nearcache"
)

func TestWrite_EveryInstanceNotices(t *testing.T) {
	testkit.OnBothRedis(t, func(t *testing.T, r testkit.Redis) {
		src := newSource()
		src.put("a", "one")
		x, y := open(t, r.Option, src), open(t, r.Option, src)
		resident(t, x, "a")
		resident(t, y, "a")
		v, err := x.Write(t.Context(), "a", func(context.Context) (nearcache.Version, error) {
			return src.put("a", "two"), nil
		})
		if err != nil || v != 2 {
			t.Fatalf("version %d, %v", v, err)
		}
		if got := get(t, x, "a"); got.Value != "two" {
			t.Errorf("the writer reads %+v", got)
		}
		testkit.Eventually(t, "the other instance reads the new value", func() bool { return get(t, y, "a").Value == "two" })
		if _, err := y.Write(t.Context(), "a", func(context.Context) (nearcache.Version, error) {
			return src.del("a"), nil
		}); err != nil {
			t.Fatal(err)
		}
		testkit.Eventually(t, "the deletion is noticed", func() bool {
			_, err := x.Get(t.Context(), "a")
			return errors.Is(err, nearcache.ErrNotFound)
		})
	})
}

func TestSet_ReplacesOlderValue(t *testing.T) {
	testkit.OnBothRedis(t, func(t *testing.T, r testkit.Redis) {
		src := newSource()
		src.put("a", "one")
		x, y := open(t, r.Option, src), open(t, r.Option, src)
		resident(t, y, "a")
		loads := src.loads.Load()
		if err := x.Set(t.Context(), "a", nearcache.Entry[string]{Value: "two", Version: src.put("a", "two")}); err != nil {
			t.Fatal(err)
		}
		testkit.Eventually(t, "y has the new value", func() bool { return get(t, y, "a").Value == "two" })
		if n := src.loads.Load(); n != loads {
			t.Errorf("%d loads for a value that Set brought", n-loads)
		}
		if err := x.Set(t.Context(), "a", nearcache.Entry[string]{Value: "one", Version: 1}); err != nil {
			t.Fatal(err)
		}
		if got := get(t, x, "a"); got.Value != "two" {
			t.Errorf("after a late Set: %+v", got)
		}
	})
}

func TestWrite_KeepsReadersAtTheSourceMeanwhile(t *testing.T) {
	testkit.OnBothRedis(t, func(t *testing.T, r testkit.Redis) {
		src := newSource()
		src.put("a", "one")
		x := newCache(t, newClient(t, nearcache.Config{Redis: r.Option}),
			nearcache.Options[string, string]{Load: src.load, WriteTTL: time.Hour})
		y := open(t, r.Option, src)
		resident(t, y, "a")
		_, err := x.Write(t.Context(), "a", func(context.Context) (nearcache.Version, error) {
			testkit.Eventually(t, "y reads the source during the write", func() bool {
				return get(t, y, "a").Tier == nearcache.TierSource
			})
			for range 3 {
				if got := get(t, y, "a"); got.Tier != nearcache.TierSource {
					t.Errorf("a read during the write was cached: %+v", got)
				}
			}
			src.put("a", "two")
			return 0, errors.New("the connection broke during the commit") // its outcome is unknown, and it went through
		})
		if err == nil {
			t.Error("the transaction's error is lost")
		}
		testkit.Eventually(t, "y reads what was committed", func() bool { return get(t, y, "a").Value == "two" })
		resident(t, y, "a") // the intent was resolved, and did not have to run out
	})
}

// still is a source of truth whose position does not move.
type still struct{}

func (still) Position(context.Context) (coherence.Position, error) {
	return coherence.Position{Timeline: 1, N: 1}, nil
}

func (still) Abilities() coherence.Abilities { return coherence.Abilities{} }

func (still) Changes(context.Context, coherence.Position, int) ([]coherence.Event, coherence.Position, error) {
	return nil, coherence.Position{Timeline: 1, N: 1}, nil
}

func TestWrite_WithASourceDropsWhatMayHaveChanged(t *testing.T) {
	testkit.OnBothRedis(t, func(t *testing.T, r testkit.Redis) {
		src := newSource()
		src.put("a", "one")
		c := newCache(t, newClient(t, nearcache.Config{Redis: r.Option, Source: still{}}),
			nearcache.Options[string, string]{Load: src.load})
		resident(t, c, "a")
		lost := errors.New("the connection broke during the commit")
		if _, err := c.Write(t.Context(), "a", func(context.Context) (nearcache.Version, error) {
			src.put("a", "two")
			return 0, lost
		}); !errors.Is(err, lost) {
			t.Errorf("got error %v, want that of the commit", err)
		}
		if got := get(t, c, "a"); got.Value != "two" {
			t.Errorf("after a commit of unknown outcome: %+v", got)
		}
		resident(t, c, "a")
		loads := src.loads.Load()
		refused := fmt.Errorf("%w: a conflict", nearcache.ErrNotCommitted)
		if _, err := c.Write(t.Context(), "a", func(context.Context) (nearcache.Version, error) {
			return 0, refused
		}); !errors.Is(err, refused) {
			t.Errorf("got error %v, want that of the refusal", err)
		}
		if got := get(t, c, "a"); got.Tier != nearcache.TierL1 || src.loads.Load() != loads {
			t.Errorf("a write that certainly changed nothing has evicted: %+v", got)
		}
	})
}

func TestUnversionedEvent_DropsBothTiers(t *testing.T) {
	testkit.OnBothRedis(t, func(t *testing.T, r testkit.Redis) {
		src := newSource()
		src.put("a", "one")
		client := newClient(t, nearcache.Config{Redis: r.Option})
		if err := client.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		c := newCache(t, client, nearcache.Options[string, string]{Load: src.load})
		resident(t, c, "a")
		src.mu.Lock()
		src.values["a"] = "changed, same version"
		src.mu.Unlock()
		if err := client.Apply(t.Context(), coherence.Event{Namespace: "t", Key: "a"}); err != nil {
			t.Fatal(err)
		}
		if got := get(t, c, "a"); got.Value != "changed, same version" {
			t.Errorf("right after the event: %+v", got)
		}
		resident(t, c, "a") // a reload of the same version is welcome
	})
}
