package main

import (
	"context"
	"errors"

	gormsqlite "github.com/glebarez/sqlite"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	gormpostgres "gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/postgres"
	"github.com/nearcache/nearcache-go/coherence/sqlite"
)

// namespace is the name of the cache, and that under which the trigger counts.
const namespace = "product"

// store is a database as GORM and the cache see it.
type store struct {
	db      *gorm.DB
	source  coherence.Source
	version string // an SQL expression for the version of the key "?"
	close   func()
}

func openSQLite(ctx context.Context, path string) (*store, error) {
	db, err := gorm.Open(gormsqlite.Open(path+"?_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)"), &gorm.Config{})
	if err != nil {
		return nil, err
	}
	conn, err := db.DB()
	if err != nil {
		return nil, err
	}
	src, err := sqlite.New(conn, sqlite.Config{})
	if err == nil {
		err = errors.Join(db.WithContext(ctx).AutoMigrate(&Product{}), src.Install(ctx))
	}
	if err == nil {
		err = src.InstallTrigger(ctx, sqlite.Trigger{Table: "products", Namespace: namespace, KeyColumns: []string{"id"}})
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return &store{db: db, source: src, version: src.VersionSQL("'"+namespace+"'", "?"),
		close: func() { _ = conn.Close() }}, nil
}

// openPostgres uses one pool for GORM and for the source. Installation belongs in your migrations; the guide says which
// rights it needs.
func openPostgres(ctx context.Context, url string) (*store, error) {
	pool, err := pgxpool.New(ctx, url)
	if err != nil {
		return nil, err
	}
	conn := stdlib.OpenDBFromPool(pool)
	db, err := gorm.Open(gormpostgres.New(gormpostgres.Config{Conn: conn}), &gorm.Config{})
	if err != nil {
		pool.Close()
		return nil, err
	}
	src, err := postgres.New(pool, postgres.Config{})
	if err == nil {
		err = errors.Join(db.WithContext(ctx).AutoMigrate(&Product{}), src.Install(ctx))
	}
	if err == nil {
		err = src.InstallTrigger(ctx, postgres.Trigger{Table: "products", Namespace: namespace,
			KeyColumns: []string{"id"}})
	}
	closeAll := func() { _ = conn.Close(); pool.Close() }
	if err != nil {
		closeAll()
		return nil, err
	}
	return &store{db: db, source: src, version: src.VersionSQL("'"+namespace+"'", "?"), close: func() {
		src.Close()
		closeAll()
	}}, nil
}
