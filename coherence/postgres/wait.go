package postgres

import (
	"context"
	cryptorand "crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Wait returns when a change was committed, or after d. It listens on a connection of its own, which it keeps for the
// next call; one caller at a time. With Config.WithoutNotify nothing wakes it, nor behind a pooler that gives each
// transaction another connection, where no session can listen. Pooled reports that.
func (s *Source) Wait(ctx context.Context, d time.Duration) error {
	s.listening.Lock()
	defer s.listening.Unlock()
	if s.pooled.Load() {
		return pause(ctx, d)
	}
	if s.listen == nil || s.listen.IsClosed() {
		conn, pooled, err := s.session(ctx)
		if err != nil {
			return s.fault("listen", err)
		}
		if pooled {
			s.pooled.Store(true)
			return pause(ctx, d)
		}
		if _, err := conn.Exec(ctx, "listen "+pgx.Identifier{s.schema}.Sanitize()); err != nil {
			closeConn(conn)
			return s.fault("listen", err)
		}
		s.listen = conn
		return nil // something may have been committed before we listened
	}
	wait, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	_, err := s.listen.WaitForNotification(wait)
	if err == nil || errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil && !s.listen.IsClosed() {
		return nil
	}
	closeConn(s.listen)
	s.listen = nil
	return s.fault("listen", err)
}

// Pooled reports whether Wait has found a pooler that gives each transaction another connection. A commit then wakes no
// relay: changes are found at the relay's Interval.
func (s *Source) Pooled() bool { return s.pooled.Load() }

// pause waits for d.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// session opens a connection that is a session of the server: what it listens to stays with it. There is none behind a
// pooler that gives each transaction another connection.
func (s *Source) session(ctx context.Context) (conn *pgx.Conn, pooled bool, err error) {
	conn, err = s.connect(ctx)
	if err != nil {
		return nil, false, err
	}
	pooled, err = s.isPooled(ctx, conn)
	if err != nil || pooled {
		closeConn(conn)
		return nil, pooled, err
	}
	return conn, false, nil
}

// probeFor bounds the search for a pooler, which may have no second session to give.
const probeFor = 5 * time.Second

// isPooled finds out whether another connection is given the session that this one has. A server says its process id
// when a connection begins; a pooler makes one up.
func (s *Source) isPooled(ctx context.Context, conn *pgx.Conn) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, probeFor)
	defer cancel()
	var pid uint32
	if err := conn.QueryRow(ctx, `select pg_backend_pid()`, pgx.QueryExecModeSimpleProtocol).Scan(&pid); err != nil {
		return false, err
	}
	if pid == conn.PgConn().PID() {
		return false, nil
	}
	other, err := s.connect(ctx)
	if err != nil {
		return false, err
	}
	defer closeConn(other)
	for round := range 8 {
		pooled, err := shared(ctx, conn, other, round%2)
		if err != nil || pooled {
			return pooled, err
		}
	}
	return false, nil
}

// shared marks the session of one connection and looks for the mark from the other: in a transaction there, and then
// here, while that transaction holds the session that the pooler would have given us. A pooler may deal its sessions
// out in turn, so some statements of the other's come in between.
func shared(ctx context.Context, conn, other *pgx.Conn, between int) (bool, error) {
	mark := cryptorand.Text()
	if _, err := conn.Exec(ctx, fmt.Sprintf(`select set_config('nearcache.session', '%s', false)`, mark),
		pgx.QueryExecModeSimpleProtocol); err != nil {
		return false, err
	}
	var there, here string
	const look = `select coalesce(current_setting('nearcache.session', true), '')`
	for range between {
		if err := other.QueryRow(ctx, look, pgx.QueryExecModeSimpleProtocol).Scan(&there); err != nil {
			return false, err
		}
	}
	if _, err := other.Exec(ctx, `begin`, pgx.QueryExecModeSimpleProtocol); err != nil {
		return false, err
	}
	err := other.QueryRow(ctx, look, pgx.QueryExecModeSimpleProtocol).Scan(&there)
	if err == nil && there != mark { // else the transaction may hold the only session that there is
		err = conn.QueryRow(ctx, look, pgx.QueryExecModeSimpleProtocol).Scan(&here)
	}
	_, end := other.Exec(ctx, `rollback`, pgx.QueryExecModeSimpleProtocol)
	return there == mark || here != mark, errors.Join(err, end)
}
