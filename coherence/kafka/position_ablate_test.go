//go:build ablate

package kafka

import (
	"testing"

	"github.com/nearcache/nearcache-go/internal/ablate"
)

// TestAblations_Position: without any of the rules a position may lack a commit.
func TestAblations_Position(t *testing.T) {
	for rule, m := range markAblations {
		t.Run(string(rule), func(t *testing.T) {
			if err := ablate.Take(rule); err != nil {
				t.Fatal(err)
			}
			defer func() { _ = ablate.Take("") }()
			r := m.search()
			if r.Violation == "" {
				t.Fatalf("without it all holds, in %d states", r.States)
			}
			t.Log(markTrace(&r))
		})
	}
}
