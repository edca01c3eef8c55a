package product

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/postgres"
	"github.com/nearcache/nearcache-go/coherence/sqlite"
)

// SQLStore is a Store in Postgres or SQLite. Every write counts the version first, so that the version's row is locked
// before the product's is looked at, and versions are in the order of commits.
type SQLStore struct {
	db      *sql.DB
	bump    func(ctx context.Context, tx *sql.Tx, key string, op coherence.Op) (Version, error)
	version string // the SQL expression of the version of product k
	dollar  bool   // placeholders are $1, $2, ...
}

// NewPostgresStore returns a store over a database whose Source is installed.
func NewPostgresStore(db *sql.DB, src *postgres.Source) *SQLStore {
	return &SQLStore{db: db, version: src.VersionSQL("'product'", "k.id"), dollar: true,
		bump: func(ctx context.Context, tx *sql.Tx, key string, op coherence.Op) (Version, error) {
			return src.Bump(ctx, pgxTx{tx}, Namespace, key, op)
		}}
}

// pgxTx is a database/sql transaction as pgx's callers see one.
type pgxTx struct{ tx *sql.Tx }

// QueryRow runs a query of one row.
func (t pgxTx) QueryRow(ctx context.Context, query string, args ...any) pgx.Row {
	return t.tx.QueryRowContext(ctx, query, args...)
}

// NewSQLiteStore returns a store over a database whose Source is installed.
func NewSQLiteStore(db *sql.DB, src *sqlite.Source) *SQLStore {
	return &SQLStore{db: db, version: src.VersionSQL("'product'", "k.id"),
		bump: func(ctx context.Context, tx *sql.Tx, key string, op coherence.Op) (Version, error) {
			return src.Bump(ctx, tx, Namespace, key, op)
		}}
}

// Install creates the table of products if it is missing.
func (s *SQLStore) Install(ctx context.Context) error {
	_, err := s.db.ExecContext(ctx, `create table if not exists products (
		id text primary key, name text not null, description text, price bigint not null)`)
	if err != nil {
		return fmt.Errorf("product: install: %w", err)
	}
	return nil
}

// q numbers the placeholders for Postgres.
func (s *SQLStore) q(query string) string {
	query = strings.ReplaceAll(query, "@version", s.version)
	if !s.dollar {
		return query
	}
	var b strings.Builder
	n := 0
	for _, r := range query {
		if r != '?' {
			b.WriteRune(r)
			continue
		}
		n++
		b.WriteString("$" + strconv.Itoa(n))
	}
	return b.String()
}

// Find reads value and version in one statement, which has a row also for a product that never was.
func (s *SQLStore) Find(ctx context.Context, id string) (p Product, v Version, err error) {
	var found sql.NullString
	var name sql.NullString
	var price sql.NullInt64
	err = s.db.QueryRowContext(ctx, s.q(`select @version, p.id, p.name, p.description, p.price
		from (select cast(? as text) as id) k left join products p on p.id = k.id`),
		id).Scan(&v, &found, &name, &p.Description, &price)
	if err != nil {
		return Product{}, 0, fmt.Errorf("product: find: %w", err)
	}
	if !found.Valid {
		return Product{}, v, ErrNotFound
	}
	p.ID, p.Name, p.Price = found.String, name.String, Price(price.Int64)
	return p, v, nil
}

// List reads a page.
func (s *SQLStore) List(ctx context.Context, after string, limit int) ([]Product, error) {
	rows, err := s.db.QueryContext(ctx, s.q(`select id, name, description, price from products where id > ? order by id limit ?`), after, limit)
	if err != nil {
		return nil, fmt.Errorf("product: list: %w", err)
	}
	defer rows.Close()
	ps := []Product{}
	for rows.Next() {
		var p Product
		if err := rows.Scan(&p.ID, &p.Name, &p.Description, &p.Price); err != nil {
			return nil, fmt.Errorf("product: list: %w", err)
		}
		ps = append(ps, p)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("product: list: %w", err)
	}
	return ps, nil
}

// write runs f in a transaction, in which the version has been counted. next is that version; f is told whether the
// product is there.
func (s *SQLStore) write(ctx context.Context, id string, op coherence.Op, f func(tx *sql.Tx, next Version, there bool) error) (v Version, err error) {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return 0, err
	}
	defer func() { _ = tx.Rollback() }()
	if v, err = s.bump(ctx, tx, id, op); err != nil {
		return 0, err
	}
	var n int
	if err := tx.QueryRowContext(ctx, s.q(`select count(*) from products where id = ?`), id).Scan(&n); err != nil {
		return 0, err
	}
	if err := f(tx, v, n == 1); err != nil {
		return 0, err
	}
	return v, tx.Commit()
}

// Create inserts.
func (s *SQLStore) Create(ctx context.Context, p Product) (Version, error) {
	v, err := s.write(ctx, p.ID, coherence.OpCreated, func(tx *sql.Tx, _ Version, there bool) error {
		if there {
			return ErrExists
		}
		return s.put(ctx, tx, p)
	})
	return v, wrap("create", err)
}

// Replace inserts or updates.
func (s *SQLStore) Replace(ctx context.Context, p Product, match Version) (v Version, created bool, err error) {
	v, err = s.write(ctx, p.ID, coherence.OpUpdated, func(tx *sql.Tx, next Version, there bool) error {
		if created = !there; match != 0 && (created || match != AnyVersion && next-1 != match) {
			return ErrConflict
		}
		return s.put(ctx, tx, p)
	})
	return v, created && err == nil, wrap("replace", err)
}

func (s *SQLStore) put(ctx context.Context, tx *sql.Tx, p Product) error {
	_, err := tx.ExecContext(ctx, s.q(`insert into products (id, name, description, price) values (?, ?, ?, ?) on conflict (id) do update
		set name = excluded.name, description = excluded.description, price = excluded.price`), p.ID, p.Name, p.Description, int64(p.Price))
	return err
}

// Delete deletes.
func (s *SQLStore) Delete(ctx context.Context, id string, match Version) (Version, error) {
	v, err := s.write(ctx, id, coherence.OpDeleted, func(tx *sql.Tx, next Version, there bool) error {
		switch {
		case !there:
			return ErrNotFound
		case match != 0 && match != AnyVersion && next-1 != match:
			return ErrConflict
		}
		_, err := tx.ExecContext(ctx, s.q(`delete from products where id = ?`), id)
		return err
	})
	return v, wrap("delete", err)
}

// Count counts.
func (s *SQLStore) Count(ctx context.Context) (n int, err error) {
	err = s.db.QueryRowContext(ctx, `select count(*) from products`).Scan(&n)
	return n, wrap("count", err)
}

func wrap(op string, err error) error {
	if err == nil || errors.Is(err, ErrNotFound) || errors.Is(err, ErrExists) || errors.Is(err, ErrConflict) {
		return err
	}
	return fmt.Errorf("product: %s: %w", op, err)
}
