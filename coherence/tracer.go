package coherence

import (
	"context"
	"log/slog"
)

// Tracer makes the near cache's work visible as spans of a trace. nearcache/otel has one for OpenTelemetry. Its methods
// are called concurrently, and must not block or panic.
type Tracer interface {
	// Start begins a span below the one of ctx, and returns the context that its children get. The operations are named
	// in nearcache.Config.Tracer. The caller ends the span once.
	Start(ctx context.Context, operation string, attrs ...slog.Attr) (context.Context, Span)
	// Continue returns to, with the span of from as its own, and nothing else of from.
	Continue(from, to context.Context) context.Context
	// Traceparent is the span of ctx as a traceparent of W3C Trace Context, "" if there is none.
	Traceparent(ctx context.Context) string
}

// Span is an operation under way.
type Span interface {
	// Set adds attributes.
	Set(attrs ...slog.Attr)
	// End ends the span. An error is its outcome; nil: it succeeded.
	End(err error)
}
