package nearcache_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/testkit"
	"github.com/nearcache/nearcache-go/nearcache"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
)

// Fail-safe may serve what has expired, and not what this instance knows to be removed or replaced.
func TestFailSafe_ServesNothingThatIsKnownToBeGone(t *testing.T) {
	type cache = nearcache.Cache[string, string]
	event := func(v nearcache.Version) coherence.Event {
		return coherence.Event{Namespace: "t", Key: "a", Version: v}
	}
	for name, test := range map[string]struct {
		happens func(context.Context, *nearcache.Client, *cache, *cache) error // here, and on another instance
		gone    bool
	}{
		"it has expired": {func(context.Context, *nearcache.Client, *cache, *cache) error { return nil }, false},
		"deleted, with a version": {func(ctx context.Context, _ *nearcache.Client, c, _ *cache) error {
			_, err := c.Write(ctx, "a", func(context.Context) (nearcache.Version, error) { return 2, nil })
			return err
		}, true},
		"invalidated with a version": {func(ctx context.Context, _ *nearcache.Client, c, _ *cache) error {
			return c.Invalidate(ctx, "a", 2)
		}, true},
		"another key is set": {func(ctx context.Context, _ *nearcache.Client, c, _ *cache) error {
			return c.Set(ctx, "b", nearcache.Entry[string]{Value: "another key", Version: 9})
		}, false},
		"invalidated without a version": {func(ctx context.Context, _ *nearcache.Client, c, _ *cache) error {
			return c.Invalidate(ctx, "a", 0)
		}, true},
		"replaced": {func(ctx context.Context, _ *nearcache.Client, c, _ *cache) error {
			return c.Set(ctx, "a", nearcache.Entry[string]{Value: "two", Version: 2, TTL: time.Millisecond})
		}, true},
		"an event": {func(ctx context.Context, cl *nearcache.Client, _, _ *cache) error {
			return cl.Apply(ctx, event(2))
		}, true},
		"an event without a version": {func(ctx context.Context, cl *nearcache.Client, _, _ *cache) error {
			return cl.Apply(ctx, event(0))
		}, true},
		"an old event": {func(ctx context.Context, cl *nearcache.Client, _, _ *cache) error {
			return cl.Apply(ctx, event(1))
		}, false},
		"its tag": {func(ctx context.Context, _ *nearcache.Client, c, _ *cache) error {
			return c.InvalidateTag(ctx, "shelf")
		}, true},
		"another tag": {func(ctx context.Context, _ *nearcache.Client, c, _ *cache) error {
			return c.InvalidateTag(ctx, "other")
		}, false},
		"Clear": {func(ctx context.Context, _ *nearcache.Client, c, _ *cache) error { return c.Clear(ctx) }, true},
		"invalidated elsewhere": {func(ctx context.Context, _ *nearcache.Client, _, other *cache) error {
			return other.Invalidate(ctx, "a", 0)
		}, true},
		"its tag, elsewhere": {func(ctx context.Context, _ *nearcache.Client, _, other *cache) error {
			return other.InvalidateTag(ctx, "shelf")
		}, true},
	} {
		for _, asked := range []bool{false, true} {
			t.Run(name+map[bool]string{true: ", asked for by name"}[asked], func(t *testing.T) {
				inMeteredBubble(t, func(t *testing.T, r *nearcachetest.Redis, client *nearcache.Client, reg *prometheus.Registry) {
					down := false
					o := nearcache.Options[string, string]{TTL: time.Second, Clearable: true,
						FailSafe: nearcache.FailSafe{MaxAge: time.Hour, Invalidated: asked},
						Load: func(_ context.Context, k string) (nearcache.Entry[string], error) {
							if down {
								return nearcache.Entry[string]{}, errDown
							}
							return nearcache.Entry[string]{Value: "one", Version: 1, Tags: []string{"shelf"}}, nil
						}}
					second, err := nearcache.New(nearcache.Config{Redis: r.PipeOption()})
					if err != nil {
						t.Fatal(err)
					}
					defer second.Close()
					if err := second.Ready(t.Context()); err != nil {
						t.Fatal(err)
					}
					c, other := newCache(t, client, o), newCache(t, second, o)
					resident(t, c, "a")
					resident(t, other, "a")
					down = true
					if err := test.happens(t.Context(), client, c, other); err != nil {
						t.Fatal(err)
					}
					time.Sleep(3 * time.Second) // everything has expired, and all pushes have come
					got, err := c.Read(t.Context(), "a", nearcache.ReadOptions{})
					refused := testkit.Metric(t, reg, "nearcache_stale_refused_total")
					switch {
					case test.gone && !asked:
						if !errors.Is(err, errDown) || refused == 0 {
							t.Errorf("%+v, %v, refused %v; want the Loader's error, and to count it", got, err, refused)
						}
					case err != nil || got.Value != "one" || !got.Stale:
						t.Errorf("%+v, %v; want the old value, labelled", got, err)
					}
				})
			})
		}
	}
}
