package postgres

import (
	"errors"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/puddle/v2"
)

// NotCommitted reports whether an error proves that a transaction has not been committed. The error must be the one
// that ended the transaction: of its begin, of one of its statements, or of its commit.
//
// It is true where no statement can have reached the server (a refused connection, a closed pool, pgconn.SafeToRetry),
// where the server reported an error, which rolls the transaction back, and where a commit was answered with a
// rollback. It is false where the connection was lost, or the time was over, while the server may have been at work:
// then the commit may have been done.
//
// It is false for pgconn.ErrConnClosed as well, although pgconn.SafeToRetry is true for that: pgx also returns it for
// a connection that broke while it waited for the answer to a statement without parameters, and COMMIT is one. The
// database/sql driver of pgx makes driver.ErrBadConn of the same error, which proves as little. An error from before
// the commit was sent is a proof by its place, whatever it is.
//
// A function that is given to nearcache's Write can turn a proof into
// ErrNotCommitted:
//
//	if postgres.NotCommitted(err) {
//		err = fmt.Errorf("%w: %w", nearcache.ErrNotCommitted, err)
//	}
//
// so that the tiers keep a value that nobody has replaced.
func NotCommitted(err error) bool {
	var refused *pgconn.ConnectError
	var reported *pgconn.PgError
	switch {
	case err == nil:
		return false
	case errors.As(err, &refused), errors.Is(err, puddle.ErrClosedPool):
		return true
	case errors.Is(err, pgconn.ErrConnClosed):
		return false
	case errors.Is(err, pgx.ErrTxCommitRollback):
		return true
	case errors.As(err, &reported):
		return rolledBack(reported)
	}
	return pgconn.SafeToRetry(err)
}

// rolledBack says whether an error that the server reported has ended its transaction. One of severity FATAL can come
// after the commit and before its answer: when the server is stopped, for example.
func rolledBack(e *pgconn.PgError) bool {
	const connection, completionUnknown = "08", "40003"
	severity := e.SeverityUnlocalized
	if severity == "" {
		severity = e.Severity
	}
	return severity == "ERROR" && !strings.HasPrefix(e.Code, connection) && e.Code != completionUnknown
}
