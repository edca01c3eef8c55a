package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/nearcache/nearcache-go/coherence"
)

// Querier is a pool, a connection or a transaction of pgx.
type Querier interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// Version is a key's present version. A key that was never counted has the floor of its namespace: 0, or 1 if there
// were rows before the trigger, until Trim raises it.
func (s *Source) Version(ctx context.Context, namespace, key string) (coherence.Version, error) {
	return s.VersionOf(ctx, s.pool, namespace, key)
}

// VersionOf is a key's version as a transaction sees it: after a write that the trigger has counted, that of the write.
func (s *Source) VersionOf(ctx context.Context, q Querier, namespace, key string) (coherence.Version, error) {
	var v int64
	if err := q.QueryRow(ctx, "select "+s.VersionSQL("$1", "$2"), namespace, key).Scan(&v); err != nil {
		return 0, s.fault(fmt.Sprintf("version of %s %q", namespace, key), err)
	}
	return coherence.Version(v), nil
}

// VersionSQL is an SQL expression for a key's version, for a Loader that reads value and version in one statement.
// namespace and key are SQL expressions themselves, such as "'product'" and "$1".
func (s *Source) VersionSQL(namespace, key string) string {
	return s.q("@@.version_of(" + namespace + ", " + key + ")")
}

// Bump counts a key's next version and writes its outbox row. It should be the first statement of a transaction: the
// key's version is locked until commit, which puts the transactions of a key in order. Not needed where a trigger is
// installed.
func (s *Source) Bump(ctx context.Context, tx Querier, namespace, key string, op coherence.Op) (coherence.Version,
	error) {
	if err := coherence.CheckName(namespace); err != nil {
		return 0, fmt.Errorf("postgres: bump: namespace %q %w", namespace, err)
	}
	var v int64
	if err := tx.QueryRow(ctx, s.q(`select @@.bump($1, $2, $3)`), namespace, key, string(op)).Scan(&v); err != nil {
		return 0, s.fault(fmt.Sprintf("bump %s %q", namespace, key), err)
	}
	return coherence.Version(v), nil
}

// BumpKey is Bump in a transaction of its own, for keys that are no rows, such as tags.
func (s *Source) BumpKey(ctx context.Context, namespace, key string) (coherence.Version, error) {
	return s.Bump(ctx, s.pool, namespace, key, coherence.OpUpdated)
}
