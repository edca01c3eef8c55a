package nearcache

import (
	"os"
	"strings"
	"testing"

	"github.com/nearcache/nearcache-go/internal/l2"
)

func TestReasons_AreDocumented(t *testing.T) {
	page, err := os.ReadFile("../docs/reference/reasons.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, code := range append(l2.FaultCodes(), ownReasons...) {
		if !strings.Contains(string(page), "| `"+code+"` |") {
			t.Errorf("%s has no row in docs/reference/reasons.md", code)
		}
	}
}
