package suite

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/nearcache/nearcache-go/benchmarks/peers"
)

// filler fills a cache.
type filler struct {
	peer   peers.Peer[product]
	prefix string
	cost   float64 // of an entry, as the near cache counts it; 0: not known yet
}

const (
	minHeld    = 0.999
	sampleSize = 20_000 // of the entries that are read to see whether they are served
)

// fill makes the cache hold the first n products, of which it has those below from. Each pass adds what the cache
// declined in the pass before.
func (f *filler) fill(ctx context.Context, from, n int) (hold, served float64, err error) {
	near, weighs := f.peer.(*peers.Nearcache[product])
	if weighs && f.cost == 0 {
		if err := f.measureEntryCost(ctx); err != nil {
			return 0, 0, err
		}
	}
	for range 10 {
		if err := each(ctx, 16, n-from, func(i int) error { return f.readOne(ctx, from+i) }); err != nil {
			return 0, 0, err
		}
		time.Sleep(20 * time.Millisecond) // ristretto admits entries in the background
		if weighs {
			hold = near.EntryBytes() / f.cost / float64(n)
		} else {
			hold = f.hitRatio(ctx, n, 1)
		}
		if hold >= minHeld {
			return hold, f.hitRatio(ctx, n, max(1, n/sampleSize)), nil
		}
		from = 0
	}
	return hold, 0, fmt.Errorf("suite: %.2f%% of %d entries are held: the run is void", 100*hold, n)
}

// measureEntryCost reads the cost of an entry from the metrics, while there are so few that all are surely held. After
// many fills the near cache holds more than it serves, so its hits do not show what is in the heap.
func (f *filler) measureEntryCost(ctx context.Context) error {
	const few = 1000
	near := f.peer.(*peers.Nearcache[product])
	for range 100 {
		if err := each(ctx, 1, few, func(i int) error { return f.readOne(ctx, i) }); err != nil {
			return err
		}
		time.Sleep(20 * time.Millisecond)
		if f.hitRatio(ctx, few, 1) == 1 {
			f.cost = near.EntryBytes() / few
			return nil
		}
	}
	return fmt.Errorf("suite: not all of %d entries enter L1", few)
}

// readOne brings a product into L1.
func (f *filler) readOne(ctx context.Context, i int) error {
	key := memoryKey(f.prefix, i)
	switch local := f.peer.(type) {
	case *peers.Ristretto[product]:
		if _, ok := local.Cache.Get(key); ok {
			return nil
		}
		v, err := decoded(i)
		if err == nil && !local.Cache.Set(key, &v, 1) {
			local.Cache.Wait() // the next pass sets it
		}
		return err
	case *peers.Otter[product]:
		if _, ok := local.Cache.GetIfPresent(key); ok {
			return nil
		}
		v, err := decoded(i)
		local.Cache.Set(key, v)
		return err
	}
	_, err := f.peer.Get(ctx, key)
	return err
}

// hitRatio is the part of the first n products that L1 serves; it reads every step-th product.
func (f *filler) hitRatio(ctx context.Context, n, step int) float64 {
	c, counts := f.peer.(peers.L1Counter)
	var before int64
	if counts {
		before = c.L1Hits()
	}
	hits, asked := 0, 0
	keys := make([]string, 0, 1000)
	for i := 0; i < n; {
		for keys = keys[:0]; i < n && len(keys) < cap(keys); i += step {
			keys = append(keys, memoryKey(f.prefix, i))
		}
		hits += f.peer.Loop(ctx, keys, 0, len(keys))
		asked += len(keys)
	}
	if counts {
		hits = int(c.L1Hits() - before)
	}
	return float64(hits) / float64(asked)
}

// memoryKey is a new string, as each request brings one.
func memoryKey(prefix string, i int) string {
	return strings.Clone(fmt.Sprintf("%s-%07d", prefix, i))
}

// decoded is a value with strings of its own.
func decoded(i int) (product, error) {
	return peers.JSON[product]{}.Decode(encode(peers.NewProduct(i, smallValue)))
}
