package nearcache_test

import (
	"context"
	"errors"
	"testing"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/nearcache"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
)

// A Loader whose versions are not the source's would have old values pass as proved. The first loads find it out.
func TestLoader_OfVersionsOfItsOwn(t *testing.T) {
	src := nearcachetest.NewSource()
	for range 3 {
		src.Write("t", "a", coherence.OpUpdated)
	}
	client := newClient(t, nearcache.Config{Redis: nearcachetest.NewRedis(t).ClientOption(), Source: src})
	for name, c := range map[string]struct {
		version nearcache.Version
		refused bool
	}{
		"the source's": {3, false},
		"a clock":      {1795805917123, true},
		"an old one":   {2, false},
		"none":         {0, true},
		"the next one": {4, true},
	} {
		t.Run(name, func(t *testing.T) {
			cache, err := nearcache.NewCache(client, "t", nearcache.Options[string, string]{
				Load: func(context.Context, string) (nearcache.Entry[string], error) {
					return nearcache.Entry[string]{Value: "v", Version: c.version}, nil
				}})
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			if _, err := cache.Get(t.Context(), "a"); errors.Is(err, nearcache.ErrForeignVersion) != c.refused {
				t.Errorf("got %v, want refused: %v", err, c.refused)
			}
		})
		client = newClient(t, nearcache.Config{Redis: nearcachetest.NewRedis(t).ClientOption(), Source: src})
	}
}

// A write between the two questions is no mismatch.
func TestLoader_OvertakenByAWrite(t *testing.T) {
	src := nearcachetest.NewSource()
	src.Write("t", "a", coherence.OpUpdated)
	client := newClient(t, nearcache.Config{Redis: nearcachetest.NewRedis(t).ClientOption(), Source: src})
	cache := newCache(t, client, nearcache.Options[string, string]{
		Load: func(ctx context.Context, k string) (nearcache.Entry[string], error) {
			v, err := src.Version(ctx, "t", k)
			src.Write("t", k, coherence.OpUpdated)
			return nearcache.Entry[string]{Value: "v", Version: v}, err
		}})
	if _, err := cache.Get(t.Context(), "a"); err != nil {
		t.Errorf("got %v, want the value", err)
	}
}

func TestFind_IsRefusedBesideASource(t *testing.T) {
	client := newClient(t, nearcache.Config{Redis: nearcachetest.NewRedis(t).ClientOption(),
		Source: nearcachetest.NewSource()})
	_, err := nearcache.NewCache(client, "t", nearcache.Options[string, string]{
		Find: func(context.Context, string) (string, error) { return "v", nil }})
	if err == nil {
		t.Error("a cache without versions beside a Source is taken")
	}
}
