package postgres

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/nearcache/nearcache-go/coherence"
)

// Errors that a caller may look for with errors.Is.
var (
	// ErrNotInstalled is what every method returns (wrapped) while the source's tables and functions are missing.
	ErrNotInstalled = errors.New("the schema is not installed: call Install as a role that may create it")
	// ErrNewerSchema is what Install returns (wrapped) when a newer program made the schema. Nothing was changed.
	ErrNewerSchema = errors.New("the schema is of a newer version than this program")
	// ErrPooled is what a method returns (wrapped) when a statement that pgx had prepared is not in the session that it
	// was given, as behind a pooler that gives each transaction another one.
	ErrPooled = errors.New("a pooler gives each transaction another session, and pgx prepares statements in one: " +
		"add default_query_exec_mode=exec to the connection string, or let the pooler follow prepared statements " +
		"(PgBouncer 1.21: max_prepared_statements)")
	// ErrBusy is what Install and InstallTrigger return (wrapped) when others hold the table for too long.
	ErrBusy = errors.New("other transactions hold it for too long")
)

// Config is how a Source works. The zero value is ready to use.
type Config struct {
	// Schema is where Install puts the source's tables: lower-case letters, digits and underscores. Defaults to
	// "nearcache".
	Schema string
	// Conns is how many connections the Source opens for itself at most, so that Position and the relay never wait behind
	// the caller's queries. They are made from the pool's configuration, hooks included. An instance uses one, a relay up
	// to four. Leading and Wait take one more each; behind a pooler that gives each transaction another session they
	// take none. Defaults to 4.
	Conns int32
	// WithoutNotify leaves out pg_notify, by which a commit wakes the relay at once. Postgres lets one transaction that
	// notifies commit at a time, so with synchronous replication commits wait for each other; and PREPARE TRANSACTION is
	// refused after a notification. Without it the relay finds changes at its Interval. Install writes the setting into
	// the schema: the last Install decides.
	WithoutNotify bool
	// TruncateRows is how many rows a table may have so that a truncate counts them one by one. A truncate of more is one
	// event, however many there are. Every key of the namespace has a new version then, and every cache of the Redis
	// prefix begins empty, since L2 cannot drop one namespace alone. The same holds for a partition that is attached or
	// detached. Install writes the setting into the schema: the last Install decides. Defaults to 100,000.
	TruncateRows int64
	// LockTimeout is how long Install and InstallTrigger wait for a lock at a time, and so how long they may hold up
	// queries that come after them. They try again until their context ends, for a minute at most. Defaults to 200ms.
	LockTimeout time.Duration
}

// Source is a coherence.Source over a primary, with every ability. It is safe for concurrent use.
type Source struct {
	pool   *pgxpool.Pool
	schema string
	cfg    Config
	// keepsPlans says that the pool prepares each statement once, and the server may keep its plan.
	keepsPlans bool

	mu     sync.Mutex
	own    *pgxpool.Pool // of Config.Conns
	closed bool
	terms  map[string]uint64 // of the last leaderships that this Source had, by the relay's name

	listening sync.Mutex
	listen    *pgx.Conn   // of Wait
	pooled    atomic.Bool // Wait has found that no session can listen
}

var plain = regexp.MustCompile(`^[a-z_][a-z0-9_]{0,47}$`)

// New returns a Source over a pool, which stays the caller's and is used for Version, VersionOf and BumpKey. Close the
// Source before the pool.
func New(pool *pgxpool.Pool, cfg Config) (*Source, error) {
	if cfg.Schema == "" {
		cfg.Schema = "nearcache"
	}
	if cfg.Conns == 0 {
		cfg.Conns = 4
	}
	if cfg.TruncateRows == 0 {
		cfg.TruncateRows = 100_000
	}
	if cfg.LockTimeout == 0 {
		cfg.LockTimeout = 200 * time.Millisecond
	}
	switch {
	case pool == nil:
		return nil, errors.New("postgres: the pool is nil")
	case !plain.MatchString(cfg.Schema):
		return nil, fmt.Errorf("postgres: Config.Schema %q: use lower-case letters, digits and underscores, 48 at most",
			cfg.Schema)
	case cfg.Conns < 0:
		return nil, fmt.Errorf("postgres: Config.Conns is %d", cfg.Conns)
	case cfg.TruncateRows < 0:
		return nil, fmt.Errorf("postgres: Config.TruncateRows is %d", cfg.TruncateRows)
	case cfg.LockTimeout < time.Millisecond:
		return nil, fmt.Errorf("postgres: Config.LockTimeout is %v; a millisecond is the least", cfg.LockTimeout)
	}
	keepsPlans := pool.Config().ConnConfig.DefaultQueryExecMode == pgx.QueryExecModeCacheStatement
	return &Source{pool: pool, schema: cfg.Schema, cfg: cfg, keepsPlans: keepsPlans, terms: make(map[string]uint64)}, nil
}

