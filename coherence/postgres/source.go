package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/ablate"
)

// Source is a coherence.Source over a primary, with a leader lock, cursors, notifications and trimming. Safe for
// concurrent use.
type Source struct {
	pool   *pgxpool.Pool
	schema string

	mu     sync.Mutex
	listen *pgx.Conn // of Wait
}

// Config is how a Source works. The zero value is ready to use.
type Config struct {
	// Schema is where Install puts the source's tables: lower-case letters, digits and underscores. Defaults to
	// "nearcache".
	Schema string
}

// Abilities implements coherence.Source.
func (s *Source) Abilities() coherence.Abilities {
	return coherence.Abilities{Leader: s, Cursors: s, Waker: s, Trimmer: s, Bumper: s, Versioner: s, Identifier: s}
}

// New returns a Source over a pool, which stays the caller's.
func New(pool *pgxpool.Pool, cfg Config) (*Source, error) {
	schema := cfg.Schema
	if schema == "" {
		schema = "nearcache"
	}
	if pool == nil {
		return nil, errors.New("postgres: the pool is nil")
	}
	if !plain.MatchString(schema) {
		return nil, fmt.Errorf("postgres: schema %q is not a plain lower-case identifier", schema)
	}
	return &Source{pool: pool, schema: schema}, nil
}

var plain = regexp.MustCompile(`^[a-z_][a-z0-9_]{0,47}$`)

// q puts the schema's name into a statement.
func (s *Source) q(sql string) string { return strings.ReplaceAll(sql, "@@", s.schema) }

// where is the state of the server, in one row: in recovery or not, its history, the snapshot, and whether there is WAL
// that a crash would lose. A standby is refused.
const where = `select s.snap::text, pg_is_in_recovery(), c.system_identifier::text,
	case when pg_is_in_recovery() then '' else substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8) end, m.epoch::text, m.trimmed::text,
	case when pg_is_in_recovery() then false else pg_current_wal_insert_lsn() > pg_current_wal_flush_lsn() end
	from (select pg_current_snapshot() as snap) s, pg_control_system() c, @@.meta m`

// state is one reading of the server.
type state struct {
	epoch            uint64
	xmin, xmax, trim uint64
	unflushed        bool
}

// stateRow is what where selects.
type stateRow struct {
	snap, system, timeline, epoch, trimmed string
	standby, unflushed                     bool
}

// fields are where to scan it to.
func (r *stateRow) fields() []any {
	return []any{&r.snap, &r.standby, &r.system, &r.timeline, &r.epoch, &r.trimmed, &r.unflushed}
}

func (r *stateRow) state() (st state, err error) {
	if r.standby {
		return st, errors.New("postgres: the server is a standby; the source is the primary")
	}
	part := strings.SplitN(r.snap, ":", 3)
	if len(part) < 2 {
		return st, fmt.Errorf("postgres: snapshot %q", r.snap)
	}
	var errs [3]error
	st.xmin, errs[0] = strconv.ParseUint(part[0], 10, 64)
	st.xmax, errs[1] = strconv.ParseUint(part[1], 10, 64)
	st.trim, errs[2] = strconv.ParseUint(r.trimmed, 10, 64)
	st.epoch = xxhash.Sum64String(r.system+"/"+r.timeline+"/"+r.epoch) | 1
	st.unflushed = r.unflushed
	return st, errors.Join(errs[:]...)
}

// Position reads the snapshot's xmax: every commit acknowledged before has a lower transaction id.
func (s *Source) Position(ctx context.Context) (coherence.Position, error) {
	var row stateRow
	if err := s.pool.QueryRow(ctx, s.q(where)).Scan(row.fields()...); err != nil {
		return coherence.Position{}, fmt.Errorf("postgres: position: %w", err)
	}
	st, err := row.state()
	if err != nil {
		return coherence.Position{}, err
	}
	return coherence.Position{Timeline: st.epoch, N: st.xmax}, nil
}

// Changes reads settled changes and the snapshot's xmin in one statement. A limited batch ends with a whole transaction.
func (s *Source) Changes(ctx context.Context, after coherence.Position, limit int) ([]coherence.Event, coherence.Position, error) {
	events, upto, err := s.changes(ctx, after, limit)
	if err != nil {
		return nil, coherence.Position{}, fmt.Errorf("postgres: changes: %w", err)
	}
	return events, upto, nil
}

