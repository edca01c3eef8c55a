package mysql

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

// Bump counts a key's next version and writes its outbox row, in the caller's transaction. It should be the first
// statement of it: the key's version is locked until commit, which puts the transactions of a key in order. Not needed
// where a trigger is installed.
func (s *Source) Bump(ctx context.Context, tx Conn, namespace, key string, op coherence.Op) (coherence.Version, error) {
	if err := coherence.CheckName(namespace); err != nil {
		return 0, s.fault("bump", fmt.Errorf("namespace %q %w", namespace, err))
	}
	if op == coherence.OpTruncated {
		return 0, s.fault("bump", errors.New("it counts one key, and a truncate is of a whole namespace"))
	}
	if _, err := tx.ExecContext(ctx, s.q(`call {db}.count_change(?, ?, ?)`), namespace, key, string(op)); err != nil {
		return 0, s.fault(fmt.Sprintf("bump %s %q", namespace, key), err)
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
		return 0, s.fault(fmt.Sprintf("bump %s %q", namespace, key), err)
	}
	return v, nil
}

// Version is a key's present version. A key that was never counted has the floor of its namespace: 0, or 1 if there
// were rows before the trigger, until Trim raises it.
func (s *Source) Version(ctx context.Context, namespace, key string) (coherence.Version, error) {
	return s.VersionOf(ctx, s.db, namespace, key)
}

// VersionOf is a key's version as a transaction sees it: after a write that a trigger has counted, that of the write.
func (s *Source) VersionOf(ctx context.Context, q Conn, namespace, key string) (coherence.Version, error) {
	var v int64
	err := q.QueryRowContext(ctx, s.q(`select coalesce(
			(select version from {db}.versions where namespace = cast(? as binary) and k = cast(? as binary)),
			(select floor from {db}.floors where namespace = cast(? as binary)), 0)`), namespace, key, namespace).Scan(&v)
	if err != nil {
		return 0, s.fault(fmt.Sprintf("version of %s %q", namespace, key), err)
	}
	return coherence.Version(v), nil
}

// VersionSQL is an SQL expression for a key's version, for a Loader that reads value and version in one statement.
// key is an SQL expression itself, such as "?" or "p.id", whose text is the key's name; it is used once.
func (s *Source) VersionSQL(namespace, key string) string {
	ns := bytesLiteral(namespace)
	return s.q("coalesce((select v.version from {db}.versions v where v.namespace = " + ns +
		" and v.k = cast(convert(" + key + " using utf8mb4) as binary)), " +
		"(select f.floor from {db}.floors f where f.namespace = " + ns + "), 0)")
}

// bytesLiteral is a name as SQL writes bytes: nothing in it can be taken for syntax, whatever the session's sql_mode.
func bytesLiteral(s string) string { return fmt.Sprintf("x'%X'", s) }
