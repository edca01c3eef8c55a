package app

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/nearcache/nearcache-go/internal/product/httpapi"
	"github.com/nearcache/nearcache-go/nearcache"
)

// onAPI is the admin address that stands for that of the API.
const onAPI = "api"

// adminListener serves what operators need on an address apart from the API's. It shows keys, switches the caches off,
// and authorises nobody.
type adminListener struct {
	server *http.Server
	listen net.Listener
	ended  chan struct{}
}

// serveAdmin listens and serves.
func serveAdmin(address string, mux *http.ServeMux, log *slog.Logger) (*adminListener, error) {
	listen, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listening for ADMIN_LISTEN_ADDR: %w", err)
	}
	srv := timeouts(&http.Server{Handler: httpapi.WithProblems(mux), ErrorLog: serverLog(log)}, 5*time.Second)
	srv.WriteTimeout = 2 * time.Minute // a profile takes as long as it is asked for
	a := &adminListener{listen: httpapi.Listener(listen), ended: make(chan struct{}), server: srv}
	log.Info("serving operators", "url", a.url())
	go func() {
		defer close(a.ended)
		if err := srv.Serve(a.listen); !errors.Is(err, http.ErrServerClosed) {
			log.Error("serving operators ended", "error", err)
		}
	}()
	return a, nil
}

func (a *adminListener) url() string { return "http://" + a.listen.Addr().String() }

// close ends it. It may be nil.
func (a *adminListener) close() {
	if a != nil {
		_ = a.server.Close()
		<-a.ended
	}
}

// adminRoutes are those of every program: metrics and profiles.
func adminRoutes(mux *http.ServeMux, reg *prometheus.Registry) {
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{EnableOpenMetrics: true}))
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
}

// cacheRoutes are those of an instance with caches: what they hold, and their mode.
func cacheRoutes(mux *http.ServeMux, client *nearcache.Client, log *slog.Logger) {
	mux.Handle("GET /cache", nearcache.DebugHandler(client))
	mux.HandleFunc("GET /mode", func(w http.ResponseWriter, _ *http.Request) { writeText(w, client.Mode().String()) })
	mux.HandleFunc("PUT /mode", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 64))
		mode, ok := modes[strings.TrimSpace(string(body))]
		if err != nil || !ok {
			httpapi.Problem(w, http.StatusBadRequest, "the body is one of on, shadow and off")
			return
		}
		before := client.Mode()
		if err := client.SetMode(mode); err != nil {
			httpapi.Problem(w, http.StatusConflict, err.Error())
			return
		}
		log.Warn("an operator has switched the caches", "from", before.String(), "to", mode.String(), "by", r.RemoteAddr)
		writeText(w, mode.String())
	})
}

var modes = map[string]nearcache.Mode{nearcache.ModeOn.String(): nearcache.ModeOn,
	nearcache.ModeShadow.String(): nearcache.ModeShadow, nearcache.ModeOff.String(): nearcache.ModeOff}

func writeText(w http.ResponseWriter, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = io.WriteString(w, text+"\n")
}
