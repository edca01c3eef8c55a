// Package sqlload makes Loaders of SQL queries: of a query and what scans its columns (Query), or of a method that
// reads a row, as sqlc generates them (Row). The version comes from the same statement as the value.
package sqlload

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/nearcache/nearcache-go/nearcache"
)

// DB is a *sql.DB, also over pgx's stdlib, a *sql.Conn, or whatever traces one.
type DB interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// ErrNoRow is what a Loader returns (wrapped) when the query returned no row at all, so there is no version either.
var ErrNoRow = errors.New("the query returned no row: select from (select 1) left join the table, " +
	"so that an absent key has a version too")

// Query returns a Loader that runs a query for a key. The query returns one row for every key, also for one that does
// not exist. Its first column is the version, an expression of the source's VersionSQL. The second is true if the key
// exists. The others are the value's:
//
//	select nearcache.version_of('product', $1), p.id is not null, p.name, p.price
//	from (select 1) one left join products p on p.id = $1
//
// args are the query's arguments for a key, and columns are where to scan the value's columns to. Both are called for
// each load, perhaps by several goroutines at once, each with a value of its own.
func Query[K comparable, V any](db DB, query string, args func(K) []any,
	columns func(*V) []any) nearcache.Loader[K, V] {
	return func(ctx context.Context, k K) (e nearcache.Entry[V], err error) {
		rows, err := db.QueryContext(ctx, query, args(k)...)
		if err != nil {
			return e, fmt.Errorf("sqlload: %w", err)
		}
		defer func() { err = errors.Join(err, rows.Close()) }()
		if !rows.Next() {
			return e, fmt.Errorf("sqlload: %w", errors.Join(rows.Err(), ErrNoRow))
		}
		to := columns(&e.Value)
		found, err := head(rows, &e.Version, len(to))
		switch {
		case err != nil:
			return e, fmt.Errorf("sqlload: %w", err)
		case !found:
			return nearcache.Entry[V]{Version: e.Version}, nearcache.ErrNotFound
		}
		var skip sql.RawBytes
		if err := rows.Scan(append([]any{&skip, &skip}, to...)...); err != nil {
			return e, fmt.Errorf("sqlload: %w", err)
		}
		if rows.Next() {
			return e, errors.New("sqlload: the query returned more than one row")
		}
		return e, rows.Err()
	}
}

// head scans the first two columns. The value's columns are null for a key that does not exist, and are left alone.
func head(rows *sql.Rows, version *nearcache.Version, columns int) (found bool, err error) {
	var v int64
	to := []any{&v, &found}
	for range columns {
		to = append(to, new(any))
	}
	if err := rows.Scan(to...); err != nil {
		return false, err
	}
	if v < 0 {
		return false, fmt.Errorf("the version is %d", v)
	}
	*version = nearcache.Version(v)
	return found, nil
}

// Row returns a Loader of a method that reads a row with its version, such as one that sqlc generates from a query like
// that of Query. entry takes the row apart; found is false for a key that does not exist. A method that returns
// sql.ErrNoRows leaves the absence without a version, so that is ErrNoRow.
func Row[K comparable, R, V any](read func(context.Context, K) (R, error),
	entry func(R) (v V, version nearcache.Version, found bool)) nearcache.Loader[K, V] {
	return func(ctx context.Context, k K) (nearcache.Entry[V], error) {
		row, err := read(ctx, k)
		switch {
		case errors.Is(err, sql.ErrNoRows):
			return nearcache.Entry[V]{}, fmt.Errorf("sqlload: %w: %w", ErrNoRow, err)
		case err != nil:
			return nearcache.Entry[V]{}, err
		}
		v, version, found := entry(row)
		if !found {
			return nearcache.Entry[V]{Version: version}, nearcache.ErrNotFound
		}
		return nearcache.Entry[V]{Value: v, Version: version}, nil
	}
}
