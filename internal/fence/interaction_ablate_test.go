//go:build ablate

package fence_test

import (
	"os"
	"testing"

	"github.com/nearcache/nearcache-go/internal/ablate"
)

// TestAblation_InteractionsNeedTheirRule: without the rule that its interleaving made, a script goes another way.
func TestAblation_InteractionsNeedTheirRule(t *testing.T) {
	for script, rule := range map[string]ablate.Rule{
		"late_fill":      ablate.FillNeedsLease,
		"l1_ahead_of_l2": ablate.MinVersion,
		"old_replica":    ablate.WatermarkFirst,
		"lost_watermark": ablate.IncarnationSession,
		"push_overtaken": ablate.Generation,
	} {
		t.Run(script, func(t *testing.T) {
			b, err := os.ReadFile("testdata/" + script + ".txt")
			if err != nil {
				t.Fatal(err)
			}
			if err := ablate.Take(rule); err != nil {
				t.Fatal(err)
			}
			defer func() { _ = ablate.Take("") }()
			if play(string(b)) == string(b) {
				t.Errorf("without %s the script prints the same, want something else", rule)
			}
		})
	}
}
