package health

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// Probes adds /healthz and /readyz to a mux.
func (m *Monitor) Probes(mux *http.ServeMux) {
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		_, _ = io.WriteString(w, "ok\n")
	})
	mux.HandleFunc("GET /readyz", m.serveReady)
}

// Routes adds the probes and /status to a mux. status is what a program says of itself there, beside its readiness and
// reasons; it may be nil.
func (m *Monitor) Routes(mux *http.ServeMux, program string, status func() map[string]any) {
	m.Probes(mux)
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) {
		out := map[string]any{}
		if status != nil {
			out = status()
		}
		ready, reasons := m.Ready()
		out["program"], out["ready"], out["reasons"] = program, ready, reasons
		writeJSON(w, http.StatusOK, "application/json", out)
	})
}

// serveReady answers 200 with the reasons as text, or 503 with them as a problem (RFC 9457).
func (m *Monitor) serveReady(w http.ResponseWriter, _ *http.Request) {
	ready, reasons := m.Ready()
	if ready {
		var b strings.Builder
		b.WriteString("ready\n")
		for _, r := range reasons {
			fmt.Fprintf(&b, "degraded: %s: %s\n", r.Code, r.Detail)
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		_, _ = io.WriteString(w, b.String())
		return
	}
	var why []string
	for _, r := range reasons {
		if r.Unready {
			why = append(why, r.Code+": "+r.Detail)
		}
	}
	writeJSON(w, http.StatusServiceUnavailable, "application/problem+json", map[string]any{
		"type": "about:blank", "title": http.StatusText(http.StatusServiceUnavailable),
		"status": http.StatusServiceUnavailable,
		"detail": "not ready: " + strings.Join(why, "; "), "reasons": reasons,
	})
}

func writeJSON(w http.ResponseWriter, status int, kind string, v map[string]any) {
	b, err := json.Marshal(v)
	if err != nil {
		http.Error(w, "encoding failed", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n'))
}
