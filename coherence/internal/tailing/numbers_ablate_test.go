//go:build ablate

package tailing

import (
	"testing"

	"github.com/nearcache/nearcache-go/internal/ablate"
	"github.com/nearcache/nearcache-go/internal/explore"
)

// TestAblations_Numbers: without any of the rules the explorer finds a missing event that no barrier shows, or a
// session that ends although nothing is missing.
func TestAblations_Numbers(t *testing.T) {
	for rule, m := range map[ablate.Rule]partitionModel{
		ablate.NumberAhead:    {events: 2, queue: 2},
		ablate.NumberTimeline: {events: 2, losses: 1, promoted: true, queue: 2, only: hidden},
		ablate.NumberGarbled:  {events: 1, garbles: 1, queue: 1},
	} {
		t.Run(string(rule), func(t *testing.T) {
			if err := ablate.Take(rule); err != nil {
				t.Fatal(err)
			}
			defer func() { _ = ablate.Take("") }()
			r := explore.Search(&m, partitionLimit)
			if r.Violation == "" {
				t.Fatalf("without it all holds, in %d states", r.States)
			}
			t.Logf("without it, after %d steps and %d states: %s", len(r.Trace), r.States, r.Violation)
			for _, step := range r.Trace {
				t.Log(step)
			}
		})
	}
}
