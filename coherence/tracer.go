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
	// StartBatch begins a span of work on a batch of changes, whose writes have the given traceparents; an empty one is
	// none. The span links to those traces, and each trace that is sampled gets a span of the same times below its write.
	StartBatch(ctx context.Context, operation string, traceparents []string, attrs ...slog.Attr) (context.Context, Span)
	// Continue returns to, with the span of from as its own, and nothing else of from.
	Continue(from, to context.Context) context.Context
	// Traceparent is the span of ctx as a traceparent of W3C Trace Context, "" if there is none.
	Traceparent(ctx context.Context) string
}

// TracesOf are the traceparents of events, and of those that have none "".
func TracesOf(events []Event) []string {
	out := make([]string, len(events))
	for i := range events {
		out[i] = events[i].Trace
	}
	return out
}

// CheckTraceparent returns a traceparent if it has the form of version 00 of W3C Trace Context, and else "".
//
//	00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01
func CheckTraceparent(s string) string {
	const form = "00-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx-xxxxxxxxxxxxxxxx-xx"
	if len(s) != len(form) {
		return ""
	}
	for i := range len(form) {
		hex := s[i] >= '0' && s[i] <= '9' || s[i] >= 'a' && s[i] <= 'f'
		if form[i] == 'x' && !hex || form[i] != 'x' && s[i] != form[i] {
			return ""
		}
	}
	return s
}

// Span is an operation under way.
type Span interface {
	// Set adds attributes.
	Set(attrs ...slog.Attr)
	// End ends the span. An error is its outcome; nil: it succeeded.
	End(err error)
}
