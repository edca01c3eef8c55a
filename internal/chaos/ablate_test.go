//go:build unix && ablate

package chaos_test

import (
	"testing"

	"github.com/nearcache/nearcache-go/internal/ablate"
	"github.com/nearcache/nearcache-go/internal/chaos"
	"github.com/nearcache/nearcache-go/internal/chaos/history"
)

// tries is how many runs a missing rule has to show itself: what exposes it is a matter of chance.
const tries = 4

// TestAblations_AreNoticed takes out rules whose absence real processes show soon. The explorer notices the others.
func TestAblations_AreNoticed(t *testing.T) {
	for _, a := range []struct {
		rule ablate.Rule
		want []history.Guarantee // one of these is broken
	}{
		{ablate.Generation, []history.Guarantee{history.C1}},
		{ablate.RecentBumps, []history.Guarantee{history.C1}},
		{ablate.SnapshotGuard, []history.Guarantee{history.C1}},
		{ablate.ClockOnRead, []history.Guarantee{history.C1, history.C6}},
		{ablate.FreshNeverJoins, []history.Guarantee{history.C6, history.FreshReads}},
		{ablate.LeaseEndWakes, []history.Guarantee{history.Wait}},
		{ablate.RedisSession, []history.Guarantee{history.C1, history.C6}},
	} {
		t.Run(string(a.rule), func(t *testing.T) {
			faults := chaos.Exposes(string(a.rule))
			for try := range tries {
				cfg := chaos.Config{Seed: uint64(try + 1), Without: string(a.rule), Faults: faults, Times: max(3, len(faults)),
					Rate: 4000, Writes: 40, Keys: 100}
				broken := run(t, cfg).Report.Total.Broken
				for _, g := range a.want {
					if broken[g] > 0 {
						t.Logf("noticed in run %d: %v is broken", try+1, g)
						return
					}
				}
			}
			t.Errorf("%d runs without the rule, and none of %v is broken", tries, a.want)
		})
	}
}
