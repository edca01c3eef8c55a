package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/nearcache/nearcache-go/coherence/postgres"
	"github.com/nearcache/nearcache-go/internal/product/app/endpoint"
	"github.com/nearcache/nearcache-go/tier"
)

// tool is what the commands have in common: how to reach the services.
type tool struct {
	env func(string) string

	redis, prefix, database, schema string
	withoutNotify                   bool // of install
	timeout                         time.Duration
}

// root is the whole command line. Its flags have no default from the environment, which --help would show with the
// passwords in it.
func root(env func(string) string) *cobra.Command {
	t := &tool{env: env}
	cmd := &cobra.Command{
		Use:   "nearcache",
		Short: "Show and invalidate what a near cache holds, and install its trigger",
		Long: "Nearcache shows what Redis holds of a key, makes every instance drop a key, and installs the trigger that\n" +
			"counts versions.\n\nExit codes: 0 all was done, 1 a failure or something that was not reached,\n" +
			"2 a command line that cannot work.",
		SilenceUsage: true, SilenceErrors: true,
		RunE: func(*cobra.Command, []string) error { return fmt.Errorf("%w: a command is needed", errUsage) },
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("%w: there is no such command", errUsage)
			}
			return nil
		},
	}
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return fmt.Errorf("%w: %w", errUsage, err) })
	flags := cmd.PersistentFlags()
	flags.StringVar(&t.redis, "redis", "", "Redis: redis://[user:password@]host:port[/database], or host:port (REDIS_URL)")
	flags.StringVar(&t.prefix, "prefix", "", "beginning of every Redis key (REDIS_PREFIX; default "+tier.DefaultPrefix+")")
	flags.StringVar(&t.database, "database", "", "Postgres: postgres://user:password@host:port/database (DATABASE_URL)")
	flags.StringVar(&t.schema, "schema", "nearcache", "schema of the source's tables")
	flags.DurationVar(&t.timeout, "timeout", 10*time.Second, "time for the whole command")
	cmd.AddCommand(t.key(), t.get(), t.watermarks(), t.invalidate(), t.install())
	return cmd
}

// exactly takes n arguments, or up to most.
func exactly(n, most int) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) < n || len(args) > most {
			return fmt.Errorf("%w: %d arguments are given", errUsage, len(args))
		}
		return nil
	}
}

// or is a flag's value, or a variable's.
func (t *tool) or(flag, variable string) string {
	if flag == "" {
		return t.env(variable)
	}
	return flag
}

// limit bounds a command by --timeout.
func (t *tool) limit(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, t.timeout)
}

// open connects to Redis.
func (t *tool) open(ctx context.Context) (*tier.L2, error) {
	address := t.or(t.redis, "REDIS_URL")
	if address == "" {
		return nil, fmt.Errorf("%w: --redis or REDIS_URL is needed", errUsage)
	}
	opt, err := endpoint.Redis(address)
	if err != nil {
		return nil, fmt.Errorf("%w: --redis: %w", errUsage, err)
	}
	l2, err := tier.Open(tier.Config{Redis: opt, Prefix: t.or(t.prefix, "REDIS_PREFIX")})
	if err != nil {
		return nil, err
	}
	if err := l2.Ready(ctx); err != nil {
		l2.Close()
		return nil, fmt.Errorf("cannot reach Redis: %w", err)
	}
	return l2, nil
}

// source opens the database; nothing need be reachable yet. Close the pool after the source.
func (t *tool) source(ctx context.Context) (*postgres.Source, *pgxpool.Pool, error) {
	address := t.or(t.database, "DATABASE_URL")
	if address == "" {
		return nil, nil, fmt.Errorf("%w: --database or DATABASE_URL is needed", errUsage)
	}
	cfg, err := endpoint.Postgres(address)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: --database: %w", errUsage, err)
	}
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, nil, errors.New("the database cannot be opened")
	}
	src, err := postgres.New(pool, postgres.Config{Schema: t.schema, WithoutNotify: t.withoutNotify})
	if err != nil {
		pool.Close()
		return nil, nil, fmt.Errorf("%w: %w", errUsage, err)
	}
	return src, pool, nil
}
