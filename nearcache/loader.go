package nearcache

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/l2"
)

// answer is what a Loader returned for one key.
type answer[V any] struct {
	e      Entry[V]
	absent bool
	err    error
}

// callLoaders sets the answers of a batch, from one call of the Loader. A key whose error is remembered is not loaded.
// A batch of several keys is for a cache with LoadMany.
func (c *Cache[K, V]) callLoaders(ctx context.Context, batch []*flight[K, V]) {
	var load []*flight[K, V]
	for _, f := range batch {
		if f.answer = c.remembered(f); f.answer.err == nil {
			load = append(load, f)
		}
	}
	if len(load) > 0 && !load[0].bypass && c.versionCheckDue() {
		c.checkVersion(ctx, load[0], func() { c.callEach(ctx, load) })
	} else {
		c.callEach(ctx, load)
	}
	for _, f := range load {
		c.rememberError(f)
	}
}

// callEach calls Load for one flight, and LoadMany for several.
func (c *Cache[K, V]) callEach(ctx context.Context, load []*flight[K, V]) {
	switch len(load) {
	case 0:
	case 1:
		c.callOne(ctx, load[0])
	default:
		c.callMany(ctx, load)
	}
}

// callOne calls the Loader for one key. It shows the Loader what L1 holds of the key; see Previous.
func (c *Cache[K, V]) callOne(ctx context.Context, f *flight[K, V]) {
	var old *entry[K, V]
	if !f.bypass {
		old = c.peek(f.k)
	}
	if old != nil && old.absent() {
		old = nil
	}
	for {
		load := ctx
		if old != nil {
			previous, err := c.out(old.value)
			if err != nil {
				f.answer = answer[V]{err: err}
				return
			}
			load = context.WithValue(ctx, previousKey{}, &Entry[V]{Value: previous, Version: old.version})
		}
		e, err := admitted(load, c, []l2.Key{f.key}, func(ctx context.Context) (Entry[V], error) {
			if c.opt.Replica != nil {
				if e, served, err := c.loadReplica(ctx, f); served {
					return e, err
				}
			}
			return c.loadOne(ctx, f.k)
		})
		switch {
		case errors.Is(err, ErrNotFound):
			c.m.loads("absent").Inc()
			f.answer = answer[V]{e: e, absent: true}
		case errors.Is(err, ErrNotModified) && old != nil:
			if !c.sameTimeline(ctx, old) {
				old = nil
				continue
			}
			c.m.loads("not_modified").Inc()
			if e.Tags == nil {
				e.Tags = c.tagsOfEntry(old)
			}
			f.answer = answer[V]{e: Entry[V]{Value: old.value, Version: old.version, TTL: e.TTL, Tags: e.Tags}}
		default:
			c.m.loads(loadResult(ctx, err)).Inc()
			f.answer = answer[V]{e: e, err: err}
		}
		return
	}
}

// callMany calls LoadMany. A key that is not in what it returns is absent.
func (c *Cache[K, V]) callMany(ctx context.Context, batch []*flight[K, V]) {
	ks, keys := make([]K, len(batch)), make([]l2.Key, len(batch))
	for i, f := range batch {
		ks[i], keys[i] = f.k, f.key
	}
	got, err := admitted(ctx, c, keys, func(ctx context.Context) (map[K]Entry[V], error) {
		return c.opt.LoadMany(ctx, ks)
	})
	c.m.loads(loadResult(ctx, err)).Inc()
	absent := errors.Is(err, ErrNotFound)
	if absent {
		err = nil
	}
	for _, f := range batch {
		e, ok := got[f.k]
		f.answer = answer[V]{e: e, absent: absent || !ok, err: err}
	}
}

// loadOne calls Load, or LoadMany for one key if there is no Load.
func (c *Cache[K, V]) loadOne(ctx context.Context, k K) (Entry[V], error) {
	if c.opt.Load != nil {
		return c.opt.Load(ctx, k)
	}
	m, err := c.opt.LoadMany(ctx, []K{k})
	if err != nil {
		return Entry[V]{}, err
	}
	e, ok := m[k]
	if !ok {
		return e, ErrNotFound
	}
	return e, nil
}

// sameTimeline asks whether the source still has the history that an entry was loaded from. After a fail-over the same
// version number can name a different state, so equal versions prove nothing across histories.
func (c *Cache[K, V]) sameTimeline(ctx context.Context, e *entry[K, V]) bool {
	if c.client.source == nil {
		return true
	}
	at, err := within(ctx, func() (coherence.Position, error) { return c.client.source.Position(ctx) })
	return err == nil && e.stamp.SameTimeline(c.client.fence, at.Timeline)
}

// loadResult is a call's label in metrics.
func loadResult(ctx context.Context, err error) string {
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, ErrPanic):
		return "panic"
	case ctx.Err() != nil:
		return "timeout"
	}
	return "error"
}

