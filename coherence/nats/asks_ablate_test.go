//go:build ablate

package nats

import (
	"testing"

	"github.com/nearcache/nearcache-go/internal/ablate"
)

// TestAblations_Position: without any of the rules a position may lack a commit.
func TestAblations_Position(t *testing.T) {
	for rule, m := range askAblations {
		t.Run(string(rule), func(t *testing.T) {
			if err := ablate.Take(rule); err != nil {
				t.Fatal(err)
			}
			defer func() { _ = ablate.Take("") }()
			r := m.search()
			if r.Violation == "" {
				t.Fatalf("without it all holds, in %d states", r.States)
			}
			t.Log(askTrace(&r))
		})
	}
}

// askAblations are the rules, and a scope that breaks without each.
var askAblations = map[ablate.Rule]askModel{
	ablate.AskBefore: {relays: 1},
	ablate.AskNext:   {relays: 2, shared: true, fails: true},
	ablate.AskTerm:   {relays: 2, shared: true, fails: true},
}
