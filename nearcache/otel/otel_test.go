package otel_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/nearcache/nearcache-go/internal/testkit"
	"github.com/nearcache/nearcache-go/nearcache"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
	"github.com/nearcache/nearcache-go/nearcache/otel"
)

// traced is a cache whose spans are recorded.
type traced struct {
	t        *testing.T
	recorder *tracetest.SpanRecorder
	tracer   trace.Tracer
	reg      *prometheus.Registry
	cache    *nearcache.Cache[string, string]
	load     func(ctx context.Context, key string) (nearcache.Entry[string], error)
}

func newTraced(t *testing.T, redis *nearcachetest.Redis, sampler sdk.Sampler) *traced {
	t.Helper()
	w := &traced{t: t, recorder: tracetest.NewSpanRecorder(), reg: prometheus.NewRegistry()}
	provider := sdk.NewTracerProvider(sdk.WithSpanProcessor(w.recorder), sdk.WithSampler(sampler))
	w.tracer = provider.Tracer("test")
	client, err := nearcache.New(nearcache.Config{Redis: redis.ClientOption(), Registerer: w.reg,
		Tracer: otel.NewTracer(provider)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	if err := client.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.load = func(context.Context, string) (nearcache.Entry[string], error) {
		return nearcache.Entry[string]{Value: "v", Version: 1}, nil
	}
	w.cache, err = nearcache.NewCache(client, "product", nearcache.Options[string, string]{
		Load: func(ctx context.Context, key string) (nearcache.Entry[string], error) { return w.load(ctx, key) }})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// read reads a key within a span of the caller's, and returns that once all that the read has begun is over.
func (w *traced) read(key string) (trace.SpanContext, nearcache.Result[string], error) {
	w.t.Helper()
	ctx, request := w.tracer.Start(w.t.Context(), "request")
	r, err := w.cache.Read(ctx, key, nearcache.ReadOptions{})
	request.End()
	testkit.Eventually(w.t, "all spans have ended", func() bool {
		return len(w.recorder.Started()) == len(w.recorder.Ended())
	})
	return request.SpanContext(), r, err
}

// tree are the spans of a trace: "parent > child", sorted.
func (w *traced) tree(of trace.TraceID) (edges []string) {
	names := map[trace.SpanID]string{}
	for _, s := range w.recorder.Ended() {
		names[s.SpanContext().SpanID()] = s.Name()
	}
	for _, s := range w.recorder.Ended() {
		if s.SpanContext().TraceID() == of && s.Parent().IsValid() {
			edges = append(edges, names[s.Parent().SpanID()]+" > "+s.Name())
		}
	}
	slices.Sort(edges)
	return slices.Compact(edges)
}

// wantTree waits for a trace's spans: the last of them, the fill, may begin after the read has returned.
func (w *traced) wantTree(of trace.TraceID, want ...string) {
	w.t.Helper()
	testkit.Eventually(w.t, "the trace is\n"+strings.Join(want, "\n"), func() bool {
		return slices.Equal(w.tree(of), want)
	})
}

func (w *traced) span(of trace.TraceID, name string) sdk.ReadOnlySpan {
	w.t.Helper()
	for _, s := range w.recorder.Ended() {
		if s.SpanContext().TraceID() == of && s.Name() == name {
			return s
		}
	}
	w.t.Fatalf("the trace has no span %q: %v", name, w.tree(of))
	return nil
}

func attributeOf(s sdk.ReadOnlySpan, key string) attribute.Value {
	for _, a := range s.Attributes() {
		if string(a.Key) == key {
			return a.Value
		}
	}
	return attribute.Value{}
}

func TestTracer_AReadIsATree(t *testing.T) {
	w := newTraced(t, nearcachetest.NewRedis(t), sdk.AlwaysSample())
	w.load = func(ctx context.Context, _ string) (nearcache.Entry[string], error) {
		_, query := w.tracer.Start(ctx, "query")
		query.End()
		return nearcache.Entry[string]{Value: "v", Version: 1}, nil
	}
	request, _, err := w.read("42")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"nearcache get > nearcache l2.acquire", "nearcache get > nearcache l2.fill",
		"nearcache get > nearcache l2.read", "nearcache get > nearcache load", "nearcache load > query",
		"request > nearcache get"}
	w.wantTree(request.TraceID(), want...)
	get, l2 := w.span(request.TraceID(), "nearcache get"), w.span(request.TraceID(), "nearcache l2.read")
	for key, value := range map[string]string{"nearcache.cache": "product", "nearcache.tier": "source"} {
		if got := attributeOf(get, key); got.AsString() != value {
			t.Errorf("the read's %s is %q, want %q", key, got.String(), value)
		}
	}
	if l2.SpanKind() != trace.SpanKindClient || attributeOf(l2, "db.system.name").AsString() != "redis" {
		t.Errorf("the read of Redis is of the kind %v, with %v", l2.SpanKind(), l2.Attributes())
	}
	for _, s := range w.recorder.Ended() {
		for _, a := range s.Attributes() {
			if strings.Contains(a.Value.String(), "42") {
				t.Errorf("the span %s shows the key: %v", s.Name(), a)
			}
		}
		if s.Status().Code == codes.Error {
			t.Errorf("the span %s is marked as failed: %v", s.Name(), s.Status())
		}
	}
}

// TestTracer_AReadOfSeveralKeysIsOneSpan: hits in L1 are not among its keys, and the deepest tier names it.
func TestTracer_AReadOfSeveralKeysIsOneSpan(t *testing.T) {
	w := newTraced(t, nearcachetest.NewRedis(t), sdk.AlwaysSample())
	testkit.Eventually(t, "L1 has a key", func() bool {
		_, r, err := w.read("a")
		return err == nil && r.Tier == nearcache.TierL1
	})
	readMany := func(keys ...string) trace.TraceID {
		ctx, request := w.tracer.Start(t.Context(), "request")
		w.cache.ReadMany(ctx, keys, nearcache.ReadOptions{})
		request.End()
		testkit.Eventually(t, "all spans have ended", func() bool {
			return len(w.recorder.Started()) == len(w.recorder.Ended())
		})
		return request.SpanContext().TraceID()
	}
	if edges := w.tree(readMany("a")); len(edges) != 0 {
		t.Errorf("hits in L1 make %v", edges)
	}
	of := readMany("a", "b", "c")
	want := []string{"nearcache get > nearcache l2.acquire", "nearcache get > nearcache l2.fill",
		"nearcache get > nearcache l2.read", "nearcache get > nearcache load", "request > nearcache get"}
	w.wantTree(of, want...)
	get := w.span(of, "nearcache get")
	if n, tier := attributeOf(get, "nearcache.keys").AsInt64(), attributeOf(get, "nearcache.tier").AsString(); n != 2 ||
		tier != "source" {
		t.Errorf("the span has %d keys and the tier %s, want 2 and source", n, tier)
	}
	broken := errors.New("no such luck")
	w.load = func(context.Context, string) (nearcache.Entry[string], error) {
		return nearcache.Entry[string]{}, broken
	}
	if got := w.span(readMany("b", "d"), "nearcache get").Status(); got.Code != codes.Error {
		t.Errorf("a read of which one key fails has the status %v, want an error", got)
	}
}

func TestTracer_AHitInL1MakesNoSpanAndAllocatesNothing(t *testing.T) {
	w := newTraced(t, nearcachetest.NewRedis(t), sdk.AlwaysSample())
	testkit.Eventually(t, "L1 has the key", func() bool {
		request, r, err := w.read("a")
		if err != nil {
			t.Fatal(err)
		}
		if edges := w.tree(request.TraceID()); r.Tier == nearcache.TierL1 && len(edges) != 0 {
			t.Errorf("a hit in L1 makes %v", edges)
		}
		return r.Tier == nearcache.TierL1
	})
	ctx, request := w.tracer.Start(t.Context(), "request")
	defer request.End()
	if n := testing.AllocsPerRun(3000, func() { _, _ = w.cache.Get(ctx, "a") }); n != 0 {
		t.Errorf("a hit in L1 makes %v allocations with metrics and tracing on", n)
	}
}

func TestTracer_AFailureIsTheSpans(t *testing.T) {
	w := newTraced(t, nearcachetest.NewRedis(t), sdk.AlwaysSample())
	for key, c := range map[string]struct {
		err  error
		want codes.Code
	}{"broken": {errors.New("no such luck"), codes.Error}, "absent": {nearcache.ErrNotFound, codes.Unset}} {
		w.load = func(context.Context, string) (nearcache.Entry[string], error) {
			return nearcache.Entry[string]{}, c.err
		}
		request, _, err := w.read(key)
		if !errors.Is(err, c.err) {
			t.Fatal(err)
		}
		for _, name := range []string{"nearcache load", "nearcache get"} {
			if got := w.span(request.TraceID(), name).Status(); got.Code != c.want {
				t.Errorf("%s: the span %s has the status %v, want %v", key, name, got, c.want)
			}
		}
	}
}

// TestTracer_ALeaseOfAnotherIsWaitedFor: a reader whose key another instance loads shows what it waits for.
func TestTracer_ALeaseOfAnotherIsWaitedFor(t *testing.T) {
	redis := nearcachetest.NewRedis(t)
	a, b := newTraced(t, redis, sdk.AlwaysSample()), newTraced(t, redis, sdk.AlwaysSample())
	loading, go_ := make(chan struct{}), make(chan struct{})
	a.load = func(context.Context, string) (nearcache.Entry[string], error) {
		close(loading)
		<-go_
		return nearcache.Entry[string]{Value: "v", Version: 1}, nil
	}
	done := make(chan error, 1)
	go func() {
		_, err := a.cache.Get(context.Background(), "k")
		done <- err
	}()
	<-loading
	waits := make(chan trace.SpanContext, 1)
	go func() {
		request, _, _ := b.read("k")
		waits <- request
	}()
	testkit.Eventually(t, "the other instance finds the lease taken, twice", func() bool {
		return testkit.Metric(t, b.reg, "nearcache_leases_total", "busy") >= 2
	})
	close(go_)
	if err := <-done; err != nil {
		t.Error(err)
	}
	request := <-waits
	if !slices.Contains(b.tree(request.TraceID()), "nearcache get > nearcache lease.wait") {
		t.Errorf("the trace shows no wait: %v", b.tree(request.TraceID()))
	}
}

// exemplars are the trace ids of a histogram's exemplars.
func exemplars(t *testing.T, reg *prometheus.Registry, name string) (ids []string) {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			for _, b := range m.GetHistogram().GetBucket() {
				for _, l := range b.GetExemplar().GetLabel() {
					ids = append(ids, l.GetValue())
				}
			}
		}
	}
	return ids
}

