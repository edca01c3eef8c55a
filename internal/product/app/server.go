package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/nearcache/nearcache-go/coherence/kafka"
	"github.com/nearcache/nearcache-go/coherence/relay"
	"github.com/nearcache/nearcache-go/internal/product"
	"github.com/nearcache/nearcache-go/internal/product/httpapi"
	"github.com/nearcache/nearcache-go/nearcache"
	"github.com/nearcache/nearcache-go/tier"
)

// shutdownTimeout is how long requests in flight may take to finish.
const shutdownTimeout = 15 * time.Second

// startTimeout is how long serving waits for the database.
const startTimeout = 5 * time.Second

// Server is the product server: one or more instances, and beside them a relay and a worker if it is told so.
type Server struct {
	Config Config
	Logger *slog.Logger
	// Out gets the addresses and what to try, once all instances serve. Defaults to nowhere.
	Out io.Writer
	// Started is told the URLs of the instances. May be nil.
	Started func(urls []string)
}

// instance is one product server: its own client, cache, registry and listener.
type instance struct {
	client *nearcache.Client
	reg    *prometheus.Registry
	http   *http.Server
	listen net.Listener
}

// Run serves until ctx ends, lets requests in flight finish, and returns nil.
func (s *Server) Run(ctx context.Context) (err error) {
	b, err := open(ctx, &s.Config)
	if err != nil {
		return err
	}
	defer b.close()
	var background sync.WaitGroup
	defer background.Wait()
	work, stopWork := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWork()
	prepared := make(chan struct{})
	background.Go(func() { b.prepare(work, s.Logger); close(prepared) })
	patience := time.NewTimer(startTimeout)
	defer patience.Stop()
	if s.Config.embedded() { // the database is here, and seeding it may take a while
		patience.Stop()
	}
	select {
	case <-prepared:
	case <-patience.C: // what can be served without the database is
	case <-ctx.Done():
	}
	var all []*instance
	defer func() {
		for _, in := range all {
			err = errors.Join(err, in.client.Close())
		}
	}()
	for i := range s.Config.Instances {
		in, err := s.start(ctx, b, i)
		if err != nil {
			return err
		}
		all = append(all, in)
	}
	if s.Config.Relay {
		publisher, carrying, err := b.relay(&s.Config, all[0].client.L2(), s.Logger)
		if err != nil {
			return err
		}
		carrying.Registerer = all[0].reg
		background.Go(func() {
			<-prepared
			s.ended("relay", b.runRelay(work, publisher, carrying, s.Logger))
		})
	}
	if s.Config.Worker || s.Config.embedded() {
		worker := b.worker(&s.Config, all[0].client.L2(), s.Logger)
		worker.Registerer = all[0].reg
		background.Go(func() { s.ended("worker", worker.Run(work)) })
	}
	urls := make([]string, len(all))
	var serving sync.WaitGroup
	for i, in := range all {
		urls[i] = "http://" + in.listen.Addr().String()
		serving.Go(func() {
			if err := in.http.Serve(in.listen); !errors.Is(err, http.ErrServerClosed) {
				s.Logger.Error("serving ended", "error", err)
			}
		})
		s.Logger.Info("serving", "instance", i+1, "url", urls[i])
	}
	s.announce(urls)
	<-ctx.Done()
	s.Logger.Info("shutting down")
	end, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	for _, in := range all {
		err = errors.Join(err, in.http.Shutdown(end))
	}
	serving.Wait()
	stopWork()
	background.Wait()
	return err
}

