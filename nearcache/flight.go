package nearcache

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"

	"github.com/nearcache/nearcache-go/internal/ablate"
	"github.com/nearcache/nearcache-go/internal/fence"
	"github.com/nearcache/nearcache-go/internal/l2"
)

// flights coalesces the work of one process: of a key at most one flight runs, and at most one is queued behind it. A
// cache has two groups. The flights of one go through L2 and the lease; the flights of the other are calls of the
// Loader.
//
// A flight that fills L2 is answered before that: its readers have their value a round trip earlier. It ends when the
// fill has come back. A reader that comes between the two waits for the queued flight, and finds the value in L2.
//
// A reader joins the running flight only while nothing has invalidated the key since the flight took its snapshot.
// After an invalidation the running flight may return the old state, so later readers wait for the queued one, which
// begins when the running one has ended:
//
//	reader A: begins flight 1         writer: invalidates         reader B: flight 1's snapshot is void; queues flight 2
//	flight 1 returns the old row to A                             flight 2 begins, returns the new row to B and to
//	                                                              every reader that arrived meanwhile
type flights[K comparable, V any] struct {
	fence   *fence.Fence
	nesting *nesting
	// tryInline is the part of a flight that the reader does itself, on its own goroutine and context. It moves the
	// flights that are finished with it to the front of the batch and returns their number. nil: there is no such part.
	tryInline func(ctx context.Context, batch []*flight[K, V]) (finished int)
	// run does the rest, and calls finish for every flight of the batch before it returns. Its context has the values
	// of the reader's and is not cancelled with it.
	run func(ctx context.Context, batch []*flight[K, V])

	mu      sync.Mutex
	running map[string]*flight[K, V] // by the key's name in Redis: a K need not equal itself
	closed  bool
	wg      sync.WaitGroup // of flights begun
	pool    sync.Pool      // of flights that no second reader knows of
}

// flight is a key on its way down the tiers.
type flight[K comparable, V any] struct {
	k   K
	key l2.Key

	snap     fence.Snapshot  // when the flight began: decides who may join
	done     chan struct{}   // closed when res is set; made by the first reader that waits
	res      loaded[V]       // constant once it is answered
	answered bool            // the readers have res, and no more may join; the flight may not have ended
	over     bool            // it has ended
	end      chan struct{}   // closed when it has ended; made by the first that waits for that
	filled   bool            // L2 has taken the value; known when the flight has ended
	next     *flight[K, V]   // begins when this one ends
	ctx      context.Context // of a queued flight: its first reader's
	reader   *flight[K, V]   // of a call of the Loader: the flight through L2 that has begun it, to be answered with it

	bypass   bool       // of a call of the Loader: the caches are left alone
	validate bool       // of a call of the Loader: the source's version may do instead of the value
	lease    *heldLease // of a call of the Loader: the flight fills L2 with it or gives it back
	began    int64      // LoadTimeout counts from here

	own    fence.Snapshot // what the flight brings back is judged by; taken again before each question
	l2     l2Reply
	got    fetched[V]
	kept   atomic.Pointer[staleRecord[V]] // got.kept, for readers that leave before the end
	tried  bool                           // tryL2 has asked L2
	rounds int                            // how often L2 was asked

	grant    l2.Lease // the answer to acquire
	grantErr error
	waiter   *waiter // wakes the flight when another process has filled its key
	retry    int64   // when the lease in the way has expired

	minVersion Version // known here before the Loader was called
	answer     answer[V]

	self [1]*flight[K, V] // a batch of one, without an allocation
}

// loaded is what a flight brings back to every reader that waits for it.
type loaded[V any] struct {
	value   V
	version Version
	absent  bool
	stale   bool            // the source answered with less than this instance has seen
	kept    *staleRecord[V] // beside an error: a record of L2 that only fail-safe may serve
	asOf    int64           // the value is no older than the source was then, by the fence's clock; 0: nothing is proved
	tier    Tier
	err     error
}

// want is what a reader asks of a flight.
type want[K comparable] struct {
	k     K
	key   l2.Key
	since int64 // the flight must have begun then or later; math.MinInt64: whenever

	// The rest is about calls of the Loader.
	bypass   bool
	validate bool
	lease    *heldLease // for the flight to fill with, if it has none and begins after now
	began    int64      // 0: LoadTimeout counts from the flight's beginning
}

// seat is a reader's place in a flight.
type seat[K comparable, V any] struct {
	f       *flight[K, V]
	done    <-chan struct{}
	mine    bool  // the flight is the reader's to run
	carries bool  // the flight has taken the reader's lease
	within  *call // the Loader's call that the reader belongs to, and that is known to wait
}