func TestTracer_LatenciesHaveExemplars(t *testing.T) {
	for name, c := range map[string]struct {
		sampler sdk.Sampler
		kept    bool
	}{"sampled": {sdk.AlwaysSample(), true}, "not sampled": {sdk.NeverSample(), false}} {
		t.Run(name, func(t *testing.T) {
			w := newTraced(t, nearcachetest.NewRedis(t), c.sampler)
			request, _, err := w.read("a")
			if err != nil {
				t.Fatal(err)
			}
			for _, metric := range []string{"nearcache_lookup_duration_seconds", "nearcache_load_duration_seconds"} {
				got := exemplars(t, w.reg, metric)
				if c.kept && !slices.Equal(got, []string{request.TraceID().String()}) || !c.kept && len(got) > 0 {
					t.Errorf("%s has the exemplars %v; the trace %v is kept: %v", metric, got, request.TraceID(), c.kept)
				}
			}
		})
	}
}

func TestTracer_TraceparentIsW3Cs(t *testing.T) {
	tracer := otel.NewTracer(sdk.NewTracerProvider())
	if got := tracer.Traceparent(t.Context()); got != "" {
		t.Errorf("without a span: %q", got)
	}
	sc := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{0x4b, 15: 1}, SpanID: trace.SpanID{7: 2},
		TraceFlags: trace.FlagsSampled})
	const want = "00-4b000000000000000000000000000001-0000000000000002-01"
	from := trace.ContextWithSpanContext(t.Context(), sc)
	if got := tracer.Traceparent(from); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := tracer.Traceparent(tracer.Continue(from, context.Background())); got != want {
		t.Errorf("continued: %q, want %q", got, want)
	}
}

func TestNewMetrics_AreThoseOfTheRegistry(t *testing.T) {
	w := newTraced(t, nearcachetest.NewRedis(t), sdk.NeverSample())
	if _, _, err := w.read("a"); err != nil {
		t.Fatal(err)
	}
	reader := metric.NewManualReader(metric.WithProducer(otel.NewMetrics(w.reg)))
	provider := metric.NewMeterProvider(metric.WithReader(reader))
	defer func() { _ = provider.Shutdown(context.Background()) }()
	var got metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &got); err != nil {
		t.Fatal(err)
	}
	loads := 0.0
	for _, s := range got.ScopeMetrics {
		for _, m := range s.Metrics {
			if sum, ok := m.Data.(metricdata.Sum[float64]); ok && m.Name == "nearcache_loads_total" {
				for _, p := range sum.DataPoints {
					if result, _ := p.Attributes.Value("result"); result.AsString() == "ok" {
						loads += p.Value
					}
				}
			}
		}
	}
	if loads != 1 {
		t.Errorf("OpenTelemetry sees %v loads, want 1", loads)
	}
}
