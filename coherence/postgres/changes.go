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

// Changes reads settled changes and the snapshot's xmin in one statement. A limited batch ends with a whole
// transaction.
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
	// One row more than the limit tells whether the last transaction is whole. The left join gives a row of the state
	// even when there is no change.
	settled := `pg_snapshot_xmin(w.snap::pg_snapshot)`
	if ablate.Out(ablate.SnapshotGuard) {
		settled = `pg_snapshot_xmax(w.snap::pg_snapshot)`
	}
	rows, err := pool.Query(ctx, s.q(`with w as materialized (`+stateSQL+`)
		select w.*, o.xid::text, o.namespace, o.key, o.version, o.op, o.fields, o.created_at from w
		left join lateral (select * from @@.outbox where xid >= $1::text::xid8 and xid < `+settled+`
			order by xid, id limit $2) o on true order by o.xid, o.id`),
		strconv.FormatUint(after.N, 10), rowsOf(limit))
	if err != nil {
		return nil, coherence.Position{}, err
	}
	st, events, err := scanChanges(rows)
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
	upto := coherence.Position{Timeline: st.timeline, N: max(st.xmin, after.N)}
	if ablate.Out(ablate.SnapshotGuard) {
		upto.N = max(st.xmax, after.N)
	}
	if limit <= 0 || len(events) <= limit {
		return events, upto, nil
	}
	return s.whole(ctx, events, after, limit)
}

func scanChanges(rows pgx.Rows) (st state, events []coherence.Event, err error) {
	defer rows.Close()
	for rows.Next() {
		var row stateRow
		var xid, namespace, key, op *string
		var version *int64
		var fields []byte
		var created *time.Time
		if err := rows.Scan(append(row.fields(), &xid, &namespace, &key, &version, &op, &fields, &created)...); err != nil {
			return st, nil, err
		}
		if st, err = row.state(); err != nil {
			return st, nil, err
		}
		if xid == nil {
			continue
		}
		n, err := strconv.ParseUint(*xid, 10, 64)
		if err != nil {
			return st, nil, err
		}
		e := coherence.Event{Namespace: *namespace, Key: *key, Version: coherence.Version(*version), Op: coherence.Op(*op),
			Position: coherence.Position{Timeline: st.timeline, N: n + 1}, Time: *created}
		if fields != nil {
			if err := json.Unmarshal(fields, &e.Fields); err != nil {
				return st, nil, fmt.Errorf("fields of %s %q: %w", e.Namespace, e.Key, err)
			}
		}
		events = append(events, e)
	}
	if err := rows.Err(); err != nil {
		return st, nil, err
	}
	if st.timeline == 0 {
		return st, nil, ErrNotInstalled
	}
	return st, events, nil
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

// whole cuts a batch that was longer than its limit at the end of a transaction. One that is longer than the limit by
// itself is read again with a larger limit.
func (s *Source) whole(ctx context.Context, events []coherence.Event, after coherence.Position,
	limit int) ([]coherence.Event, coherence.Position, error) {
	n := len(events) - 1
	last := events[n].Position
	for n > 0 && events[n-1].Position == last {
		n--
	}
	if n == 0 {
		return s.changes(ctx, after, 2*limit)
	}
	return events[:n], events[n-1].Position, nil
}

func rowsOf(limit int) int {
	if limit <= 0 {
		return 0
	}
	return limit + 1
}
