package app

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/redis/rueidis"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/kafka"
	"github.com/nearcache/nearcache-go/coherence/postgres"
	"github.com/nearcache/nearcache-go/coherence/sqlite"
	"github.com/nearcache/nearcache-go/internal/product"
	"github.com/nearcache/nearcache-go/internal/services"
)

// backend is what a program stands on: the services, real or embedded, and the products in them.
type backend struct {
	redis   rueidis.ClientOption
	brokers kafka.Broker // without any: no Kafka
	store   *product.SQLStore
	source  coherence.Source
	install func(context.Context) error
	seed    int
	closers []func()
}

// open opens what is configured. Nothing need be reachable yet.
func open(ctx context.Context, c *Config) (b *backend, err error) {
	b = &backend{seed: c.Seed}
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
		cfg.RedisURL, cfg.Brokers = "redis://"+e.RedisAddr, strings.Join(e.Brokers, ",")
		if b.seed < 0 {
			b.seed = 1000
		}
		b.sqlite(e.DB)
	} else if err := b.database(ctx, &cfg); err != nil {
		return b, err
	}
	if b.redis, err = cfg.redis(); err != nil {
		return b, fmt.Errorf("%w: REDIS_URL: %w", ErrUsage, err)
	}
	b.brokers = cfg.brokers()
	return b, nil
}

func (b *backend) database(ctx context.Context, c *Config) error {
	switch {
	case c.postgres():
		pool, err := pgxpool.New(ctx, c.DatabaseURL)
		if err != nil {
			return fmt.Errorf("%w: DATABASE_URL: %w", ErrUsage, err)
		}
		db := stdlib.OpenDBFromPool(pool)
		src, err := postgres.New(pool, postgres.Config{})
		if err != nil {
			return err
		}
		b.closers = append(b.closers, pool.Close, func() { _ = db.Close() }, src.Close)
		b.source, b.store = src, product.NewPostgresStore(db, src)
		b.install = func(ctx context.Context) error {
			if err := src.Install(ctx); err != nil {
				return err
			}
			return b.store.Install(ctx)
		}
		return nil
	case c.DatabaseURL == "":
		return fmt.Errorf("%w: DATABASE_URL is needed, since other services are configured", ErrUsage)
	}
	db, err := services.OpenSQLite(strings.TrimPrefix(c.DatabaseURL, "sqlite:"))
	if err != nil {
		return err
	}
	b.closers = append(b.closers, func() { _ = db.Close() })
	return b.sqlite(db)
}

func (b *backend) sqlite(db *sql.DB) error {
	src, err := sqlite.New(db, sqlite.Config{})
	if err != nil {
		return err
	}
	b.source, b.store = src, product.NewSQLiteStore(db, src)
	b.install = func(ctx context.Context) error {
		if err := src.Install(ctx); err != nil {
			return err
		}
		return b.store.Install(ctx)
	}
	return nil
}

// prepare creates tables and seeds them, and tries until the database lets it.
func (b *backend) prepare(ctx context.Context, log *slog.Logger) {
	for wait := 100 * time.Millisecond; ctx.Err() == nil; wait = min(2*wait, 2*time.Second) {
		err := b.install(ctx)
		if err == nil && b.seed > 0 {
			var n int
			if n, err = product.Seed(ctx, b.store, b.seed); n > 0 {
				log.Info("seeded", "products", n)
			}
		}
		if err == nil {
			return
		}
		log.Warn("the database is not ready; trying on", "error", err)
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// topic creates the topic of events and tries until Kafka lets it.
func (b *backend) topic(ctx context.Context, p *kafka.Publisher, log *slog.Logger) {
	for wait := 100 * time.Millisecond; ctx.Err() == nil; wait = min(2*wait, 2*time.Second) {
		err := p.CreateTopic(ctx, 4, -1)
		if err == nil {
			return
		}
		log.Warn("the topic is not ready; trying on", "error", err)
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// close closes in the opposite order of opening.
func (b *backend) close() {
	for i := len(b.closers) - 1; i >= 0; i-- {
		b.closers[i]()
	}
}
