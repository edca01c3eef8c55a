package e2e

import (
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/nearcache/nearcache-go/internal/testkit"
)

// receiver is a collector of OTLP over HTTP. It keeps which service has sent which spans of which trace.
type receiver struct {
	url string

	mu    sync.Mutex
	spans map[string][]string // by trace: "service: span"
}

func newReceiver(t *testing.T) *receiver {
	r := &receiver{spans: map[string][]string{}}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		var got collector.ExportTraceServiceRequest
		if err == nil {
			err = proto.Unmarshal(body, &got)
		}
		if err != nil || req.URL.Path != "/v1/traces" {
			t.Errorf("got an export to %s and error %v", req.URL.Path, err)
		}
		r.take(&got)
		answer, _ := proto.Marshal(&collector.ExportTraceServiceResponse{})
		w.Header().Set("Content-Type", "application/x-protobuf")
		_, _ = w.Write(answer)
	}))
	t.Cleanup(srv.Close)
	r.url = srv.URL
	return r
}

func (r *receiver) take(got *collector.ExportTraceServiceRequest) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, of := range got.ResourceSpans {
		service := ""
		for _, a := range of.Resource.Attributes {
			if a.Key == "service.name" {
				service = a.Value.GetStringValue()
			}
		}
		for _, scope := range of.ScopeSpans {
			for _, s := range scope.Spans {
				trace := hex.EncodeToString(s.TraceId)
				r.spans[trace] = append(r.spans[trace], service+": "+s.Name)
			}
		}
	}
}

// missing are those of the wanted spans that a trace does not have, each as often as it is wanted.
func (r *receiver) missing(trace string, wanted []string) (missing []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	have := slices.Clone(r.spans[trace])
	for _, want := range wanted {
		if i := slices.Index(have, want); i >= 0 {
			have = slices.Delete(have, i, i+1)
		} else {
			missing = append(missing, want)
		}
	}
	return missing
}

// TestTrace_ShowsAWriteReachEveryInstance: one PUT with a traceparent of its client is followed through the outbox of
// Postgres and the headers of Kafka to the relay, the worker and two instances, by what the programs export.
func TestTrace_ShowsAWriteReachEveryInstance(t *testing.T) {
	w, otlp := newWorld(t), newReceiver(t)
	w.env["OTEL_EXPORTER_OTLP_ENDPOINT"] = otlp.url
	w.env["OTEL_BSP_SCHEDULE_DELAY"] = "100"
	a := w.start("product-server", "OTEL_SERVICE_NAME=instance-a")
	b := w.start("product-server", "OTEL_SERVICE_NAME=instance-b")
	w.start("outbox-relay")
	w.start("invalidation-worker")
	a.mustPut("p", "one")
	a.fromL1("p")
	b.fromL1("p")
	wanted := []string{"outbox-relay: nearcache relay.redis", "outbox-relay: nearcache relay.events",
		"invalidation-worker: nearcache worker.apply", "instance-a: nearcache events.apply",
		"instance-b: nearcache events.apply", "instance-a: PUT /products/{id}"}
	// The relay's first round covers what is there already without looking at each change, so a write that comes before
	// it has no span of its.
	var last time.Time
	var traces []string
	defer func() {
		if t.Failed() {
			for _, trace := range traces {
				t.Errorf("the trace %s lacks %q", trace, otlp.missing(trace, wanted))
			}
		}
	}()
	testkit.Eventually(t, "the trace of a write has every step", func() bool {
		if time.Since(last) > 3*time.Second {
			trace := fmt.Sprintf("4bf92f3577b34da6a3ce929d0e0e47%02x", len(traces))
			if got := a.put("p", trace, "Traceparent", "00-"+trace+"-00f067aa0ba902b7-01"); got.status != 200 {
				t.Fatalf("got %d %s", got.status, got.body)
			}
			last, traces = time.Now(), append(traces, trace)
		}
		return slices.ContainsFunc(traces, func(trace string) bool { return len(otlp.missing(trace, wanted)) == 0 })
	})
}
