package postgres

import (
	"context"
	cryptorand "crypto/rand"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	leaderRetry = time.Second            // between attempts to become the leader; a quarter more or less
	leaderPing  = 250 * time.Millisecond // between checks that we still are
	leaderCheck = time.Second            // for how long a check may go unanswered
	poolWait    = 100 * time.Millisecond // for how long an attempt waits for a connection of the caller's pool
)

// Lead holds an advisory lock, by the relay's name, on a connection of its own. When that connection is lost the
// server lets go of the lock, and leading ends as soon as we notice; until then two may work, which the cursor and the
// sequence numbers make harmless.
//
// A candidate keeps no connection. About once a second it asks for the lock on one of the caller's pool and gives the
// connection back, so another relay leads within two seconds of a leader's end.
func (s *Source) Lead(ctx context.Context, name string) (leading context.Context, release func(), err error) {
	lock := "nearcache relay " + s.schema + " " + name
	var conn *pgx.Conn
	for {
		if conn, err = s.tryLead(ctx, lock); err != nil {
			return nil, nil, s.fault("lead", err)
		}
		if conn != nil {
			break
		}
		select {
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		case <-time.After(leaderRetry*3/4 + rand.N(leaderRetry/2)):
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

// tryLead returns the connection that has the lock now, or nil if another has it.
func (s *Source) tryLead(ctx context.Context, lock string) (*pgx.Conn, error) {
	c, err := s.borrow(ctx)
	if err != nil {
		return nil, err
	}
	// Behind a pooler the process id is made up, and nothing is locked before we know how it works.
	const try = `select case when pg_backend_pid() = $2 then pg_try_advisory_lock(hashtextextended($1, 0)) end`
	var got *bool
	if err := c.QueryRow(ctx, try, lock, int32(c.Conn().PgConn().PID())).Scan(&got); err != nil {
		return nil, discard(c, err)
	}
	if got == nil {
		if err := s.refusePooler(ctx, c.Conn()); err != nil {
			return nil, discard(c, err)
		}
		err := c.QueryRow(ctx, `select pg_try_advisory_lock(hashtextextended($1, 0))`, lock).Scan(&got)
		if err != nil {
			return nil, discard(c, err)
		}
	}
	if *got {
		return c.Hijack(), nil
	}
	c.Release()
	return nil, nil
}

// discard closes a connection that may have the lock.
func discard(c *pgxpool.Conn, err error) error {
	closeConn(c.Hijack())
	return err
}

// borrow takes a connection of the caller's pool, or of the Source's own while the caller uses all of its.
func (s *Source) borrow(ctx context.Context) (*pgxpool.Conn, error) {
	own, err := s.feed()
	if err != nil {
		return nil, err
	}
	brief, cancel := context.WithTimeout(ctx, poolWait)
	defer cancel()
	if c, err := s.pool.Acquire(brief); err == nil {
		return c, nil
	}
	return own.Acquire(ctx)
}

// hold returns when leading ends or the connection does not answer.
func hold(leading context.Context, conn *pgx.Conn) {
	for {
		select {
		case <-leading.Done():
			return
		case <-time.After(leaderPing):
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
	mark := cryptorand.Text()
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
