package l1

import (
	"fmt"
	"math"
	"runtime"
	"sync"
	"testing"
	"weak"
)

// entry is an entry that knows its hash.
type entry struct {
	hash  uint64
	value []byte
}

func newEntryL1(t *testing.T, bytes int64) *Cache[entry] {
	t.Helper()
	l, err := New(Config[entry]{MaxBytes: bytes, Hash: func(e *entry) uint64 { return e.hash }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

// near reports whether the front table holds an entry.
func near(l *Cache[entry], e *entry) bool {
	p := l.Near(e.hash)
	return p != nil && (p[0].Load() == e || p[1].Load() == e)
}

// spread makes a hash of a small number.
func spread(i int) uint64 { return (uint64(i) + 1) * 0x9E3779B97F4A7C15 }

// readIn sets an entry, reads it into the front table, and returns it.
func readIn(t *testing.T, l *Cache[entry], hash uint64) *entry {
	t.Helper()
	e := &entry{hash: hash}
	l.Set(hash, e, 1)
	l.Wait()
	for range 100 * takeOver {
		if got, ok := l.Get(hash); !ok || got != e {
			t.Fatalf("ristretto has %v, %v of what was set", got, ok)
		}
		if near(l, e) {
			return e
		}
	}
	t.Fatal("an entry that is read never enters the front table")
	return nil
}

func TestFront_LosesWhatRistrettoLoses(t *testing.T) {
	const hash = 1<<63 | 12345
	for name, lose := range map[string]func(*Cache[entry]){
		"deleted":  func(l *Cache[entry]) { l.Delete(hash) },
		"replaced": func(l *Cache[entry]) { l.Set(hash, &entry{hash: hash}, 1) },
		"evicted": func(l *Cache[entry]) {
			const big = 1 << 40
			all := l.table.Load().cache.MaxCost() - EntryBytes
			for i := 0; i < 1000 && l.Stats().Evicted == 0; i++ { // ristretto counts reads a little later
				for range 64 {
					l.Get(big)
				}
				l.Set(big, &entry{hash: big}, all)
				l.Wait()
			}
		},
		"closed": func(l *Cache[entry]) { l.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			l := newEntryL1(t, 1<<20)
			e := readIn(t, l, hash)
			lose(l)
			if near(l, e) {
				t.Error("it is still in the front table")
			}
			kept := weak.Make(e)
			e = nil
			for range 3 {
				runtime.GC()
			}
			if kept.Value() != nil {
				t.Error("it is kept alive")
			}
			runtime.KeepAlive(l)
		})
	}
}

// TestFront_RefusesALateEntry stops a reader between its look into ristretto and its store in the front table.
func TestFront_RefusesALateEntry(t *testing.T) {
	const hash = 4711
	for name, lose := range map[string]func(*Cache[entry]){
		"deleted":  func(l *Cache[entry]) { l.Delete(hash) },
		"replaced": func(l *Cache[entry]) { l.Set(hash, &entry{hash: hash}, 1) },
	} {
		t.Run(name, func(t *testing.T) {
			l := newEntryL1(t, 1<<20)
			e := &entry{hash: hash}
			l.Set(hash, e, 1)
			l.Wait()
			table := l.table.Load()
			departures := table.front.departure(hash).Load()
			if got, ok := table.cache.Get(hash); !ok || got != e {
				t.Fatal("ristretto has not what was set")
			}
			lose(l)
			table.front.offer(hash, e, departures)
			if near(l, e) {
				t.Error("an entry that ristretto has lost is in the front table")
			}
		})
	}
}

func TestFront_HoldsTheKeysThatAreReadMost(t *testing.T) {
	l := newEntryL1(t, 1<<20)
	sets := len(l.table.Load().front.sets)
	var all []*entry
	for i := range 3 { // of one set and one home
		all = append(all, readIn(t, l, uint64(i*sets)<<8))
	}
	hits := map[*entry]int{}
	for i := range 10_000 {
		e := all[0]
		if i%10 == 0 {
			e = all[1+i/10%2]
		}
		if near(l, e) {
			hits[e]++
		} else {
			l.Get(e.hash)
		}
	}
	if hits[all[0]] < 8000 {
		t.Errorf("of 9,000 reads of the key that is read most, %d ended in the front table", hits[all[0]])
	}
}

// TestFront_BesideEvictions reads, sets and deletes beside each other in an L1 that is too small, and then looks for
// entries that only the front table holds.
func TestFront_BesideEvictions(t *testing.T) {
	l := newEntryL1(t, 1<<18)
	const keys = 4000
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 20_000 {
				h := spread((i*(7+g) + i/97) % keys)
				p := l.Near(h)
				for i := range p {
					if e := p[i].Load(); e != nil && e.hash == h && string(e.value) != fmt.Sprint(h) {
						t.Error("an entry of another key, or half an entry")
					}
				}
				e, ok := l.Get(h)
				switch {
				case ok && e.hash != h:
					t.Error("another key's entry")
				case !ok || i%50 == g:
					l.Set(h, &entry{hash: h, value: fmt.Append(nil, h)}, 100)
				case i%100 == g:
					l.Delete(h)
				default:
					l.Touch(h)
				}
				if i%100 == 0 { // or all that follows are misses, because ristretto is behind
					l.Wait()
				}
			}
		})
	}
	wg.Wait()
	l.Wait()
	if l.Stats().Evicted == 0 {
		t.Fatal("nothing was evicted: this shows nothing")
	}
	held := 0
	table := l.table.Load()
	for i := range table.front.sets {
		for j := range table.front.sets[i] {
			e := table.front.sets[i][j].Load()
			if e == nil {
				continue
			}
			held++
			if got, ok := table.cache.Get(e.hash); !ok || got != e {
				t.Errorf("the front table holds an entry of %x that ristretto does not hold", e.hash)
			}
		}
	}
	if held < 100 {
		t.Errorf("the front table holds %d entries: this shows little", held)
	}
}

func TestFront_TakesASmallShareOfL1(t *testing.T) {
	for _, size := range []int64{1 << 20, 3 << 20, 5<<20 + 1, 100 << 20, 1 << 30, 4 << 30} {
		f := newFront[entry](size)
		if share := float64(f.bytes()) / float64(size); share < 1./50 || share > 1./23 {
			t.Errorf("of %d bytes the front table takes %.4f", size, share)
		}
	}
	for _, size := range []int64{0, 1, 1 << 40, math.MaxInt64} {
		if f := newFront[entry](size); f.bytes() > 129<<20 {
			t.Errorf("of %d bytes the front table takes %d", size, f.bytes())
		}
	}
	l := newEntryL1(t, 1<<20)
	if got, want := l.Stats().Bytes, l.table.Load().front.bytes(); got != want {
		t.Errorf("an empty L1 counts %d bytes, want the front table's %d", got, want)
	}
}

// TestSampled_IsEven: readers that read keys by turns, of whatever number, have each key counted alike.
func TestSampled_IsEven(t *testing.T) {
	const reads = 1 << 16
	for keys := uint64(1); keys <= 64; keys++ {
		for first := range keys {
			n := 0
			for i := range uint64(reads) {
				if sampled(first + i*keys) {
					n++
				}
			}
			if n < reads/hitSample*9/10 || n > reads/hitSample*11/10 {
				t.Errorf("of %d reads of key %d of %d, %d are counted", reads, first, keys, n)
			}
		}
	}
}
