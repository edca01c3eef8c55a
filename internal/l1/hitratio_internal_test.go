package l1

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
)

// TestFront_HitRatioIsThatOfRistretto replays traces on an L1 without its front table and on one with it.
func TestFront_HitRatioIsThatOfRistretto(t *testing.T) {
	if raceDetector {
		t.Skip("under the race detector, a sync.Pool drops a part of what ristretto is told of reads")
	}
	for _, trace := range traces() {
		t.Run(trace.name, func(t *testing.T) {
			var bare, fronted float64
			synctest.Test(t, func(t *testing.T) {
				bare = replay(t, trace, func(l *Cache[entry], h, _ uint64) bool {
					_, ok := l.table.Load().cache.Get(h)
					return ok
				})
				fronted = replay(t, trace, func(l *Cache[entry], h, number uint64) bool {
					p := l.Near(h)
					for i := range p {
						if e := p[i].Load(); e != nil && e.hash == h {
							if l.Counts(number) {
								l.Touch(h)
							}
							return true
						}
					}
					_, ok := l.Get(h)
					return ok
				})
			})
			t.Logf("%d entries: ristretto alone hits %.2f%%, with the front table %.2f%%", trace.entries, bare, fronted)
			if fronted < bare-0.5 {
				t.Errorf("hits %.2f%%, and ristretto alone hits %.2f%%", fronted, bare)
			}
		})
	}
}

// trace is a sequence of keys, and the number of entries that L1 has room for.
type trace struct {
	name    string
	entries int
	keys    []uint64
}

// traceReads is the length of a trace. Its first fifth is not judged: L1 fills.
const traceReads = 120_000

// replay returns the hits in 100 reads. ristretto counts reads in the background and drops them when it falls behind.
// Here it keeps up, so that two runs differ in nothing but its random choice among the victims of an eviction.
func replay(t *testing.T, trace trace, read func(l *Cache[entry], hash, number uint64) bool) float64 {
	const cost = 512
	front := newFront[entry](int64(trace.entries * cost))
	l, err := New(Config[entry]{MaxBytes: int64(trace.entries*cost) + front.bytes(), Entries: int64(trace.entries),
		Hash: func(e *entry) uint64 { return e.hash }})
	if err != nil {
		t.Fatal(err)
	}
	defer l.table.Load().cache.Close() // no goroutine is inside; Close would have the collector find that out
	hits := 0
	for i, k := range trace.keys {
		h := scatter(k)
		if read(l, h, uint64(i)) {
			if i >= traceReads/5 {
				hits++
			}
		} else {
			l.Set(h, &entry{hash: h}, cost-EntryBytes)
			l.Wait()
		}
		if i%64 == 0 {
			synctest.Wait() // the reads so far are counted
		}
	}
	return 100 * float64(hits) / float64(len(trace.keys)-traceReads/5)
}

// traces are synthetic, because no published trace may be kept here: Zipf's law of several exponents, with scans, with
// keys that are read once, with a loop that does not fit, and with a popularity that shifts.
func traces() (all []trace) {
	random := rand.New(rand.NewPCG(1, 2))
	add := func(name string, entries int, next func(i int) uint64) {
		keys := make([]uint64, traceReads)
		for i := range keys {
			keys[i] = next(i)
		}
		all = append(all, trace{name, entries, keys})
	}
	const others = 1 << 40 // keys that follow no Zipf's law
	for _, exponent := range []float64{0.7, 0.9, 1.1} {
		z := newZipf(random, 30_000, exponent)
		add(fmt.Sprintf("zipf %.1f", exponent), 3000, func(int) uint64 { return z.next() })
	}
	z := newZipf(random, 30_000, 0.9)
	add("zipf and a scan of 10,000 keys in every 40,000 reads", 3000, func(i int) uint64 {
		if i%40_000 < 20_000 && i%2 == 0 {
			return others + uint64(i)
		}
		return z.next()
	})
	add("zipf, and three reads in ten are of a new key", 3000, func(i int) uint64 {
		if random.IntN(10) < 3 {
			return others + uint64(i)
		}
		return z.next()
	})
	add("loop over half more keys than fit", 2000, func(i int) uint64 { return uint64(i % 3000) })
	add("zipf beside such a loop", 2000, func(i int) uint64 {
		if i%2 == 0 {
			return others + uint64(i/2%3200)
		}
		return z.next()
	})
	add("zipf that shifts by 1,000 keys ten times", 2000, func(i int) uint64 {
		return z.next() + uint64(i/(traceReads/10)*1000)
	})
	return all
}

// zipf chooses key i with a probability of 1/i^exponent. rand.Zipf has no exponents under 1.
type zipf struct {
	random *rand.Rand
	sums   []float64
}

func newZipf(random *rand.Rand, keys int, exponent float64) *zipf {
	z, sum := &zipf{random: random}, 0.
	for i := range keys {
		sum += math.Pow(float64(i+1), -exponent)
		z.sums = append(z.sums, sum)
	}
	return z
}

func (z *zipf) next() uint64 {
	i, _ := slices.BinarySearch(z.sums, z.random.Float64()*z.sums[len(z.sums)-1])
	return uint64(i)
}

// scatter makes a hash of a key.
func scatter(k uint64) uint64 {
	k += 0x9E3779B97F4A7C15
	k = (k ^ k>>30) * 0xBF58476D1CE4E5B9
	k = (k ^ k>>27) * 0x94D049BB133111EB
	return k ^ k>>31
}
