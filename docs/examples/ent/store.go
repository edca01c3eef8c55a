package main

import (
	"context"
	stdsql "database/sql"
	"errors"

	"entgo.io/ent/dialect"
	"entgo.io/ent/dialect/sql"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	_ "modernc.org/sqlite" // the driver

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/postgres"
	"github.com/nearcache/nearcache-go/coherence/sqlite"
	"github.com/nearcache/nearcache-go/docs/examples/ent/ent"
	"github.com/nearcache/nearcache-go/docs/examples/ent/ent/product"
)

// namespace is the name of the cache, and that under which the trigger counts.
const namespace = "product"

// store is a database as ent and the cache see it.
type store struct {
	client  *ent.Client
	dialect string
	source  coherence.Source
	version string // an SQL expression for the version of the key "?"
	close   func()
}

func openSQLite(ctx context.Context, path string) (*store, error) {
	db, err := stdsql.Open("sqlite", path+"?_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_pragma=foreign_keys(1)")
	if err != nil {
		return nil, err
	}
	client := ent.NewClient(ent.Driver(sql.OpenDB(dialect.SQLite, db)))
	src, err := sqlite.New(db, sqlite.Config{})
	if err == nil {
		err = errors.Join(client.Schema.Create(ctx), src.Install(ctx))
	}
	if err == nil {
		err = src.InstallTrigger(ctx, sqlite.Trigger{Table: product.Table, Namespace: namespace,
			KeyColumns: []string{product.FieldID}})
	}
	if err != nil {
		return nil, errors.Join(err, client.Close())
	}
	return &store{client: client, dialect: dialect.SQLite, source: src,
		version: src.VersionSQL("'"+namespace+"'", "?"), close: func() { _ = client.Close() }}, nil
}

// openPostgres uses one pool for ent and for the source. Installation belongs in your migrations; the guide says which
// rights it needs.
func openPostgres(ctx context.Context, url string) (*store, error) {
	pool, err := pgxpool.New(ctx, url)
	if err != nil {
		return nil, err
	}
	client := ent.NewClient(ent.Driver(sql.OpenDB(dialect.Postgres, stdlib.OpenDBFromPool(pool))))
	closeAll := func() { _ = client.Close(); pool.Close() }
	src, err := postgres.New(pool, postgres.Config{})
	if err == nil {
		err = errors.Join(client.Schema.Create(ctx), src.Install(ctx))
	}
	if err == nil {
		err = src.InstallTrigger(ctx, postgres.Trigger{Table: product.Table, Namespace: namespace,
			KeyColumns: []string{product.FieldID}})
	}
	if err != nil {
		closeAll()
		return nil, err
	}
	return &store{client: client, dialect: dialect.Postgres, source: src,
		version: src.VersionSQL("'"+namespace+"'", "?"), close: func() {
			src.Close()
			closeAll()
		}}, nil
}
