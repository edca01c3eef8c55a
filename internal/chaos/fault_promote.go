//go:build unix

package chaos

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/nearcache/nearcache-go/internal/chaos/history"
	"github.com/nearcache/nearcache-go/internal/services/local"
)

// promotions are the faults in which a streaming standby of Postgres takes over from its primary, which is killed.
func promotions() []fault {
	return []fault{
		// Every acknowledged commit is on the standby too: the ground truth without one is a failure.
		{"postgres: a synchronous standby promoted", func(ctx context.Context, in *injection) error {
			standby, err := in.startStandby(ctx)
			if err != nil {
				return err
			}
			if err := in.sql(ctx, `alter system set synchronous_standby_names = '*'`, `select pg_reload_conf()`); err != nil {
				return err
			}
			if err := in.awaitSQL(ctx, "the standby is synchronous",
				`select count(*) from pg_stat_replication where sync_state = 'sync'`); err != nil {
				return err
			}
			pause(ctx, 300*time.Millisecond)
			return in.promote(ctx, standby)
		}, 500 * time.Millisecond, time.Second},
		// For a while the standby gets nothing, and the primary goes on to acknowledge.
		{"postgres: a lagging standby promoted", func(ctx context.Context, in *injection) error {
			standby, err := in.startStandby(ctx)
			if err != nil {
				return err
			}
			if err := in.awaitSQL(ctx, "the standby streams", `select count(*) from pg_stat_replication`); err != nil {
				return err
			}
			if err := disconnect(ctx, standby); err != nil {
				return err
			}
			pause(ctx, 200*time.Millisecond+time.Duration(in.rnd.Int64N(int64(600*time.Millisecond))))
			old := in.source
			if err := in.promote(ctx, standby); err != nil {
				return err
			}
			in.heals = append([]func(context.Context) error{func(ctx context.Context) (err error) {
				in.lost, err = in.lostBy(ctx, old)
				return err
			}}, in.heals...)
			return nil
		}, 500 * time.Millisecond, time.Second},
	}
}

// startStandby copies the source. An injection that fails before the promotion discards the copy.
func (in *injection) startStandby(ctx context.Context) (*local.Server, error) {
	standby, err := local.StartStandby(ctx, in.source, local.Launch{})
	if err != nil {
		return nil, err
	}
	in.heal(func(context.Context) error {
		if in.source != standby {
			in.discard(standby)
		}
		return nil
	})
	return standby, nil
}

// sql carries out statements at the source.
func (in *injection) sql(ctx context.Context, statements ...string) error {
	for _, s := range statements {
		if _, err := in.store.(*postgresStore).pool.Exec(ctx, s); err != nil {
			return fmt.Errorf("chaos: %s: %w", s, err)
		}
	}
	return nil
}

// awaitSQL waits until a query of the source counts something.
func (in *injection) awaitSQL(ctx context.Context, what, query string) error {
	return until(ctx, 20*time.Second, what, func() bool {
		var n int
		err := in.store.(*postgresStore).pool.QueryRow(ctx, query).Scan(&n)
		return err == nil && n > 0
	})
}

// disconnect keeps a standby from its primary.
func disconnect(ctx context.Context, standby *local.Server) error {
	s, err := openPostgres(ctx, local.PostgresURL(standby.Addr, "postgres"), 1)
	if err != nil {
		return err
	}
	defer s.close()
	for _, sql := range []string{`alter system set primary_conninfo = ''`, `select pg_reload_conf()`} {
		if _, err := s.pool.Exec(ctx, sql); err != nil {
			return fmt.Errorf("chaos: %s: %w", sql, err)
		}
	}
	return until(ctx, 10*time.Second, "the standby streams no more", func() bool {
		var n int
		err := s.pool.QueryRow(ctx, `select count(*) from pg_stat_wal_receiver`).Scan(&n)
		return err == nil && n == 0
	})
}

// promote kills the source, makes the standby the source, and leads everybody to it.
func (in *injection) promote(ctx context.Context, standby *local.Server) error {
	old := in.source
	old.Kill()
	store, err := openPostgres(ctx, local.PostgresURL(standby.Addr, "postgres"), 4)
	if err != nil {
		return err
	}
	if _, err := store.pool.Exec(ctx, `select pg_promote()`); err != nil {
		store.close()
		return fmt.Errorf("chaos: promote: %w", err)
	}
	in.store.close()
	in.store, in.source = store, standby
	if in.shop != nil {
		in.shop.close()
		if in.shop, err = openPostgres(ctx, local.PostgresURL(standby.Addr, shop), 2); err != nil {
			return err
		}
	}
	for _, m := range in.members() {
		if err := in.links.of(m, postgresService).route(standby.Addr); err != nil {
			return err
		}
	}
	in.heal(func(context.Context) error { in.discard(old); return nil })
	return nil
}

// lostBy starts the killed primary once more, to which no link leads, and asks it for what only it has.
func (in *injection) lostBy(ctx context.Context, old *local.Server) (lost []history.Commit, err error) {
	if err := old.Restart(ctx); err != nil {
		return nil, err
	}
	databases := map[string]store{"postgres": in.store}
	if in.shop != nil {
		databases[shop] = in.shop
	}
	for name, kept := range databases {
		s, err := openPostgres(ctx, local.PostgresURL(old.Addr, name), 1)
		if err != nil {
			return nil, err
		}
		only, err := onlyIn(ctx, s, kept)
		s.close()
		if err != nil {
			return nil, err
		}
		lost = append(lost, only...)
	}
	return lost, nil
}

// onlyIn are the commits of one store that another lacks.
func onlyIn(ctx context.Context, s, other store) (only []history.Commit, err error) {
	type commit struct {
		key   uint32
		write uint64
	}
	has := map[commit]bool{}
	theirs, err := other.commits(ctx)
	if err != nil {
		return nil, err
	}
	for _, c := range theirs {
		has[commit{c.Key, c.Write}] = true
	}
	all, err := s.commits(ctx)
	if err != nil {
		return nil, err
	}
	for _, c := range all {
		if !has[commit{c.Key, c.Write}] {
			only = append(only, c)
		}
	}
	return only, nil
}

// discard ends a server, and removes its data where that is not in the run's directory: PostgreSQL's is elsewhere where
// its account cannot reach ours, and a standby's always.
func (b *cluster) discard(s *local.Server) {
	s.Discard()
	if filepath.Dir(s.Dir) != filepath.Clean(b.cfg.Dir) {
		_ = os.RemoveAll(s.Dir)
	}
}
