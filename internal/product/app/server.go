package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/nearcache/nearcache-go/internal/demo"
	"github.com/nearcache/nearcache-go/internal/product/app/telemetry"
)

// shutdownTimeout is how long requests in flight may take to finish.
const shutdownTimeout = 15 * time.Second

// embeddedNotice says what it means that no service is configured.
const embeddedNotice = "embedded Redis, Kafka and SQLite are used, the products are made up, " +
	"and all data is lost at the end"

// startTimeout is how long serving waits for the database.
const startTimeout = 5 * time.Second

// Server is the product server: one or more instances, and beside them a relay and a worker if the settings say so.
type Server struct {
	Config Config
	Logger *slog.Logger
	// Out gets the addresses and what to try, once all instances serve. Defaults to nowhere.
	Out io.Writer
	// Started is called with the URLs of the instances. May be nil.
	Started func(urls []string)
}

// Run serves until ctx ends, lets requests in flight finish, and returns nil. If ctx ends by ErrTerminated, the server
// first says that it is not ready and goes on serving for the Config's ShutdownDelay.
func (s *Server) Run(ctx context.Context) (err error) {
	spans, err := telemetry.Start(ctx, ProductServer, s.Logger)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUsage, err)
	}
	defer spans.Close()
	b, err := open(ctx, &s.Config, spans)
	if err != nil {
		return err
	}
	defer b.close()
	live, err := s.demo(b)
	if err != nil {
		return err
	}
	if live != nil {
		defer live.Close()
	}
	var background sync.WaitGroup
	defer background.Wait()
	work, stopWork := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWork()
	prepared := make(chan struct{})
	background.Go(func() { b.prepare(work, s.Logger); close(prepared) })
	s.awaitDatabase(ctx, prepared)
	all, err := s.instances(b, live, prepared)
	defer func() { err = errors.Join(err, atOnce(all, (*instance).close)) }()
	if err != nil {
		return err
	}
	for _, in := range all {
		background.Go(func() { in.health.Run(work) })
	}
	if err := s.beside(work, b, live, all[0], prepared, &background); err != nil {
		return err
	}
	if s.Config.embedded() {
		s.Logger.Warn("NO SERVICE IS CONFIGURED: " + embeddedNotice + "; set DATABASE_URL and REDIS_URL for real ones")
	}
	var serving sync.WaitGroup
	urls := make([]string, len(all))
	for i, in := range all {
		urls[i] = "http://" + in.listen.Addr().String()
		if live != nil {
			live.Attach(i, demo.Instance{URL: urls[i], Client: in.client, Cache: in.cache})
		}
	}
	for i, in := range all {
		serving.Go(func() { in.serve(s.Logger) })
		s.Logger.Info("serving", "instance", i+1, "url", urls[i])
	}
	s.announce(urls, all[0].adminURL(), live != nil)
	<-ctx.Done()
	s.drain(ctx, all)
	if live != nil {
		live.Stop()
	}
	end, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	err = atOnce(all, func(in *instance) error { return in.http.Shutdown(end) })
	serving.Wait()
	stopWork()
	background.Wait()
	return err
}