// join gives a reader its place: in the running flight of its key, in the one queued behind it, or in a new one, which
// it must run.
func (fs *flights[K, V]) join(ctx context.Context, w *want[K]) (seat[K, V], error) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if fs.closed {
		return seat[K, V]{}, ErrClosed
	}
	f := fs.running[w.key.Record]
	if f == nil {
		return seat[K, V]{f: fs.begin(w), mine: true, carries: true}, nil
	}
	within := fs.nesting.within(ctx)
	if err := fs.nesting.wait(within, w.key); err != nil {
		return seat[K, V]{}, err
	}
	inTime := f.snap.Began() >= w.since || ablate.Out(ablate.FreshNeverJoins)
	if inTime && !f.answered && (w.bypass || !f.bypass) && fs.fence.StillValid(&f.snap) {
		return seat[K, V]{f: f, done: f.wait(), within: within}, nil
	}
	if f.next == nil {
		f.next = &flight[K, V]{k: w.k, key: w.key, ctx: ctx, bypass: true, validate: true}
	}
	f = f.next
	f.bypass, f.validate = f.bypass && w.bypass, f.validate && w.validate
	carries := f.lease == nil && w.lease != nil
	if carries {
		f.lease = w.lease
	}
	return seat[K, V]{f: f, done: f.wait(), carries: carries, within: within}, nil
}

// begin starts a flight. The caller holds fs.mu.
func (fs *flights[K, V]) begin(w *want[K]) *flight[K, V] {
	f, ok := fs.pool.Get().(*flight[K, V])
	if !ok {
		f = new(flight[K, V])
	}
	f.k, f.key, f.snap = w.k, w.key, fs.fence.Begin(w.key)
	f.bypass, f.validate, f.lease, f.began = w.bypass, w.validate, w.lease, w.began
	if f.began == 0 {
		f.began = f.snap.Began()
	}
	if fs.running == nil {
		fs.running = make(map[string]*flight[K, V])
	}
	fs.running[w.key.Record] = f
	fs.wg.Add(1)
	return f
}

// wait is the flight's end. The caller holds fs.mu, and the flight has not ended.
func (f *flight[K, V]) wait() <-chan struct{} {
	if f.done == nil {
		f.done = make(chan struct{})
	}
	return f.done
}

// do returns the result of a flight of one key. ctx only ends the waiting: the flight goes on without its reader.
//
// Most flights end with the answer of L2, and only the reader that began them waits for it. So that reader asks L2
// itself, and a goroutine does only what is left then. If the reader's context ends first, the others still have their
// flight:
//
//	A: begins the flight, asks L2        B: joins
//	A: is cancelled; leaves the flight to a goroutine, which asks again
//	                                     B: gets its result
func (fs *flights[K, V]) do(ctx context.Context, w *want[K]) (loaded[V], error) {
	s, err := fs.join(ctx, w)
	if err != nil {
		return loaded[V]{}, err
	}
	if s.mine {
		f := s.f
		f.self[0] = f
		if fs.runInline(ctx, f.self[:]) == 1 {
			res := f.res
			fs.reuse(f)
			return res, nil
		}
		fs.leave(ctx, f.self[:])
		if err := fs.wait(ctx, &s); err != nil {
			return loaded[V]{}, err
		}
	}
	return fs.await(ctx, &s)
}

// reuse keeps a flight that has ended for another key, if nobody else has ever waited for it.
func (fs *flights[K, V]) reuse(f *flight[K, V]) {
	if f.over && f.done == nil && f.end == nil {
		*f = flight[K, V]{}
		fs.pool.Put(f)
	}
}

// doMany is do for several keys, which differ. Their flights go down together.
func (fs *flights[K, V]) doMany(ctx context.Context, ls []*lookup[K, V]) {
	var mine []*flight[K, V]
	for _, l := range ls {
		if l.seat, l.err = fs.join(ctx, &l.want); l.err == nil && l.seat.mine {
			mine = append(mine, l.seat.f)
		}
	}
	if rest := mine[fs.runInline(ctx, mine):]; len(rest) > 0 {
		fs.leave(ctx, rest)
	}
	for _, l := range ls {
		if l.err == nil && l.seat.mine && l.seat.f.done != nil {
			l.err = fs.wait(ctx, &l.seat)
		}
	}
	for _, l := range ls {
		if l.err == nil {
			l.res, l.err = fs.await(l.ctx, &l.seat)
		}
	}
}

// wait announces the wait for a flight of the reader's own, if the reader is within a call of a Loader. Waits for those
// of others are announced when they are joined.
func (fs *flights[K, V]) wait(ctx context.Context, s *seat[K, V]) error {
	within := fs.nesting.within(ctx)
	if err := fs.nesting.wait(within, s.f.key); err != nil {
		return err
	}
	s.within = within
	return nil
}

