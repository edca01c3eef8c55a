package nearcache_test

import (
	"context"
	"errors"
	"testing"

	"github.com/nearcache/nearcache-go/nearcache"
)

func TestLateFill_L2(t *testing.T) { // R1, C2
	onBoth(t, func(t *testing.T, r redis) {
		src := newSource()
		src.put("a", "old")
		x, y := open(t, r.opt, src), open(t, r.opt, src)
		src.after = func(string) { // x has read the old row; y writes and invalidates before x fills
			src.after = nil
			if _, err := y.Write(context.Background(), "a", func(context.Context) (nearcache.Version, error) { return src.put("a", "new"), nil }); err != nil {
				t.Error(err)
			}
		}
		get(t, x, "a")
		for range 5 {
			if got := get(t, x, "a"); got.Value != "new" {
				t.Errorf("x reads %+v", got)
			}
			if got := get(t, y, "a"); got.Value != "new" {
				t.Errorf("y reads %+v", got)
			}
		}
	})
}

func TestLateSet_IsNotBorn(t *testing.T) { // C5
	onBoth(t, func(t *testing.T, r redis) {
		src := newSource()
		v1 := src.put("a", "one")
		x, y := open(t, r.opt, src), open(t, r.opt, src)
		v2 := src.del("a")
		if err := x.Invalidate(t.Context(), "a", v2); err != nil {
			t.Fatal(err)
		}
		// The deletion is done and forgotten, L2 is empty; then the first write's Set arrives.
		if err := y.Set(t.Context(), "a", nearcache.Entry[string]{Value: "one", Version: v1}); err != nil {
			t.Fatal(err)
		}
		for range 4 {
			if _, err := y.Get(t.Context(), "a"); !errors.Is(err, nearcache.ErrNotFound) {
				t.Errorf("a deleted key reads %v", err)
			}
		}
	})
}
