package postgres

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	leaderRetry = 250 * time.Millisecond // between attempts to become the leader, and between checks that we still are
	leaderCheck = time.Second            // for how long a check may go unanswered
)

// Lead holds an advisory lock, by the relay's name, on a connection of its own. When that connection is lost the
// server lets go of the lock, and leading ends as soon as we notice; until then two may work, which the cursor and the
// sequence numbers make harmless.
func (s *Source) Lead(ctx context.Context, name string) (leading context.Context, release func(), err error) {
	conn, err := s.session(ctx)
	if err != nil {
		return nil, nil, s.fault("lead", err)
	}
	lock := "nearcache relay " + s.schema + " " + name
	for {
		var got bool
		if err := conn.QueryRow(ctx, `select pg_try_advisory_lock(hashtextextended($1, 0))`, lock).Scan(&got); err != nil {
			closeConn(conn)
			return nil, nil, s.fault("lead", err)
		}
		if got {
			break
		}
		select {
		case <-ctx.Done():
			closeConn(conn)
			return nil, nil, ctx.Err()
		case <-time.After(leaderRetry):
		}
	}
	leading, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer closeConn(conn)
		defer cancel()
		hold(leading, conn)
	}()
	return leading, func() { cancel(); <-done }, nil
}

// hold returns when leading ends or the connection does not answer.
func hold(leading context.Context, conn *pgx.Conn) {
	for {
		select {
		case <-leading.Done():
			return
		case <-time.After(leaderRetry):
		}
		check, stop := context.WithTimeout(leading, leaderCheck)
		err := conn.Ping(check)
		stop()
		if err != nil {
			return
		}
	}
}

// session opens a connection that is a session of the server: what it locks and listens to stays with it. A pooler in
// transaction mode is refused: the lock would stay with a connection that it gives to others.
func (s *Source) session(ctx context.Context) (*pgx.Conn, error) {
	conn, err := s.connect(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.refusePooler(ctx, conn); err != nil {
		closeConn(conn)
		return nil, err
	}
	return conn, nil
}

// refusePooler finds out whether another connection is given the session that this one has. A server says its process
// id when a connection begins; a pooler makes one up.
func (s *Source) refusePooler(ctx context.Context, conn *pgx.Conn) error {
	var pid uint32
	if err := conn.QueryRow(ctx, `select pg_backend_pid()`, pgx.QueryExecModeSimpleProtocol).Scan(&pid); err != nil {
		return err
	}
	if pid == conn.PgConn().PID() {
		return nil
	}
	other, err := s.connect(ctx)
	if err != nil {
		return err
	}
	defer closeConn(other)
	for range 8 {
		pooled, err := shared(ctx, conn, other)
		if err != nil {
			return err
		}
		if pooled {
			return ErrPooled
		}
	}
	return nil
}

// shared marks the session of one connection and looks for the mark from the other: in a transaction there, and then
// here, while that transaction holds the session that the pooler would have given us.
func shared(ctx context.Context, conn, other *pgx.Conn) (bool, error) {
	mark := rand.Text()
	if _, err := conn.Exec(ctx, fmt.Sprintf(`select set_config('nearcache.session', '%s', false)`, mark),
		pgx.QueryExecModeSimpleProtocol); err != nil {
		return false, err
	}
	var there, here string
	const look = `select coalesce(current_setting('nearcache.session', true), '')`
	if _, err := other.Exec(ctx, `begin`, pgx.QueryExecModeSimpleProtocol); err != nil {
		return false, err
	}
	err := other.QueryRow(ctx, look, pgx.QueryExecModeSimpleProtocol).Scan(&there)
	if err == nil {
		err = conn.QueryRow(ctx, look, pgx.QueryExecModeSimpleProtocol).Scan(&here)
	}
	_, end := other.Exec(ctx, `rollback`, pgx.QueryExecModeSimpleProtocol)
	return there == mark || here != mark, errors.Join(err, end)
}

// Wait returns when a change was committed, or after d. It listens on a connection of its own, which it keeps for the
// next call; one caller at a time. With Config.WithoutNotify nothing wakes it.
func (s *Source) Wait(ctx context.Context, d time.Duration) error {
	s.listening.Lock()
	defer s.listening.Unlock()
	if s.listen == nil || s.listen.IsClosed() {
		conn, err := s.session(ctx)
		if err != nil {
			return s.fault("listen", err)
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
