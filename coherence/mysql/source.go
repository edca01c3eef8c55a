package mysql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/nearcache/nearcache-go/coherence"
)

// Errors that a caller may look for with errors.Is.
var (
	// ErrNotInstalled is what every method returns (wrapped) while the source's tables are missing.
	ErrNotInstalled = errors.New("the tables are not installed: call Install with an account that may create them")
	// ErrNewerSchema is what Install returns (wrapped) when a newer program made the tables. Nothing was changed.
	ErrNewerSchema = errors.New("the tables are of a newer version than this program")
	// ErrUnsupported is what methods return (wrapped) on a server whose order of changes cannot be known, such as a
	// cluster in which several servers take writes. It says which setting is in the way.
	ErrUnsupported = errors.New("this server cannot be a source")
	// ErrBusy is what InstallTrigger returns (wrapped) when others hold the table for too long.
	ErrBusy = errors.New("other transactions hold it for too long")
)

// Config is how a Source works. The zero value is ready to use.
type Config struct {
	// Database is the name of the database that Install creates for the source's own tables: lower-case letters, digits
	// and underscores. Defaults to "nearcache".
	Database string
	// Poll is how often Wait looks for new changes, since the server wakes nobody. Defaults to 10ms.
	Poll time.Duration
}

// Source is a coherence.Source over the server that takes writes, with every ability. It is safe for concurrent use.
// An instance uses one connection of the *sql.DB at a time and a relay up to four: set its limit accordingly, or give
// the Source a *sql.DB of its own.
type Source struct {
	db   *sql.DB
	name string
	poll time.Duration

	mu     sync.Mutex
	probed bool              // the server was found fit
	last   progress          // of the last Changes
	terms  map[string]uint64 // of the last leaderships that this Source had, by the relay's name
}

// progress is how far Changes has read, and how far it could see.
type progress struct{ upto, head uint64 }

var plain = regexp.MustCompile(`^[a-z_][a-z0-9_]{0,47}$`)

// New returns a Source over a database handle, which stays the caller's. It does not use it yet.
func New(db *sql.DB, cfg Config) (*Source, error) {
	if cfg.Database == "" {
		cfg.Database = "nearcache"
	}
	if cfg.Poll == 0 {
		cfg.Poll = 10 * time.Millisecond
	}
	switch {
	case db == nil:
		return nil, errors.New("mysql: the database is nil")
	case !plain.MatchString(cfg.Database):
		return nil, fmt.Errorf("mysql: Config.Database %q: use lower-case letters, digits and underscores, 48 at most",
			cfg.Database)
	case cfg.Poll < time.Millisecond:
		return nil, fmt.Errorf("mysql: Config.Poll is %v; a millisecond is the least", cfg.Poll)
	}
	return &Source{db: db, terms: make(map[string]uint64), name: cfg.Database, poll: cfg.Poll}, nil
}

// Close releases what the Source holds, which is nothing: the database handle stays open. It is there because every
// driver has it.
func (s *Source) Close() {}

// Abilities implements coherence.Source.
func (s *Source) Abilities() coherence.Abilities {
	return coherence.Abilities{Leader: s, Cursors: s, Waker: s, Trimmer: s, Bumper: s, Versioner: s, Checker: s,
		Identifier: s, Estimator: s}
}

// q puts the name of the source's database into a statement.
func (s *Source) q(query string) string { return strings.ReplaceAll(query, "{db}", s.name) }

// querier is a database, a connection or a transaction.
type querier interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// transact runs f in a transaction that reads what is committed and locks no gaps between rows.
func (s *Source) transact(ctx context.Context, f func(*sql.Tx) error) error {
	tx, err := s.db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelReadCommitted})
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	if err := f(tx); err != nil {
		return err
	}
	return tx.Commit()
}

// codes are the server's error numbers that waiting does not mend, as drivers write them.
var codes = []struct{ begins, means string }{
	{"Error 1146", "missing"}, {"Error 1049", "missing"}, {"Error 1305", "missing"}, // table, database, procedure
	{"Error 1142", "denied"}, {"Error 1143", "denied"}, {"Error 1370", "denied"}, {"Error 1044", "denied"},
	{"Error 1045", "denied"}, {"Error 1227", "denied"}, {"Error 1419", "denied"}, {"Error 1698", "denied"},
}

// fault says what was being done, and what to do where waiting does not help.
func (s *Source) fault(doing string, err error) error {
	if err == nil {
		return nil
	}
	text := err.Error()
	for _, c := range codes {
		if !strings.Contains(text, c.begins) || errors.Is(err, coherence.ErrMisconfigured) {
			continue
		}
		if c.means == "missing" {
			err = fmt.Errorf("database %s: %w: %w", s.name, ErrNotInstalled, err)
		} else {
			err = fmt.Errorf("%w: the account lacks a right; docs/guides/mysql.md lists what each needs: %w",
				coherence.ErrMisconfigured, err)
		}
	}
	if (errors.Is(err, ErrNotInstalled) || errors.Is(err, ErrNewerSchema) || errors.Is(err, ErrUnsupported)) &&
		!errors.Is(err, coherence.ErrMisconfigured) {
		err = fmt.Errorf("%w: %w", coherence.ErrMisconfigured, err)
	}
	return fmt.Errorf("mysql: %s: %w", doing, err)
}