// admitted calls a Loader when the bulkhead has a place for it. The place is free again when the Loader has returned,
// which may be after its context has ended.
func admitted[K comparable, V, T any](ctx context.Context, c *Cache[K, V], keys []l2.Key,
	f func(context.Context) (T, error)) (T, error) {
	n := &c.client.nesting
	leave, err := c.loads.enter(ctx, n, keys)
	if err != nil {
		var none T
		return none, err
	}
	load, running := n.begin(ctx, keys)
	defer n.end(running)
	load, s := c.trace(load, opLoad, len(keys))
	begun := time.Now()
	v, err := within(load, func() (T, error) {
		defer leave()
		return f(load)
	})
	s.end(err)
	c.client.observe(ctx, c.m.loadSeconds, int64(time.Since(begun)))
	return v, err
}

// within runs f on a goroutine of its own and returns what it returns, or why ctx ended before. So a callback that
// ignores its context cannot keep the key for ever; what it returns later is dropped. Its panic is an error.
func within[T any](ctx context.Context, f func() (T, error)) (T, error) {
	type result struct {
		v   T
		err error
	}
	returned := make(chan result, 1)
	begun := time.Now()
	go func() {
		r := result{err: errGoexit} // stands if f never returns
		defer func() { returned <- r }()
		r.v, r.err = safely(f)
	}()
	select {
	case r := <-returned:
		return r.v, r.err
	case <-ctx.Done():
		var none T
		took := time.Since(begun).Round(time.Millisecond)
		return none, fmt.Errorf("the callback did not return within %v: %w", took, context.Cause(ctx))
	}
}

// apart runs f on a goroutine of its own and waits for its end, so that a runtime.Goexit in the caller's code ends that
// goroutine and is an error here.
func apart[T any](f func() (T, error)) (T, error) { return within(context.Background(), f) }

// singly is within for a callback of which one call runs at a time. So one that ignores its context costs one
// goroutine, however often it is due.
func singly[T any](ctx context.Context, running *atomic.Bool, f func() (T, error)) (T, error) {
	if !running.CompareAndSwap(false, true) {
		var none T
		return none, errStillRunning
	}
	return within(ctx, func() (T, error) {
		defer running.Store(false)
		return f()
	})
}

var errStillRunning = errors.New("nearcache: the last call of the callback has not returned yet")

// safely makes an error of a panic in the caller's code.
func safely[T any](f func() (T, error)) (v T, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v\n%s", ErrPanic, p, debug.Stack())
		}
	}()
	return f()
}

// bulkhead bounds how many calls of Loaders run at a time.
type bulkhead chan struct{}

func newBulkhead(n int) bulkhead {
	if n < 0 {
		return nil
	}
	return make(bulkhead, n)
}

// enter waits for a place, which leave gives back. A call that another load waits for needs none: that load has one.
func (b bulkhead) enter(ctx context.Context, n *nesting, keys []l2.Key) (leave func(), err error) {
	if b == nil {
		return func() {}, nil
	}
	select {
	case b <- struct{}{}:
		return func() { <-b }, nil
	default:
	}
	t, unqueue := n.queue(keys)
	defer unqueue()
	select {
	case b <- struct{}{}:
		return func() { <-b }, nil
	case <-t.promoted:
		return func() {}, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("%d loads are running already (Options.MaxLoads): %w", cap(b), context.Cause(ctx))
	}
}

// maxErrors bounds the errors that are remembered; when it is reached all are forgotten.
const maxErrors = 1 << 12

// errorMemory remembers Loaders' errors for ErrorTTL.
type errorMemory struct {
	mu sync.Mutex
	by map[string]loadError // by the key's name in Redis
}

type loadError struct {
	err   error
	until int64
}

func (m *errorMemory) get(record string, now int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, ok := m.by[record]
	if !ok {
		return nil
	}
	if now >= e.until {
		delete(m.by, record)
		return nil
	}
	return e.err
}

func (m *errorMemory) put(record string, err error, until int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.by == nil || len(m.by) >= maxErrors {
		m.by = make(map[string]loadError)
	}
	m.by[record] = loadError{err, until}
}

// remembered is the error of a key's last load, if ErrorTTL is not over yet.
func (c *Cache[K, V]) remembered(f *flight[K, V]) (a answer[V]) {
	if c.opt.ErrorTTL > 0 {
		if a.err = c.loadErrors.get(f.key.Record, c.client.now()); a.err != nil {
			c.m.loads("remembered").Inc()
		}
	}
	return a
}

func (c *Cache[K, V]) rememberError(f *flight[K, V]) {
	err := f.answer.err
	if err != nil && c.opt.ErrorTTL > 0 && !errors.Is(err, ErrNotModified) && c.client.life.Err() == nil {
		c.loadErrors.put(f.key.Record, err, c.client.now()+int64(c.opt.ErrorTTL))
	}
}
