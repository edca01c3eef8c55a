package l2_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/nearcache/nearcache-go/internal/l2"
)

func TestClaim_OneSystemAPrefix(t *testing.T) {
	onBoth(t, func(b *bench) {
		t := b.t
		claim := func(system string) error { return b.Claim(t.Context(), system) }
		for range 2 { // the second time it is theirs already
			if err := claim("shop"); err != nil {
				t.Fatalf("the first system: %v", err)
			}
		}
		var owned *l2.OwnedError
		if err := claim("billing"); !errors.As(err, &owned) || owned.Owner != "shop" ||
			!strings.Contains(err.Error(), owned.Key) {
			t.Fatalf("the second system: got %v, want an OwnedError that names shop and the key", err)
		}
		b.do("DEL", owned.Key)
		if err := claim("billing"); err != nil {
			t.Fatalf("after the first one's name is gone: %v", err)
		}
	})
}
