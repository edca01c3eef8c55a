package nearcache

import (
	"sync"
	"sync/atomic"
)

// waiters wakes the flights that wait for another process's fill of their key: by the tracking pushes of the record and
// of the lease. It is called on rueidis's reader goroutine, so while no flight waits a push costs one atomic load.
type waiters struct {
	n  atomic.Int64
	mu sync.Mutex
	by map[uint64]map[*waiter]struct{} // by the hashes of Redis keys
}

// waiter is one flight's. Several flights may share the channel.
type waiter struct {
	hashes []uint64
	pushed atomic.Bool
	woken  chan struct{} // of one place
}

// take reports whether the key was pushed since the last call.
func (w *waiter) take() bool { return w.pushed.Swap(false) }

func (w *waiter) wake() {
	w.pushed.Store(true)
	signal(w.woken)
}

// arm makes woken receive when one of the Redis keys is pushed from now on; disarm must be called. It is armed before
// the GETs that make Redis track the keys, so that no push is missed.
func (ws *waiters) arm(woken chan struct{}, hashes ...uint64) *waiter {
	w := &waiter{hashes: hashes, woken: woken}
	ws.n.Add(1)
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if ws.by == nil {
		ws.by = make(map[uint64]map[*waiter]struct{})
	}
	for _, h := range hashes {
		if ws.by[h] == nil {
			ws.by[h] = make(map[*waiter]struct{})
		}
		ws.by[h][w] = struct{}{}
	}
	return w
}

func (ws *waiters) disarm(w *waiter) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for _, h := range w.hashes {
		delete(ws.by[h], w)
		if len(ws.by[h]) == 0 {
			delete(ws.by, h)
		}
	}
	ws.n.Add(-1)
}

// wake wakes the flights of a key.
func (ws *waiters) wake(hash uint64) {
	if ws.n.Load() == 0 {
		return
	}
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for w := range ws.by[hash] {
		w.wake()
	}
}

// wakeAll wakes every flight: pushes may have been lost, or may not come any more.
func (ws *waiters) wakeAll() {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for _, of := range ws.by {
		for w := range of {
			w.wake()
		}
	}
}

func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
