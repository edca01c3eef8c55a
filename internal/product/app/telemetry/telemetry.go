// Package telemetry exports the spans of the demo's programs by OTLP, as the standard environment variables say.
package telemetry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	otelapi "go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/version"
	"github.com/nearcache/nearcache-go/nearcache/otel"
)

// Telemetry exports spans. A nil Telemetry exports none.
type Telemetry struct {
	provider *sdktrace.TracerProvider
	tracer   *otel.Tracer
}

// Start begins to export if the environment asks for it: OTEL_TRACES_EXPORTER is "otlp", or is not set and an OTLP
// endpoint is. It returns nil if nothing is to be exported, and an error for what it cannot do. The other variables
// (endpoint, headers, certificates, sampler, limits, resource) are read by OpenTelemetry's SDK. It does not connect
// yet; failures to export are logged, once a minute.
func Start(ctx context.Context, program string, log *slog.Logger) (*Telemetry, error) {
	on, err := asked(os.Getenv)
	if err != nil || !on {
		return nil, err
	}
	exporter, err := otlptracehttp.New(ctx)
	if err != nil {
		return nil, fmt.Errorf("telemetry: %w", err)
	}
	of, err := resource.New(ctx, resource.WithTelemetrySDK(), resource.WithService(), resource.WithAttributes(
		attribute.String("service.name", program), attribute.String("service.version", version.Version())),
		resource.WithFromEnv()) // last, so that it wins
	if err != nil && !errors.Is(err, resource.ErrPartialResource) {
		return nil, fmt.Errorf("telemetry: OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	otelapi.SetErrorHandler(&errorLog{log: log})
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(of))
	return &Telemetry{provider, otel.NewTracer(provider)}, nil
}

// asked reports whether spans are to be exported.
func asked(env func(string) string) (bool, error) {
	if strings.EqualFold(env("OTEL_SDK_DISABLED"), "true") {
		return false, nil
	}
	switch exporter := env("OTEL_TRACES_EXPORTER"); exporter {
	case "none":
		return false, nil
	case "":
		if env("OTEL_EXPORTER_OTLP_ENDPOINT") == "" && env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") == "" {
			return false, nil
		}
	case "otlp":
	default:
		return false, fmt.Errorf("OTEL_TRACES_EXPORTER is %q: otlp or none", exporter)
	}
	for _, name := range []string{"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"} {
		if protocol := env(name); protocol != "" {
			if protocol != "http/protobuf" {
				return false, fmt.Errorf("%s is %q: only http/protobuf is spoken here", name, protocol)
			}
			break
		}
	}
	return true, nil
}

// Tracer makes spans of the near cache's work; nil for none.
func (t *Telemetry) Tracer() coherence.Tracer {
	if t == nil {
		return nil
	}
	return t.tracer
}

// Traceparent is the span of ctx as W3C Trace Context writes it, "" if there is none.
func (t *Telemetry) Traceparent(ctx context.Context) string {
	if t == nil {
		return ""
	}
	return t.tracer.Traceparent(ctx)
}

// Handler makes a span of each request, below the caller's own if the request has a traceparent.
func (t *Telemetry) Handler(h http.Handler) http.Handler {
	if t == nil {
		return h
	}
	return otelhttp.NewHandler(h, "request", otelhttp.WithTracerProvider(t.provider),
		otelhttp.WithPropagators(propagation.TraceContext{}))
}

// Close exports what is left, for two seconds at most.
func (t *Telemetry) Close() {
	if t == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if err := t.provider.Shutdown(ctx); err != nil {
		otelapi.Handle(err)
	}
}

// errorLog logs what the SDK cannot do, once a minute: a collector that is away fails every batch.
type errorLog struct {
	log *slog.Logger

	mu   sync.Mutex
	last time.Time
}

// Handle implements otelapi.ErrorHandler.
func (l *errorLog) Handle(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := time.Now(); l.last.IsZero() || now.Sub(l.last) >= time.Minute {
		l.last = now
		l.log.Warn("spans are not exported", "error", err)
	}
}
