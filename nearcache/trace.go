package nearcache

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/nearcache/nearcache-go/coherence"
)

// The operations that a Tracer hears of.
const (
	opGet     = "get"        // a read that leaves L1
	opRead    = "l2.read"    // records of Redis
	opAcquire = "l2.acquire" // leases
	opWait    = "lease.wait" // for the fill of another process
	opLoad    = "load"       // the Loader
	opFill    = "l2.fill"    // loaded records, on their way to Redis; it may end after the read
)

// attrCache names the namespace of a span, attrTier the tier that answered, attrKeys the number of keys.
const (
	attrCache = "nearcache.cache"
	attrTier  = "nearcache.tier"
	attrKeys  = "nearcache.keys"
)

// trace begins a span of a cache's work on so many keys. Without a Tracer there is none, and end does nothing.
func (c *Cache[K, V]) trace(ctx context.Context, operation string, keys int) (context.Context, span) {
	t := c.client.tracer
	if t == nil {
		return ctx, span{}
	}
	ctx, s := t.Start(ctx, operation, slog.String(attrCache, c.namespace), slog.Int(attrKeys, keys))
	return ctx, span{s}
}

// span is one that there may be.
type span struct{ coherence.Span }

// end ends the span. An absent key is no failure.
func (s span) end(err error) {
	if s.Span == nil {
		return
	}
	if errors.Is(err, ErrNotFound) || errors.Is(err, ErrNotModified) {
		err = nil
	}
	s.End(err)
}

// answered ends the span of a read.
func (s span) answered(t Tier, err error) {
	if s.Span == nil {
		return
	}
	s.Set(slog.String(attrTier, t.String()))
	s.end(err)
}

// observe takes a duration in nanoseconds. If ctx belongs to a trace that is kept, the sample has the trace's id as an
// exemplar.
func (c *Client) observe(ctx context.Context, o prometheus.Observer, took int64) {
	seconds := time.Duration(took).Seconds()
	if c.tracer != nil {
		if id := keptTrace(c.tracer.Traceparent(ctx)); id != "" {
			if e, ok := o.(prometheus.ExemplarObserver); ok {
				e.ObserveWithExemplar(seconds, prometheus.Labels{"trace_id": id})
				return
			}
		}
	}
	o.Observe(seconds)
}

// keptTrace is the id of the trace of a traceparent that is sampled, else "".
//
//	00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01
func keptTrace(traceparent string) string {
	const length, id, flags = 55, 3, 53
	if len(traceparent) != length {
		return ""
	}
	low := traceparent[flags+1]
	digit := low - '0'
	if low >= 'a' {
		digit = low - 'a' + 10
	}
	if digit&1 == 0 {
		return ""
	}
	return traceparent[id : id+32]
}

// opApply is the effect of a batch of events on this instance.
const opApply = "events.apply"

// traceBatch begins the span of a batch of events, nil if it has none.
func (c *Client) traceBatch(ctx context.Context, batch []coherence.Message) (context.Context, coherence.Span) {
	var traces []string
	for i := range batch {
		if batch[i].Barrier == nil {
			traces = append(traces, batch[i].Event.Trace)
		}
	}
	if len(traces) == 0 {
		return ctx, nil
	}
	return c.tracer.StartBatch(ctx, opApply, traces, slog.Int("nearcache.changes", len(traces)))
}
