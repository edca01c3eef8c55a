package app

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/redis/rueidis"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/kafka"
	"github.com/nearcache/nearcache-go/coherence/nats"
	"github.com/nearcache/nearcache-go/coherence/postgres"
	"github.com/nearcache/nearcache-go/coherence/sqlite"
	"github.com/nearcache/nearcache-go/internal/product"
	"github.com/nearcache/nearcache-go/internal/product/app/endpoint"
	"github.com/nearcache/nearcache-go/internal/product/app/telemetry"
	"github.com/nearcache/nearcache-go/internal/services"
)

// backend is what a program stands on: the services, real or embedded, and the products in them.
type backend struct {
	redis   rueidis.ClientOption
	brokers kafka.Broker // without any: no Kafka
	nats    nats.Server  // without a URL: no NATS
	store   *countingStore
	source  coherence.Source
	install func(context.Context) error
	flush   func() // empties an embedded Redis; nil: Redis is not embedded
	seed    int
	closers []func()

	telemetry *telemetry.Telemetry // nil: no spans are exported
}

// embeddedProducts is how many made-up products embedded services begin with.
const embeddedProducts = 1000

// open opens what is configured. Nothing need be reachable yet.
func open(ctx context.Context, c *Config, spans *telemetry.Telemetry) (b *backend, err error) {
	b = &backend{seed: c.Seed, telemetry: spans}
	defer func() {
		if err != nil {
			b.close()
		}
	}()
	cfg := *c
	if c.embedded() {
		e, err := services.StartEmbedded(4, c.Topic)
		if err != nil {
			return b, err
		}
		b.closers = append(b.closers, func() { _ = e.Close() })
		b.flush = e.FlushRedis
		cfg.RedisURL, cfg.Brokers = "redis://"+e.RedisAddr, strings.Join(e.Brokers, ",")
		if b.seed < 0 {
			b.seed = embeddedProducts
		}
		if err := b.sqlite(e.DB); err != nil {
			return b, err
		}
	} else if err := b.database(ctx, c.DatabaseURL); err != nil {
		return b, err
	}
	if b.redis, err = cfg.redis(); err != nil {
		return b, fmt.Errorf("%w: %w", ErrUsage, err)
	}
	if b.brokers, err = cfg.brokers(); err != nil {
		return b, fmt.Errorf("%w: %w", ErrUsage, err)
	}
	if b.nats, err = cfg.nats(); err != nil {
		return b, fmt.Errorf("%w: %w", ErrUsage, err)
	}
	return b, nil
}

func (b *backend) database(ctx context.Context, address string) error {
	if file, ok := endpoint.SQLite(address); ok {
		db, err := services.OpenSQLite(file)
		if err != nil {
			return err
		}
		b.closers = append(b.closers, func() { _ = db.Close() })
		return b.sqlite(db)
	}
	cfg, err := endpoint.Postgres(address)
	if err != nil {
		return fmt.Errorf("%w: DATABASE_URL: %w", ErrUsage, err)
	}
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return fmt.Errorf("%w: DATABASE_URL: %w", ErrUsage, err)
	}
	db := stdlib.OpenDBFromPool(pool)
	src, err := postgres.New(pool, postgres.Config{})
	if err != nil {
		return err
	}
	b.closers = append(b.closers, pool.Close, func() { _ = db.Close() }, src.Close)
	store := product.NewPostgresStore(db, src)
	store.Traceparent = b.telemetry.Traceparent
	b.source, b.store = src, &countingStore{Store: store}
	b.install = func(ctx context.Context) error {
		if err := errors.Join(store.Install(ctx), src.Install(ctx)); err != nil {
			return err
		}
		return src.InstallTrigger(ctx, postgres.Trigger{Table: product.Table, Namespace: product.Namespace,
			KeyColumns: []string{product.Key}})
	}
	return nil
}

func (b *backend) sqlite(db *sql.DB) error {
	src, err := sqlite.New(db, sqlite.Config{})
	if err != nil {
		return err
	}
	store := product.NewSQLiteStore(db, src)
	b.source, b.store = src, &countingStore{Store: store}
	b.install = func(ctx context.Context) error {
		if err := errors.Join(store.Install(ctx), src.Install(ctx)); err != nil {
			return err
		}
		return src.InstallTrigger(ctx, sqlite.Trigger{Table: product.Table, Namespace: product.Namespace,
			KeyColumns: []string{product.Key}})
	}
	return nil
}

// attempt bounds each attempt to prepare the database, so that one on a server that is frozen ends.
const attempt = 30 * time.Second

// prepare creates tables, installs the trigger and seeds, and tries until the database lets it.
func (b *backend) prepare(ctx context.Context, log *slog.Logger) {
	b.insist(ctx, log, "the database is not ready; trying on", func(ctx context.Context) error {
		if err := b.install(ctx); err != nil {
			return err
		}
		b.store.counts.Store(true)
		if b.seed <= 0 {
			return nil
		}
		n, err := product.Seed(ctx, b.store, b.seed)
		if n > 0 {
			log.Info("seeded", "products", n)
		}
		return err
	})
}

// insist tries until it succeeds or ctx ends, more and more slowly.
func (b *backend) insist(ctx context.Context, log *slog.Logger, failing string, f func(context.Context) error) {
	for wait := 100 * time.Millisecond; ctx.Err() == nil; wait = min(2*wait, 2*time.Second) {
		try, cancel := context.WithTimeout(ctx, attempt)
		err := f(try)
		cancel()
		if err == nil {
			return
		}
		log.Warn(failing, "error", err)
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// reachable asks the database for its position. The source has connections of its own for that: while requests that
// wait for a lock hold all others, the database is reached all the same.
func (b *backend) reachable(ctx context.Context) error {
	if _, err := b.source.Position(ctx); err != nil {
		return fmt.Errorf("the database cannot be reached: %w", err)
	}
	return nil
}

// close closes in the opposite order of opening.
func (b *backend) close() {
	for i := len(b.closers) - 1; i >= 0; i-- {
		b.closers[i]()
	}
}
