package postgres

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/nearcache/nearcache-go/internal/lease"
)

// poolWait is for how long an attempt waits for a connection of the caller's pool.
const poolWait = 100 * time.Millisecond

// Lead takes a lease, which is a row of the source's tables, and renews it each second. So it works behind any
// pooler. Leading ends when the lease could not be renewed for 2.5 seconds, and when another relay has it. Until the
// leader notices, two may work: the sequence numbers make that harmless, and SaveCursor refuses the earlier one.
//
// A candidate keeps no connection. About twice a second it looks at the lease, on a connection of the caller's pool
// that goes back at once. It leads within a second after a leader has released the leadership or, without a pooler,
// has lost its connection. It leads within five seconds after a leader that nobody heard of again.
func (s *Source) Lead(ctx context.Context, name string) (leading context.Context, release func(), err error) {
	l := &leadership{Source: s, name: name, holder: processName()}
	leading, term, give, err := lease.Lead(ctx, l)
	if err != nil {
		l.letGo()
		if ctx.Err() != nil {
			return nil, nil, ctx.Err()
		}
		return nil, nil, s.fault("lead", err)
	}
	s.mu.Lock()
	s.terms[name] = term
	s.mu.Unlock()
	return leading, give, nil
}

// term is that of the last leadership of a name that this Source had; 0: none.
func (s *Source) term(name string) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.terms[name]
}

// leadership is the row of a name in the table of leaders.
type leadership struct {
	*Source
	name, holder string
	// session is the leader's own connection, whose end everybody can see. It is nil behind a pooler, where a session of
	// the server outlives its clients.
	session *pgx.Conn
}

// Look implements lease.Table. A session that another role may not look at counts as alive.
func (l *leadership) Look(ctx context.Context) (row lease.Row, err error) {
	c, err := l.borrow(ctx)
	if err != nil {
		return row, err
	}
	defer c.Release()
	var term, beat int64
	err = c.QueryRow(ctx, l.q(`select l.term, l.beat, l.holder = '' or l.session is not null and not exists (
			select from pg_stat_activity a where a.pid = l.session
				and (a.backend_start = l.session_began or a.backend_start is null))
		from @@.leaders l where l.name = $1`), l.name).Scan(&term, &beat, &row.Free)
	if errors.Is(err, pgx.ErrNoRows) {
		return lease.Row{Free: true}, nil
	}
	row.Term, row.Beat = uint64(term), uint64(beat)
	return row, err
}

// Take implements lease.Table. A pooler makes up the process id that it gives to a client; a server does not. The
// commit waits for the disk whatever the session says: a term that a crash took back would be given out twice.
func (l *leadership) Take(ctx context.Context, seen lease.Row) (bool, error) {
	c, err := l.borrow(ctx)
	if err != nil {
		return false, err
	}
	var direct bool
	err = c.QueryRow(ctx, l.q(`with me as (select case when pg_backend_pid() = $4 then $4 end as pid,
			set_config('synchronous_commit', case current_setting('synchronous_commit') when 'off' then 'local'
				else current_setting('synchronous_commit') end, true) as s)
		insert into @@.leaders as l (name, term, beat, holder, session, session_began, renewed_at)
			select $1, $2::bigint + 1, 0, $5, me.pid, (select backend_start from pg_stat_activity a where a.pid = me.pid),
				clock_timestamp() from me
		on conflict (name) do update set term = excluded.term, beat = 0, holder = excluded.holder,
				session = excluded.session, session_began = excluded.session_began, renewed_at = excluded.renewed_at
			where l.term = $2 and l.beat = $3
		returning session is not null`), l.name, int64(seen.Term), int64(seen.Beat), int32(c.Conn().PgConn().PID()),
		l.holder).Scan(&direct)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		c.Release()
		return false, nil
	case err != nil:
		return false, discard(c, err) // it may lead without knowing
	case direct:
		l.session = c.Hijack()
	default:
		c.Release()
	}
	return true, nil
}

// Renew implements lease.Table. A beat that a crash takes back does no harm, so the commit need not wait for the disk.
func (l *leadership) Renew(ctx context.Context, term uint64) (bool, error) {
	tag, err := l.exec(ctx, `with soft as (select set_config('synchronous_commit', 'off', true) as s)
		update @@.leaders l set beat = l.beat + 1, renewed_at = clock_timestamp() from soft
			where l.name = $1 and l.term = $2`, l.name, int64(term))
	if err != nil && l.session != nil && l.session.IsClosed() {
		err = fmt.Errorf("%w: %w", lease.ErrGone, err)
	}
	got := err == nil && tag.RowsAffected() > 0
	if err == nil && !got || errors.Is(err, lease.ErrGone) {
		l.letGo()
	}
	return got, err
}

// Give implements lease.Table.
func (l *leadership) Give(ctx context.Context, term uint64) {
	// If this fails, the end of the session or of the lease frees it.
	_, _ = l.exec(ctx, `update @@.leaders set holder = '', session = null where name = $1 and term = $2`,
		l.name, int64(term))
	l.letGo()
}

// exec runs a statement of the leader.
func (l *leadership) exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	if l.session != nil {
		return l.session.Exec(ctx, l.q(sql), args...)
	}
	pool, err := l.feed()
	if err != nil {
		return pgconn.CommandTag{}, err
	}
	return pool.Exec(ctx, l.q(sql), args...)
}

// letGo closes the leader's connection.
func (l *leadership) letGo() {
	if l.session != nil {
		closeConn(l.session)
	}
}

// discard closes a connection.
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

// processName names this process to people.
func processName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown host"
	}
	return fmt.Sprintf("%s, process %d", host, os.Getpid())
}
