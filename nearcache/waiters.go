package nearcache

import (
	"sync"
	"sync/atomic"
)

// waiters wakes the loads that wait for another process's fill of their key: by the tracking push of that fill. It is
// called on rueidis's reader goroutine, so while nobody waits a push costs one atomic load.
type waiters struct {
	n  atomic.Int64
	mu sync.Mutex
	by map[uint64]map[chan struct{}]struct{} // by the key's hash
}

// arm returns a channel that receives when the key is pushed from now on; disarm must be called. It is armed before the
// GET that makes Redis track the key, so that no push is missed.
func (w *waiters) arm(hash uint64) (woken <-chan struct{}, disarm func()) {
	ch := make(chan struct{}, 1)
	w.n.Add(1)
	w.mu.Lock()
	if w.by == nil {
		w.by = make(map[uint64]map[chan struct{}]struct{})
	}
	if w.by[hash] == nil {
		w.by[hash] = make(map[chan struct{}]struct{})
	}
	w.by[hash][ch] = struct{}{}
	w.mu.Unlock()
	return ch, func() {
		w.mu.Lock()
		delete(w.by[hash], ch)
		if len(w.by[hash]) == 0 {
			delete(w.by, hash)
		}
		w.mu.Unlock()
		w.n.Add(-1)
	}
}

func (w *waiters) wake(hash uint64) {
	if w.n.Load() == 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for ch := range w.by[hash] {
		signal(ch)
	}
}

// wakeAll wakes everyone: pushes may have been lost.
func (w *waiters) wakeAll() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, chs := range w.by {
		for ch := range chs {
			signal(ch)
		}
	}
}

func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
