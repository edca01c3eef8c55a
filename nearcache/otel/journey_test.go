package otel_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/kafka"
	"github.com/nearcache/nearcache-go/coherence/relay"
	"github.com/nearcache/nearcache-go/internal/testkit"
	"github.com/nearcache/nearcache-go/nearcache"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
	"github.com/nearcache/nearcache-go/nearcache/otel"
)

// tracedSource is a Source that knows the traces of its writes, as an outbox does.
type tracedSource struct {
	*nearcachetest.Source
	mu     sync.Mutex
	traces map[string]string // by key
}

func (s *tracedSource) Changes(ctx context.Context, after coherence.Position, limit int) ([]coherence.Event,
	coherence.Position, error) {
	events, upto, err := s.Source.Changes(ctx, after, limit)
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range events {
		events[i].Trace = s.traces[events[i].Key]
	}
	return events, upto, err
}

// TestTracer_AWriteIsSeenToReachEveryInstance: the traces of two writes show the relay, the worker and both instances.
func TestTracer_AWriteIsSeenToReachEveryInstance(t *testing.T) {
	const topic = "events"
	src := &tracedSource{Source: nearcachetest.NewSource(), traces: map[string]string{}}
	redis, brokers := nearcachetest.NewRedis(t), nearcachetest.NewKafka(t, 2).Brokers()
	recorder := tracetest.NewSpanRecorder()
	provider := sdk.NewTracerProvider(sdk.WithSpanProcessor(recorder))
	tracer := otel.NewTracer(provider)
	broker := kafka.Broker{Brokers: brokers}
	publisher, err := kafka.NewPublisher(kafka.PublisherConfig{Broker: broker, Topic: topic})
	if err != nil {
		t.Fatal(err)
	}
	defer publisher.Close()
	if err := publisher.CreateTopic(t.Context(), 2, 1); err != nil {
		t.Fatal(err)
	}
	var l2 *nearcache.Client
	for range 2 {
		client, err := nearcache.New(nearcache.Config{Redis: redis.ClientOption(), Source: src, Tracer: tracer,
			Events: kafka.Tail{Broker: broker, Topic: topic}})
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		testkit.Eventually(t, "the instance follows the events", func() bool { return client.Status().Events })
		l2 = client
	}
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	r := relay.Relay{Source: src, Publisher: publisher, L2: l2.L2(), Interval: 10 * time.Millisecond, Tracer: tracer}
	running.Go(func() { _ = r.Run(ctx) })
	worker := kafka.Worker{Broker: broker, Topic: topic, GroupID: "g", L2: l2.L2(), Tracer: tracer}
	running.Go(func() { _ = worker.Run(ctx) })

	// A relay that finds no watermarks in Redis begins at the present position.
	testkit.Eventually(t, "Redis has the relay's watermarks", func() bool { return l2.Status().Bound.Redis > 0 })
	requests := map[string]trace.SpanContext{}
	for _, key := range []string{"a", "b"} {
		traced, request := provider.Tracer("test").Start(t.Context(), "PUT")
		src.mu.Lock()
		src.traces[key] = tracer.Traceparent(traced)
		src.mu.Unlock()
		requests[key] = request.SpanContext()
	}
	src.Write("product", "a", coherence.OpUpdated)
	src.Write("product", "b", coherence.OpUpdated)
	src.Write("product", "untraced", coherence.OpUpdated)

	want := []string{"nearcache events.apply", "nearcache events.apply", "nearcache relay.events", "nearcache relay.redis",
		"nearcache worker.apply"}
	for key, request := range requests {
		var got []string
		testkit.Eventually(t, "the trace of "+key+" is whole", func() bool {
			got = nil
			for _, s := range recorder.Ended() {
				if s.SpanContext().TraceID() == request.TraceID() && s.Parent().SpanID() == request.SpanID() {
					got = append(got, s.Name())
					if len(s.Links()) != 1 || s.Links()[0].SpanContext.TraceID() == request.TraceID() {
						t.Errorf("%s does not lead to its batch: %v", s.Name(), s.Links())
					}
				}
			}
			slices.Sort(got)
			return len(got) >= len(want)
		})
		if !slices.Equal(got, want) {
			t.Errorf("the write of %s is seen at\n%s\nwant\n%s", key, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	linked := map[trace.TraceID]int{}
	for _, s := range recorder.Ended() {
		if !s.Parent().IsValid() {
			for _, l := range s.Links() {
				linked[l.SpanContext.TraceID()]++
			}
		}
	}
	for key, request := range requests {
		if linked[request.TraceID()] < len(want) {
			t.Errorf("%d batches link to the write of %s, want %d", linked[request.TraceID()], key, len(want))
		}
	}
}

func TestCheckTraceparent(t *testing.T) {
	const good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	for s, want := range map[string]string{good: good, "": "", good + "0": "", good[:54]: "",
		strings.ToUpper(good): "", strings.Replace(good, "-", "_", 1): "", "01" + good[2:]: ""} {
		if got := coherence.CheckTraceparent(s); got != want {
			t.Errorf("%q: got %q, want %q", s, got, want)
		}
	}
}
