package mysql

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/ablate"
)

// head is one reading of the source.
type head struct {
	raw      uint64 // the timeline as NewTimeline writes it
	timeline uint64 // of positions
	trimmed  uint64
	id       uint64 // the largest id that was given out
}

// headSQL takes the same time whatever is in the outbox. The largest id of a committed row would have to be looked for
// behind the rows of open transactions. It also looks for a row that never is, so that the outbox is open: the catalog
// of MySQL shows the first id of a table that no statement has used since the server was started.
const headSQL = `select m.timeline, m.trimmed, t.auto_increment - 1, b.token, @@global.server_id, @@global.read_only
	from {db}.meta m left join {db}.boot b on b.server_id = @@global.server_id
	left join {db}.outbox none on none.id = 0
	join information_schema.tables t where t.table_schema = '{db}' and t.table_name = 'outbox'`

// head reads where the source is. The server's own number is drawn where the server was started since.
func (s *Source) head(ctx context.Context, db querier) (h head, err error) {
	if err := s.fit(ctx, db); err != nil {
		return h, err
	}
	for range 2 {
		var token sql.NullInt64
		var server uint64
		var readOnly string
		err := db.QueryRowContext(ctx, s.q(headSQL)).Scan(&h.raw, &h.trimmed, &h.id, &token, &server, &readOnly)
		switch {
		case errors.Is(err, sql.ErrNoRows):
			return h, fmt.Errorf("database %s: %w", s.name, ErrNotInstalled)
		case err != nil:
			return h, err
		case readOnly != "0" && readOnly != "OFF":
			return h, errors.New("the server is read only; the source is the server that takes writes")
		case token.Valid:
			h.timeline = timelineOf(h.raw, server, uint64(token.Int64))
			return h, nil
		}
		if _, err := db.ExecContext(ctx, s.q(`call {db}.note_boot()`)); err != nil {
			return h, err
		}
	}
	return h, errors.New("the server forgets the number that says when it was started")
}

// timelineOf has 63 bits, so that every driver can pass it, and is never 0.
func timelineOf(parts ...uint64) uint64 {
	var b []byte
	for _, p := range parts {
		b = binary.BigEndian.AppendUint64(b, p)
	}
	return xxhash.Sum64(b)>>1 | 1
}

// Position is the largest id that was given out.
func (s *Source) Position(ctx context.Context) (coherence.Position, error) {
	h, err := s.head(ctx, s.db)
	if err != nil {
		return coherence.Position{}, s.fault("position", err)
	}
	return coherence.Position{Timeline: h.timeline, N: h.id}, nil
}

// Changes reads the changes after a position. A batch may end between two changes of one transaction: each change has a
// position of its own.
func (s *Source) Changes(ctx context.Context, after coherence.Position, limit int) ([]coherence.Event,
	coherence.Position, error) {
	events, upto, err := s.changes(ctx, after, limit)
	if err != nil {
		return nil, coherence.Position{}, s.fault("changes", err)
	}
	return events, upto, nil
}

// idsAtOnce is how many changes are looked at in one step where no events are asked for.
const idsAtOnce = 10_000

func (s *Source) changes(ctx context.Context, after coherence.Position, limit int) (events []coherence.Event,
	upto coherence.Position, err error) {
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return nil, upto, err
	}
	defer func() { _ = conn.Close() }()
	// The largest id comes first: what is given out later is larger.
	h, err := s.head(ctx, conn)
	if err != nil {
		return nil, upto, err
	}
	// A position beyond the head is of a history that a restore took back.
	if !after.IsZero() && (after.Timeline != h.timeline || after.N < h.trimmed || after.N > h.id) {
		return nil, upto, fmt.Errorf("%w: %v", coherence.ErrTrimmed, after)
	}
	upto = coherence.Position{Timeline: h.timeline, N: after.N}
	if limit > 0 {
		events, upto.N, err = s.settled(ctx, conn, h, after.N, limit)
	} else {
		for more := true; more && err == nil; {
			from := upto.N
			_, upto.N, err = s.settled(ctx, conn, h, from, idsAtOnce)
			more = upto.N > from && upto.N < h.id
		}
	}
	if err != nil {
		return nil, upto, err
	}
	s.mu.Lock()
	s.last = progress{upto: upto.N, head: h.id}
	s.mu.Unlock()
	return events, upto, nil
}

// settled returns at most limit changes after an id, and the id up to which they are all that there ever will be.
func (s *Source) settled(ctx context.Context, conn *sql.Conn, h head, after uint64, limit int) (
	events []coherence.Event, upto uint64, err error) {
	if after >= h.id {
		return nil, after, nil
	}
	var seen []uint64
	if !ablate.Out(ablate.SnapshotGuard) {
		var passed bool
		if seen, passed, err = s.uncommitted(ctx, conn, after, h.id, limit+1); err != nil || !passed {
			return nil, after, err
		}
	}
	last := h.id
	if len(seen) > limit { // what is behind it is not asked for, and may be long
		last = seen[limit]
	}
	events, err = s.committed(ctx, conn, h, after, last, limit)
	if err != nil {
		return nil, after, err
	}
	events, upto = settle(seen, events, h.id, limit)
	return events, max(upto, after), nil
}

// settle cuts the committed changes before the first id whose transaction was open. seen are the ids that the earlier
// look showed, one more than the limit. Without an open transaction the changes lead up to the head, or to the last of
// them if there may be more.
func settle(seen []uint64, events []coherence.Event, head uint64, limit int) ([]coherence.Event, uint64) {
	upto := head
	if len(events) == limit {
		upto = events[limit-1].Position.N
	}
	at := 0
	for _, id := range seen {
		for at < len(events) && events[at].Position.N < id {
			at++
		}
		if id > upto {
			break
		}
		if at == len(events) || events[at].Position.N != id {
			return events[:at], id - 1
		}
	}
	return events, upto
}

