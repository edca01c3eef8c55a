package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/nearcache/nearcache-go/coherence"
)

// Conn is a *sql.DB, a *sql.Tx or a *sql.Conn.
type Conn interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// floorSQL is the version of the keys of a namespace that were never counted.
func floorSQL(namespace string) string {
	return "coalesce((select floor from @@floors where namespace = " + namespace + "), 0)"
}

// countSQL counts the next version of each key that a query `keys` of one column k returns. Keys that are null are
// none.
func countSQL(namespace, keys, deleted string) string {
	return "insert into @@versions select " + namespace + ", k, 1 + " + floorSQL(namespace) + ", " + deleted +
		" from (" + keys + ") where k is not null " +
		"on conflict (namespace, key) do update set version = version + 1, deleted = excluded.deleted; "
}

// outboxSQL writes the outbox row of each key that was just counted. which is a condition: "= " and a key, or "in" and
// a query.
func outboxSQL(namespace, which, op string) string {
	return "insert into @@outbox (namespace, key, version, op) select namespace, key, version, " + op +
		" from @@versions where namespace = " + namespace + " and key " + which + "; "
}

// Bump counts a key's next version and writes its outbox row, in the caller's transaction.
func (s *Source) Bump(ctx context.Context, tx Conn, namespace, key string, op coherence.Op) (coherence.Version, error) {
	if err := coherence.CheckName(namespace); err != nil {
		return 0, fault("bump", fmt.Errorf("namespace %q %w", namespace, err))
	}
	if op == coherence.OpTruncated {
		return 0, fault("bump", errors.New("it counts one key, and a truncate is of a whole namespace"))
	}
	for _, query := range []string{countSQL("?1", "select ?2 as k", "?3 = 'deleted'"), outboxSQL("?1", "= ?2", "?3")} {
		if _, err := tx.ExecContext(ctx, s.q(query), namespace, key, string(op)); err != nil {
			return 0, fault("bump "+namespace+" "+key, err)
		}
	}
	return s.VersionOf(ctx, tx, namespace, key)
}

// BumpKey is Bump in a transaction of its own, for keys that are no rows, such as tags.
func (s *Source) BumpKey(ctx context.Context, namespace, key string) (v coherence.Version, err error) {
	err = s.transact(ctx, func(tx *sql.Tx) error {
		v, err = s.Bump(ctx, tx, namespace, key, coherence.OpUpdated)
		return err
	})
	if err != nil {
		return 0, fault("bump "+namespace+" "+key, err)
	}
	return v, nil
}

// Version is a key's present version. A key that was never counted has the floor of its namespace, which is 0,
// or 1 if there were rows before the trigger, until Trim raises it.
func (s *Source) Version(ctx context.Context, namespace, key string) (coherence.Version, error) {
	return s.VersionOf(ctx, s.db, namespace, key)
}

// VersionOf is a key's version as a transaction sees it: after a write that a trigger has counted, that of the write.
func (s *Source) VersionOf(ctx context.Context, q Conn, namespace, key string) (coherence.Version, error) {
	var v int64
	err := q.QueryRowContext(ctx, "select "+s.VersionSQL("?1", "?2"), namespace, key).Scan(&v)
	if err != nil {
		return 0, fault("version of "+namespace+" "+key, err)
	}
	return coherence.Version(v), nil
}

// VersionSQL is an SQL expression for a key's version, for a Loader that reads value and version in one statement.
// namespace and key are SQL expressions themselves, such as "'product'" and "?1".
func (s *Source) VersionSQL(namespace, key string) string {
	return s.q("coalesce((select version from @@versions where namespace = " + namespace + " and key = " + key + "), " +
		floorSQL(namespace) + ")")
}
