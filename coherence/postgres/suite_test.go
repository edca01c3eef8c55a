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
		return harness(t, src, pool, url, func(ctx context.Context, name string) error {
			return endLeader(ctx, pool, name)
		})
	})
}

// harness is what the suite needs of a source. url is its database's, and depose ends a leadership.
func harness(t *testing.T, src *postgres.Source, pool *pgxpool.Pool, url string,
	depose func(context.Context, string) error) sourcetest.Harness {
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
		Depose:      depose,
	}
}

// endLeader ends the connection of the leader of a name; an error if there is none yet.
func endLeader(ctx context.Context, pool *pgxpool.Pool, name string) error {
	var ended bool
	err := pool.QueryRow(ctx, `select count(*) > 0 and bool_and(pg_terminate_backend(a.pid))
		from nearcache.leaders l join pg_stat_activity a on a.pid = l.session and a.backend_start = l.session_began
		where l.name = $1 and l.holder <> ''`, name).Scan(&ended)
	if err == nil && !ended {
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
