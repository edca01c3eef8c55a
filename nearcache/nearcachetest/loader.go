package nearcachetest

import (
	"context"
	"reflect"
	"sync"
	"time"

	"github.com/nearcache/nearcache-go/nearcache"
)

// CheckLoader calls a Loader once and fails the test if it asks its context for a value: a transaction, a tenant, a
// user. What a Loader returns is cached for every reader, so it must not depend on one reader's context. The cache
// hands its Loaders none of those values but those of Options.ContextKeys; give the same keys as allowed. The Loader
// may return any error. Keys that libraries below the Loader ask for, such as a driver's tracer, are reported as well:
// allow them.
func CheckLoader[K comparable, V any](t interface {
	Helper()
	Errorf(format string, args ...any)
}, load nearcache.Loader[K, V], k K, allowed ...any) {
	t.Helper()
	ctx := &askedContext{}
	_, cancel := context.WithTimeout(ctx, time.Hour) // package context asks for a key of its own, which says nothing
	cancel()
	own := ctx.take()
	_, _ = load(ctx, k)
	reported := map[any]bool{}
	for _, key := range ctx.take() {
		if reported[key] || contains(own, key) || contains(allowed, key) {
			continue
		}
		reported[key] = true
		t.Errorf("the Loader asks its context for %v of type %v: what it returns is cached for every reader "+
			"(nearcache.Options.ContextKeys lists what may pass)", key, reflect.TypeOf(key))
	}
}

// askedContext records the keys that it is asked for.
type askedContext struct {
	mu   sync.Mutex
	keys []any
}

func (c *askedContext) take() []any {
	c.mu.Lock()
	defer c.mu.Unlock()
	keys := c.keys
	c.keys = nil
	return keys
}

func (c *askedContext) Deadline() (deadline time.Time, ok bool) { return time.Time{}, false }
func (c *askedContext) Done() <-chan struct{}                   { return nil }
func (c *askedContext) Err() error                              { return nil }

func (c *askedContext) Value(key any) any {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.keys = append(c.keys, key)
	return nil
}

func contains(keys []any, key any) bool {
	for _, k := range keys {
		if k == key {
			return true
		}
	}
	return false
}
