package health_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nearcache/nearcache-go/internal/product/health"
)

func ask(m *health.Monitor, path string) *httptest.ResponseRecorder {
	mux := http.NewServeMux()
	m.Routes(mux, "test", func() map[string]any { return map[string]any{"more": 1} })
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
	return w
}

// TestMonitor_FollowsItsChecks: a fault that all neighbours share is a reason, and one of this program alone takes it
// out.
func TestMonitor_FollowsItsChecks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		var shared, own atomic.Pointer[error]
		read := func(p *atomic.Pointer[error]) func(context.Context) error {
			return func(context.Context) error {
				if e := p.Load(); e != nil {
					return *e
				}
				return nil
			}
		}
		hangs := func(ctx context.Context) error { <-ctx.Done(); return errors.New("no answer") }
		m := health.NewMonitor(slog.New(slog.NewTextHandler(&log, nil)), health.Check{Code: "database", Run: read(&shared)},
			health.Check{Code: "own", Run: read(&own)}, health.Check{Code: "hangs", Run: hangs})
		m.Also = func() []health.Reason { return []health.Reason{{Code: "zz", Detail: "of a part", Since: time.Now()}} }
		if w := ask(m, "/readyz"); w.Code != 503 || !strings.Contains(w.Body.String(), "starting") {
			t.Errorf("before the first round: %d %s", w.Code, w.Body)
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { m.Run(ctx); close(done) }()
		time.Sleep(10 * time.Second)
		if w := ask(m, "/readyz"); w.Code != 200 || !strings.HasPrefix(w.Body.String(),
			"ready\ndegraded: hangs: no answer\ndegraded: zz: of a part\n") {
			t.Errorf("got the status %d and %s, want 200, ready and degraded", w.Code, w.Body)
		}
		refused := errors.New("refused")
		shared.Store(&refused)
		began := time.Now()
		time.Sleep(10 * time.Second)
		if w := ask(m, "/readyz"); w.Code != 200 || !strings.Contains(w.Body.String(), "degraded: database: refused") {
			t.Errorf("the database is closed to all: %d %s", w.Code, w.Body)
		}
		alone := health.Unready(errors.New("only here"))
		own.Store(&alone)
		time.Sleep(10 * time.Second)
		if w := ask(m, "/readyz"); w.Code != 503 || w.Header().Get("Content-Type") != "application/problem+json" ||
			!strings.Contains(w.Body.String(), "not ready: own: only here") {
			t.Errorf("a fault of this program alone: %d %s", w.Code, w.Body)
		}
		var status struct {
			Program string
			Ready   bool
			More    int
			Reasons []health.Reason
		}
		if err := json.Unmarshal(ask(m, "/status").Body.Bytes(), &status); err != nil || status.Program != "test" ||
			status.Ready ||
			status.More != 1 || len(status.Reasons) != 4 || status.Reasons[0].Code != "database" ||
			status.Reasons[0].Since.Before(began) ||
			status.Reasons[0].Since.After(began.Add(5*time.Second)) {
			t.Errorf("got %+v and error %v, want not ready with five reasons, the database first", status, err)
		}
		shared.Store(nil)
		own.Store(nil)
		time.Sleep(10 * time.Second)
		if w := ask(m, "/readyz"); w.Code != 200 || strings.Contains(w.Body.String(), "database") {
			t.Errorf("after it: %d %s", w.Code, w.Body)
		}
		m.Drain()
		time.Sleep(10 * time.Second)
		if w := ask(m, "/readyz"); w.Code != 503 || !strings.Contains(w.Body.String(), "draining") {
			t.Errorf("draining: %d %s", w.Code, w.Body)
		}
		if w := ask(m, "/healthz"); w.Code != 200 {
			t.Errorf("alive while draining: %d", w.Code)
		}
		stop()
		<-done
		if n := strings.Count(log.String(), `msg=degraded reason=database`); n != 1 {
			t.Errorf("%d lines that the database is away, want 1:\n%s", n, log.String())
		}
	})
}
