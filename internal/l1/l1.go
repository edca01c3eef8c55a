package l1

import (
	"fmt"
	"sync/atomic"

	"github.com/dgraph-io/ristretto/v2"
)

// L1 is a table of entries in this process, over ristretto: bounded in bytes, with TinyLFU admission. It keeps what it
// likes: an entry that was set may be dropped, and one that was replaced or deleted may be seen a while longer. So
// nothing is true because L1 holds it; its entries are validated when they are read. Safe for concurrent use.
type Cache[E any] struct {
	cache   *ristretto.Cache[uint64, *E]
	dropped atomic.Uint64
}

// L1EntryBytes is what ristretto keeps of each entry beside it: a hash, a pointer, a cost, and their places in its maps. It
// is measured (TestL1_HeapIsWhatItCounts), between two sizes of a growing map.
const EntryBytes = 128

// L1Config configures an L1.
type Config struct {
	// MaxBytes bounds the sum of the entries' costs, and L1EntryBytes for each. Required.
	MaxBytes int64
	// Entries is about how many entries are expected; ristretto counts the popularity of ten times as many keys, at
	// about 3 bytes each. Defaults to MaxBytes / 512, at least 1,000 and at most 10 million.
	Entries int64
}

// NewL1 returns an empty L1.
//
// ristretto's own metrics stay off: they cost a read two more atomic adds, and the callback for evictions is called for
// what was evicted anyway.
func New[E any](cfg Config) (*Cache[E], error) {
	if cfg.Entries <= 0 {
		cfg.Entries = min(max(cfg.MaxBytes/512, 1000), 10_000_000)
	}
	l := &Cache[E]{}
	c, err := ristretto.NewCache(&ristretto.Config[uint64, *E]{
		NumCounters:        10 * cfg.Entries,
		MaxCost:            cfg.MaxBytes,
		BufferItems:        64,
		IgnoreInternalCost: true,
		OnEvict:            func(*ristretto.Item[*E]) { l.dropped.Add(1) },
	})
	if err != nil {
		return nil, fmt.Errorf("tier: L1: %w", err)
	}
	l.cache = c
	return l, nil
}

// Get returns the entry under a hash. Two keys may share one: the entry must say whose it is.
func (l *Cache[E]) Get(hash uint64) (*E, bool) { return l.cache.Get(hash) }

// Set offers an entry of a cost in bytes; it may be declined at once (false) or later.
//
// ristretto makes room for an entry that is new, and none for one that replaces a smaller one. So while L1 is over its
// bound a replacement is made a new entry.
func (l *Cache[E]) Set(hash uint64, e *E, cost int64) bool {
	if l.cache.RemainingCost() < 0 {
		l.cache.Del(hash)
	}
	return l.cache.Set(hash, e, cost+EntryBytes)
}

// Delete drops what is under a hash.
func (l *Cache[E]) Delete(hash uint64) { l.cache.Del(hash) }

// Wait returns when everything set before has been decided on. For tests.
func (l *Cache[E]) Wait() { l.cache.Wait() }

// L1Stats is a snapshot of an L1.
type Stats struct {
	Bytes   int64  // what the entries cost now
	Evicted uint64 // entries evicted for want of room so far
}

// Stats is the state of L1 now.
func (l *Cache[E]) Stats() Stats {
	return Stats{Bytes: l.cache.MaxCost() - l.cache.RemainingCost(), Evicted: l.dropped.Load()}
}

// Close stops ristretto's goroutines. Get and Set must have ended, or end meanwhile as misses.
func (l *Cache[E]) Close() { l.cache.Close() }
