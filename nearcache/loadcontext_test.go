package nearcache_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/nearcache/nearcache-go/nearcache"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
)

type (
	tenantKey struct{}
	txKey     struct{}
	spanKey   struct{}
)

// What one reader's context says must not decide what every reader gets: a transaction's own row, a tenant's view.
func TestLoadContext_HasNoneOfTheCallersValues(t *testing.T) {
	ctx := context.WithValue(t.Context(), tenantKey{}, "tenant one")
	ctx = context.WithValue(ctx, txKey{}, "an open transaction")
	ctx = context.WithValue(ctx, spanKey{}, "a trace")
	saw := func(ctx context.Context) string {
		var seen []string
		for _, key := range []any{tenantKey{}, txKey{}, spanKey{}} {
			if v, ok := ctx.Value(key).(string); ok {
				seen = append(seen, v)
			}
		}
		return strings.Join(seen, ", ")
	}
	trace := func(caller, load context.Context) context.Context {
		if v := caller.Value(spanKey{}); v != nil {
			return context.WithValue(load, spanKey{}, v)
		}
		return load
	}
	for name, test := range map[string]struct {
		keys  []any
		trace func(caller, load context.Context) context.Context
		want  string
	}{
		"by default":      {want: ""},
		"a listed key":    {keys: []any{tenantKey{}}, want: "tenant one"},
		"tracing's hook":  {trace: trace, want: "a trace"},
		"both of them":    {keys: []any{tenantKey{}}, trace: trace, want: "tenant one, a trace"},
		"an unlisted key": {keys: []any{"other"}, want: ""},
	} {
		for _, mode := range []nearcache.Mode{nearcache.ModeOn, nearcache.ModeShadow, nearcache.ModeOff} {
			t.Run(name+"/"+mode.String(), func(t *testing.T) {
				client := newClient(t, nearcache.Config{Redis: nearcachetest.NewRedis(t).ClientOption(), LoadTrace: test.trace})
				if err := client.Ready(t.Context()); err != nil {
					t.Fatal(err)
				}
				if err := client.SetMode(mode); err != nil {
					t.Fatal(err)
				}
				deadline := func(ctx context.Context) bool { d, ok := ctx.Deadline(); return ok && time.Until(d) <= 10*time.Second }
				c := newCache(t, client, nearcache.Options[string, string]{ContextKeys: test.keys,
					Load: func(ctx context.Context, k string) (nearcache.Entry[string], error) {
						if !deadline(ctx) {
							t.Error("no deadline of LoadTimeout")
						}
						return nearcache.Entry[string]{Value: saw(ctx)}, nil
					},
					LoadMany: func(ctx context.Context, ks []string) (map[string]nearcache.Entry[string], error) {
						out := map[string]nearcache.Entry[string]{}
						for _, k := range ks {
							out[k] = nearcache.Entry[string]{Value: saw(ctx)}
						}
						return out, nil
					}})
				if got, err := c.Get(ctx, "a"); err != nil || got != test.want {
					t.Errorf("Get: the Loader saw %q, want %q; %v", got, test.want, err)
				}
				if got, err := c.Read(ctx, "b", nearcache.ReadOptions{Fresh: true}); err != nil || got.Value != test.want {
					t.Errorf("Fresh: the Loader saw %q, want %q; %v", got.Value, test.want, err)
				}
				if m, err := c.GetMany(ctx, []string{"c", "d"}); err != nil || m["c"] != test.want || m["d"] != test.want {
					t.Errorf("GetMany: the Loader saw %q, want %q; %v", m, test.want, err)
				}
			})
		}
	}
	client := newClient(t, nearcache.Config{Redis: nearcachetest.NewRedis(t).ClientOption()})
	for _, bad := range []any{nil, []string{"no key of a map"}} {
		o := nearcache.Options[string, string]{Load: newSource().load, ContextKeys: []any{bad}}
		if _, err := nearcache.NewCache(client, "bad", o); err == nil || !strings.Contains(err.Error(), "ContextKeys") {
			t.Errorf("%v: %v", bad, err)
		}
	}
}

// recorder is a testing.TB that keeps its errors.
type recorder struct {
	testing.TB
	errs []string
}

func (r *recorder) Helper()                        {}
func (r *recorder) Errorf(format string, _ ...any) { r.errs = append(r.errs, format) }

func TestCheckLoader_FindsWhatAsksForTheCallersValues(t *testing.T) {
	asks := func(ctx context.Context, k string) (nearcache.Entry[string], error) {
		ctx, cancel := context.WithTimeout(ctx, time.Second) // which asks its parent for a value of its own
		defer cancel()
		v, _ := ctx.Value(txKey{}).(string)
		return nearcache.Entry[string]{Value: v}, nil
	}
	plain := func(ctx context.Context, k string) (nearcache.Entry[string], error) {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		return nearcache.Entry[string]{Value: k}, ctx.Err()
	}
	for name, test := range map[string]struct {
		load  nearcache.Loader[string, string]
		allow []any
		want  int
	}{
		"one that asks":             {asks, nil, 1},
		"one that may":              {asks, []any{txKey{}}, 0},
		"one that may ask for less": {asks, []any{tenantKey{}}, 1},
		"one that does not":         {plain, nil, 0},
	} {
		r := &recorder{TB: t}
		nearcachetest.CheckLoader(r, test.load, "k", test.allow...)
		if len(r.errs) != test.want {
			t.Errorf("%s: %d errors, want %d: %v", name, len(r.errs), test.want, r.errs)
		}
	}
}
