// Package otel connects a near cache to OpenTelemetry: its work as spans, and its metrics for who has no Prometheus.
//
//	client, err := nearcache.New(nearcache.Config{Tracer: otel.NewTracer(provider), Registerer: registry, ...})
//	reader := metric.NewPeriodicReader(exporter, metric.WithProducer(otel.NewMetrics(registry)))
//
// A program that does not import this package links nothing of OpenTelemetry.
package otel

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"
	bridge "go.opentelemetry.io/contrib/bridges/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/nearcache/nearcache-go/coherence"
)

// scope names the library in telemetry.
const scope = "github.com/nearcache/nearcache-go"

// NewMetrics returns a producer of the metrics of a registry, for a reader of OpenTelemetry's SDK. The registry is what
// nearcache.Config.Registerer was set to. Names stay those of docs/reference/metrics.md.
func NewMetrics(from prometheus.Gatherer) metric.Producer {
	return bridge.NewMetricProducer(bridge.WithGatherer(from))
}

// Tracer is a coherence.Tracer that makes spans of OpenTelemetry. A span of an operation named "load" has the name
// "nearcache load". Those that ask Redis have the kind client and db.system.name, all others the kind internal. It is
// safe for concurrent use.
type Tracer struct{ tracer trace.Tracer }

// NewTracer returns a Tracer that makes its spans by a provider, such as otel.GetTracerProvider().
func NewTracer(by trace.TracerProvider) *Tracer { return &Tracer{by.Tracer(scope)} }

// redis are the operations that ask Redis.
var redis = map[string]bool{"l2.read": true, "l2.acquire": true, "l2.fill": true}

// Start implements coherence.Tracer.
func (t *Tracer) Start(ctx context.Context, operation string, attrs ...slog.Attr) (context.Context, coherence.Span) {
	kind, list := trace.SpanKindInternal, attributes(attrs)
	if redis[operation] {
		kind = trace.SpanKindClient
		list = append(list, attribute.String("db.system.name", "redis"), attribute.String("db.operation.name", operation))
	}
	ctx, s := t.tracer.Start(ctx, "nearcache "+operation, trace.WithSpanKind(kind), trace.WithAttributes(list...))
	return ctx, span{s}
}

// mostLinks is how many writes of a batch are linked to, and get a span, at most.
const mostLinks = 128

// StartBatch implements coherence.Tracer.
func (t *Tracer) StartBatch(ctx context.Context, operation string, traceparents []string, attrs ...slog.Attr) (
	context.Context, coherence.Span) {
	var writes []trace.SpanContext
	seen := map[string]bool{"": true}
	for _, p := range traceparents {
		if seen[p] || len(writes) == mostLinks {
			continue
		}
		seen[p] = true
		if sc := parse(p); sc.IsValid() {
			writes = append(writes, sc)
		}
	}
	list := attributes(attrs)
	links := make([]trace.Link, len(writes))
	for i, sc := range writes {
		links[i].SpanContext = sc
	}
	name := "nearcache " + operation
	ctx, s := t.tracer.Start(ctx, name, trace.WithLinks(links...), trace.WithAttributes(list...))
	b := batch{span: span{s}}
	for _, sc := range writes {
		if !sc.IsSampled() {
			continue
		}
		_, of := t.tracer.Start(trace.ContextWithRemoteSpanContext(context.WithoutCancel(ctx), sc), name,
			trace.WithLinks(trace.Link{SpanContext: s.SpanContext()}), trace.WithAttributes(list...),
			trace.WithSpanKind(trace.SpanKindConsumer))
		b.writes = append(b.writes, span{of})
	}
	return ctx, b
}

// parse reads a traceparent. What is none is not valid.
func parse(traceparent string) trace.SpanContext {
	carrier := propagation.MapCarrier{"traceparent": traceparent}
	return trace.SpanContextFromContext(propagation.TraceContext{}.Extract(context.Background(), carrier))
}

// batch is the span of a batch, and those of its writes.
type batch struct {
	span
	writes []span
}

// Set implements coherence.Span.
func (b batch) Set(attrs ...slog.Attr) {
	b.span.Set(attrs...)
	for _, w := range b.writes {
		w.Set(attrs...)
	}
}

// End implements coherence.Span.
func (b batch) End(err error) {
	for _, w := range b.writes {
		w.End(err)
	}
	b.span.End(err)
}

// Continue implements coherence.Tracer.
func (t *Tracer) Continue(from, to context.Context) context.Context {
	return trace.ContextWithSpanContext(to, trace.SpanContextFromContext(from))
}

// Traceparent implements coherence.Tracer.
func (t *Tracer) Traceparent(ctx context.Context) string {
	sc := trace.SpanContextFromContext(ctx)
	if !sc.IsValid() {
		return ""
	}
	return fmt.Sprintf("00-%s-%s-%s", sc.TraceID(), sc.SpanID(), sc.TraceFlags())
}

type span struct{ trace.Span }

// Set implements coherence.Span.
func (s span) Set(attrs ...slog.Attr) { s.SetAttributes(attributes(attrs)...) }

// End implements coherence.Span.
func (s span) End(err error) {
	if err != nil {
		s.SetStatus(codes.Error, err.Error())
		s.SetAttributes(attribute.String("error.type", fmt.Sprintf("%T", err)))
	}
	s.Span.End()
}

func attributes(attrs []slog.Attr) []attribute.KeyValue {
	list := make([]attribute.KeyValue, 0, len(attrs)+2)
	for _, a := range attrs {
		switch v := a.Value.Resolve(); v.Kind() {
		case slog.KindInt64:
			list = append(list, attribute.Int64(a.Key, v.Int64()))
		case slog.KindUint64:
			list = append(list, attribute.Int64(a.Key, int64(v.Uint64())))
		case slog.KindFloat64:
			list = append(list, attribute.Float64(a.Key, v.Float64()))
		case slog.KindBool:
			list = append(list, attribute.Bool(a.Key, v.Bool()))
		case slog.KindDuration:
			list = append(list, attribute.Float64(a.Key, v.Duration().Seconds()))
		default:
			list = append(list, attribute.String(a.Key, v.String()))
		}
	}
	return list
}

var _ coherence.Tracer = (*Tracer)(nil)
