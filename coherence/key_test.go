package coherence_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/nearcache/nearcache-go/coherence"
)

func ExampleCompositeKey() {
	fmt.Println(coherence.CompositeKey("a:b", "c"))
	fmt.Println(coherence.CompositeKey("a", "b:c"))
	fmt.Println(coherence.CompositeKey("order:7")) // a single part is its own name
	// Output:
	// a\:b:c
	// a:b\:c
	// order:7
}

func TestCompositeKey_IsInjective(t *testing.T) {
	letters := []string{"", ":", `\`, "a", `\:`, `:\`, "::", `\\`}
	names := map[string][]string{}
	for _, a := range letters {
		for _, b := range letters {
			for _, c := range letters {
				parts := []string{a, b, c}
				name := coherence.CompositeKey(parts...)
				if other, taken := names[name]; taken {
					t.Errorf("%q and %q are both %q", other, parts, name)
				}
				names[name] = parts
				if got, ok := coherence.SplitKey(name, 3); !ok || !slices.Equal(got, parts) {
					t.Errorf("SplitKey(%q) = %q, %v, want %q", name, got, ok, parts)
				}
			}
		}
	}
}

func TestSplitKey_RefusesWhatIsNoName(t *testing.T) {
	for _, name := range []string{`a`, `a:b:c`, `a\`, `a\b:c`} {
		if parts, ok := coherence.SplitKey(name, 2); ok {
			t.Errorf("SplitKey(%q, 2) = %q, want none", name, parts)
		}
	}
}

func FuzzCompositeKey(f *testing.F) {
	f.Add("a:b", "c")
	f.Fuzz(func(t *testing.T, a, b string) {
		got, ok := coherence.SplitKey(coherence.CompositeKey(a, b), 2)
		if !ok || !slices.Equal(got, []string{a, b}) {
			t.Errorf("%q, %q came back as %q, %v", a, b, got, ok)
		}
	})
}
