package nearcache

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"sync"
)

// One hit in so many is counted: for Warm all the time, for DebugHandler while it is asked.
const (
	warmSample  = 64
	debugSample = 8
)

// hot finds the keys that are hit most, in bounded memory: Space-Saving (Metwally, Agrawal, El Abbadi: Efficient
// Computation of Frequent and Top-k Elements in Data Streams, ICDT 2005) over a sample of the hits. A key that is new
// takes the place and the count of the least, so that a key hit often enough is never missing, whatever comes between.
// Counts are halved now and then, so that what was hot yesterday makes way.
type hot[K comparable] struct {
	mu    sync.Mutex
	max   int
	every uint32    // one hit in so many is counted
	heap  []heat[K] // the least first
	at    map[K]int // places in heap
	since int       // counts since they were halved
}

type heat[K comparable] struct {
	key K
	n   uint64
}

func newHot[K comparable](limit int, every uint32) *hot[K] {
	return &hot[K]{max: limit, every: every, at: make(map[K]int, limit)}
}

// hit counts a sampled hit, unless another reader is counting one: no reader waits here.
func (h *hot[K]) hit(k K) {
	if rand.Uint32()%h.every != 0 || !h.mu.TryLock() {
		return
	}
	h.count(k)
	h.mu.Unlock()
}

// seed counts keys once that were hot before.
func (h *hot[K]) seed(ks []K) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, k := range ks {
		h.count(k)
	}
}

func (h *hot[K]) count(k K) {
	if h.since++; h.since > 16*h.max {
		h.since = 0
		for i := range h.heap {
			h.heap[i].n /= 2 // which keeps the heap's order
		}
	}
	i, ok := h.at[k]
	switch {
	case ok:
	case len(h.heap) < h.max:
		i = len(h.heap)
		h.heap = append(h.heap, heat[K]{key: k})
		h.at[k] = i
		h.up(i)
		i = h.at[k]
	default:
		i = 0
		delete(h.at, h.heap[0].key)
		h.heap[0].key = k
		h.at[k] = 0
	}
	h.heap[i].n++
	h.down(i)
}

func (h *hot[K]) up(i int) {
	for i > 0 && h.heap[i].n < h.heap[(i-1)/2].n {
		i = h.swap(i, (i-1)/2)
	}
}

func (h *hot[K]) down(i int) {
	for {
		least := i
		for c := 2*i + 1; c <= 2*i+2 && c < len(h.heap); c++ {
			if h.heap[c].n < h.heap[least].n {
				least = c
			}
		}
		if least == i {
			return
		}
		i = h.swap(i, least)
	}
}

func (h *hot[K]) swap(i, j int) int {
	h.heap[i], h.heap[j] = h.heap[j], h.heap[i]
	h.at[h.heap[i].key], h.at[h.heap[j].key] = i, j
	return j
}

// top are the n hottest keys, the hottest first.
func (h *hot[K]) top(n int) (ks []K) {
	hottest, _ := h.shares(n)
	for _, e := range hottest {
		ks = append(ks, e.key)
	}
	return ks
}

// shares are the n hottest keys with their counts, the hottest first, and the sum of all counts.
func (h *hot[K]) shares(n int) (hottest []heat[K], sum uint64) {
	h.mu.Lock()
	sorted := slices.Clone(h.heap)
	h.mu.Unlock()
	for _, e := range sorted {
		sum += e.n
	}
	slices.SortStableFunc(sorted, func(a, b heat[K]) int { return cmp.Compare(b.n, a.n) })
	return sorted[:min(n, len(sorted))], sum
}
