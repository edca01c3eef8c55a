package mysql_test

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"testing"

	_ "github.com/go-sql-driver/mysql" // the driver

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/mysql"
	"github.com/nearcache/nearcache-go/internal/services/servicestest"
)

// bench is a source in a database of its own, beside a database for tables.
type bench struct {
	*mysql.Source
	db   *sql.DB
	dsn  string
	name string // of the source's database
	// mysql is the server's version if it is MySQL; "" for MariaDB.
	mysql string
}

func open(t *testing.T) *bench {
	t.Helper()
	dsn, database := servicestest.MariaDB(t)
	b := &bench{db: openDB(t, dsn), dsn: dsn, name: database + "_nc"}
	t.Cleanup(func() {
		if _, err := b.db.Exec("drop database if exists " + b.name); err != nil {
			t.Errorf("drop the source's database: %v", err)
		}
	})
	var version string
	if err := b.db.QueryRowContext(t.Context(), `select version()`).Scan(&version); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(version, "MariaDB") {
		b.mysql = version
	}
	b.Source = b.another(t, b.db)
	for range 2 {
		if err := b.Install(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

func openDB(t *testing.T, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open("mysql", dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// another is a Source over the same tables.
func (b *bench) another(t *testing.T, db *sql.DB) *mysql.Source {
	t.Helper()
	src, err := mysql.New(db, mysql.Config{Database: b.name})
	if err != nil {
		t.Fatal(err)
	}
	return src
}

func (b *bench) exec(t *testing.T, queries ...string) {
	t.Helper()
	for _, q := range queries {
		if _, err := b.db.ExecContext(t.Context(), q); err != nil {
			t.Fatalf("%s: got error %v, want none", q, err)
		}
	}
}

// tx is a transaction as the suite sees one.
type tx struct {
	*sql.Tx
	src *mysql.Source
}

func (t tx) Write(ctx context.Context, namespace, key string, op coherence.Op) (coherence.Version, error) {
	return t.src.Bump(ctx, t.Tx, namespace, key, op)
}
func (t tx) Commit(context.Context) error   { return t.Tx.Commit() }
func (t tx) Rollback(context.Context) error { return t.Tx.Rollback() }

// depose ends the term of a leader.
func (b *bench) depose(ctx context.Context, name string) error {
	res, err := b.db.ExecContext(ctx, `update `+b.name+`.leaders set holder = '', term = term + 1
		where name = ? and holder <> ''`, name)
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		return errors.Join(err, errors.New("nobody leads"))
	}
	return nil
}
