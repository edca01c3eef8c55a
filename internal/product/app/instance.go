package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"syscall"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/nearcache/nearcache-go/coherence/kafka"
	"github.com/nearcache/nearcache-go/internal/demo"
	"github.com/nearcache/nearcache-go/internal/product"
	"github.com/nearcache/nearcache-go/internal/product/health"
	"github.com/nearcache/nearcache-go/internal/product/httpapi"
	"github.com/nearcache/nearcache-go/internal/product/page"
	"github.com/nearcache/nearcache-go/nearcache"
)

// instance is one product server: its own client, cache, registry and listener.
type instance struct {
	client *nearcache.Client
	cache  *nearcache.Cache[string, product.Product]
	reg    *prometheus.Registry
	health *health.Monitor
	near   *neighbours
	http   *http.Server
	listen net.Listener
	admin  *adminListener               // nil: operators are served on the API's address
	worker atomic.Pointer[kafka.Worker] // that runs beside it; nil: none
}

// start makes an instance and listens. live is the live page, nil without one.
func (s *Server) start(b *backend, live *demo.Demo, i int, prepared <-chan struct{}) (_ *instance, err error) {
	log := s.Logger
	if s.Config.Instances > 1 {
		log = log.With("instance", i+1)
	}
	in := &instance{reg: prometheus.NewRegistry()}
	in.reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	cfg := nearcache.Config{Redis: b.redis, Prefix: s.Config.Prefix, Buckets: s.Config.Buckets,
		Source: b.source, Heartbeat: s.Config.Heartbeat,
		Registerer: in.reg, Logger: log, Tracer: b.telemetry.Tracer()}
	if cfg.Events = b.events(&s.Config, log); cfg.Events != nil && live != nil {
		cfg.Events = live.Events(i, cfg.Events)
	}
	if in.client, err = nearcache.New(cfg); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, in.client.Close())
		}
	}()
	load := nearcache.Loader[string, product.Product](b.load)
	audit := nearcache.Audit[string, product.Product]{Rate: float64(s.Config.AuditReads)}
	if live != nil {
		load, audit.Load = live.Load(i, load), load
		audit.Rate = max(audit.Rate, liveAudits)
	}
	if in.cache, err = s.cache(in.client, load, audit); err != nil {
		return nil, err
	}
	in.near = newNeighbours(b.redis, s.Config.Prefix+":product-server:database-reached")
	in.health = health.NewMonitor(log, s.checks(b, in, prepared)...)
	in.health.Also = in.reasons
	mux, err := s.routes(in, b, live, log)
	if err != nil {
		return nil, err
	}
	operators := mux
	if s.Config.AdminListen != onAPI {
		operators = http.NewServeMux()
		in.health.Probes(mux)
	}
	in.operatorRoutes(operators, &s.Config, log)
	listen, err := net.Listen("tcp", nthAddress(s.Config.Listen, i))
	if errors.Is(err, syscall.EADDRINUSE) && live != nil {
		// A demo has nothing that a client would look for at this very address.
		log.Warn("the address is in use, so any free port is taken", "address", s.Config.Listen)
		host, _, _ := net.SplitHostPort(s.Config.Listen)
		listen, err = net.Listen("tcp", net.JoinHostPort(host, "0"))
	}
	if err != nil {
		return nil, fmt.Errorf("listening: %w", err)
	}
	in.listen = httpapi.Listener(listen)
	handler := httpapi.WithProblems(mux)
	if live != nil {
		handler = live.Door(i, handler)
	}
	handler = b.telemetry.Handler(handler)
	in.http = timeouts(&http.Server{Handler: handler, ErrorLog: serverLog(log)}, s.Config.RequestTimeout)
	if operators != mux {
		if in.admin, err = serveAdmin(nthAddress(s.Config.AdminListen, i), operators, log); err != nil {
			return nil, errors.Join(err, listen.Close())
		}
	}
	return in, nil
}

func (s *Server) cache(client *nearcache.Client, load nearcache.Loader[string, product.Product],
	audit nearcache.Audit[string, product.Product]) (*nearcache.Cache[string, product.Product], error) {
	return nearcache.NewCache(client, product.Namespace, nearcache.Options[string, product.Product]{
		TTL: s.Config.TTL, MaxStaleness: s.Config.MaxStaleness, Load: load, Audit: audit})
}

