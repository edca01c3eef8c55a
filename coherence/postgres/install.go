package postgres

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

var (
	//go:embed schema.sql
	schemaSQL string
	//go:embed schema_part.sql
	schemaPartSQL string
	//go:embed schema_statement.sql
	schemaStatementSQL string
	//go:embed schema_truncate.sql
	schemaTruncateSQL string
	//go:embed schema_trace.sql
	schemaTraceSQL string
	//go:embed schema_table.sql
	schemaTableSQL string
	//go:embed schema_lease.sql
	schemaLeaseSQL string
	//go:embed schema_keys.sql
	schemaKeysSQL string
	//go:embed schema_names.sql
	schemaNamesSQL string
)

// migrations lead from one version of the schema to the next. Each runs in the transaction of the whole Install. A
// later one is never undone: Install of a program that knows fewer of them refuses.
var migrations = []string{schemaSQL, schemaPartSQL, schemaStatementSQL, schemaTruncateSQL, schemaTableSQL,
	schemaTraceSQL, schemaLeaseSQL, schemaKeysSQL, schemaNamesSQL}

// InstallSQL is what Install runs on a database that has nothing of it yet, for whoever runs it by hand.
func (s *Source) InstallSQL() string {
	sql := ""
	for _, m := range migrations {
		sql += m
	}
	return s.q(sql + fmt.Sprintf("update @@.meta set schema_version = %d, notify = %v, truncate_rows = %d;\n",
		len(migrations), !s.cfg.WithoutNotify, s.cfg.TruncateRows))
}

// settings are those that the triggers go by.
type settings struct {
	notify       bool
	truncateRows int64
}

func (s *Source) settings() settings { return settings{!s.cfg.WithoutNotify, s.cfg.TruncateRows} }

// installed is the version of the schema, 0 if there is none, and its settings, if it is of the present version. It
// takes no lock that anybody waits for.
func (s *Source) installed(ctx context.Context, db Querier) (version int, set settings, err error) {
	var there, readable bool
	err = db.QueryRow(ctx, `select exists (select from pg_class c join pg_namespace n on n.oid = c.relnamespace
			where n.nspname = $1 and c.relname = 'meta'),
		exists (select from pg_attribute a join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace
			where n.nspname = $1 and c.relname = 'meta' and a.attname = 'schema_version'
				and not a.attisdropped)`, s.schema).Scan(&there, &readable)
	switch {
	case err != nil || !there:
		return 0, set, err
	case !readable:
		return 0, set, fmt.Errorf("schema %s was made by something else, or by a program from before versions: drop it, "+
			"or set Config.Schema", s.schema)
	}
	err = db.QueryRow(ctx, s.q(`select schema_version from @@.meta where only_row`)).Scan(&version)
	if err == nil && version == len(migrations) {
		err = db.QueryRow(ctx, s.q(`select notify, truncate_rows from @@.meta where only_row`)).Scan(&set.notify,
			&set.truncateRows)
	}
	return version, set, err
}

// Install creates the schema, or brings it to this program's version. It may be called at every start and by several
// processes at once: when nothing is to be done it only reads.
func (s *Source) Install(ctx context.Context) error {
	pool, err := s.feed()
	if err != nil {
		return s.fault("install", err)
	}
	version, set, err := s.installed(ctx, pool)
	switch {
	case err != nil:
		return s.fault("install", err)
	case version > len(migrations):
		return s.newer(version)
	case version == len(migrations) && set == s.settings():
		return nil
	}
	return s.fault("install", s.patiently(ctx, "schema "+s.schema, func(tx pgx.Tx) error {
		// "if not exists" is not atomic between sessions.
		if _, err := tx.Exec(ctx, `select pg_advisory_xact_lock(hashtextextended($1, 1))`,
			"nearcache install "+s.schema); err != nil {
			return err
		}
		version, _, err := s.installed(ctx, tx)
		if err != nil {
			return err
		}
		if version > len(migrations) {
			return s.newer(version)
		}
		for _, m := range migrations[version:] {
			if _, err := tx.Exec(ctx, s.q(m)); err != nil {
				return err
			}
		}
		_, err = tx.Exec(ctx,
			s.q(`update @@.meta set schema_version = $1, notify = $2, truncate_rows = $3
				where (schema_version, notify, truncate_rows) is distinct from ($1, $2, $3)`),
			len(migrations), !s.cfg.WithoutNotify, s.cfg.TruncateRows)
		return err
	}))
}

func (s *Source) newer(version int) error {
	return fmt.Errorf("postgres: install: %w: schema %s has version %d, the program knows %d", ErrNewerSchema, s.schema,
		version, len(migrations))
}

// patiently runs f in a transaction that waits for no lock longer than Config.LockTimeout: whatever comes after a lock
// that waits has to wait too. Meanwhile the others get their turn.
func (s *Source) patiently(ctx context.Context, what string, f func(pgx.Tx) error) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var held error // what the last attempt waited for in vain
	for pause := s.cfg.LockTimeout; ; pause = min(2*pause, 5*time.Second) {
		err := s.transact(ctx, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, `select set_config('lock_timeout', $1, true)`,
				fmt.Sprint(s.cfg.LockTimeout.Milliseconds())); err != nil {
				return err
			}
			return f(tx)
		})
		switch {
		case err != nil && held != nil && ctx.Err() != nil:
			return fmt.Errorf("%s: %w: %w", what, ErrBusy, held)
		case err == nil || !passes(err):
			return err
		}
		held = err
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w: %w", what, ErrBusy, held)
		case <-time.After(pause + rand.N(pause)):
		}
	}
}

// passes reports whether an error is over when others have ended.
func passes(err error) bool {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return false
	}
	switch pg.Code {
	case "55P03", "40P01", "40001": // lock not available, deadlock, serialization failure
		return true
	}
	return false
}

// NewTimeline says that the database's history was replaced, for example by a copy of its files: positions from before
// are void, and every cache drops what it has. A restored dump, a promoted standby and a restored archive are noticed
// without it. Call it after a restore, before anything reads the database.
func (s *Source) NewTimeline(ctx context.Context) error {
	return s.fault("new timeline", s.transact(ctx, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, s.q(`update @@.meta set timeline = default`))
		return err
	}))
}

// Identity is a random name that Install gave the database. A copy of it has the same.
func (s *Source) Identity(ctx context.Context) (id string, err error) {
	pool, err := s.feed()
	if err == nil {
		err = pool.QueryRow(ctx, s.q(`select identity from @@.meta`)).Scan(&id)
	}
	return id, s.fault("identity", err)
}
