package postgres_test

import (
	"context"
	"errors"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/postgres"
	"github.com/nearcache/nearcache-go/coherence/sourcetest"
)

// tx is a transaction as the suite sees one.
type tx struct {
	pgx.Tx
	src *postgres.Source
}

func (t tx) Write(ctx context.Context, namespace, key string, op coherence.Op) (coherence.Version, error) {
	return t.src.Bump(ctx, t.Tx, namespace, key, op)
}

func TestSource_Conforms(t *testing.T) {
	sourcetest.Run(t, func(t *testing.T) sourcetest.Harness {
		src, pool, url := open(t)
		return sourcetest.Harness{
			Source: src,
			Begin: func(ctx context.Context) (sourcetest.Tx, error) {
				begun, err := pool.Begin(ctx)
				return tx{begun, src}, err
			},
			Reopen: func(context.Context) (coherence.Source, error) { return newSource(t, url, postgres.Config{}), nil },
			Another: func(context.Context) (coherence.Source, error) {
				other, _, _ := open(t)
				return other, nil
			},
			NewTimeline: src.NewTimeline,
			Depose:      func(ctx context.Context, _ string) error { return terminateLeaders(ctx, pool) },
		}
	})
}

// terminateLeaders ends the connections of this database that hold an advisory lock; an error if there is none yet.
func terminateLeaders(ctx context.Context, pool *pgxpool.Pool) error {
	var n int
	err := pool.QueryRow(ctx,
		`select count(pg_terminate_backend(pid)) from pg_locks where locktype = 'advisory' and granted
		and database = (select oid from pg_database where datname = current_database())`).Scan(&n)
	if err == nil && n == 0 {
		err = errors.New("nobody leads")
	}
	return err
}

// newSource is a Source over a pool of its own.
func newSource(t *testing.T, url string, cfg postgres.Config) *postgres.Source {
	t.Helper()
	src, err := postgres.New(newPool(t, url), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(src.Close)
	return src
}

func newPool(t *testing.T, url string) *pgxpool.Pool {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}