// Marks of writers are looked at again until those that were there first are gone. A writer has one for as long as an
// insert takes.
const (
	markPause = time.Millisecond
	markTries = 50
)

// writer is a marked writer: the connection, and which of its inserts it is.
type writer struct{ conn, n uint64 }

// uncommitted returns the first ids after an id, those of open transactions among them. passed is false if a writer
// that asked for an id before this call has still not inserted its row.
func (s *Source) uncommitted(ctx context.Context, conn *sql.Conn, after, upto uint64, limit int) (ids []uint64,
	passed bool, err error) {
	tx, err := conn.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelReadUncommitted, ReadOnly: true})
	if err != nil {
		return nil, false, err
	}
	defer func() { _ = tx.Rollback() }()
	if !ablate.Out(ablate.OutboxMark) {
		if passed, err := s.awaitMarks(ctx, tx); err != nil || !passed {
			return nil, false, err
		}
	}
	rows, err := tx.QueryContext(ctx, s.q(`select id from {db}.outbox where id > ? and id <= ? order by id limit ?`),
		int64(after), int64(upto), limit)
	if err != nil {
		return nil, false, err
	}
	defer rows.Close()
	for rows.Next() {
		var id uint64
		if err := rows.Scan(&id); err != nil {
			return nil, false, err
		}
		ids = append(ids, id)
	}
	return ids, true, rows.Err()
}

// awaitMarks returns true when every writer that was marked at the first look has taken its mark back.
func (s *Source) awaitMarks(ctx context.Context, tx *sql.Tx) (bool, error) {
	first, err := s.marks(ctx, tx)
	if err != nil {
		return false, err
	}
	for try := 0; len(first) > 0; try++ {
		if try == markTries {
			return false, nil
		}
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case <-time.After(markPause):
		}
		now, err := s.marks(ctx, tx)
		if err != nil {
			return false, err
		}
		for w := range first {
			if !now[w] {
				delete(first, w)
			}
		}
	}
	return true, nil
}

func (s *Source) marks(ctx context.Context, tx *sql.Tx) (map[writer]bool, error) {
	rows, err := tx.QueryContext(ctx, s.q(`select conn, n from {db}.writers where marked = 1`))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	marked := map[writer]bool{}
	for rows.Next() {
		var w writer
		if err := rows.Scan(&w.conn, &w.n); err != nil {
			return nil, err
		}
		marked[w] = true
	}
	return marked, rows.Err()
}

// committed reads changes in one statement, which is one snapshot, and finds out from it that none were trimmed.
func (s *Source) committed(ctx context.Context, conn *sql.Conn, h head, after, last uint64, limit int) (
	events []coherence.Event, err error) {
	rows, err := conn.QueryContext(ctx, s.q(`select m.timeline, m.trimmed, o.id, o.namespace, o.k, o.op,
			timestampdiff(microsecond, '1970-01-01', o.created_at)
		from {db}.meta m left join {db}.outbox o on o.id > ? and o.id <= ? order by o.id limit ?`),
		int64(after), int64(last), limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var timeline, trimmed uint64
		var id, created sql.NullInt64
		var namespace, key, op []byte
		if err := rows.Scan(&timeline, &trimmed, &id, &namespace, &key, &op, &created); err != nil {
			return nil, err
		}
		if timeline != h.raw || trimmed > after && after > 0 {
			return nil, fmt.Errorf("%w: they went while they were read", coherence.ErrTrimmed)
		}
		if !id.Valid {
			continue
		}
		events = append(events, coherence.Event{Namespace: string(namespace), Key: string(key),
			Version: coherence.Version(id.Int64), Op: coherence.Op(op), Time: time.UnixMicro(created.Int64),
			Position: coherence.Position{Timeline: h.timeline, N: uint64(id.Int64)}})
	}
	return events, rows.Err()
}

// EstimateBacklog goes by the outbox's ids, which rise by one from row to row but for what was rolled back.
func (s *Source) EstimateBacklog(ctx context.Context, after coherence.Position) (b coherence.Backlog, err error) {
	h, err := s.head(ctx, s.db)
	if err != nil {
		return b, s.fault("estimate", err)
	}
	var created int64
	err = s.db.QueryRowContext(ctx, s.q(`select ? - id, timestampdiff(microsecond, '1970-01-01', created_at)
		from {db}.outbox where id > ? order by id limit 1`), int64(h.id+1), int64(after.N)).Scan(&b.Changes, &created)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return b, nil
	case err != nil:
		return b, s.fault("estimate", err)
	}
	b.Oldest = time.UnixMicro(created)
	return b, nil
}

// Wait looks for a change again and again, for d at most. It also returns soon while an open transaction keeps changes
// from being settled.
func (s *Source) Wait(ctx context.Context, d time.Duration) error {
	wait, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	s.mu.Lock()
	last := s.last
	s.mu.Unlock()
	for {
		select {
		case <-wait.Done():
			return ctx.Err()
		case <-time.After(s.poll):
		}
		if last.upto < last.head {
			return nil
		}
		h, err := s.head(wait, s.db)
		switch {
		case err != nil && wait.Err() != nil:
			return ctx.Err()
		case err != nil:
			return s.fault("wait", err)
		case h.id != last.head:
			return nil
		}
	}
}
