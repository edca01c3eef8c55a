package nearcache

import (
	"sync"
	"sync/atomic"
)

// waiters wakes the flights that wait for another process's fill of their key: by the tracking push of that fill. It is
// called on rueidis's reader goroutine, so while nobody waits a push costs one atomic load.
type waiters struct {
	n  atomic.Int64
	mu sync.Mutex
	by map[uint64]map[*waiter]struct{} // by the key's hash
}

// waiter is one flight's. Several flights may share the channel.
type waiter struct {
	pushed atomic.Bool
	woken  chan struct{} // of one place
}

// take reports whether the key was pushed since the last call.
func (w *waiter) take() bool { return w.pushed.Swap(false) }

func (w *waiter) wake() {
	w.pushed.Store(true)
	signal(w.woken)
}

// arm makes woken receive when the key is pushed from now on; disarm must be called. It is armed before the GET that makes
// Redis track the key, so that no push is missed.
func (ws *waiters) arm(hash uint64, woken chan struct{}) *waiter {
	w := &waiter{woken: woken}
	ws.n.Add(1)
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if ws.by == nil {
		ws.by = make(map[uint64]map[*waiter]struct{})
	}
	if ws.by[hash] == nil {
		ws.by[hash] = make(map[*waiter]struct{})
	}
	ws.by[hash][w] = struct{}{}
	return w
}

func (ws *waiters) disarm(hash uint64, w *waiter) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	delete(ws.by[hash], w)
	if len(ws.by[hash]) == 0 {
		delete(ws.by, hash)
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

// wakeAll wakes every flight: pushes may have been lost.
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
