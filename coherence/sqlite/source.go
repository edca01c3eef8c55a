package sqlite

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"math/big"
	"regexp"
	"strings"

	"github.com/nearcache/nearcache-go/coherence"
)

// ErrNotInstalled is what every method returns (wrapped) while the source's tables are missing.
var ErrNotInstalled = errors.New("the tables are not installed: call Install")

// ErrNewerSchema is what Install returns (wrapped) when a newer program made the tables. Nothing was changed.
var ErrNewerSchema = errors.New("the tables are of a newer version than this program")

// Config is how a Source works. The zero value is ready to use.
type Config struct {
	// Prefix begins the names of the source's own tables: lower-case letters, digits and underscores. Defaults to
	// "nearcache_".
	Prefix string
}

// Source is a coherence.Source over an SQLite database. It is safe for concurrent use as far as the *sql.DB is; for a
// file with several connections set a busy timeout.
type Source struct {
	db     *sql.DB
	prefix string
}

var plain = regexp.MustCompile(`^[a-z_][a-z0-9_]{0,31}$`)

// New returns a Source over a database, which stays the caller's. It does not use the database yet.
func New(db *sql.DB, cfg Config) (*Source, error) {
	if cfg.Prefix == "" {
		cfg.Prefix = "nearcache_"
	}
	if db == nil {
		return nil, errors.New("sqlite: the database is nil")
	}
	if !plain.MatchString(cfg.Prefix) {
		return nil, fmt.Errorf("sqlite: Config.Prefix %q: use lower-case letters, digits and underscores, 32 at most",
			cfg.Prefix)
	}
	return &Source{db: db, prefix: cfg.Prefix}, nil
}

// Close releases what the Source holds, which is nothing: the database stays open. It is there because every driver
// has it.
func (s *Source) Close() {}

// Abilities implements coherence.Source.
func (s *Source) Abilities() coherence.Abilities {
	return coherence.Abilities{Leader: s, Cursors: s, Trimmer: s, Bumper: s, Versioner: s, Checker: s,
		Identifier: s, Estimator: s}
}

// q puts the prefix into a statement.
func (s *Source) q(query string) string { return strings.ReplaceAll(query, "@@", s.prefix) }

// fault names the missing tables where that is why a statement failed.
func fault(doing string, err error) error {
	if err == nil {
		return nil
	}
	if strings.Contains(err.Error(), "no such table") && !errors.Is(err, ErrNotInstalled) {
		err = fmt.Errorf("%w: %w: %w", coherence.ErrMisconfigured, ErrNotInstalled, err)
	}
	return fmt.Errorf("sqlite: %s: %w", doing, err)
}

// migrations lead from one version of the tables to the next, in one transaction.
var migrations = []string{
	schemaSQL,
	// How far a relay has come inside a transaction that it publishes in pieces.
	`alter table @@cursors add column part integer not null default 0`,
}

// Times are Unix milliseconds of the one machine's clock.
const schemaSQL = `
create table @@meta (only_row integer primary key check (only_row = 1), schema_version integer not null,
	timeline integer not null, identity text not null, trimmed integer not null);
create table @@floors (namespace text primary key, floor integer not null) without rowid;
create table @@versions (namespace text not null, key text not null, version integer not null, deleted integer not null,
	primary key (namespace, key)) without rowid;
create index @@versions_deleted on @@versions (namespace, key) where deleted;
create table @@outbox (id integer primary key autoincrement, namespace text not null, key text not null,
	version integer not null, op text not null, fields text,
	created_at integer not null default (cast((julianday('now') - 2440587.5) * 86400000 as integer)));
create table @@cursors (name text primary key, timeline integer not null, n integer not null, seqs text not null);
create table @@leaders (name text primary key, token text not null, until integer not null);
create table @@triggers (table_name text not null, namespace text not null, suffix text not null, name text not null,
	body text not null, primary key (table_name, namespace, suffix));
insert into @@meta values (1, 0, 0, lower(hex(randomblob(16))), 0);`

// Install creates the source's tables. It may be called at every start: it only reads when nothing changed.
func (s *Source) Install(ctx context.Context) error {
	version, err := s.installed(ctx, s.db)
	switch {
	case err != nil:
		return fault("install", err)
	case version > len(migrations):
		return fault("install", s.newer(version))
	case version == len(migrations):
		return nil
	}
	return fault("install", s.transact(ctx, func(tx *sql.Tx) error { return s.migrate(ctx, tx) }))
}

// migrate brings the tables to this program's version.
func (s *Source) migrate(ctx context.Context, tx *sql.Tx) error {
	// Another process may have been quicker; the write lock that the statement takes makes them wait for each other.
	if _, err := tx.ExecContext(ctx, s.q(`create table if not exists @@lock (i integer)`)); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, s.q(`drop table @@lock`)); err != nil {
		return err
	}
	version, err := s.installed(ctx, tx)
	switch {
	case err != nil:
		return err
	case version > len(migrations):
		return s.newer(version)
	}
	for _, m := range migrations[version:] {
		if _, err := tx.ExecContext(ctx, s.q(m)); err != nil {
			return err
		}
	}
	if version == 0 {
		timeline, err := drawTimeline()
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, s.q(`update @@meta set timeline = ?`), timeline); err != nil {
			return err
		}
	}
	_, err = tx.ExecContext(ctx, s.q(`update @@meta set schema_version = ?`), len(migrations))
	return err
}

func (s *Source) newer(version int) error {
	return fmt.Errorf("%w: tables %s* have version %d, the program knows %d", ErrNewerSchema,
		s.prefix, version, len(migrations))
}

// querier is a database or a transaction.
type querier interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// installed is the version of the tables that are there, 0 if there are none.
func (s *Source) installed(ctx context.Context, db querier) (version int, err error) {
	var n int
	err = db.QueryRowContext(ctx, `select count(*) from sqlite_master where name = ?`, s.prefix+"meta").Scan(&n)
	if err != nil || n == 0 {
		return 0, err
	}
	err = db.QueryRowContext(ctx, s.q(`select schema_version from @@meta`)).Scan(&version)
	return version, err
}

// drawTimeline is never 0: the zero Position means something else.
func drawTimeline() (int64, error) {
	n, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		return 0, err
	}
	return n.Int64() | 1, nil
}

// NewTimeline says that the database's history was replaced, for example by an older copy of the file: positions from
// before are void, and every cache drops what it has. Call it after a restore, before anything reads the database.
func (s *Source) NewTimeline(ctx context.Context) error {
	timeline, err := drawTimeline()
	if err == nil {
		_, err = s.db.ExecContext(ctx, s.q(`update @@meta set timeline = ?`), timeline)
	}
	return fault("new timeline", err)
}

// Identity is a random name that Install gave the database. A copy of the file has the same.
func (s *Source) Identity(ctx context.Context) (id string, err error) {
	err = s.db.QueryRowContext(ctx, s.q(`select identity from @@meta`)).Scan(&id)
	return id, fault("identity", err)
}

// transact runs f in a transaction.
func (s *Source) transact(ctx context.Context, f func(*sql.Tx) error) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	if err := f(tx); err != nil {
		return err
	}
	return tx.Commit()
}

func ident(s string) string   { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }
func literal(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