func (s *Source) changes(ctx context.Context, after coherence.Position, limit int) ([]coherence.Event, coherence.Position, error) {
	// One row more than the limit tells whether the last transaction is whole. The left join gives a row of the state
	// even when there is no change.
	settled := `pg_snapshot_xmin(w.snap::pg_snapshot)`
	if ablate.Out(ablate.SnapshotGuard) {
		settled = `pg_snapshot_xmax(w.snap::pg_snapshot)`
	}
	rows, err := s.pool.Query(ctx, s.q(`with w as materialized (`+where+`)
		select w.*, o.xid::text, o.namespace, o.key, o.version, o.op, o.fields, o.created_at from w
		left join lateral (select * from @@.outbox where xid >= $1::text::xid8 and xid < `+settled+`
			order by xid, id limit $2) o on true order by o.xid, o.id`),
		strconv.FormatUint(after.N, 10), limitOf(limit))
	if err != nil {
		return nil, coherence.Position{}, err
	}
	defer rows.Close()
	var st state
	var events []coherence.Event
	for rows.Next() {
		var row stateRow
		var xid, namespace, key, op *string
		var version *int64
		var fields []byte
		var created *time.Time
		if err := rows.Scan(append(row.fields(), &xid, &namespace, &key, &version, &op, &fields, &created)...); err != nil {
			return nil, coherence.Position{}, err
		}
		if st, err = row.state(); err != nil {
			return nil, coherence.Position{}, err
		}
		if xid == nil {
			continue
		}
		n, err := strconv.ParseUint(*xid, 10, 64)
		if err != nil {
			return nil, coherence.Position{}, err
		}
		e := coherence.Event{Namespace: *namespace, Key: *key, Version: coherence.Version(*version), Op: coherence.Op(*op),
			Position: coherence.Position{Timeline: st.epoch, N: n + 1}, Time: *created}
		if fields != nil {
			if err := json.Unmarshal(fields, &e.Fields); err != nil {
				return nil, coherence.Position{}, fmt.Errorf("fields of %s %q: %w", e.Namespace, e.Key, err)
			}
		}
		events = append(events, e)
	}
	if err := rows.Err(); err != nil {
		return nil, coherence.Position{}, err
	}
	if st.epoch == 0 {
		return nil, coherence.Position{}, errors.New("the schema is not installed whole: no row in meta")
	}
	// A position beyond all transactions is of a history that was taken back, by restoring a copy of the files in place.
	if !after.IsZero() && (after.Timeline != st.epoch || after.N < st.trim || after.N > st.xmax) {
		return nil, coherence.Position{}, fmt.Errorf("%w: %v", coherence.ErrTrimmed, after)
	}
	if st.unflushed {
		if err := s.flush(ctx); err != nil {
			return nil, coherence.Position{}, err
		}
	}
	upto := coherence.Position{Timeline: st.epoch, N: max(st.xmin, after.N)}
	if ablate.Out(ablate.SnapshotGuard) {
		upto.N = max(st.xmax, after.N)
	}
	if limit <= 0 || len(events) <= limit {
		return events, upto, nil
	}
	return s.whole(ctx, events, after, limit)
}

// flush returns when all WAL that was written before is on disk. Only then may a position leave the server. A transaction
// that rolls back waits for no disk, and after a crash its id is given out again:
//
//	transaction 900: rolls back                  Changes: everything below 901 is settled
//	relay: moves a watermark, or a barrier, to 901
//	the server crashes, and its log ends with transaction 880
//	a write: is transaction 890                  relay: reads on from 901, and never sees it
//	probe: 891                                   reader: L2 is at 901, so its old value is proved
//
// Locking a row writes to the log, so the commit waits for the disk; it leaves nothing to vacuum and nothing to decode.
func (s *Source) flush(ctx context.Context) error {
	return pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, s.q(`select set_config('synchronous_commit', 'local', true), (select only_row from @@.meta for key share)`))
		return err
	})
}

// whole cuts a batch that was longer than its limit at the end of a transaction. One that is longer than the limit by
// itself is read again without a limit.
func (s *Source) whole(ctx context.Context, events []coherence.Event, after coherence.Position, limit int) ([]coherence.Event, coherence.Position, error) {
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

func limitOf(limit int) int {
	if limit <= 0 {
		return 0
	}
	return limit + 1
}

// Version is a key's present version, 0 if it never had one.
func (s *Source) Version(ctx context.Context, namespace, key string) (coherence.Version, error) {
	return s.VersionOf(ctx, s.pool, namespace, key)
}

// Querier is a pool, a connection or a transaction of pgx.
type Querier interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// VersionSQL is an SQL expression for a key's version, for a Loader that reads value and version in one statement. namespace
// and key are SQL expressions themselves, such as "'product'" and "$1".
func (s *Source) VersionSQL(namespace, key string) string {
	return s.q("coalesce((select version from @@.versions where namespace = " + namespace + " and key = " + key + "), 0)")
}

// VersionOf is a key's version as a transaction sees it: after a write that the trigger has counted, the write's own.
func (s *Source) VersionOf(ctx context.Context, q Querier, namespace, key string) (coherence.Version, error) {
	var v int64
	err := q.QueryRow(ctx, s.q(`select version from @@.versions where namespace = $1 and key = $2`), namespace, key).Scan(&v)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("postgres: version of %s %q: %w", namespace, key, err)
	}
	return coherence.Version(v), nil
}

