package nearcache

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/ablate"
)

// flights collapses the loads of one process: per key at most one runs and at most one is next.
//
// A reader joins the running load only while that load's token still stands. After an invalidation the running load may
// bring the old state back, so later readers wait for the next one, which begins when the running one has ended:
//
//	reader A: begins load 1          writer: invalidates          reader B: load 1's token is behind; becomes next
//	load 1 returns the old row to A                               load 2 begins, returns the new row to B and to
//	                                                              everyone who came meanwhile
type flights[K comparable, V any] struct {
	mu      sync.Mutex
	running map[K]*flight[V]
	closed  bool
	wg      sync.WaitGroup // of flights begun
}

type flight[V any] struct {
	tok  coherence.Token
	done chan struct{} // closed when res is set
	res  loaded[V]
	next *flight[V]       // begins when this one ends
	run  func(*flight[V]) // set on a flight that has not begun
}

// loaded is what a load brings back to everyone who waits for it.
type loaded[V any] struct {
	value   V
	version Version
	absent  bool
	stale   bool     // the source answered with less than this instance has seen
	instead *kept[V] // beside an error: what L2 keeps past its TTL
	proved  int64    // the value is no older than the source was then, by the fence's clock; 0: nothing is proved
	tier    Tier
	err     error
}

// do returns the result of a load of k, its own or a shared one. The load runs on a goroutine of its own, which outlives
// ctx: ctx only ends the waiting. begin takes the load's token. A reader joins the running load if its token still stands
// and was taken at or after since, by the fence's clock: a Fresh read joins none that began before it.
func (fs *flights[K, V]) do(ctx context.Context, k K, since int64, fence *coherence.Fence, begin func() coherence.Token,
	load func(coherence.Token) loaded[V]) (loaded[V], error) {
	fs.mu.Lock()
	if fs.closed {
		fs.mu.Unlock()
		return loaded[V]{}, ErrClosed
	}
	f := fs.running[k]
	switch {
	case f == nil:
		f = &flight[V]{done: make(chan struct{}), tok: begin()}
		if fs.running == nil {
			fs.running = make(map[K]*flight[V])
		}
		fs.running[k] = f
		fs.wg.Add(1)
		go fs.fly(k, f, begin, load)
	case (f.tok.Began() >= since || ablate.Out(ablate.FreshNeverJoins)) && fence.Still(&f.tok):
	default:
		if f.next == nil {
			f.next = &flight[V]{done: make(chan struct{})}
			f.next.run = func(next *flight[V]) { fs.fly(k, next, begin, load) }
		}
		f = f.next
	}
	fs.mu.Unlock()
	select {
	case <-f.done:
		return f.res, nil
	case <-ctx.Done():
		return loaded[V]{}, ctx.Err()
	}
}

// errGoexit is the result of every load until it has returned, so it is made once.
var errGoexit = fmt.Errorf("%w: it called runtime.Goexit", ErrPanic)

// fly runs a flight whose token is set and hands over to the next one.
func (fs *flights[K, V]) fly(k K, f *flight[V], begin func() coherence.Token, load func(coherence.Token) loaded[V]) {
	f.res.err = errGoexit // stands if load never returns
	defer func() {
		if p := recover(); p != nil {
			f.res = loaded[V]{err: fmt.Errorf("%w: %v\n%s", ErrPanic, p, debug.Stack())}
		}
		fs.mu.Lock()
		next := f.next
		if next == nil {
			delete(fs.running, k)
		} else {
			fs.wg.Add(1)
			next.tok = begin() // after everyone who waits for it has arrived
			fs.running[k] = next
		}
		fs.mu.Unlock()
		close(f.done)
		if next != nil {
			go next.run(next)
		}
		fs.wg.Done()
	}()
	f.res = load(f.tok)
}

// close refuses further loads and waits for those that run. Their contexts have ended.
func (fs *flights[K, V]) close() {
	fs.mu.Lock()
	fs.closed = true
	fs.mu.Unlock()
	fs.wg.Wait()
}
