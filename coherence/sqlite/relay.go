package sqlite

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nearcache/nearcache-go/coherence"
)

// LoadCursor reads a relay's cursor.
func (s *Source) LoadCursor(ctx context.Context, name string) (c coherence.Cursor, err error) {
	var seqs string
	var timeline, n, part int64 // SQLite's integers are signed
	err = s.db.QueryRowContext(ctx, s.q(`select timeline, n, part, seqs from @@cursors where name = ?`),
		name).Scan(&timeline, &n, &part, &seqs)
	if errors.Is(err, sql.ErrNoRows) {
		return coherence.Cursor{}, nil
	}
	if err == nil {
		c.Position = coherence.Position{Timeline: uint64(timeline), N: uint64(n), Part: uint64(part)}
		err = json.Unmarshal([]byte(seqs), &c.Seqs)
	}
	if err != nil {
		return coherence.Cursor{}, fault("cursor "+name, err)
	}
	return c, nil
}

// SaveCursor writes a relay's cursor, unless that would move it back within a timeline.
func (s *Source) SaveCursor(ctx context.Context, name string, c coherence.Cursor) error {
	seqs, err := json.Marshal(c.Seqs)
	if err != nil {
		return err
	}
	res, err := s.db.ExecContext(ctx, s.q(`insert into @@cursors (name, timeline, n, part, seqs) values (?, ?, ?, ?, ?)
		on conflict (name) do update
			set timeline = excluded.timeline, n = excluded.n, part = excluded.part, seqs = excluded.seqs
			where timeline <> excluded.timeline or (n, part) <= (excluded.n, excluded.part)`),
		name, int64(c.Position.Timeline), int64(c.Position.N), int64(c.Position.Part), string(seqs))
	if err != nil {
		return fault("cursor "+name, err)
	}
	if n, err := res.RowsAffected(); err == nil && n == 0 {
		return fmt.Errorf("sqlite: cursor %q is past %v already: another relay is at work", name, c.Position)
	}
	return nil
}

const (
	trimChunk = 10_000 // rows that one transaction of Trim removes; writers get their turn in between
	sweepFrom = 1_000  // a namespace's deleted keys whose version rows are kept before Trim removes any
)

// Trim drops changes at or before upto that are older than keep, and then the version rows of deleted keys.
func (s *Source) Trim(ctx context.Context, upto coherence.Position, keep time.Duration) (dropped int64, err error) {
	before := time.Now().Add(-keep).UnixMilli()
	for more := true; more; {
		var n int64
		n, err = s.trimChunk(ctx, upto, before)
		dropped, more = dropped+n, err == nil && n == trimChunk
	}
	if err == nil {
		err = s.sweep(ctx)
	}
	if err != nil && (ctx.Err() == nil || dropped == 0) {
		return dropped, fault("trim", err)
	}
	return dropped, nil
}

func (s *Source) trimChunk(ctx context.Context, upto coherence.Position, before int64) (dropped int64, err error) {
	err = s.transact(ctx, func(tx *sql.Tx) error {
		var top sql.NullInt64
		// Ids are in commit order, so everything before the first row that is to stay may go.
		err := tx.QueryRowContext(ctx, s.q(`select max(id) from (select id from @@outbox where id <= ?1 and id < coalesce(
				(select min(id) from @@outbox where created_at >= ?2), ?1 + 1)
					order by id limit ?3)`), int64(upto.N), before, trimChunk).Scan(&top)
		if err != nil || !top.Valid {
			return err
		}
		if _, err := tx.ExecContext(ctx, s.q(`update @@meta set trimmed = max(trimmed, ?)`), top.Int64); err != nil {
			return err
		}
		res, err := tx.ExecContext(ctx, s.q(`delete from @@outbox where id <= ?`), top.Int64)
		if err == nil {
			dropped, err = res.RowsAffected()
		}
		return err
	})
	return dropped, err
}

// sweep removes version rows of deleted keys. Their numbers are not used again: the floor of their namespace, from
// which a key without a row goes on, is raised to the largest of them in the same transaction.
func (s *Source) sweep(ctx context.Context) error {
	for more := true; more; {
		err := s.transact(ctx, func(tx *sql.Tx) error {
			var namespace string
			err := tx.QueryRowContext(ctx,
				s.q(`select namespace from @@versions where deleted group by namespace having count(*) >= ? limit 1`),
				sweepFrom).Scan(&namespace)
			if errors.Is(err, sql.ErrNoRows) {
				more = false
				return nil
			}
			if err != nil {
				return err
			}
			if _, err := tx.ExecContext(ctx,
				s.q(`insert into @@floors select namespace, max(version) from (select namespace, version
				from @@versions where deleted and namespace = ? order by key limit ?) where true group by namespace
				on conflict (namespace) do update set floor = max(floor, excluded.floor)`), namespace, trimChunk); err != nil {
				return err
			}
			_, err = tx.ExecContext(ctx, s.q(`delete from @@versions where (namespace, key) in
				(select namespace, key from @@versions where deleted and namespace = ?
					order by key limit ?)`), namespace, trimChunk)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

const (
	leaseFor   = 3 * time.Second
	leaseRenew = 500 * time.Millisecond
)

// take takes the leadership of a name if nobody holds it. It goes by the wall clock, which on the one machine that can
// open the file is the same for everybody.
func (s *Source) take(ctx context.Context, name, token string) (bool, error) {
	now := time.Now()
	return s.lease(ctx, `insert into @@leaders values (?1, ?2, ?3) on conflict (name) do update
		set token = excluded.token, until = excluded.until where until < ?4`,
		name, token, now.Add(leaseFor).UnixMilli(), now.UnixMilli())
}

// extend renews a leadership. It never takes one: after a lease that ran out another relay may have led and ended, and
// then this leader has to learn of it.
func (s *Source) extend(ctx context.Context, name, token string) (bool, error) {
	return s.lease(ctx, `update @@leaders set until = ?3 where name = ?1 and token = ?2`,
		name, token, time.Now().Add(leaseFor).UnixMilli())
}

// lease runs a statement that writes one row if the lease is the caller's afterwards.
func (s *Source) lease(ctx context.Context, query string, args ...any) (bool, error) {
	res, err := s.db.ExecContext(ctx, s.q(query), args...)
	if err != nil {
		return false, fault("lead", err)
	}
	n, err := res.RowsAffected()
	return n == 1, err
}

// Lead takes a lease in the database and renews it.
func (s *Source) Lead(ctx context.Context, name string) (leading context.Context, release func(), err error) {
	token := rand.Text()
	for {
		got, err := s.take(ctx, name, token)
		if err != nil {
			return nil, nil, err
		}
		if got {
			break
		}
		select {
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		case <-time.After(leaseRenew):
		}
	}
	leading, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer cancel()
		s.renew(leading, name, token)
	}()
	return leading, func() { cancel(); <-done }, nil
}

// renew returns when the lease is lost, or given back because leading ended.
func (s *Source) renew(leading context.Context, name, token string) {
	for until := time.Now().Add(leaseFor); ; {
		select {
		case <-leading.Done():
			end, stop := context.WithTimeout(context.WithoutCancel(leading), time.Second)
			defer stop()
			_, _ = s.db.ExecContext(end, s.q(`delete from @@leaders where token = ?`), token) // if this fails the lease runs out
			return
		case <-time.After(leaseRenew):
		}
		got, err := s.extend(leading, name, token)
		switch {
		case err == nil && !got:
			return
		case err == nil:
			until = time.Now().Add(leaseFor)
		case time.Now().After(until.Add(-leaseRenew)):
			return
		}
	}
}
