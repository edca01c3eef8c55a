package nearcache

import (
	"context"
	"sync"
	"time"
)

// sweepInterval is how often requests that are under way are looked at.
const sweepInterval = 5 * time.Millisecond

// requests are the requests to Redis that are under way. Almost all are answered long before anything ends them. A
// context with a deadline of its own is a timer, a channel and a place among its parent's children, and would cost more
// than the rest of the request. So one timer looks at all requests, while there are any, and a request that it finds
// twice gets a goroutine that watches the reader's context, the timeout, and Close. Deadlines are exact, since a
// request whose deadline is near gets its goroutine at once. A reader that is cancelled within two intervals is noticed
// at their end, and later at once.
//
// The context of an answered request is used again. That is safe while neither rueidis nor internal/l2 keeps a context
// after its call has returned, which TestL2_KeepsNoContextOfAnAnsweredRequest pins. A request that was not answered, or
// that a goroutine watches, keeps its context for itself.
type requests struct {
	life context.Context
	now  func() int64

	mu    sync.Mutex
	list  []*request
	timer *time.Timer // set by the first request
	armed bool
	used  bool // since the timer last went off
	pool  sync.Pool
}

// request is the context of one.
type request struct {
	reader context.Context
	began  int64 // by the client's clock
	limit  time.Duration
	now    func() int64
	done   chan struct{} // closed when err is set
	err    error         // Canceled: the reader has gone, or the client is being closed; DeadlineExceeded: Redis is slow
	place  int           // in the list
	seen   bool
	over   chan struct{} // closed when it has ended; set while a goroutine watches
}

// Deadline implements context.Context.
func (r *request) Deadline() (time.Time, bool) {
	return time.Now().Add(r.limit - time.Duration(r.now()-r.began)), true
}

// Done implements context.Context.
func (r *request) Done() <-chan struct{} { return r.done }

// Err implements context.Context.
func (r *request) Err() error {
	select {
	case <-r.done:
		return r.err
	default:
		return nil
	}
}

// Value implements context.Context.
func (r *request) Value(key any) any { return r.reader.Value(key) }

// begin makes the context of a request that began at a moment and may take limit; end must be called.
func (rs *requests) begin(reader context.Context, began int64, limit time.Duration) *request {
	r, ok := rs.pool.Get().(*request)
	if !ok {
		r = &request{done: make(chan struct{}), now: rs.now}
	}
	r.reader, r.began, r.limit = reader, began, limit
	rs.mu.Lock()
	r.place = len(rs.list)
	rs.list = append(rs.list, r)
	rs.used = true
	if due, ok := reader.Deadline(); limit <= 2*sweepInterval || ok && time.Until(due) <= 2*sweepInterval {
		rs.watch(r)
	}
	if !rs.armed {
		rs.armed = true
		if rs.timer == nil {
			rs.timer = time.AfterFunc(sweepInterval, rs.sweep)
		} else {
			rs.timer.Reset(sweepInterval)
		}
	}
	rs.mu.Unlock()
	return r
}

// end takes a request off the list, and returns its context to the pool unless a goroutine may still end it.
func (rs *requests) end(r *request, answered bool) {
	rs.mu.Lock()
	last := len(rs.list) - 1
	rs.list[r.place] = rs.list[last]
	rs.list[r.place].place = r.place
	rs.list[last] = nil
	rs.list = rs.list[:last]
	over := r.over
	rs.mu.Unlock()
	switch {
	case over != nil:
		close(over)
	case answered:
		r.reader, r.seen = nil, false
		rs.pool.Put(r)
	}
}

// sweep looks at all requests. Those that it finds a second time are watched.
func (rs *requests) sweep() {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	for _, r := range rs.list {
		if r.seen && r.over == nil {
			rs.watch(r)
		}
		r.seen = true
	}
	rs.armed = rs.used || len(rs.list) > 0
	rs.used = false
	if rs.armed {
		rs.timer.Reset(sweepInterval)
	}
}

// watch ends a request for any of the reasons that there are. The caller holds rs.mu.
func (rs *requests) watch(r *request) {
	r.over = make(chan struct{})
	go func(over <-chan struct{}) {
		left := time.NewTimer(r.limit - time.Duration(rs.now()-r.began))
		defer left.Stop()
		err := context.Canceled
		select {
		case <-over:
			return
		case <-r.reader.Done():
		case <-rs.life.Done():
		case <-left.C:
			err = context.DeadlineExceeded
		}
		r.err = err
		close(r.done)
	}(r.over)
}
