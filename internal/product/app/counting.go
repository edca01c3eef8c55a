package app

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/nearcache/nearcache-go/internal/product"
	"github.com/nearcache/nearcache-go/nearcache"
)

// errNotCounting says that a write came before the trigger that counts it was there.
var errNotCounting = errors.New("product: the trigger that counts changes is not installed yet")

// countingStore refuses writes until the trigger is installed: nothing would count them, no event would tell of them,
// and caches would keep what was there before.
type countingStore struct {
	product.Store
	counts atomic.Bool
}

func (s *countingStore) refuse() error {
	if s.counts.Load() {
		return nil
	}
	return fmt.Errorf("%w: %w", nearcache.ErrNotCommitted, errNotCounting)
}

// Create implements product.Store.
func (s *countingStore) Create(ctx context.Context, p product.Product) (product.Version, error) {
	if err := s.refuse(); err != nil {
		return 0, err
	}
	return s.Store.Create(ctx, p)
}

// Replace implements product.Store.
func (s *countingStore) Replace(ctx context.Context, p product.Product, may product.Condition) (product.Version, bool,
	error) {
	if err := s.refuse(); err != nil {
		return 0, false, err
	}
	return s.Store.Replace(ctx, p, may)
}

// Delete implements product.Store.
func (s *countingStore) Delete(ctx context.Context, id string, may product.Condition) (product.Version, error) {
	if err := s.refuse(); err != nil {
		return 0, err
	}
	return s.Store.Delete(ctx, id, may)
}
