package app

import (
	"errors"
	"testing"

	"github.com/nearcache/nearcache-go/internal/product"
	"github.com/nearcache/nearcache-go/nearcache"
)

// A write before the trigger was there reached no event channel, and a cache kept the state before it.
func TestCountingStore_RefusesWritesBeforeTheTrigger(t *testing.T) {
	s := &countingStore{} // no store behind it: a write that gets through panics
	_, create := s.Create(t.Context(), product.Product{})
	_, _, replace := s.Replace(t.Context(), product.Product{}, nil)
	_, remove := s.Delete(t.Context(), "p", nil)
	for name, err := range map[string]error{"Create": create, "Replace": replace, "Delete": remove} {
		if !errors.Is(err, nearcache.ErrNotCommitted) || !errors.Is(err, errNotCounting) {
			t.Errorf("%s: got %v, want ErrNotCommitted because nothing counts yet", name, err)
		}
	}
}
