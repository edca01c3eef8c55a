//go:build unix && ablate

package chaos_test

import (
	"testing"

	"github.com/nearcache/nearcache-go/internal/ablate"
	"github.com/nearcache/nearcache-go/internal/chaos"
)

// tries is how many runs a missing rule has to show itself: what exposes it is a matter of chance.
const tries = 3

// TestAblations_AreNoticed takes out a rule of reads and a rule of waits. It is no part of make test, since chance
// decides when a run notices; make chaos-ablations tries all rules.
func TestAblations_AreNoticed(t *testing.T) {
	for _, rule := range []ablate.Rule{ablate.Generation, ablate.LeaseEndWakes} {
		t.Run(string(rule), func(t *testing.T) {
			var cfg chaos.Config
			out := placed(t, &cfg)
			broken, run, err := chaos.Notice(t.Context(), cfg, string(rule), tries)
			mayRun(t, err, out)
			if run == 0 {
				t.Fatalf("%d runs without the rule break nothing\n%s", tries, out.String())
			}
			t.Logf("noticed in run %d: %v is broken", run, broken)
		})
	}
}
