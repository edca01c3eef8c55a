// Package sqlite makes an SQLite database a coherence.Source: for one machine, for the demo, and for tests. It uses
// database/sql and brings no driver; any that speaks SQLite 3.24 or later will do.
//
// SQLite has one writer at a time, so the ids of the outbox are in commit order and a position's number is simply the
// last of them, which sqlite_sequence remembers although the outbox is trimmed.
package sqlite

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"

	"github.com/nearcache/nearcache-go/coherence"
)

// Source is a coherence.Source over an SQLite database. Safe for concurrent use as far as the *sql.DB is; for a file with
// several connections set a busy timeout.
type Source struct{ db *sql.DB }

// New returns a Source over a database, which stays the caller's.
func New(db *sql.DB) *Source { return &Source{db} }

// times are Unix milliseconds of the one machine's clock.
const schemaSQL = `
create table if not exists nearcache_meta (only_row integer primary key check (only_row = 1), epoch integer not null, trimmed integer not null);
create table if not exists nearcache_versions (namespace text not null, key text not null, version integer not null, deleted integer not null,
	primary key (namespace, key)) without rowid;
create table if not exists nearcache_outbox (id integer primary key autoincrement, namespace text not null, key text not null,
	version integer not null, op text not null, fields text, created_at integer not null default (cast((julianday('now') - 2440587.5) * 86400000 as integer)));
create table if not exists nearcache_cursors (name text primary key, epoch integer not null, n integer not null, seqs text not null);
create table if not exists nearcache_leader (only_row integer primary key check (only_row = 1), token text not null, until integer not null);`

// Install creates what is missing of the tables. It may be called at every start.
func (s *Source) Install(ctx context.Context) error {
	epoch, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		return err
	}
	if _, err := s.db.ExecContext(ctx, schemaSQL); err != nil {
		return fmt.Errorf("sqlite: install: %w", err)
	}
	if _, err := s.db.ExecContext(ctx, `insert into nearcache_meta values (1, ?, 0) on conflict do nothing`, epoch.Int64()|1); err != nil {
		return fmt.Errorf("sqlite: install: %w", err)
	}
	return nil
}

// InstallTrigger makes every change of a table's rows count a version and write the outbox. keyColumn is the key's. Rows
// that are there already have no version until they change.
func (s *Source) InstallTrigger(ctx context.Context, table, namespace, keyColumn string) error {
	name, column, ns := ident(table), ident(keyColumn), "'"+strings.ReplaceAll(namespace, "'", "''")+"'"
	bump := func(row, op string) string {
		key := "cast(" + row + "." + column + " as text)"
		return bumpSQL(ns, key, "'"+op+"'") + outboxSQL(ns, key, "'"+op+"'")
	}
	changed := "old." + column + " is not new." + column
	for suffix, body := range map[string]string{
		"insert": "after insert on " + name + " begin " + bump("new", "created") + " end",
		"delete": "after delete on " + name + " begin " + bump("old", "deleted") + " end",
		"update": "after update on " + name + " when not (" + changed + ") begin " + bump("new", "updated") + " end",
		"rename": "after update on " + name + " when " + changed + " begin " + bump("old", "deleted") + bump("new", "created") + " end",
	} {
		trigger := ident("nearcache_" + table + "_" + suffix)
		if _, err := s.db.ExecContext(ctx, "drop trigger if exists "+trigger+"; create trigger "+trigger+" "+body); err != nil {
			return fmt.Errorf("sqlite: trigger on %s: %w", table, err)
		}
	}
	return nil
}

func ident(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }

func bumpSQL(ns, key, op string) string {
	return "insert into nearcache_versions values (" + ns + ", " + key + ", 1, " + op + " = 'deleted') " +
		"on conflict (namespace, key) do update set version = version + 1, deleted = excluded.deleted; "
}

func outboxSQL(ns, key, op string) string {
	return "insert into nearcache_outbox (namespace, key, version, op) " +
		"select namespace, key, version, " + op + " from nearcache_versions where namespace = " + ns + " and key = " + key + "; "
}

