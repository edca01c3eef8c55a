//go:build !race

package fence_test

import (
	"fmt"
	"testing"

	"github.com/nearcache/nearcache-go/internal/fence"
	"github.com/nearcache/nearcache-go/internal/l2"
)

// TestLarge_L1IsServed: the first version of each key is a bump, and min versions are forgotten, so reading what
// L1 has lost must not lose the rest again.
func TestLarge_L1IsServed(t *testing.T) {
	const n = 600_000
	ks := make([]l2.Key, n)
	for i := range ks {
		ks[i] = keys.Key("p", fmt.Sprint(i))
	}
	for _, remembered := range []int64{0, 2 * n} {
		r := newRig(fence.Config{})
		if remembered > 0 {
			r.Remember(remembered)
		}
		held := make([]fence.Stamp, n)
		missed := 0
		for pass := range 3 {
			missed = 0
			for i := range held {
				if pass > 0 && held[i].Check(r.Fence) == fence.Current {
					continue
				}
				missed++
				snap := r.Begin(ks[i])
				if _, admit := r.FromL2(&snap, 7, &held[i]); !admit {
					t.Fatal("a quiet load is not admitted")
				}
			}
		}
		if part := float64(missed) / n; (part > 0.01) == (remembered > 0) {
			t.Errorf("with journals of %d bumps %.1f%% of the third pass miss", remembered, 100*part)
		}
	}
}