// atOnce does something with all instances: none waits for another one's requests.
func atOnce(all []*instance, do func(*instance) error) error {
	errs := make([]error, len(all))
	var wg sync.WaitGroup
	for i, in := range all {
		wg.Go(func() { errs[i] = do(in) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// awaitDatabase waits until the database is prepared, but not for long if it is elsewhere: what can be served without
// it is served. An embedded one is here, and seeding it may take a while.
func (s *Server) awaitDatabase(ctx context.Context, prepared <-chan struct{}) {
	patience := time.NewTimer(startTimeout)
	defer patience.Stop()
	if s.Config.embedded() {
		patience.Stop()
	}
	select {
	case <-prepared:
	case <-patience.C:
	case <-ctx.Done():
	}
}

// instances makes all of them. On an error it returns those that were made.
func (s *Server) instances(b *backend, live *demo.Demo, prepared <-chan struct{}) (all []*instance, err error) {
	for i := range s.Config.Instances {
		in, err := s.start(b.through(live, i), live, i, prepared)
		if err != nil {
			return all, err
		}
		all = append(all, in)
	}
	return all, nil
}

// beside starts the relay and the worker that run inside the server.
func (s *Server) beside(work context.Context, b *backend, live *demo.Demo, first *instance, prepared <-chan struct{},
	background *sync.WaitGroup) error {
	l2 := first.client.L2()
	if live != nil {
		l2 = live.L2() // the first instance's can be cut
	}
	ended := func(job string, err error) {
		if err != nil {
			s.Logger.Error(job+" ended", "error", err)
			first.health.Set(job+"_ended", err)
		}
	}
	if s.Config.Relay && live != nil {
		s.relayOnPage(live, b, first, prepared, s.Logger, ended)
	} else if s.Config.Relay {
		publisher, relay, err := b.relay(&s.Config, l2, s.Logger)
		if err != nil {
			return err
		}
		relay.Registerer = first.reg
		background.Go(func() {
			<-prepared
			ended("relay", b.runRelay(work, publisher, relay, s.Logger))
		})
	}
	if s.Config.Worker || s.Config.embedded() {
		worker := b.worker(&s.Config, l2, s.Logger)
		worker.Registerer = first.reg
		first.worker.Store(worker)
		background.Go(func() { ended("worker", worker.Run(work)) })
	}
	return nil
}

// drain has readiness turn first, and gives balancers the time to notice. A second signal ends the process.
func (s *Server) drain(ctx context.Context, all []*instance) {
	for _, in := range all {
		in.health.Drain()
	}
	if delay := s.Config.ShutdownDelay; delay > 0 && errors.Is(context.Cause(ctx), ErrTerminated) {
		s.Logger.Info("draining: not ready, and still serving", "delay", delay)
		t := time.NewTimer(delay)
		<-t.C
	}
	s.Logger.Info("shutting down")
}

// announce prints what to try.
func (s *Server) announce(urls []string, admin string, page bool) {
	if s.Started != nil {
		s.Started(urls)
	}
	if s.Out == nil {
		return
	}
	first, last := urls[0], urls[len(urls)-1]
	var b strings.Builder
	if s.Config.embedded() {
		fmt.Fprintf(&b, "\nNo service is configured: %s.\n", embeddedNotice)
	}
	fmt.Fprintf(&b, "\nProducts are served at\n")
	for _, u := range urls {
		fmt.Fprintf(&b, "  %s\n", u)
	}
	if page {
		fmt.Fprintf(&b, "\nOpen this page and see them work:\n  %s/demo/\n", first)
	}
	fmt.Fprintf(&b, `
Try, and look at Cache-Status and ETag:
  curl -si %[1]s/products/p00042
  curl -si %[2]s/products/p00042
  curl -si -X PUT %[1]s/products/p00042 -d '{"name":"Marlowe Desk Lamp Air","price":49.90}'
  curl -si %[2]s/products/p00042
  curl -si %[2]s/products/p00042 -H 'Nearcache-At-Least: 2'
  curl -si %[2]s/products/p00042 -H 'Nearcache-Max-Staleness: 0.5'
  curl -s '%[1]s/products?limit=3&after=p00100'
The first one's operators have an address of their own:
  curl -s %[3]s/status
  curl -s %[3]s/metrics | grep ^nearcache_
  curl -s -X PUT %[3]s/mode -d shadow
  nearcache top %[3]s/cache
Ctrl-C stops it.

`, first, last, admin)
	_, _ = io.WriteString(s.Out, b.String())
}

// timeouts are those of an HTTP server whose requests have a time of their own.
func timeouts(srv *http.Server, request time.Duration) *http.Server {
	srv.ReadHeaderTimeout = 5 * time.Second
	srv.ReadTimeout = max(request, 5*time.Second)
	srv.WriteTimeout = srv.ReadTimeout + request + 10*time.Second
	srv.IdleTimeout = 2 * time.Minute
	srv.MaxHeaderBytes = 64 << 10
	return srv
}