// Conn is a *sql.DB, a *sql.Tx or a *sql.Conn.
type Conn interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// Bump counts a key's next version and writes its outbox row, in the caller's transaction.
func (s *Source) Bump(ctx context.Context, tx Conn, namespace, key string, op coherence.Op) (v coherence.Version, err error) {
	if _, err := tx.ExecContext(ctx, bumpSQL("?1", "?2", "?3"), namespace, key, string(op)); err != nil {
		return 0, fmt.Errorf("sqlite: bump %s %q: %w", namespace, key, err)
	}
	if _, err := tx.ExecContext(ctx, outboxSQL("?1", "?2", "?3"), namespace, key, string(op)); err != nil {
		return 0, fmt.Errorf("sqlite: bump %s %q: %w", namespace, key, err)
	}
	return s.VersionOf(ctx, tx, namespace, key)
}

// BumpKey is Bump in a transaction of its own, for keys that are no rows: tags.
func (s *Source) BumpKey(ctx context.Context, namespace, key string) (coherence.Version, error) {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return 0, fmt.Errorf("sqlite: bump %s %q: %w", namespace, key, err)
	}
	defer func() { _ = tx.Rollback() }()
	v, err := s.Bump(ctx, tx, namespace, key, coherence.OpUpdated)
	if err == nil {
		err = tx.Commit()
	}
	return v, err
}

// Version is a key's present version, 0 if it never had one.
func (s *Source) Version(ctx context.Context, namespace, key string) (coherence.Version, error) {
	return s.VersionOf(ctx, s.db, namespace, key)
}

// VersionOf is a key's version as a transaction sees it.
func (s *Source) VersionOf(ctx context.Context, q Conn, namespace, key string) (coherence.Version, error) {
	var v int64
	err := q.QueryRowContext(ctx, `select version from nearcache_versions where namespace = ? and key = ?`, namespace, key).Scan(&v)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return 0, fmt.Errorf("sqlite: version of %s %q: %w", namespace, key, err)
	}
	return coherence.Version(v), nil
}

const headSQL = `select m.epoch, m.trimmed, coalesce((select seq from sqlite_sequence where name = 'nearcache_outbox'), 0) from nearcache_meta m`

// Position is the last id of the outbox.
func (s *Source) Position(ctx context.Context) (p coherence.Position, err error) {
	var trimmed uint64
	if err := s.db.QueryRowContext(ctx, headSQL).Scan(&p.Timeline, &trimmed, &p.N); err != nil {
		return p, fmt.Errorf("sqlite: position: %w", err)
	}
	return p, nil
}

// Changes reads the changes after a position, and the last id, in one transaction.
func (s *Source) Changes(ctx context.Context, after coherence.Position, limit int) (events []coherence.Event, upto coherence.Position, err error) {
	events, upto, err = s.changes(ctx, after, limit)
	if err != nil {
		return nil, coherence.Position{}, fmt.Errorf("sqlite: changes: %w", err)
	}
	return events, upto, nil
}

func (s *Source) changes(ctx context.Context, after coherence.Position, limit int) (events []coherence.Event, upto coherence.Position, err error) {
	tx, err := s.db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return nil, upto, err
	}
	defer func() { _ = tx.Rollback() }()
	var trimmed uint64
	if err := tx.QueryRowContext(ctx, headSQL).Scan(&upto.Timeline, &trimmed, &upto.N); err != nil {
		return nil, upto, err
	}
	if !after.IsZero() && (after.Timeline != upto.Timeline || after.N < trimmed) {
		return nil, upto, fmt.Errorf("%w: %v", coherence.ErrTrimmed, after)
	}
	if limit <= 0 {
		return nil, upto, nil
	}
	rows, err := tx.QueryContext(ctx, `select id, namespace, key, version, op, coalesce(fields, ''), created_at from nearcache_outbox
		where id > ? order by id limit ?`, after.N, limit)
	if err != nil {
		return nil, upto, err
	}
	defer rows.Close()
	for rows.Next() {
		var e coherence.Event
		var fields string
		var created int64
		e.Position.Timeline = upto.Timeline
		if err := rows.Scan(&e.Position.N, &e.Namespace, &e.Key, &e.Version, &e.Op, &fields, &created); err != nil {
			return nil, upto, err
		}
		if fields != "" {
			if err := json.Unmarshal([]byte(fields), &e.Fields); err != nil {
				return nil, upto, err
			}
		}
		e.Time = time.UnixMilli(created)
		events = append(events, e)
	}
	if len(events) == limit {
		upto = events[limit-1].Position
	}
	return events, upto, rows.Err()
}

