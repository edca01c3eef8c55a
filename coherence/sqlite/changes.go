package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nearcache/nearcache-go/coherence"
)

const headSQL = `select m.timeline, m.trimmed,
	coalesce((select seq from sqlite_sequence where name = '@@outbox'), 0) from @@meta m`

// Position is the last id of the outbox.
func (s *Source) Position(ctx context.Context) (p coherence.Position, err error) {
	var trimmed uint64
	if err := s.db.QueryRowContext(ctx, s.q(headSQL)).Scan(&p.Timeline, &trimmed, &p.N); err != nil {
		return coherence.Position{}, fault("position", err)
	}
	return p, nil
}

// Changes reads the changes after a position, and the last id, in one transaction. A limited batch may end between two
// changes of one transaction, since nothing else can be committed between them.
func (s *Source) Changes(ctx context.Context, after coherence.Position, limit int) ([]coherence.Event,
	coherence.Position, error) {
	events, upto, err := s.changes(ctx, after, limit)
	if err != nil {
		return nil, coherence.Position{}, fault("changes", err)
	}
	return events, upto, nil
}

func (s *Source) changes(ctx context.Context, after coherence.Position, limit int) (events []coherence.Event,
	upto coherence.Position, err error) {
	tx, err := s.db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return nil, upto, err
	}
	defer func() { _ = tx.Rollback() }()
	var trimmed uint64
	if err := tx.QueryRowContext(ctx, s.q(headSQL)).Scan(&upto.Timeline, &trimmed, &upto.N); err != nil {
		return nil, upto, err
	}
	// A position beyond the last id is of a history that an older copy of the file took back.
	if !after.IsZero() && (after.Timeline != upto.Timeline || after.N < trimmed || after.N > upto.N) {
		return nil, upto, fmt.Errorf("%w: %v", coherence.ErrTrimmed, after)
	}
	if limit <= 0 {
		return nil, upto, nil
	}
	rows, err := tx.QueryContext(ctx,
		s.q(`select id, namespace, key, version, op, coalesce(fields, ''), created_at from @@outbox
		where id > ? order by id limit ?`), after.N, limit)
	if err != nil {
		return nil, upto, err
	}
	defer rows.Close()
	for rows.Next() {
		e, err := scanEvent(rows, upto.Timeline)
		if err != nil {
			return nil, upto, err
		}
		events = append(events, e)
	}
	if len(events) == limit {
		upto = events[limit-1].Position
	}
	return events, upto, rows.Err()
}

func scanEvent(rows *sql.Rows, timeline uint64) (e coherence.Event, err error) {
	var fields string
	var created int64
	e.Position.Timeline = timeline
	if err := rows.Scan(&e.Position.N, &e.Namespace, &e.Key, &e.Version, &e.Op, &fields, &created); err != nil {
		return e, err
	}
	if fields != "" {
		if err := json.Unmarshal([]byte(fields), &e.Fields); err != nil {
			return e, fmt.Errorf("fields of %s %q: %w", e.Namespace, e.Key, err)
		}
	}
	e.Time = time.UnixMilli(created)
	return e, nil
}

// EstimateBacklog goes by the outbox's ids, which rise by one from row to row but for what was rolled back.
func (s *Source) EstimateBacklog(ctx context.Context, after coherence.Position) (b coherence.Backlog, err error) {
	var created int64
	err = s.db.QueryRowContext(ctx, s.q(`select 1 + (select max(id) from @@outbox) - id, created_at from @@outbox
		where id > ? order by id limit 1`), int64(after.N)).Scan(&b.Changes, &created)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return b, nil
	case err != nil:
		return b, fault("estimate", err)
	}
	b.Oldest = time.UnixMilli(created)
	return b, nil
}