// Abilities implements coherence.Source.
func (s *Source) Abilities() coherence.Abilities {
	return coherence.Abilities{Leader: s, Cursors: s, Waker: s, Trimmer: s, Bumper: s, Versioner: s, Checker: s,
		Identifier: s, Estimator: s, Accountant: s}
}

// Close closes the Source's own connections. The pool stays open.
func (s *Source) Close() {
	s.mu.Lock()
	own := s.own
	s.own, s.closed = nil, true
	s.mu.Unlock()
	if own != nil {
		own.Close()
	}
	s.listening.Lock()
	defer s.listening.Unlock()
	if s.listen != nil {
		closeConn(s.listen)
		s.listen = nil
	}
}

// feed is the pool of the Source's own connections. It is made from the caller's configuration, so that hooks that
// fetch a password or set up a session count for it too.
func (s *Source) feed() (*pgxpool.Pool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errors.New("the source is closed")
	}
	if s.own == nil {
		cfg := s.pool.Config()
		cfg.MaxConns, cfg.MinConns, cfg.MinIdleConns = s.cfg.Conns, 0, 0
		own, err := pgxpool.NewWithConfig(context.Background(), cfg)
		if err != nil {
			return nil, err
		}
		s.own = own
	}
	return s.own, nil
}

// connect opens a connection for longer use, by way of the Source's own pool and its hooks.
func (s *Source) connect(ctx context.Context) (*pgx.Conn, error) {
	pool, err := s.feed()
	if err != nil {
		return nil, err
	}
	c, err := pool.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	return c.Hijack(), nil
}

// closeConn also lets go of the session's locks.
func closeConn(c *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = c.Close(ctx)
}

// transact runs f in a transaction on a connection of the Source's own.
func (s *Source) transact(ctx context.Context, f func(pgx.Tx) error) error {
	pool, err := s.feed()
	if err != nil {
		return err
	}
	return pgx.BeginFunc(ctx, pool, f)
}

// q puts the schema's name into a statement.
func (s *Source) q(sql string) string { return strings.ReplaceAll(sql, "@@", s.schema) }

// fault says what was being done, and what to do where waiting does not help.
func (s *Source) fault(doing string, err error) error {
	if err == nil {
		return nil
	}
	var pg *pgconn.PgError
	if errors.As(err, &pg) && !errors.Is(err, ErrNotInstalled) {
		switch pg.Code {
		case "3F000", "42P01", "42883": // no such schema, table, function
			err = fmt.Errorf("schema %s: %w: %w", s.schema, ErrNotInstalled, err)
		case "08P01":
			if strings.Contains(pg.Message, "statement pooling mode") {
				err = fmt.Errorf("%w: PgBouncer's statement mode allows no transactions; use its transaction mode: %w",
					coherence.ErrMisconfigured, err)
			}
		case "26000", "42P05": // no such prepared statement; it is prepared already
			err = fmt.Errorf("%w: %w", ErrPooled, err)
		case "42501":
			err = fmt.Errorf("%w: the role lacks a right; docs/guides/postgres.md lists what each role needs: %w",
				coherence.ErrMisconfigured, err)
		case "28P01", "28000", "3D000": // wrong password, no such role, no such database
			err = fmt.Errorf("%w: %w", coherence.ErrMisconfigured, err)
		}
	}
	if (errors.Is(err, ErrNotInstalled) || errors.Is(err, ErrPooled) || errors.Is(err, ErrNewerSchema)) &&
		!errors.Is(err, coherence.ErrMisconfigured) {
		err = fmt.Errorf("%w: %w", coherence.ErrMisconfigured, err)
	}
	return fmt.Errorf("postgres: %s: %w", doing, err)
}
