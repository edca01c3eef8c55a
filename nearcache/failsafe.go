package nearcache

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/nearcache/nearcache-go/internal/fence"
)

// putUpWith is how old a value may be that this read gets in place of an error, 0: none may.
func (c *Cache[K, V]) putUpWith(ro ReadOptions) time.Duration {
	if ro.ServeStale != 0 {
		return max(0, ro.ServeStale)
	}
	return c.opt.FailSafe.MaxAge
}

// stale is what L1 holds of a key, whether or not it may be served, if it is at most so old.
func (c *Cache[K, V]) stale(k K, atLeast Version, most time.Duration) (Result[V], error, bool) {
	e := c.peek(k)
	if e == nil || e.version < atLeast {
		return Result[V]{}, nil, false
	}
	proved := e.stamp.Proved(c.client.fence)
	if v := e.stamp.Check(c.client.fence); v == fence.Invalidated || v == fence.Collided {
		proved = e.stamp.Probe() // what the channels prove holds only of what they have not invalidated
	}
	since := e.stamp.Began()
	if proved > 0 {
		since = proved
	}
	if c.client.now()-since > int64(most) {
		return Result[V]{}, nil, false
	}
	c.m.servedStale.Inc()
	r, err := c.fromL1(e, proved, true)
	return r, err, true
}

// instead answers a read whose load has failed, or was too slow, from what L1 holds, or else from the record that L2 keeps
// past its TTL.
func (c *Cache[K, V]) instead(k K, l loaded[V], atLeast Version, most time.Duration) (Result[V], error, bool) {
	if r, err, ok := c.stale(k, atLeast, most); ok {
		return r, err, true
	}
	old := l.instead
	if old == nil || old.version < atLeast || time.Since(old.written) > most {
		return Result[V]{}, nil, false
	}
	c.m.servedStale.Inc()
	r := Result[V]{Version: old.version, Tier: TierL2, Age: max(0, time.Since(old.written)), Stale: true}
	if old.absent {
		return r, ErrNotFound, true
	}
	r.Value = c.out(old.value)
	return r, nil, true
}

// kept is a record of L2 that is past its TTL. Its age is by two wall clocks, and so a label, and no part of any bound.
type kept[V any] struct {
	value   V
	version Version
	absent  bool
	written time.Time
}

// bulkhead bounds how many Loaders run at a time.
type bulkhead chan struct{}

func newBulkhead(n int) bulkhead {
	if n < 0 {
		return nil
	}
	return make(bulkhead, n)
}

// enter waits for a place, which leave gives back.
func (b bulkhead) enter(ctx context.Context) (leave func(), err error) {
	if b == nil {
		return func() {}, nil
	}
	select {
	case b <- struct{}{}:
		return func() { <-b }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("%d loads are running already (Options.MaxLoads): %w", cap(b), context.Cause(ctx))
	}
}

// maxFailures bounds the errors that are remembered; when it is reached all are forgotten.
const maxFailures = 1 << 12

// failures remembers Loaders' errors for a while.
type failures[K comparable] struct {
	mu sync.Mutex
	by map[K]failure
}

type failure struct {
	err   error
	until int64
}

func (f *failures[K]) get(k K, now int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	failed, ok := f.by[k]
	if !ok {
		return nil
	}
	if now >= failed.until {
		delete(f.by, k)
		return nil
	}
	return failed.err
}

func (f *failures[K]) put(k K, err error, until int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.by == nil || len(f.by) >= maxFailures {
		f.by = make(map[K]failure)
	}
	f.by[k] = failure{err, until}
}
