package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/nearcache/nearcache-go/tier"
)

// Worker runs the invalidation worker alone until ctx ends.
func Worker(ctx context.Context, c Config, log *slog.Logger) error {
	b := &backend{brokers: c.brokers()}
	if len(b.brokers.Brokers) == 0 {
		return fmt.Errorf("%w: KAFKA_BOOTSTRAP_SERVERS is required", ErrUsage)
	}
	return role(ctx, &c, log, func(ctx context.Context, store *tier.L2, reg prometheus.Registerer) error {
		w := b.worker(&c, store, log)
		w.Registerer = reg
		return w.Run(ctx)
	})
}

// Relay runs the outbox relay alone until ctx ends.
func Relay(ctx context.Context, c Config, log *slog.Logger) error {
	if c.DatabaseURL == "" {
		return fmt.Errorf("%w: DATABASE_URL is required", ErrUsage)
	}
	b, err := open(ctx, &c)
	if err != nil {
		return err
	}
	defer b.close()
	b.seed = 0
	return role(ctx, &c, log, func(ctx context.Context, store *tier.L2, reg prometheus.Registerer) error {
		publisher, relay, err := b.relay(&c, store, log)
		if err != nil {
			return err
		}
		relay.Registerer = reg
		b.prepare(ctx, log)
		return b.runRelay(ctx, publisher, relay, log)
	})
}

// role runs a job beside /healthz and /metrics.
func role(ctx context.Context, c *Config, log *slog.Logger, job func(context.Context, *tier.L2, prometheus.Registerer) error) error {
	if c.RedisURL == "" && c.RedisHost == "" {
		return fmt.Errorf("%w: REDIS_HOST or REDIS_URL is required", ErrUsage)
	}
	opt, err := c.redis()
	if err != nil {
		return fmt.Errorf("%w: REDIS_URL: %w", ErrUsage, err)
	}
	store, err := tier.Open(tier.Config{Redis: opt, Logger: log})
	if err != nil {
		return err
	}
	defer store.Close()
	listen, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	reg := prometheus.NewRegistry()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{}))
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	var serving sync.WaitGroup
	serving.Go(func() { _ = srv.Serve(listen) })
	log.Info("running", "url", "http://"+listen.Addr().String())
	err = job(ctx, store, reg)
	end, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	err = errors.Join(err, srv.Shutdown(end))
	serving.Wait()
	return err
}

// Main runs a program with the process's own arguments and signals, and returns its exit code: 0, 1 for a failure, 2 for
// a configuration that cannot work.
func Main(name string, run func(context.Context, Config, *slog.Logger) error) int {
	c, err := Parse(name, os.Args[1:], os.Getenv)
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		return 2
	}
	log, err := c.Logger()
	if err != nil {
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, c, log); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		if errors.Is(err, ErrUsage) {
			return 2
		}
		return 1
	}
	return 0
}