// start makes an instance and listens.
func (s *Server) start(ctx context.Context, b *backend, i int) (*instance, error) {
	log := s.Logger
	if s.Config.Instances > 1 {
		log = log.With("instance", i+1)
	}
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	cfg := nearcache.Config{Redis: b.redis, Source: b.source, Heartbeat: s.Config.heartbeat(), Registerer: reg, Logger: log}
	if len(b.brokers.Brokers) > 0 {
		cfg.Events = kafka.Tail{Broker: b.brokers, Topic: s.Config.Topic, Codec: product.EventCodec(), Logger: log}
	}
	client, err := nearcache.New(cfg)
	if err != nil {
		return nil, err
	}
	cache, err := nearcache.NewCache(client, product.Namespace, nearcache.Options[string, product.Product]{
		TTL:          s.Config.ttl(),
		MaxStaleness: time.Duration(s.Config.MaxStaleMS) * time.Millisecond,
		Load: func(ctx context.Context, id string) (nearcache.Entry[product.Product], error) {
			p, v, err := b.store.Find(ctx, id)
			if errors.Is(err, product.ErrNotFound) {
				err = nearcache.ErrNotFound
			}
			return nearcache.Entry[product.Product]{Value: p, Version: v}, err
		},
	})
	if err != nil {
		return nil, errors.Join(err, client.Close())
	}
	h := &httpapi.Handler{Store: b.store, Cache: cache, Logger: log, Metrics: promhttp.HandlerFor(reg, promhttp.HandlerOpts{}),
		Ready: func(ctx context.Context) error { return ready(ctx, b.store) }, Status: client.Status}
	if s.Config.Crash == "after-commit" {
		h.AfterCommit = func() {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {} // the signal is on its way; nothing more must happen
		}
	}
	listen, err := net.Listen("tcp", s.address(i))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("listening: %w", err), client.Close())
	}
	return &instance{client: client, reg: reg, listen: listen, http: &http.Server{Handler: h.Routes(), ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout: 30 * time.Second, WriteTimeout: 60 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn)}}, nil
}

// ready asks the database: without Redis or Kafka products are served all the same.
func ready(ctx context.Context, store product.Store) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if _, err := store.List(ctx, "", 1); err != nil {
		return errors.New("the database cannot be reached")
	}
	return nil
}

// address is the first instance's as configured; the others take any free port of the same host.
func (s *Server) address(i int) string {
	if i == 0 {
		return s.Config.Listen
	}
	host, _, _ := net.SplitHostPort(s.Config.Listen)
	return net.JoinHostPort(host, "0")
}

func (s *Server) ended(what string, err error) {
	if err != nil {
		s.Logger.Error(what+" ended", "error", err)
	}
}

// announce prints what to try.
func (s *Server) announce(urls []string) {
	if s.Started != nil {
		s.Started(urls)
	}
	if s.Out == nil {
		return
	}
	first, last := urls[0], urls[len(urls)-1]
	var b strings.Builder
	fmt.Fprintf(&b, "\nProducts are served at\n")
	for _, u := range urls {
		fmt.Fprintf(&b, "  %s\n", u)
	}
	fmt.Fprintf(&b, `
Try, and look at Cache-Status and ETag:
  curl -si %[1]s/products/p00042
  curl -si %[2]s/products/p00042
  curl -si -X PUT %[1]s/products/p00042 -d '{"name":"Marlowe Desk Lamp Air","price":49.90}'
  curl -si %[2]s/products/p00042
  curl -si %[2]s/products/p00042 -H 'Nearcache-At-Least: 2'
  curl -si %[2]s/products/p00042 -H 'Nearcache-Max-Staleness: 0.5'
  curl -s %[2]s/status
  curl -s '%[1]s/products?limit=3&after=p00100'
  curl -s %[1]s/metrics | grep ^nearcache_
Ctrl-C stops it.

`, first, last)
	_, _ = io.WriteString(s.Out, b.String())
}

// relay is the outbox relay to whatever there is: Kafka, Redis, or both.
func (b *backend) relay(c *Config, l2 *tier.L2, log *slog.Logger) (*kafka.Publisher, *relay.Relay, error) {
	r := &relay.Relay{Source: b.source, L2: l2, Name: c.Topic, Interval: c.heartbeat(), Logger: log}
	if len(b.brokers.Brokers) == 0 {
		return nil, r, nil
	}
	p, err := kafka.NewPublisher(kafka.PublisherConfig{Broker: b.brokers, Topic: c.Topic, Codec: product.EventCodec()})
	if err != nil {
		return nil, nil, err
	}
	r.Publisher = p
	return p, r, nil
}

// runRelay runs the relay, and has the topic made beside it: Redis need not wait for a Kafka that is down.
func (b *backend) runRelay(ctx context.Context, p *kafka.Publisher, r *relay.Relay, log *slog.Logger) error {
	if p != nil {
		var topic sync.WaitGroup
		topic.Go(func() { b.topic(ctx, p, log) })
		defer p.Close()
		defer topic.Wait()
	}
	return r.Run(ctx)
}

func (b *backend) worker(c *Config, l2 *tier.L2, log *slog.Logger) *kafka.Worker {
	return &kafka.Worker{Broker: b.brokers, Topic: c.Topic, GroupID: c.GroupID, Codec: product.EventCodec(), L2: l2, Logger: log}
}