// LoadCursor reads a relay's cursor.
func (s *Source) LoadCursor(ctx context.Context, name string) (c coherence.Cursor, err error) {
	var seqs string
	err = s.db.QueryRowContext(ctx, `select epoch, n, seqs from nearcache_cursors where name = ?`, name).Scan(&c.Position.Timeline, &c.Position.N, &seqs)
	if errors.Is(err, sql.ErrNoRows) {
		return coherence.Cursor{}, nil
	}
	if err == nil {
		err = json.Unmarshal([]byte(seqs), &c.Seqs)
	}
	if err != nil {
		return coherence.Cursor{}, fmt.Errorf("sqlite: cursor %q: %w", name, err)
	}
	return c, nil
}

// SaveCursor writes a relay's cursor, unless that would move it back within an epoch.
func (s *Source) SaveCursor(ctx context.Context, name string, c coherence.Cursor) error {
	seqs, err := json.Marshal(c.Seqs)
	if err != nil {
		return err
	}
	res, err := s.db.ExecContext(ctx, `insert into nearcache_cursors values (?, ?, ?, ?) on conflict (name) do update
		set epoch = excluded.epoch, n = excluded.n, seqs = excluded.seqs where epoch <> excluded.epoch or n <= excluded.n`,
		name, c.Position.Timeline, c.Position.N, string(seqs))
	if err != nil {
		return fmt.Errorf("sqlite: cursor %q: %w", name, err)
	}
	if n, err := res.RowsAffected(); err == nil && n == 0 {
		return fmt.Errorf("sqlite: cursor %q is past %v already: another relay is at work", name, c.Position)
	}
	return nil
}

// Trim drops changes at or before upto that are older than keep.
func (s *Source) Trim(ctx context.Context, upto coherence.Position, keep time.Duration) (int64, error) {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return 0, fmt.Errorf("sqlite: trim: %w", err)
	}
	defer func() { _ = tx.Rollback() }()
	var top sql.NullInt64
	err = tx.QueryRowContext(ctx, `select max(id) from nearcache_outbox where id <= ? and created_at < ?`,
		upto.N, time.Now().Add(-keep).UnixMilli()).Scan(&top)
	if err != nil || !top.Valid {
		return 0, err
	}
	res, err := tx.ExecContext(ctx, `delete from nearcache_outbox where id <= ?`, top.Int64)
	if err == nil {
		_, err = tx.ExecContext(ctx, `update nearcache_meta set trimmed = max(trimmed, ?)`, top.Int64)
	}
	if err == nil {
		err = tx.Commit()
	}
	if err != nil {
		return 0, fmt.Errorf("sqlite: trim: %w", err)
	}
	return res.RowsAffected()
}

const (
	leaseFor   = 3 * time.Second
	leaseRenew = 500 * time.Millisecond
)

// Lead takes a lease in the database and renews it. It goes by the wall clock, which on the one machine that can open
// the file is the same for everybody.
func (s *Source) Lead(ctx context.Context) (leading context.Context, release func(), err error) {
	token := rand.Text()
	take := func(ctx context.Context) (bool, error) {
		now := time.Now()
		res, err := s.db.ExecContext(ctx, `insert into nearcache_leader values (1, ?1, ?2) on conflict do update
			set token = excluded.token, until = excluded.until where token = ?1 or until < ?3`,
			token, now.Add(leaseFor).UnixMilli(), now.UnixMilli())
		if err != nil {
			return false, fmt.Errorf("sqlite: lead: %w", err)
		}
		n, err := res.RowsAffected()
		return n == 1, err
	}
	for {
		got, err := take(ctx)
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
		for until := time.Now().Add(leaseFor); ; {
			select {
			case <-leading.Done():
				end, stop := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
				defer stop()
				_, _ = s.db.ExecContext(end, `delete from nearcache_leader where token = ?`, token) // else it runs out
				return
			case <-time.After(leaseRenew):
			}
			got, err := take(leading)
			switch {
			case err == nil && !got:
				return
			case err == nil:
				until = time.Now().Add(leaseFor)
			case time.Now().After(until.Add(-leaseRenew)):
				return
			}
		}
	}()
	return leading, func() { cancel(); <-done }, nil
}
