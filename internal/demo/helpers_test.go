package demo_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/nearcache/nearcache-go/internal/product/app/apptest"
	"github.com/nearcache/nearcache-go/internal/testkit"
)

// page is a running demo.
type page struct {
	urls []string // of the instances
	stop func()   // as Ctrl-C does; it returns when the server has ended
}

// start starts the demo on embedded services.
func start(t *testing.T, args ...string) *page {
	t.Helper()
	args = append([]string{"-instances", "3", "-max-staleness", "750"}, args...)
	s := apptest.Start(t, apptest.Unset, args...)
	return &page{urls: s.URLs, stop: func() { s.Stop() }}
}

// post asks the page for something and decodes the answer.
func (p *page) post(t *testing.T, path, body string, into any) int {
	t.Helper()
	status, answer := testkit.HTTP(t, http.MethodPost, p.urls[0]+path, body)
	if into != nil {
		if err := json.Unmarshal([]byte(answer), into); err != nil {
			t.Fatalf("%s: status %d, %s: %v", path, status, answer, err)
		}
	}
	return status
}

// act presses a button.
func (p *page) act(t *testing.T, do string, instance int) {
	t.Helper()
	b, err := json.Marshal(map[string]any{"do": do, "instance": instance})
	if err != nil {
		t.Fatal(err)
	}
	var said struct{ Text string }
	if status := p.post(t, "/demo/api/act", string(b), &said); status != 200 || said.Text == "" {
		t.Fatalf("%s: got the status %d and the sentence %q, want 200 and a sentence", do, status, said.Text)
	}
}

// event is one of the stream.
type event struct{ id, kind, data string }

// stream reads events until it is closed.
type stream struct {
	body io.ReadCloser
	r    *bufio.Reader
}

// open opens a stream of the page, after an event that it has.
func (p *page) open(t *testing.T, query, last string) *stream {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.urls[0]+"/demo/events"+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	if last != "" {
		req.Header.Set("Last-Event-ID", last)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = res.Body.Close() })
	if kind := res.Header.Get("Content-Type"); res.StatusCode != 200 || kind != "text/event-stream" {
		t.Fatalf("got the status %d and the type %q, want a stream of events", res.StatusCode, kind)
	}
	return &stream{res.Body, bufio.NewReader(res.Body)}
}

// next is the next event.
func (s *stream) next() (e event, err error) {
	for {
		line, err := s.r.ReadString('\n')
		if err != nil {
			return e, err
		}
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch name {
		case "id":
			e.id = value
		case "event":
			e.kind = value
		case "data":
			e.data = value
		case "":
			return e, nil
		}
	}
}

// await reads on until an event of a kind is as wanted, and decodes it.
func await[T any](t *testing.T, s *stream, kind string, want func(T) bool) T {
	t.Helper()
	for {
		e, err := s.next()
		if err != nil {
			t.Fatalf("the stream ended while waiting for %s: %v", kind, err)
		}
		if e.kind != kind {
			continue
		}
		var v T
		if err := json.NewDecoder(bytes.NewReader([]byte(e.data))).Decode(&v); err != nil {
			t.Fatalf("%s: %v", e.data, err)
		}
		if want(v) {
			return v
		}
	}
}

// frame is what the tests look at of a frame.
type frame struct {
	Bound     float64
	Audit     struct{ Reads, Inconsistent uint64 }
	Relay     bool
	Instances []struct {
		Paused, RedisCut, Redis, Events, Gate bool
		Channel, Says                         string
		Proved, HitRatio, Reads               float64
	}
	Keys []struct {
		ID        string
		DB, Redis uint64
		L1        []struct {
			V      uint64
			Serves bool
		}
	}
	Scores []struct {
		Name               string
		Reads, Stale, Over int64
		Worst              float64
	}
	Journey *journey
}

type journey struct {
	Version  uint64
	Done     bool
	Arrivals []struct {
		Instance int
		By       string
		US       int64
	}
}
