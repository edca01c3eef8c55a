package nearcache_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/nearcache"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
)

// shelf is a source whose values depend on tags: the key up to its colon.
type shelf struct {
	*source
	loading func() // runs between a load's reading and its end
}

func (s *shelf) load(ctx context.Context, k string) (nearcache.Entry[string], error) {
	e, err := s.source.load(ctx, k)
	e.Tags = []string{k[:1]}
	if s.loading != nil {
		s.loading()
	}
	return e, err
}

func TestTags_InvalidateAllOfThemEverywhere(t *testing.T) {
	src := &shelf{source: newSource()}
	for _, k := range []string{"r1", "r2", "r3", "b1"} {
		src.put(k, "old")
	}
	inBubbleOf(t, 2, nearcache.Options[string, string]{Load: src.load}, func(t *testing.T, r *nearcachetest.Redis,
		cs []*nearcache.Cache[string, string]) {
		one, two := cs[0], cs[1]
		for _, c := range []*nearcache.Cache[string, string]{one, two} {
			for _, k := range []string{"r1", "r2", "b1"} {
				resident(t, c, k)
			}
		}
		get(t, one, "r3") // in L2 alone
		for _, k := range []string{"r1", "r2", "r3", "b1"} {
			src.put(k, "new")
		}
		if err := one.InvalidateTag(t.Context(), "r"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		for i, c := range []*nearcache.Cache[string, string]{one, two} {
			for _, k := range []string{"r1", "r2", "r3"} {
				if got := get(t, c, k); got.Value != "new" {
					t.Errorf("instance %d, %s: %+v", i+1, k, got)
				}
			}
			if got := get(t, c, "b1"); got.Value != "old" || got.Tier != nearcache.TierL1 {
				t.Errorf("instance %d: another tag's value: %+v", i+1, got)
			}
			resident(t, c, "r1")
		}
	})
}

// TestTags_InvalidatedDuringALoad: the load's value is from before, and must not be kept with the tag's version from
// after.
func TestTags_InvalidatedDuringALoad(t *testing.T) {
	src := &shelf{source: newSource()}
	src.put("r1", "old")
	inBubbleOf(t, 2, nearcache.Options[string, string]{Load: src.load}, func(t *testing.T, r *nearcachetest.Redis,
		cs []*nearcache.Cache[string, string]) {
		one, two := cs[0], cs[1]
		src.put("r2", "v")
		resident(t, one, "r2") // the tag is known
		src.loading = func() {
			src.loading = nil
			src.put("r1", "new")
			if err := two.InvalidateTag(t.Context(), "r"); err != nil {
				t.Error(err)
			}
			synctest.Wait()
		}
		get(t, one, "r1")
		for _, c := range []*nearcache.Cache[string, string]{one, two, one} {
			if got := get(t, c, "r1"); got.Value != "new" {
				t.Errorf("got %+v, want \"new\"", got)
			}
		}
	})
}

func TestTags_LostNonceFailsClosed(t *testing.T) {
	src := &shelf{source: newSource()}
	src.put("r1", "old")
	inBubbleOf(t, 2, nearcache.Options[string, string]{Load: src.load}, func(t *testing.T, r *nearcachetest.Redis,
		cs []*nearcache.Cache[string, string]) {
		one := cs[0]
		resident(t, one, "r1")
		src.put("r1", "new")
		for _, k := range r.Keys() {
			if strings.Contains(k, nearcache.TagNamespace) {
				r.Evict(k)
			}
		}
		synctest.Wait()
		if got := get(t, one, "r1"); got.Value != "new" {
			t.Errorf("got %+v, want \"new\"", got)
		}
	})
}

func TestClear_IsOneWrite(t *testing.T) {
	src := newSource()
	var loads atomic.Int64
	load := func(ctx context.Context, k string) (nearcache.Entry[string], error) {
		loads.Add(1)
		return src.load(ctx, k)
	}
	inBubbleOf(t, 2, nearcache.Options[string, string]{Load: load, Clearable: true}, func(t *testing.T,
		r *nearcachetest.Redis, cs []*nearcache.Cache[string, string]) {
		one, two := cs[0], cs[1]
		var ks []string
		for i := range 100 {
			ks = append(ks, fmt.Sprint(i))
			src.put(ks[i], "old")
		}
		for range 5 {
			for _, c := range []*nearcache.Cache[string, string]{one, two} {
				if _, err := c.GetMany(t.Context(), ks); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
			}
		}
		before := loads.Load()
		if _, err := one.GetMany(t.Context(), ks); err != nil || loads.Load() != before {
			t.Fatalf("not cached: %v", err)
		}
		for _, k := range ks {
			src.put(k, "new")
		}
		if err := two.Clear(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		for _, c := range []*nearcache.Cache[string, string]{one, two} {
			m, err := c.GetMany(t.Context(), ks)
			for _, k := range ks {
				if m[k] != "new" {
					t.Errorf("key %s: got %q and error %v, want \"new\"", k, m[k], err)
				}
			}
		}
	})
	inBubble(t, func(t *testing.T, _ *nearcachetest.Redis, client *nearcache.Client) {
		c := newCache(t, client, nearcache.Options[string, string]{Load: src.load})
		if err := c.Clear(t.Context()); !errors.Is(err, nearcache.ErrUnsupported) {
			t.Errorf("got error %v, want ErrUnsupported", err)
		}
	})
}

// BumpKey makes the bounded tests' source one that counts tags.
func (s *commits) BumpKey(_ context.Context, namespace, k string) (coherence.Version, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ver := s.put(namespace+k, "")
	s.versions[k] = ver // where Version looks it up
	s.events = append(s.events,
		coherence.Event{Namespace: namespace, Key: k, Version: ver,
			Position: coherence.Position{Timeline: 1, N: uint64(len(s.events) + 2)}})
	return ver, nil
}

// TestTags_KeepTheBound: a tag's version is proved like a value's. The writer dies after the commit and tells nobody,
// and the relay is held up: nothing but the bound tells.
func TestTags_KeepTheBound(t *testing.T) { // C1
	inBoundedBubble(t, func(t *testing.T, b *bounded) {
		load := func(ctx context.Context, k string) (nearcache.Entry[string], error) {
			e, err := b.src.load(ctx, k)
			e.Tags = []string{"shop"}
			return e, err
		}
		c, err := nearcache.NewCache(b.client, "u", nearcache.Options[string, string]{Load: load, MaxStaleness: delta})
		if err != nil {
			t.Fatal(err)
		}
		b.src.write("a", "old")
		time.Sleep(time.Second)
		resident(t, c, "a")
		b.src.set(func() { b.src.stalled = true })
		b.src.set(func() { b.src.put("a", "new") }) // by SQL that counts the tag's version alone
		if _, err := b.src.BumpKey(t.Context(), nearcache.TagNamespace, nearcache.TagKey("u", "shop")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(delta + time.Millisecond)
		if got := get(t, c, "a"); got.Value != "new" || got.Staleness <= 0 {
			t.Errorf("got %+v, want \"new\" with its staleness", got)
		}
		b.src.set(func() { b.src.stalled = false })
		time.Sleep(time.Second)
		resident(t, c, "a")
		if err := c.InvalidateTag(t.Context(), "shop"); err != nil {
			t.Fatal(err)
		}
		b.src.set(func() { b.src.put("a", "newer") })
		if got := get(t, c, "a"); got.Value != "newer" {
			t.Errorf("got %+v, want \"newer\"", got)
		}
	})
}

func TestTaggedHit_AllocatesNothing(t *testing.T) {
	src := &shelf{source: newSource()}
	src.put("r1", "v")
	client := newClient(t, nearcache.Config{Redis: nearcachetest.NewRedis(t).ClientOption()})
	if err := client.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	c := newCache(t, client, nearcache.Options[string, string]{Load: src.load, Clearable: true})
	resident(t, c, "r1")
	ctx := t.Context()
	if n := testing.AllocsPerRun(1000, func() { _, _ = c.Get(ctx, "r1") }); n >= 1 {
		t.Errorf("%v allocations", n)
	}
}
