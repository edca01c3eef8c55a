package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	leaderRetry = 250 * time.Millisecond // between attempts to become the leader, and between checks that we still are
	leaderCheck = time.Second            // for how long a check may go unanswered
)

// Lead holds an advisory lock on a connection of its own. When that connection is lost the server lets go of the lock,
// and leading ends as soon as we notice; until then two may work, which the cursor and the sequence numbers make harmless.
func (s *Source) Lead(ctx context.Context, name string) (leading context.Context, release func(), err error) {
	conn, err := pgx.ConnectConfig(ctx, s.pool.Config().ConnConfig.Copy())
	if err != nil {
		return nil, nil, fmt.Errorf("postgres: lead: %w", err)
	}
	for {
		var got bool
		err := conn.QueryRow(ctx, `select pg_try_advisory_lock(hashtextextended($1, 0))`, "nearcache relay "+s.schema+" "+name).Scan(&got)
		if err != nil {
			closeConn(conn)
			return nil, nil, fmt.Errorf("postgres: lead: %w", err)
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
	}()
	return leading, func() { cancel(); <-done }, nil
}

// closeConn also lets go of the lock.
func closeConn(c *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), leaderCheck)
	defer cancel()
	_ = c.Close(ctx)
}

// Wait returns when a change was committed, or after d. It listens on a connection of its own, which it keeps for the
// next call; one caller at a time.
func (s *Source) Wait(ctx context.Context, d time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listen == nil || s.listen.IsClosed() {
		conn, err := pgx.ConnectConfig(ctx, s.pool.Config().ConnConfig.Copy())
		if err != nil {
			return fmt.Errorf("postgres: listen: %w", err)
		}
		if _, err := conn.Exec(ctx, "listen "+pgx.Identifier{s.schema}.Sanitize()); err != nil {
			closeConn(conn)
			return fmt.Errorf("postgres: listen: %w", err)
		}
		s.listen = conn
		return nil // something may have been committed before we listened
	}
	wait, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	_, err := s.listen.WaitForNotification(wait)
	switch {
	case err == nil || errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil && !s.listen.IsClosed():
		return nil
	default:
		closeConn(s.listen)
		s.listen = nil
		return fmt.Errorf("postgres: listen: %w", err)
	}
}

// Close closes what Wait keeps. The pool stays open.
func (s *Source) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listen != nil {
		closeConn(s.listen)
		s.listen = nil
	}
}
