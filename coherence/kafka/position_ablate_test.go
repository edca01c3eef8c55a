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

// markAblations are the rules, and a scope that breaks without each.
var markAblations = map[ablate.Rule]markModel{
	ablate.MarkSecond: {relays: 1},
	ablate.MarkEpoch:  {relays: 1, leader: 1},
	ablate.MarkRecord: {relays: 2, leader: 1, unclean: true},
	ablate.MarkWhole:  {relays: 1, txns: true},
}
