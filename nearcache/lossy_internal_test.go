package nearcache

import (
	"testing"
)

// sometimes leaves itself out where a field says omitzero.
type sometimes struct{ N int }

func (s sometimes) IsZero() bool { return s.N < 10 }

// What JSON may lose of a type is looked for in every encoding, and not in one of 64.
func TestJSONRisk_OfWhatIsLost(t *testing.T) {
	for name, got := range map[string]risk{
		"a pointer to a pointer": riskOf[**int](JSON[**int]{}),
		"a pointer to a slice":   riskOf[*[]int](JSON[*[]int]{}),
		"a pointer to a map":     riskOf[[]*map[string]int](JSON[[]*map[string]int]{}),
		"a method IsZero": riskOf[struct {
			S sometimes `json:"s,omitzero"`
		}](JSON[struct {
			S sometimes `json:"s,omitzero"`
		}]{}),
	} {
		if got != riskAny {
			t.Errorf("%s: risk %d, want that every encoding is verified", name, got)
		}
	}
	if got := riskOf[*struct{ N []int }](JSON[*struct{ N []int }]{}); got != riskNone {
		t.Errorf("a pointer to a struct: risk %d, want none", got)
	}
}
