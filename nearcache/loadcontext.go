package nearcache

import (
	"context"
	"slices"
	"time"
)

// loadContext is the context of a load. It outlives the reader: it ends LoadTimeout after the load began, by the
// client's clock, or when the client is closed. Of the reader's values it has none but those that may pass, since what
// a load brings is for every reader. A flight through L2 and the call of the Loader that it begins have one context.
func (c *Cache[K, V]) loadContext(caller context.Context, began int64) (context.Context, context.CancelFunc) {
	if l, ok := caller.(ofLoad); ok {
		return l, func() {} // the flight ends it, after the call
	}
	left := c.opt.LoadTimeout - time.Duration(c.client.now()-began)
	ctx, cancel := context.WithTimeout(c.detach(caller), left)
	return ofLoad{ctx}, cancel
}

// ofLoad is a context that loadContext has made.
type ofLoad struct{ context.Context }

// detach is a context that only Close ends, with those of the caller's values that may pass to a Loader.
func (c *Cache[K, V]) detach(caller context.Context) context.Context {
	ctx := c.client.life
	if len(c.opt.ContextKeys) > 0 {
		ctx = valuesOf{ctx, caller, c.opt.ContextKeys}
	}
	if c.client.traceLoad != nil {
		ctx = c.client.traceLoad(caller, ctx)
	}
	return ctx
}

// valuesOf is a context with some of the caller's values.
type valuesOf struct {
	context.Context
	caller context.Context
	keys   []any
}

// Value implements context.Context.
func (v valuesOf) Value(key any) any {
	if slices.Contains(v.keys, key) {
		return v.caller.Value(key)
	}
	return v.Context.Value(key)
}