// Bump counts a key's next version and writes its outbox row, for writers without a trigger. It must be the first
// statement of the transaction that touches the key: then the version's lock is taken before the row is read or written,
// and versions are in the order of commits.
func (s *Source) Bump(ctx context.Context, tx Querier, namespace, key string, op coherence.Op) (coherence.Version, error) {
	var v int64
	if err := tx.QueryRow(ctx, s.q(`select @@.bump($1, $2, $3)`), namespace, key, string(op)).Scan(&v); err != nil {
		return 0, fmt.Errorf("postgres: bump %s %q: %w", namespace, key, err)
	}
	return coherence.Version(v), nil
}

// Identity is a random name that Install gave the database. A copy of it has the same.
func (s *Source) Identity(ctx context.Context) (id string, err error) {
	if err := s.pool.QueryRow(ctx, s.q(`select identity from @@.meta`)).Scan(&id); err != nil {
		return "", fmt.Errorf("postgres: identity: %w", err)
	}
	return id, nil
}

// BumpKey is Bump in a transaction of its own, for keys that are no rows: tags.
func (s *Source) BumpKey(ctx context.Context, namespace, key string) (coherence.Version, error) {
	return s.Bump(ctx, s.pool, namespace, key, coherence.OpUpdated)
}

// LoadCursor reads a relay's cursor.
func (s *Source) LoadCursor(ctx context.Context, name string) (c coherence.Cursor, err error) {
	var epoch, n, seqs string
	err = s.pool.QueryRow(ctx, s.q(`select epoch::text, n::text, seqs::text from @@.cursors where name = $1`), name).Scan(&epoch, &n, &seqs)
	if errors.Is(err, pgx.ErrNoRows) {
		return c, nil
	}
	if err == nil {
		c.Position.Timeline, err = strconv.ParseUint(epoch, 10, 64)
	}
	if err == nil {
		c.Position.N, err = strconv.ParseUint(n, 10, 64)
	}
	if err == nil {
		err = json.Unmarshal([]byte(seqs), &c.Seqs)
	}
	if err != nil {
		return coherence.Cursor{}, fmt.Errorf("postgres: cursor %q: %w", name, err)
	}
	return c, nil
}

// SaveCursor writes a relay's cursor, unless that would move it back within an epoch: a relay that lost its leadership
// without knowing has nothing to say.
func (s *Source) SaveCursor(ctx context.Context, name string, c coherence.Cursor) error {
	seqs, err := json.Marshal(c.Seqs)
	if err != nil {
		return err
	}
	tag, err := s.pool.Exec(ctx, s.q(`insert into @@.cursors as c (name, epoch, n, seqs) values ($1, $2::text::numeric, $3::text::numeric, $4::text::jsonb)
		on conflict (name) do update set epoch = excluded.epoch, n = excluded.n, seqs = excluded.seqs
		where c.epoch <> excluded.epoch or c.n <= excluded.n`),
		name, strconv.FormatUint(c.Position.Timeline, 10), strconv.FormatUint(c.Position.N, 10), string(seqs))
	if err != nil {
		return fmt.Errorf("postgres: cursor %q: %w", name, err)
	}
	if tag.RowsAffected() == 0 {
		return fmt.Errorf("postgres: cursor %q is past %v already: another relay is at work", name, c.Position)
	}
	return nil
}

// Trim drops changes at or before upto that are older than keep, and remembers up to where.
func (s *Source) Trim(ctx context.Context, upto coherence.Position, keep time.Duration) (dropped int64, err error) {
	err = s.pool.QueryRow(ctx, s.q(`with gone as (delete from @@.outbox where xid < least($1::text::xid8,
			coalesce((select min(xid) from @@.outbox where created_at >= clock_timestamp() - $2 * interval '1 microsecond'), $1::text::xid8))
			returning xid),
		top as (select max(xid::text::numeric) + 1 as n, count(*) as c from gone),
		kept as (update @@.meta set trimmed = greatest(trimmed, (select n from top)) where (select c from top) > 0)
		select c from top`), strconv.FormatUint(upto.N, 10), keep.Microseconds()).Scan(&dropped)
	if err != nil {
		return 0, fmt.Errorf("postgres: trim: %w", err)
	}
	return dropped, nil
}
