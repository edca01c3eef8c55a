package nearcache

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"

	"github.com/nearcache/nearcache-go/internal/ablate"
	"github.com/nearcache/nearcache-go/internal/fence"
	"github.com/nearcache/nearcache-go/internal/l2"
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
	fence *fence.Fence
	// lead is what the reader who begins a flight does himself, on his own goroutine and context; nil: nothing. If that is
	// not all, load does the rest, on a goroutine of its own that outlives him.
	lead func(ctx context.Context, k K, key l2.Key, f *flight[V]) (landed bool)
	load func(ctx context.Context, k K, key l2.Key, f *flight[V]) loaded[V]

	mu      sync.Mutex
	running map[K]*flight[V]
	closed  bool
	wg      sync.WaitGroup // of flights begun
	pool    sync.Pool      // of flights that nobody has waited for
}

type flight[V any] struct {
	tok  fence.Token   // by which readers may join
	done chan struct{} // closed when res is set; made by the first who waits
	res  loaded[V]
	next *flight[V]       // begins when this one ends
	run  func(*flight[V]) // set on a flight that has not begun

	// The load's alone.
	own   fence.Token
	got   fetched[V] // what L2 had to say, if asked
	asked bool
}

// wait is the flight's end. The caller holds the flights' mu, and the flight has not ended.
func (f *flight[V]) wait() <-chan struct{} {
	if f.done == nil {
		f.done = make(chan struct{})
	}
	return f.done
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

// do returns the result of a load of k, its own or a shared one. ctx only ends the waiting: the load goes on without its
// reader, on a goroutine of its own. A reader joins the running load if its token still stands and was taken at or after since,
// by the fence's clock: a Fresh read joins none that began before it.
//
// Most flights end with the answer of L2, and nobody but the reader who began them waits for it. So he asks himself, and goes
// on a goroutine only for what is left then. If his context ends first, the others still have their load:
//
//	A: begins the flight, asks L2        B: joins
//	A: is cancelled; leaves the flight to a goroutine, which asks again
//	                                     B: gets its result
func (fs *flights[K, V]) do(ctx context.Context, k K, key l2.Key, since int64) (loaded[V], error) {
	fs.mu.Lock()
	if fs.closed {
		fs.mu.Unlock()
		return loaded[V]{}, ErrClosed
	}
	f := fs.running[k]
	switch {
	case f == nil:
		var ok bool
		if f, ok = fs.pool.Get().(*flight[V]); !ok {
			f = new(flight[V])
		}
		f.tok = fs.fence.Begin(key)
		if fs.running == nil {
			fs.running = make(map[K]*flight[V])
		}
		fs.running[k] = f
		fs.wg.Add(1)
		if fs.lead != nil && ctx.Err() == nil {
			fs.mu.Unlock()
			if res, landed := fs.take(ctx, k, key, f); landed {
				return res, nil
			}
			fs.mu.Lock()
		}
		go fs.fly(ctx, k, key, f)
	case (f.tok.Began() >= since || ablate.Out(ablate.FreshNeverJoins)) && fs.fence.Still(&f.tok):
	default:
		if f.next == nil {
			f.next = &flight[V]{run: func(next *flight[V]) { fs.fly(ctx, k, key, next) }}
		}
		f = f.next
	}
	done := f.wait()
	fs.mu.Unlock()
	select {
	case <-done:
		return f.res, nil
	case <-ctx.Done():
		return loaded[V]{}, ctx.Err()
	}
}

// errGoexit is the result of every load until it has returned, so it is made once.
var errGoexit = fmt.Errorf("%w: it called runtime.Goexit", ErrPanic)

// take does what the reader who began a flight does himself. A callback's Goexit, in a Codec for one, ends the reader, as it
// would with no cache in between; those who have joined get an error.
func (fs *flights[K, V]) take(ctx context.Context, k K, key l2.Key, f *flight[V]) (res loaded[V], landed bool) {
	f.res.err = errGoexit // stands if lead never returns
	landed = true
	defer func() {
		if p := recover(); p != nil {
			f.res, landed = panicked[V](p), true
		}
		if landed {
			res = fs.land(k, key, f)
		}
	}()
	landed = fs.lead(ctx, k, key, f)
	return res, landed
}

// fly runs a flight whose token is set, or what is left of it.
func (fs *flights[K, V]) fly(ctx context.Context, k K, key l2.Key, f *flight[V]) {
	f.res.err = errGoexit // stands if load never returns
	defer func() {
		if p := recover(); p != nil {
			f.res = panicked[V](p)
		}
		fs.land(k, key, f)
	}()
	f.res = fs.load(ctx, k, key, f)
}

func panicked[V any](p any) loaded[V] {
	return loaded[V]{err: fmt.Errorf("%w: %v\n%s", ErrPanic, p, debug.Stack())}
}

// land ends a flight and hands over to the next one.
func (fs *flights[K, V]) land(k K, key l2.Key, f *flight[V]) loaded[V] {
	res := f.res
	fs.mu.Lock()
	next, done := f.next, f.done
	if next == nil {
		delete(fs.running, k)
	} else {
		fs.wg.Add(1)
		next.tok = fs.fence.Begin(key) // after everyone who waits for it has arrived
		fs.running[k] = next
	}
	fs.mu.Unlock()
	if done != nil {
		close(done)
	} else { // nobody knows of it
		*f = flight[V]{}
		fs.pool.Put(f)
	}
	if next != nil {
		go next.run(next)
	}
	fs.wg.Done()
	return res
}

// close refuses further loads and waits for those that run. Their contexts have ended.
func (fs *flights[K, V]) close() {
	fs.mu.Lock()
	fs.closed = true
	fs.mu.Unlock()
	fs.wg.Wait()
}
