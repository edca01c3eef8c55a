package l2

import (
	"strings"
	"testing"
)

// TestAblations_CutWhatIsThere: a script that was reworded would otherwise keep its rule unnoticed.
func TestAblations_CutWhatIsThere(t *testing.T) {
	all := strings.Join([]string{prelude, acquireLua, fillLua, renewLua, releaseLua, applyLua, setLua, placeIntentLua,
		resolveIntentLua, doubtLua, batchLua, resetLua, beginRoundLua, publishRoundLua}, "\n")
	for _, a := range ablations {
		if n := strings.Count(all, a.with); n != 1 {
			t.Errorf("%s: its text stands %d times in the scripts, want once", a.rule, n)
		}
	}
}
