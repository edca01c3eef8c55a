// Package l1 is the tier in this process: entries in ristretto, and a table of pointers to them in front of it.
package l1

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"weak"

	"github.com/dgraph-io/ristretto/v2"
)

// Cache holds entries in this process: bounded in bytes, with ristretto's TinyLFU admission. It may drop an entry that
// was set, and a reader may see an entry for a moment after it was replaced or deleted. So nothing is true because L1
// holds it; its entries are validated when they are read. The zero Cache is switched off: it holds nothing. Safe for
// concurrent use.
//
// A read looks in the front table first (Near), and in ristretto if the entry is not there (Get). A Get tells ristretto
// that the key was read. A read that ends in the front table is followed by Touch, if Counts says so.
type Cache[E any] struct {
	table atomic.Pointer[table[E]] // nil: switched off, or closed

	_        [56]byte // every hit reads the table, and evictions write what follows
	pressure pressure
	dropped  atomic.Uint64
}

// table is what every goroutine holds on to while it is inside ristretto; see Close.
type table[E any] struct {
	cache *ristretto.Cache[uint64, *E]
	front front[E]
}

// EntryBytes is what ristretto keeps of each entry beside it: a hash, a pointer, a cost, and their places in its maps.
// It is measured (TestL1_HeapIsWhatItCounts), between two sizes of a growing map.
const EntryBytes = 128

// Config configures a Cache.
type Config[E any] struct {
	// MaxBytes bounds the sum of the entries' costs, EntryBytes for each, and the front table. Required.
	MaxBytes int64
	// Hash returns the hash that an entry is set under. Required.
	Hash func(*E) uint64
	// Entries is about how many entries are expected; ristretto counts the popularity of ten times as many keys, at
	// about 3 bytes each. Defaults to MaxBytes / 512, at least 1,000 and at most 10 million.
	Entries int64

	hash func(uint64) (uint64, uint64) // of tests: runs inside ristretto
}

// Open switches an L1 on.
//
// ristretto's own metrics stay off: they cost a read two more atomic adds, and the callback for evictions is called for
// what was evicted anyway.
func (l *Cache[E]) Open(cfg Config[E]) error {
	if cfg.Entries <= 0 {
		cfg.Entries = min(max(cfg.MaxBytes/512, 1000), 10_000_000)
	}
	f := newFront[E](cfg.MaxBytes) // and not the table: ristretto's goroutines would hold on to it; see Close
	c, err := ristretto.NewCache(&ristretto.Config[uint64, *E]{
		NumCounters:        10 * cfg.Entries,
		MaxCost:            max(1, cfg.MaxBytes-f.bytes()),
		BufferItems:        64,
		IgnoreInternalCost: true,
		KeyToHash:          cfg.hash,
		OnEvict: func(*ristretto.Item[*E]) {
			l.dropped.Add(1)
			l.pressure.raise()
		},
		OnReject: func(*ristretto.Item[*E]) { l.pressure.raise() },
		OnExit: func(e *E) { // after ristretto's map has lost it, for whatever reason
			if e != nil {
				f.leave(cfg.Hash(e), e)
			}
		},
	})
	if err != nil {
		return fmt.Errorf("l1: %w", err)
	}
	l.table.Store(&table[E]{c, f})
	return nil
}

// New returns an empty L1 that is switched on.
func New[E any](cfg Config[E]) (*Cache[E], error) {
	l := &Cache[E]{}
	if err := l.Open(cfg); err != nil {
		return nil, err
	}
	return l, nil
}

// On reports whether the L1 is switched on, and not closed.
func (l *Cache[E]) On() bool { return l.table.Load() != nil }

// Near returns the places of a hash in the front table, nil if L1 is off. The entry at Home(hash) is looked at first.
// Each may be another key's: the entry must say whose it is.
func (l *Cache[E]) Near(hash uint64) *Places[E] {
	t := l.table.Load()
	if t == nil {
		return nil
	}
	return t.front.places(hash)
}

// Get returns the entry that ristretto holds under a hash, and offers it to the front table. Two keys may share a hash:
// the entry must say whose it is.
func (l *Cache[E]) Get(hash uint64) (*E, bool) {
	t := l.table.Load()
	if t == nil {
		return nil, false
	}
	departures := t.front.departure(hash).Load()
	e, ok := t.cache.Get(hash)
	done(t)
	if ok {
		t.front.offer(hash, e, departures)
	}
	return e, ok
}

// Counts reports whether a read that ended in the front table must be followed by Touch. number counts such reads, of
// each goroutine or of several: it chooses the sample.
func (l *Cache[E]) Counts(number uint64) bool { return sampled(number) || l.pressure.hits.Load() > 0 }

// Touch tells ristretto that the entry under a hash was read. Readers beside each other may count a few hits too many.
func (l *Cache[E]) Touch(hash uint64) {
	if l.pressure.hits.Load() > 0 {
		l.pressure.hits.Add(-1)
	}
	if t := l.table.Load(); t != nil {
		t.cache.Get(hash)
		done(t)
	}
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
	Bytes   int64  // what the entries cost now, and the front table
	Evicted uint64 // entries evicted for want of room so far
}

// Stats is the state of L1 now.
func (l *Cache[E]) Stats() Stats {
	s := Stats{Evicted: l.dropped.Load()}
	if t := l.table.Load(); t != nil {
		s.Bytes = t.front.bytes() + t.cache.MaxCost() - t.cache.RemainingCost()
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