// load is the Loader.
func (b *backend) load(ctx context.Context, id string) (nearcache.Entry[product.Product], error) {
	p, v, err := b.store.Find(ctx, id)
	if errors.Is(err, product.ErrNotFound) {
		err = nearcache.ErrNotFound
	}
	return nearcache.Entry[product.Product]{Value: p, Version: v}, err
}

// reasons are those of the client, and of the worker beside it. None makes an instance unready: requests are answered
// without a worker, and whatever the caches lack is read from the database.
func (in *instance) reasons() []health.Reason {
	reasons := reasonsOf(in.client.Status())
	if w := in.worker.Load(); w != nil {
		for _, r := range workerReasons(w.Status()) {
			r.Unready = false
			reasons = append(reasons, r)
		}
	}
	return reasons
}

// operatorRoutes are the probes, and what is not for the public.
func (in *instance) operatorRoutes(mux *http.ServeMux, c *Config, log *slog.Logger) {
	in.health.Routes(mux, ProductServer, func() map[string]any { return statusOf(in.client.Status(), c.embedded()) })
	adminRoutes(mux, in.reg)
	cacheRoutes(mux, in.client, log)
}

// adminURL is where operators are served.
func (in *instance) adminURL() string {
	if in.admin != nil {
		return in.admin.url()
	}
	return "http://" + in.listen.Addr().String()
}

// pageState is what the page for people says of the instance. Operators have /status.
func (in *instance) pageState(demo bool) page.State {
	ready, _ := in.health.Ready()
	s := in.client.Status()
	return page.State{Ready: ready, Demo: demo, Redis: s.Redis, ProvedBy: s.Bound.Channel,
		ProvedStaleness: s.Bound.Staleness.Seconds()}
}

// routes are those of the API and of the pages.
func (s *Server) routes(in *instance, b *backend, live *demo.Demo, log *slog.Logger) (*http.ServeMux, error) {
	h := &httpapi.Handler{Store: b.store, Cache: in.cache, Logger: log, Timeout: s.Config.RequestTimeout,
		MinStaleness: s.Config.floor()}
	if n := s.Config.ForcedReads; n > 0 {
		h.SourceReads = httpapi.NewSourceReads(n, n)
	}
	if err := h.SourceReads.Register(in.reg); err != nil {
		return nil, err
	}
	if s.Config.Crash == "after-commit" {
		h.AfterCommit = func() {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {} // the signal is on its way; nothing more must happen
		}
	}
	mux := http.NewServeMux()
	h.Routes(mux)
	page.Routes(mux, func() page.State { return in.pageState(live != nil) })
	if live != nil {
		live.Routes(mux)
	}
	return mux, nil
}

// checks say what is wrong with an instance beside what its client says. What all instances share leaves it ready.
func (s *Server) checks(b *backend, in *instance, prepared <-chan struct{}) []health.Check {
	client := in.client
	checks := []health.Check{
		{Code: "database_unreachable", Run: func(ctx context.Context) error {
			return in.near.compare(ctx,
				b.reachable(ctx))
		}},
		{Code: "nothing_reachable", Run: func(context.Context) error {
			select {
			case <-prepared:
				return nil
			default:
			}
			if !client.Status().Redis {
				return health.Unready(errors.New("neither the database nor Redis has been reached since the start"))
			}
			return nil
		}},
	}
	if s.Config.embedded() {
		checks = append(checks, health.Check{Code: "embedded_services", Run: func(context.Context) error {
			return errors.New(embeddedNotice)
		}})
	}
	return checks
}

// serve serves until the server is shut down.
func (in *instance) serve(log *slog.Logger) {
	if err := in.http.Serve(in.listen); !errors.Is(err, http.ErrServerClosed) {
		log.Error("serving ended", "error", err)
	}
}

// close closes what is left when nothing is served any more.
func (in *instance) close() error {
	in.admin.close()
	in.near.close()
	return in.client.Close()
}

// nthAddress is the first instance's as configured; the others take any free port of the same host.
func nthAddress(configured string, i int) string {
	if i == 0 {
		return configured
	}
	host, _, _ := net.SplitHostPort(configured)
	return net.JoinHostPort(host, "0")
}
