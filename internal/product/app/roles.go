package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/nearcache/nearcache-go/coherence/kafka"
	"github.com/nearcache/nearcache-go/internal/product"
	"github.com/nearcache/nearcache-go/internal/product/app/telemetry"
	"github.com/nearcache/nearcache-go/internal/product/health"
	"github.com/nearcache/nearcache-go/internal/product/httpapi"
	"github.com/nearcache/nearcache-go/internal/version"
	"github.com/nearcache/nearcache-go/tier"
)

// role is a program with one job and no requests to answer: the relay, or the worker. It is ready while it can do its
// job. No balancer reads that, but an orchestrator does before it stops the instance of the version before.
type role struct {
	program string
	cfg     *Config
	log     *slog.Logger
	reg     *prometheus.Registry
	checks  []health.Check
	also    func() []health.Reason
	status  func() map[string]any
	job     func(context.Context) error
}

// Worker runs the invalidation worker alone until ctx ends.
func Worker(ctx context.Context, c Config, log *slog.Logger) error {
	brokers, err := c.brokers()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUsage, err)
	}
	l2, err := openL2(&c, log)
	if err != nil {
		return err
	}
	defer l2.Close()
	spans, err := telemetry.Start(ctx, InvalidationWorker, log)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUsage, err)
	}
	defer spans.Close()
	b := &backend{brokers: brokers, telemetry: spans}
	r := newRole(InvalidationWorker, &c, log)
	r.reg.MustRegister(l2)
	worker := b.worker(&c, l2, log)
	worker.Registerer = r.reg
	r.checks = []health.Check{redisCheck(l2)}
	r.also = func() []health.Reason { return workerReasons(worker.Status()) }
	r.status = func() map[string]any {
		s := worker.Status()
		return map[string]any{"partitions": s.Partitions, "lag": s.Lag, "behind_seconds": s.Behind.Seconds()}
	}
	r.job = worker.Run
	return r.run(ctx)
}

// Relay runs the outbox relay alone until ctx ends.
func Relay(ctx context.Context, c Config, log *slog.Logger) error {
	spans, err := telemetry.Start(ctx, OutboxRelay, log)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUsage, err)
	}
	defer spans.Close()
	b, err := open(ctx, &c, spans)
	if err != nil {
		return err
	}
	defer b.close()
	b.seed = 0
	l2, err := openL2(&c, log)
	if err != nil {
		return err
	}
	defer l2.Close()
	publisher, relay, err := b.relay(&c, l2, log)
	if err != nil {
		return err
	}
	r := newRole(OutboxRelay, &c, log)
	r.reg.MustRegister(l2)
	relay.Registerer = r.reg
	progress := &relayProgress{reg: r.reg, channels: []string{"redis"}}
	if publisher != nil {
		progress.channels = append(progress.channels, "events")
	}
	r.checks = []health.Check{redisCheck(l2), {Code: "database_unreachable", Run: func(ctx context.Context) error {
		if _, err := b.source.Position(ctx); err != nil {
			return health.Unready(fmt.Errorf("the database cannot be read: %w", err))
		}
		return nil
	}}, {Code: "relay_behind", Run: progress.check}, {Code: "relay_trim", Run: progress.checkTrim}}
	if publisher != nil {
		r.checks = append(r.checks, topicCheck(publisher))
	}
	r.status = progress.status
	r.job = func(ctx context.Context) error {
		b.prepare(ctx, log)
		return b.runRelay(ctx, publisher, relay, log)
	}
	return r.run(ctx)
}

func openL2(c *Config, log *slog.Logger) (*tier.L2, error) {
	opt, err := c.redis()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUsage, err)
	}
	return tier.Open(tier.Config{Redis: opt, Prefix: c.Prefix, Buckets: c.Buckets, Logger: log})
}

func redisCheck(l2 *tier.L2) health.Check {
	return health.Check{Code: "redis_unreachable", Run: func(ctx context.Context) error {
		if _, _, err := l2.Get(ctx, product.Namespace, "health"); errors.Is(err, tier.ErrUnavailable) {
			return health.Unready(fmt.Errorf("cannot reach Redis: %w", err))
		}
		return nil
	}}
}

func topicCheck(p *publisher) health.Check {
	return health.Check{Code: "topic_unreachable", Run: func(ctx context.Context) error {
		n, err := p.Partitions(ctx)
		if err == nil && n == 0 {
			err = errors.New("it does not exist")
		}
		if err != nil {
			return health.Unready(fmt.Errorf("cannot use %s: %w", p.place, err))
		}
		return nil
	}}
}

// workerReasons are why a worker does not do its job. Being late is none: another worker would be late as well.
func workerReasons(s kafka.WorkerStatus) []health.Reason {
	reasons := make([]health.Reason, 0, len(s.Reasons))
	for _, r := range s.Reasons {
		reasons = append(reasons, health.Reason{Code: "worker_" + r.Code, Detail: r.Text, Since: r.Since,
			Unready: r.Code != "behind"})
	}
	return reasons
}

func newRole(program string, c *Config, log *slog.Logger) *role {
	r := &role{program: program, cfg: c, log: log, reg: prometheus.NewRegistry()}
	r.reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		version.Collector())
	return r
}

// run runs the job beside /healthz, /readyz, /status and /metrics.
func (r *role) run(ctx context.Context) error {
	listen, err := net.Listen("tcp", r.cfg.Listen)
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	monitor := health.NewMonitor(r.log, r.checks...)
	monitor.Also = r.also
	mux := http.NewServeMux()
	monitor.Routes(mux, r.program, r.status)
	adminRoutes(mux, r.reg)
	srv := timeouts(&http.Server{Handler: httpapi.WithProblems(mux), ErrorLog: serverLog(r.log)}, 5*time.Second)
	var beside sync.WaitGroup
	beside.Go(func() { _ = srv.Serve(httpapi.Listener(listen)) })
	work, stop := context.WithCancel(ctx)
	defer stop()
	beside.Go(func() { monitor.Run(work) })
	context.AfterFunc(ctx, monitor.Drain)
	r.log.Info("running", "url", "http://"+listen.Addr().String())
	err = r.job(work)
	stop()
	end, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	err = errors.Join(err, srv.Shutdown(end))
	beside.Wait()
	return err
}
