//go:build unix

package chaos

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/nearcache/nearcache-go/internal/services/local"
)

// postgresFaults are what can happen to the source.
func postgresFaults() []fault {
	return append(promotions(), []fault{
		{"postgres: kill -9", func(_ context.Context, in *injection) error {
			in.source.Kill()
			in.heal(func(ctx context.Context) error { return in.source.Restart(ctx) })
			return nil
		}, 100 * time.Millisecond, time.Second},
		{"postgres: a transaction stays open", func(ctx context.Context, in *injection) error {
			conn, err := pgx.Connect(ctx, local.PostgresURL(in.source.Addr, "postgres"))
			if err != nil {
				return err
			}
			in.heal(func(ctx context.Context) error { return conn.Close(ctx) })
			_, err = conn.Exec(ctx, `begin; select pg_current_xact_id()`)
			return err
		}, 2 * time.Second, 4 * time.Second},
		// A commit that waits for a standby is in the log, but no transaction sees it yet.
		{"postgres: commits wait for a standby", func(ctx context.Context, in *injection) error {
			set := func(ctx context.Context, standby string) error {
				for _, sql := range []string{"alter system set synchronous_standby_names = '" + standby + "'",
					"select pg_reload_conf()"} {
					if _, err := in.store.(*postgresStore).pool.Exec(ctx, sql); err != nil {
						return err
					}
				}
				return nil
			}
			in.heal(func(ctx context.Context) error { return set(ctx, "") })
			return set(ctx, "nobody")
		}, 400 * time.Millisecond, 2 * time.Second},
		{"postgres: all connections end", func(_ context.Context, in *injection) error {
			in.repeat(func(ctx context.Context) {
				_, _ = in.store.(*postgresStore).pool.Exec(ctx,
					`select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid()
						and backend_type = 'client backend'`)
			})
			return nil
		}, 100 * time.Millisecond, 500 * time.Millisecond},
	}...)
}
