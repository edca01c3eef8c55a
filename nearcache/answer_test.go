package nearcache_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nearcache/nearcache-go/nearcache"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
)

// A reader of a missing key has its value when the Loader has returned, and not when the fill has come back. These
// tests let Redis fall silent within the Loader, so that no fill comes back before they say so.

func TestAnswer_ComesBeforeTheFill(t *testing.T) {
	inBubble(t, func(t *testing.T, r *nearcachetest.Redis, client *nearcache.Client) {
		calls := 0
		c := newCache(t, client, nearcache.Options[string, string]{
			Load: func(context.Context, string) (nearcache.Entry[string], error) {
				calls++
				r.Pause()
				return nearcache.Entry[string]{Value: "v", Version: 1}, nil
			}})
		begun := time.Now()
		if got := get(t, c, "a"); got.Value != "v" || got.Tier != nearcache.TierSource || time.Since(begun) != 0 {
			t.Errorf("%+v after %v, want the Loader's value at once", got, time.Since(begun))
		}
		later := make(chan nearcache.Result[string], 1)
		go func() { later <- get(t, c, "a") }()
		synctest.Wait()
		select {
		case got := <-later:
			t.Errorf("%+v while the fill is under way, want to wait for it", got)
		default:
		}
		r.Resume()
		if got := <-later; got.Value != "v" || got.Tier != nearcache.TierL2 {
			t.Errorf("after the fill: %+v, want it from L2", got)
		}
		resident(t, c, "a")
		if calls != 1 {
			t.Errorf("%d loads, want 1", calls)
		}
	})
}

func TestAnswer_OfManyKeysComesBeforeTheirFills(t *testing.T) {
	for name, o := range map[string]nearcache.Options[string, string]{
		"Load": {Load: func(_ context.Context, k string) (nearcache.Entry[string], error) {
			return nearcache.Entry[string]{Value: "value of " + k, Version: 1}, nil
		}},
		"LoadMany": {LoadMany: func(_ context.Context, ks []string) (map[string]nearcache.Entry[string], error) {
			m := map[string]nearcache.Entry[string]{}
			for _, k := range ks {
				m[k] = nearcache.Entry[string]{Value: "value of " + k, Version: 1}
			}
			return m, nil
		}},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, r *nearcachetest.Redis, client *nearcache.Client) {
				if one, many := o.Load, o.LoadMany; one != nil {
					o.Load = func(ctx context.Context, k string) (nearcache.Entry[string], error) {
						r.Pause()
						return one(ctx, k)
					}
				} else {
					o.LoadMany = func(ctx context.Context, ks []string) (map[string]nearcache.Entry[string], error) {
						r.Pause()
						return many(ctx, ks)
					}
				}
				c := newCache(t, client, o)
				begun := time.Now()
				got, err := c.GetMany(t.Context(), []string{"a", "b"})
				if err != nil || len(got) != 2 || time.Since(begun) != 0 {
					t.Errorf("%v, %v after %v, want both values at once", got, err, time.Since(begun))
				}
				r.Resume()
				synctest.Wait()
				if _, ok := r.Get(key("a").Record); !ok {
					t.Error("not filled")
				}
			})
		})
	}
}

// TestAnswer_ThatIsOvertakenIsNotKept: the lease ends after the load, so the reader has a value that L2 refuses.
func TestAnswer_ThatIsOvertakenIsNotKept(t *testing.T) {
	inBubble(t, func(t *testing.T, r *nearcachetest.Redis, client *nearcache.Client) {
		calls := 0
		c := newCache(t, client, nearcache.Options[string, string]{
			Load: func(context.Context, string) (nearcache.Entry[string], error) {
				if calls++; calls == 1 {
					r.Do("DEL", key("a").Lease)
				}
				return nearcache.Entry[string]{Value: fmt.Sprint("load ", calls), Version: nearcache.Version(calls)}, nil
			}})
		for i := 1; i <= 2; i++ {
			if got := get(t, c, "a"); got.Value != fmt.Sprint("load ", i) || got.Tier != nearcache.TierSource {
				t.Errorf("%+v, want load %d from the source", got, i)
			}
		}
	})
}

// TestAnswer_ThenAWrite: a reader that has been answered writes the key before the fill has come back.
func TestAnswer_ThenAWrite(t *testing.T) {
	inBubble(t, func(t *testing.T, r *nearcachetest.Redis, client *nearcache.Client) {
		value, silent := "old", true
		c := newCache(t, client, nearcache.Options[string, string]{
			Find: func(context.Context, string) (string, error) {
				if silent {
					r.Pause()
				}
				return value, nil
			}})
		if got := get(t, c, "a"); got.Value != "old" {
			t.Fatalf("%+v", got)
		}
		written := make(chan error, 1)
		go func() {
			_, err := c.Write(t.Context(), "a", func(context.Context) (nearcache.Version, error) {
				value, silent = "new", false
				return 0, nil
			})
			written <- err
		}()
		synctest.Wait()
		r.Resume()
		if err := <-written; err != nil {
			t.Fatal(err)
		}
		for i := range 4 {
			if got := get(t, c, "a"); got.Value != "new" {
				t.Errorf("read %d after the write: %+v", i, got)
			}
		}
	})
}

func TestAnswer_CloseWaitsForTheFill(t *testing.T) {
	inBubble(t, func(t *testing.T, r *nearcachetest.Redis, client *nearcache.Client) {
		c := newCache(t, client, nearcache.Options[string, string]{
			Find: func(context.Context, string) (string, error) {
				r.Pause()
				return "v", nil
			}})
		get(t, c, "a")
		time.AfterFunc(10*time.Millisecond, r.Resume)
		if err := client.Close(); err != nil {
			t.Fatal(err)
		}
		if _, ok := r.Get(key("a").Record); !ok {
			t.Error("closed without its fill")
		}
	})
}
