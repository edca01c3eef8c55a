package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/jackc/pgx/v5"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/ablate"
)

// stateSQL is the state of the server, in one row: in recovery or not, its history, the snapshot, and whether there is
// a log that a crash would lose.
const stateSQL = `select s.snap::text, v.standby, coalesce(v.history, '') || '/' || m.timeline::text as history,
		m.trimmed_in, m.trimmed::text, coalesce(v.unflushed, false)
	from (select pg_current_snapshot() as snap) s, @@.meta m, @@.server() v where m.only_row`

// state is one reading of the server.
type state struct {
	history          string
	timeline         uint64
	xmin, xmax, trim uint64
	unflushed        bool
}

// stateRow is what stateSQL selects.
type stateRow struct {
	snap, history, trimmedIn, trimmed string
	standby, unflushed                bool
}

// fields are where to scan it to.
func (r *stateRow) fields() []any {
	return []any{&r.snap, &r.standby, &r.history, &r.trimmedIn, &r.trimmed, &r.unflushed}
}

func (r *stateRow) state() (st state, err error) {
	if r.standby {
		return st, errors.New("the server is a standby; the source is the primary")
	}
	part := strings.SplitN(r.snap, ":", 3)
	if len(part) < 2 {
		return st, fmt.Errorf("snapshot %q", r.snap)
	}
	var errs [3]error
	st.xmin, errs[0] = strconv.ParseUint(part[0], 10, 64)
	st.xmax, errs[1] = strconv.ParseUint(part[1], 10, 64)
	if r.trimmedIn == r.history { // otherwise a number of another server, which a dump has brought here
		st.trim, errs[2] = strconv.ParseUint(r.trimmed, 10, 64)
	}
	st.history, st.timeline, st.unflushed = r.history, xxhash.Sum64String(r.history)|1, r.unflushed
	return st, errors.Join(errs[:]...)
}

func (s *Source) state(ctx context.Context, db Querier) (state, error) {
	var row stateRow
	err := db.QueryRow(ctx, s.q(stateSQL)).Scan(row.fields()...)
	if errors.Is(err, pgx.ErrNoRows) {
		err = ErrNotInstalled
	}
	if err != nil {
		return state{}, err
	}
	return row.state()
}

// Position reads the snapshot's xmax: every commit acknowledged before has a lower transaction id.
func (s *Source) Position(ctx context.Context) (coherence.Position, error) {
	pool, err := s.feed()
	if err != nil {
		return coherence.Position{}, s.fault("position", err)
	}
	st, err := s.state(ctx, pool)
	if err != nil {
		return coherence.Position{}, s.fault("position", err)
	}
	return coherence.Position{Timeline: st.timeline, N: st.xmax}, nil
}

// Changes reads settled changes and the snapshot's xmin in one statement. The Part of a position is the outbox id of
// the last change that was read of a transaction.
func (s *Source) Changes(ctx context.Context, after coherence.Position, limit int) ([]coherence.Event,
	coherence.Position, error) {
	events, upto, err := s.changes(ctx, after, limit)
	if err != nil {
		return nil, coherence.Position{}, s.fault("changes", err)
	}
	return events, upto, nil
}

func (s *Source) changes(ctx context.Context, after coherence.Position, limit int) ([]coherence.Event,
	coherence.Position, error) {
	pool, err := s.feed()
	if err != nil {
		return nil, coherence.Position{}, err
	}
	sql, args := s.changesSQL(after, limit)
	rows, err := pool.Query(ctx, sql, args...)
	if err != nil {
		return nil, coherence.Position{}, err
	}
	st, events, ids, err := scanChanges(rows)
	if err != nil {
		return nil, coherence.Position{}, err
	}
	// A position beyond all transactions is of a history that was taken back, by restoring a copy of the files in place.
	if !after.IsZero() && (after.Timeline != st.timeline || after.N < st.trim || after.N > st.xmax) {
		return nil, coherence.Position{}, fmt.Errorf("%w: %v", coherence.ErrTrimmed, after)
	}
	if st.unflushed {
		if err := s.flush(ctx, pool); err != nil {
			return nil, coherence.Position{}, err
		}
	}
	settledAt := st.xmin
	if ablate.Out(ablate.SnapshotGuard) {
		settledAt = st.xmax
	}
	upto := coherence.Position{Timeline: st.timeline, N: settledAt}
	if limit > 0 && len(events) > limit {
		upto = endOf(events, ids, limit)
		events = events[:limit]
	}
	if after.Covers(upto) {
		upto = after
	}
	return events, upto, nil
}

