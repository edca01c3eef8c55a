// Package l1 is the tier in this process: a table of entries over ristretto.
package l1

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"weak"

	"github.com/dgraph-io/ristretto/v2"
)

// Cache is a table of entries in this process, over ristretto: bounded in bytes, with TinyLFU admission. It keeps what
// it likes: an entry that was set may be dropped, and one that was replaced or deleted may be seen a while longer. So
// nothing is true because L1 holds it; its entries are validated when they are read. The zero Cache is switched off: it
// holds nothing. Safe for concurrent use.
type Cache[E any] struct {
	table   atomic.Pointer[table[E]] // nil: switched off, or closed
	dropped atomic.Uint64
}

// table is what every goroutine holds on to while it is inside ristretto; see Close.
type table[E any] struct {
	cache *ristretto.Cache[uint64, *E]
}

// EntryBytes is what ristretto keeps of each entry beside it: a hash, a pointer, a cost, and their places in its maps.
// It is measured (TestL1_HeapIsWhatItCounts), between two sizes of a growing map.
const EntryBytes = 128

// Config configures a Cache.
type Config struct {
	// MaxBytes bounds the sum of the entries' costs, and EntryBytes for each. Required.
	MaxBytes int64
	// Entries is about how many entries are expected; ristretto counts the popularity of ten times as many keys, at
	// about 3 bytes each. Defaults to MaxBytes / 512, at least 1,000 and at most 10 million.
	Entries int64

	hash func(uint64) (uint64, uint64) // of tests: runs inside ristretto
}

// Open switches an L1 on.
//
// ristretto's own metrics stay off: they cost a read two more atomic adds, and the callback for evictions is called for
// what was evicted anyway.
func (l *Cache[E]) Open(cfg Config) error {
	if cfg.Entries <= 0 {
		cfg.Entries = min(max(cfg.MaxBytes/512, 1000), 10_000_000)
	}
	c, err := ristretto.NewCache(&ristretto.Config[uint64, *E]{
		NumCounters:        10 * cfg.Entries,
		MaxCost:            cfg.MaxBytes,
		BufferItems:        64,
		IgnoreInternalCost: true,
		KeyToHash:          cfg.hash,
		OnEvict:            func(*ristretto.Item[*E]) { l.dropped.Add(1) },
	})
	if err != nil {
		return fmt.Errorf("l1: %w", err)
	}
	l.table.Store(&table[E]{c})
	return nil
}

// New returns an empty L1 that is switched on.
func New[E any](cfg Config) (*Cache[E], error) {
	l := &Cache[E]{}
	if err := l.Open(cfg); err != nil {
		return nil, err
	}
	return l, nil
}

// On reports whether the L1 is switched on, and not closed.
func (l *Cache[E]) On() bool { return l.table.Load() != nil }

// Get returns the entry under a hash. Two keys may share one: the entry must say whose it is.
func (l *Cache[E]) Get(hash uint64) (*E, bool) {
	t := l.table.Load()
	if t == nil {
		return nil, false
	}
	e, ok := t.cache.Get(hash)
	done(t)
	return e, ok
}

// Set offers an entry of a cost in bytes; it may be declined at once (false) or later.
//
// ristretto makes room for an entry that is new, and none for one that replaces a smaller one. So while L1 is over its
// bound a replacement is made a new entry.
func (l *Cache[E]) Set(hash uint64, e *E, cost int64) bool {
	t := l.table.Load()
	if t == nil {
		return false
	}
	defer done(t)
	if t.cache.RemainingCost() < 0 {
		t.cache.Del(hash)
	}
	return t.cache.Set(hash, e, cost+EntryBytes)
}

// Delete drops what is under a hash.
func (l *Cache[E]) Delete(hash uint64) {
	if t := l.table.Load(); t != nil {
		t.cache.Del(hash)
		done(t)
	}
}

// Wait returns when everything set before has been decided on. For tests.
func (l *Cache[E]) Wait() {
	if t := l.table.Load(); t != nil {
		t.cache.Wait()
		done(t)
	}
}

// Stats is a snapshot of an L1.
type Stats struct {
	Bytes   int64  // what the entries cost now
	Evicted uint64 // entries evicted for want of room so far
}

// Stats is the state of L1 now.
func (l *Cache[E]) Stats() Stats {
	s := Stats{Evicted: l.dropped.Load()}
	if t := l.table.Load(); t != nil {
		s.Bytes = t.cache.MaxCost() - t.cache.RemainingCost()
		done(t)
	}
	return s
}

// done keeps a table reachable until its user has left ristretto.
func done[E any](t *table[E]) {
	synchronize()
	runtime.KeepAlive(t)
}

// Close empties L1 and stops ristretto's goroutines. Gets that follow are misses.
//
// ristretto must not be closed beside a reader: its Get sends to a channel that its Close closes. To count the readers
// would cost every hit two atomic writes, so the garbage collector tells instead: each user of ristretto holds a table
// until it has left, and Close takes the table away from those that come later. When the collector has found the table
// unreachable, nobody is inside. It costs the caller of Close a collection or two.
func (l *Cache[E]) Close() {
	cache, left := l.detach()
	if cache == nil {
		return
	}
	for left.Value() != nil {
		runtime.GC()
	}
	synchronize()
	cache.Close()
}

// detach takes the table away, and leaves no reference to it with the caller.
//
//go:noinline
func (l *Cache[E]) detach() (*ristretto.Cache[uint64, *E], weak.Pointer[table[E]]) {
	t := l.table.Swap(nil)
	if t == nil {
		return nil, weak.Pointer[table[E]]{}
	}
	return t.cache, weak.Make(t)
}
