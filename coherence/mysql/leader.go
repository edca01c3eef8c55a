package mysql

import (
	"context"
	"database/sql"
	"errors"

	"github.com/nearcache/nearcache-go/internal/lease"
)

// Lead takes a lease in the database and renews it each second. No clock of another machine counts: a candidate
// takes the lease once it has not seen it renewed for three seconds. Leading ends when the lease has passed to another,
// and when it could not be renewed for 2.5 seconds; until then two may work. The sequence numbers make that harmless,
// and SaveCursor refuses the earlier one. A lock of the server's own (GET_LOCK) would stay with a leader whose machine
// is gone until the server gives its connection up, which takes hours by default.
func (s *Source) Lead(ctx context.Context, name string) (leading context.Context, release func(), err error) {
	leading, term, release, err := lease.Lead(ctx, &leadership{s, name})
	if err != nil {
		if ctx.Err() != nil {
			return nil, nil, ctx.Err()
		}
		return nil, nil, s.fault("lead", err)
	}
	s.mu.Lock()
	s.terms[name] = term
	s.mu.Unlock()
	return leading, release, nil
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
	name string
}

// Look implements lease.Table.
func (l *leadership) Look(ctx context.Context) (row lease.Row, err error) {
	err = l.db.QueryRowContext(ctx, l.q(`select term, beat, holder = '' from {db}.leaders where name = ?`), l.name).
		Scan(&row.Term, &row.Beat, &row.Free)
	if errors.Is(err, sql.ErrNoRows) {
		return lease.Row{Free: true}, nil
	}
	return row, err
}

// Take implements lease.Table.
func (l *leadership) Take(ctx context.Context, seen lease.Row) (bool, error) {
	got, err := l.changed(ctx, `update {db}.leaders set term = term + 1, beat = 0, holder = user(),
		renewed_at = utc_timestamp(6) where name = ? and term = ? and beat = ?`, l.name, seen.Term, seen.Beat)
	if err != nil || got || seen.Term > 0 {
		return got, err
	}
	return l.changed(ctx, `insert ignore into {db}.leaders values (?, 1, 0, user(), utc_timestamp(6))`, l.name)
}

// Renew implements lease.Table.
func (l *leadership) Renew(ctx context.Context, term uint64) (bool, error) {
	return l.changed(ctx, `update {db}.leaders set beat = beat + 1, renewed_at = utc_timestamp(6)
		where name = ? and term = ?`, l.name, term)
}

// Give implements lease.Table. If it fails, the end of the lease frees it.
func (l *leadership) Give(ctx context.Context, term uint64) {
	_, _ = l.changed(ctx, `update {db}.leaders set holder = '' where name = ? and term = ?`, l.name, term)
}