// changesSQL reads one row more than the limit, which tells whether the last transaction is whole. The left join gives
// a row of the state even when there is no change. The statement has one snapshot, which all its parts see.
//
// The comparison of rows is a range of the index, wherever in a transaction it begins. The planner must see that
// without statistics, which a table that has just grown does not have. So the state is one row by its limit, and the
// snapshot's end stands in the condition itself, where the planner can compute it. The statement is planned at each
// call: a plan that was kept from when the outbox was empty may read all of it.
func (s *Source) changesSQL(after coherence.Position, limit int) (sql string, args []any) {
	settled := `pg_snapshot_xmin(pg_current_snapshot())`
	if ablate.Out(ablate.SnapshotGuard) {
		settled = `pg_snapshot_xmax(pg_current_snapshot())`
	}
	sql = s.q(`with w as materialized (` + stateSQL + ` limit 1)
		select w.*, o.xid::text, o.id, o.namespace, o.key, o.version, o.op, o.fields, o.created_at, o.trace from w
		left join (select * from @@.outbox where (xid, id) > ($1::text::xid8, $2::bigint) and xid < ` + settled + `
			order by xid, id limit $3) o on true order by o.xid, o.id`)
	args = []any{strconv.FormatUint(after.N, 10), int64(after.Part), rowsOf(limit)}
	if s.keepsPlans {
		args = append([]any{pgx.QueryExecModeCacheDescribe}, args...)
	}
	return sql, args
}

// endOf is how far the first n of more events lead. An event's position is the end of its transaction, whose id is one
// less.
func endOf(events []coherence.Event, ids []uint64, n int) coherence.Position {
	upto := events[n-1].Position
	if events[n].Position == upto {
		upto.N, upto.Part = upto.N-1, ids[n-1]
	}
	return upto
}

func scanChanges(rows pgx.Rows) (st state, events []coherence.Event, ids []uint64, err error) {
	defer rows.Close()
	for rows.Next() {
		var row stateRow
		var o outboxRow
		if err := rows.Scan(append(row.fields(), o.fields()...)...); err != nil {
			return st, nil, nil, err
		}
		if st, err = row.state(); err != nil {
			return st, nil, nil, err
		}
		if o.xid == nil {
			continue
		}
		e, err := o.event(st.timeline)
		if err != nil {
			return st, nil, nil, err
		}
		events, ids = append(events, e), append(ids, uint64(*o.id))
	}
	if err := rows.Err(); err != nil {
		return st, nil, nil, err
	}
	if st.timeline == 0 {
		return st, nil, nil, ErrNotInstalled
	}
	return st, events, ids, nil
}

// outboxRow is a row of the outbox, or the nulls that stand for none.
type outboxRow struct {
	xid, namespace, key, op *string
	trace                   *string // null: none
	id, version             *int64
	extra                   []byte // columns that a codec wants, as JSON
	created                 *time.Time
}

// fields are where to scan it to.
func (o *outboxRow) fields() []any {
	return []any{&o.xid, &o.id, &o.namespace, &o.key, &o.version, &o.op, &o.extra, &o.created, &o.trace}
}

func (o *outboxRow) event(timeline uint64) (e coherence.Event, err error) {
	xid, err := strconv.ParseUint(*o.xid, 10, 64)
	if err != nil {
		return e, err
	}
	e = coherence.Event{Namespace: *o.namespace, Key: *o.key, Version: coherence.Version(*o.version),
		Op: coherence.Op(*o.op), Position: coherence.Position{Timeline: timeline, N: xid + 1}, Time: *o.created}
	if o.trace != nil {
		e.Trace = coherence.CheckTraceparent(*o.trace)
	}
	if o.extra != nil {
		if err := json.Unmarshal(o.extra, &e.Fields); err != nil {
			return e, fmt.Errorf("fields of %s %q: %w", e.Namespace, e.Key, err)
		}
	}
	return e, nil
}

// flush returns when all log that was written before is on disk. Only then may a position leave the server. A
// transaction that rolls back waits for no disk, and after a crash its id is given out again:
//
//	transaction 900: rolls back                  Changes: everything below 901 is settled
//	relay: moves a watermark, or a barrier, to 901
//	the server crashes, and its log ends with transaction 880
//	a write: is transaction 890                  relay: reads on from 901, and never sees it
//	position sample: 891                         reader: L2 is at 901, so its old value is proved
//
// Locking a row writes to the log, so the commit waits for the disk; it leaves nothing to vacuum and nothing to decode.
func (s *Source) flush(ctx context.Context, db txBeginner) error {
	return pgx.BeginFunc(ctx, db, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx,
			s.q(`select set_config('synchronous_commit', 'local', true), (select only_row from @@.meta for key share)`))
		return err
	})
}

// txBeginner is a pool or a connection.
type txBeginner interface {
	Begin(ctx context.Context) (pgx.Tx, error)
}

func rowsOf(limit int) int {
	if limit <= 0 {
		return 0
	}
	return limit + 1
}

// EstimateBacklog goes by the outbox's ids, which rise by one from row to row but for what was rolled back. It takes
// two look-ups in indexes.
func (s *Source) EstimateBacklog(ctx context.Context, after coherence.Position) (b coherence.Backlog, err error) {
	pool, err := s.feed()
	if err != nil {
		return b, s.fault("estimate", err)
	}
	err = pool.QueryRow(ctx, s.q(`select 1 + (select id from @@.outbox order by xid desc, id desc limit 1) - id, created_at
			from @@.outbox where (xid, id) > ($1::text::xid8, $2::bigint) order by xid, id limit 1`),
		strconv.FormatUint(after.N, 10), int64(after.Part)).Scan(&b.Changes, &b.Oldest)
	if errors.Is(err, pgx.ErrNoRows) {
		return coherence.Backlog{}, nil
	}
	b.Changes = max(b.Changes, 1) // an id of a later transaction may be lower
	return b, s.fault("estimate", err)
}