// await returns the flight's result, or why the reader no longer waits for it.
func (fs *flights[K, V]) await(ctx context.Context, s *seat[K, V]) (loaded[V], error) {
	if s.within != nil {
		defer fs.nesting.waited(s.within, s.f.key)
	}
	done := s.done
	if s.mine {
		if done = s.f.done; done == nil { // it ended before another reader came
			return s.f.res, nil
		}
	}
	select {
	case <-done:
		return s.f.res, nil
	default:
	}
	select {
	case <-done:
		return s.f.res, nil
	case <-ctx.Done():
		return loaded[V]{kept: s.f.kept.Load()}, ctx.Err()
	}
}

// errGoexit is the result of a flight whose callback called runtime.Goexit.
var errGoexit = fmt.Errorf("%w: it called runtime.Goexit", ErrPanic)

func panicked(p any) error { return fmt.Errorf("%w: %v\n%s", ErrPanic, p, debug.Stack()) }

// runInline does the part of new flights that their reader does itself, and returns how many are finished: the first of
// the batch. A callback's Goexit, in a Codec for one, ends the reader's goroutine, as it would without a cache; readers
// that have joined get an error.
func (fs *flights[K, V]) runInline(ctx context.Context, batch []*flight[K, V]) (finished int) {
	if fs.tryInline == nil || len(batch) == 0 || ctx.Err() != nil {
		return 0
	}
	err := errGoexit // stands if tryInline never returns
	defer func() {
		if p := recover(); p != nil {
			err = panicked(p)
		}
		if err != nil {
			finished = len(batch)
			fs.fail(batch, err)
		}
	}()
	finished = fs.tryInline(ctx, batch)
	err = nil
	fs.finish(batch[:finished])
	return finished
}

// leave leaves flights to a goroutine.
func (fs *flights[K, V]) leave(ctx context.Context, batch []*flight[K, V]) {
	fs.mu.Lock()
	for _, f := range batch {
		f.wait()
	}
	fs.mu.Unlock()
	go fs.fly(context.WithoutCancel(ctx), batch)
}

// fly runs flights, or what is left of them. All have ended when it returns.
func (fs *flights[K, V]) fly(ctx context.Context, batch []*flight[K, V]) {
	if len(batch) == 0 {
		return
	}
	err := errGoexit // stands if run never returns
	defer func() {
		if p := recover(); p != nil {
			err = panicked(p)
		}
		fs.fail(batch, err)
	}()
	fs.run(ctx, batch)
}

// fail ends those flights of a batch that have not ended, with an error if they have no result yet.
func (fs *flights[K, V]) fail(batch []*flight[K, V], err error) {
	for _, f := range batch {
		if !f.over {
			if !f.answered {
				f.res = loaded[V]{err: err}
			}
			fs.finish([]*flight[K, V]{f})
		}
	}
}

// answer gives a flight's result to its readers. The flight goes on, to its fill.
func (fs *flights[K, V]) answer(f *flight[K, V]) {
	fs.mu.Lock()
	f.answered = true
	done := f.done
	fs.mu.Unlock()
	if done != nil {
		close(done)
	}
}

// awaitEnd waits until a flight has ended.
func (fs *flights[K, V]) awaitEnd(f *flight[K, V]) {
	fs.mu.Lock()
	end := f.ended()
	fs.mu.Unlock()
	<-end
}

// awaitAnswered waits until the flights that are answered now have ended.
func (fs *flights[K, V]) awaitAnswered() {
	var ends []<-chan struct{}
	fs.mu.Lock()
	for _, f := range fs.running {
		if f.answered {
			ends = append(ends, f.ended())
		}
	}
	fs.mu.Unlock()
	for _, end := range ends {
		<-end
	}
}

// ended is closed when the flight has ended. The caller holds fs.mu.
func (f *flight[K, V]) ended() <-chan struct{} {
	if f.end == nil {
		f.end = make(chan struct{})
		if f.over {
			close(f.end)
		}
	}
	return f.end
}

// finish ends flights whose results are set, and begins those queued behind them, as one batch.
func (fs *flights[K, V]) finish(batch []*flight[K, V]) {
	if len(batch) == 0 {
		return
	}
	var queued []*flight[K, V]
	fs.mu.Lock()
	for _, f := range batch {
		f.over = true
		if f.end != nil {
			close(f.end)
		}
		next := f.next
		if next == nil {
			delete(fs.running, f.key.Record)
			continue
		}
		fs.wg.Add(1)
		next.snap = fs.fence.Begin(f.key) // after every reader that waits for it has arrived
		next.began = next.snap.Began()
		fs.running[f.key.Record] = next
		queued = append(queued, next)
	}
	fs.mu.Unlock()
	for _, f := range batch {
		if f.done != nil && !f.answered {
			close(f.done)
		}
	}
	if len(queued) > 0 {
		go fs.fly(context.WithoutCancel(queued[0].ctx), queued)
	}
	fs.wg.Add(-len(batch))
}

// close refuses further flights and waits for those that run. Their contexts have ended.
func (fs *flights[K, V]) close() {
	fs.mu.Lock()
	fs.closed = true
	fs.mu.Unlock()
	fs.wg.Wait()
}
