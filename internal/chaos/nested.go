//go:build unix

package chaos

import (
	"context"
	"errors"
	"math/rand/v2"

	"github.com/nearcache/nearcache-go/nearcache"
)

const (
	// outerNamespace is that of the cache whose Loader reads the cache of items. Its rows are those of the table
	// bulk.
	outerNamespace = "bulk"
	// chain is the length of a chain of loads: the load of key 0 reads key 1, and so on. No chain is a circle.
	chain = 4
	// maxLoads is so small that nested loads which were charged twice would soon have no place left.
	maxLoads = 8
)

func ignoreAbsent(err error) error {
	if errors.Is(err, nearcache.ErrNotFound) {
		return nil
	}
	return err
}

// load is the Loader of the items. While loads are nested it first reads another key of its own cache.
func (m *instance) load(ctx context.Context, k uint32) (nearcache.Entry[item], error) {
	if m.nested.Load() && k%chain != chain-1 && int(k)+1 < m.Keys {
		if _, err := m.cache.Get(ctx, k+1); ignoreAbsent(err) != nil {
			return nearcache.Entry[item]{}, err
		}
	}
	return m.store.load(ctx, k)
}

// loadOuter is the Loader of the outer cache: a row of its own, and a read of the cache of items.
func (m *instance) loadOuter(ctx context.Context, k uint32) (nearcache.Entry[int64], error) {
	e, err := m.store.bulk(ctx, k)
	if err != nil {
		return nearcache.Entry[int64]{}, err
	}
	if _, err := m.cache.Get(ctx, k); ignoreAbsent(err) != nil {
		return nearcache.Entry[int64]{}, err
	}
	return e, nil
}

// readOuter reads the outer cache. There is no ground truth of its rows, so only the time that the read takes is
// judged.
func (m *instance) readOuter(ctx context.Context, rnd *rand.Rand) {
	k := uint32(rnd.IntN(m.Keys))
	m.timed(firstOuter+k, func() error {
		_, err := m.outer.Get(ctx, k)
		return err
	})
}

// firstOuter is the outer cache's first key in the history.
const firstOuter = 1 << 24

// nestedLoads makes the Loaders of all instances read caches, and evicts records so that they have something to do.
func nestedLoads(ctx context.Context, in *injection) error {
	if err := in.command(ctx, "nest on", in.instances()); err != nil {
		return err
	}
	in.heal(func(ctx context.Context) error { return in.command(ctx, "nest off", in.instances()) })
	for _, kind := range []string{"v", "l"} {
		if err := deletes(kind)(ctx, in); err != nil {
			return err
		}
	}
	return nil
}

// nestedNumber is how often a read goes to the outer cache while loads are nested: one in so many.
const nestedNumber = 20

// nestedRead reports whether a read should go to the outer cache.
func (m *instance) nestedRead(rnd *rand.Rand) bool {
	return m.nested.Load() && rnd.IntN(nestedNumber) == 0
}
