package product

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/nearcache/nearcache-go/coherence/postgres"
	"github.com/nearcache/nearcache-go/coherence/sqlite"
	"github.com/nearcache/nearcache-go/nearcache"
)

// SQLStore is a Store in Postgres or SQLite. The trigger that the coherence packages install counts the versions; the
// store only reads them. A write locks the product's row first, and the trigger locks the version's row after that, so
// the order of locks is the same as for an UPDATE by hand, and versions are in the order of commits.
type SQLStore struct {
	db        *sql.DB
	versioned string // an SQL expression: the version of the product k.id
	dollar    bool   // placeholders are $1, $2, ...
	isolation sql.IsolationLevel
	lock      string // the end of a SELECT that locks its row

	// Traceparent is the trace that the changes of a write belong to, "" for none. It is for Postgres, whose trigger
	// keeps it. Defaults to none.
	Traceparent func(ctx context.Context) string
}

// NewPostgresStore returns a store over the database of a Source.
func NewPostgresStore(db *sql.DB, src *postgres.Source) *SQLStore {
	return &SQLStore{db: db, versioned: src.VersionSQL("'"+Namespace+"'", "k.id"), dollar: true,
		isolation: sql.LevelReadCommitted,
		lock:      " for update"}
}

// NewSQLiteStore returns a store over the database of a Source. Its transactions must begin with the write lock.
func NewSQLiteStore(db *sql.DB, src *sqlite.Source) *SQLStore {
	return &SQLStore{db: db, versioned: src.VersionSQL("'"+Namespace+"'", "k.id")}
}

// Table is the table of products, Key its key column: a trigger on it counts the versions.
const (
	Table = "products"
	Key   = "id"
)

// Install creates the table of products if it is missing.
func (s *SQLStore) Install(ctx context.Context) error {
	_, err := s.db.ExecContext(ctx, `create table if not exists products (
		id text primary key, name text not null, description text, price bigint not null)`)
	if err != nil {
		return fmt.Errorf("product: install: %w", err)
	}
	return nil
}

// q puts in the expression of the version, and numbers the placeholders for Postgres.
func (s *SQLStore) q(query string) string {
	query = strings.ReplaceAll(query, "@version", s.versioned)
	if !s.dollar {
		return query
	}
	var b strings.Builder
	n := 0
	for _, r := range query {
		if r != '?' {
			b.WriteRune(r)
			continue
		}
		n++
		b.WriteString("$" + strconv.Itoa(n))
	}
	return b.String()
}

// Find reads value and version in one statement, which has a row also for a product that never was.
func (s *SQLStore) Find(ctx context.Context, id string) (p Product, v Version, err error) {
	var found sql.NullString
	var name sql.NullString
	var price sql.NullInt64
	err = s.db.QueryRowContext(ctx, s.q(`select @version, p.id, p.name, p.description, p.price
		from (select cast(? as text) as id) k left join products p on p.id = k.id`), id).
		Scan(&v, &found, &name, &p.Description, &price)
	if err != nil {
		return Product{}, 0, fmt.Errorf("product: find: %w", err)
	}
	if !found.Valid {
		return Product{}, v, ErrNotFound
	}
	p.ID, p.Name, p.Price = found.String, name.String, Price(price.Int64)
	return p, v, nil
}

// likeEscape has LIKE take the characters of a text for themselves.
var likeEscape = strings.NewReplacer("!", "!!", "%", "!%", "_", "!_")

// List reads a page.
func (s *SQLStore) List(ctx context.Context, page Page) ([]Product, error) {
	like := "%" + likeEscape.Replace(strings.ToLower(page.Search)) + "%"
	rows, err := s.db.QueryContext(ctx, s.q(`select id, name, description, price from products
		where id > ? and (lower(name) like ? escape '!' or lower(id) like ? escape '!')
		order by id limit ?`), page.After, like, like, page.Limit)
	if err != nil {
		return nil, fmt.Errorf("product: list: %w", err)
	}
	defer rows.Close()
	ps := []Product{}
	for rows.Next() {
		var p Product
		if err := rows.Scan(&p.ID, &p.Name, &p.Description, &p.Price); err != nil {
			return nil, fmt.Errorf("product: list: %w", err)
		}
		ps = append(ps, p)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("product: list: %w", err)
	}
	return ps, nil
}

// Count counts.
func (s *SQLStore) Count(ctx context.Context) (n int, err error) {
	if err := s.db.QueryRowContext(ctx, `select count(*) from products`).Scan(&n); err != nil {
		return 0, fmt.Errorf("product: count: %w", err)
	}
	return n, nil
}

// Create inserts.
func (s *SQLStore) Create(ctx context.Context, p Product) (Version, error) {
	return s.write(ctx, "create", p.ID, func(tx *sql.Tx) error {
		inserted, err := s.insert(ctx, tx, p)
		if err == nil && !inserted {
			err = ErrExists
		}
		return err
	})
}

// Replace inserts or updates. Between finding no row and inserting one another transaction can insert it; then the row
// is there, and everything begins again with it.
func (s *SQLStore) Replace(ctx context.Context, p Product, may Condition) (v Version, created bool, err error) {
	v, err = s.write(ctx, "replace", p.ID, func(tx *sql.Tx) error {
		for {
			now, err := s.state(ctx, tx, p.ID)
			if err != nil {
				return err
			}
			if may != nil && !may(now) {
				return ErrConflict
			}
			if now.There {
				return s.update(ctx, tx, p)
			}
			if created, err = s.insert(ctx, tx, p); err != nil || created {
				return err
			}
		}
	})
	return v, created && err == nil, err
}

// Delete deletes.
func (s *SQLStore) Delete(ctx context.Context, id string, may Condition) (Version, error) {
	return s.write(ctx, "delete", id, func(tx *sql.Tx) error {
		now, err := s.state(ctx, tx, id)
		switch {
		case err != nil:
			return err
		case !now.There:
			return ErrNotFound
		case may != nil && !may(now):
			return ErrConflict
		}
		_, err = tx.ExecContext(ctx, s.q(`delete from products where id = ?`), id)
		return err
	})
}

// state reads a product and locks its row. The version is read by a statement of its own: one that waited for the lock
// would read it as it was before the wait.
func (s *SQLStore) state(ctx context.Context, tx *sql.Tx, id string) (now State, err error) {
	p := Product{ID: id}
	err = tx.QueryRowContext(ctx, s.q(`select name, description, price from products where id = ?`)+s.lock, id).
		Scan(&p.Name, &p.Description, &p.Price)
	if errors.Is(err, sql.ErrNoRows) {
		return State{}, nil
	}
	if err != nil {
		return State{}, err
	}
	v, err := s.version(ctx, tx, id)
	return State{There: true, Product: p, Version: v}, err
}

// version is a product's version as the transaction sees it.
func (s *SQLStore) version(ctx context.Context, tx *sql.Tx, id string) (v Version, err error) {
	err = tx.QueryRowContext(ctx, s.q(`select @version from (select cast(? as text) as id) k`), id).Scan(&v)
	return v, err
}

func (s *SQLStore) insert(ctx context.Context, tx *sql.Tx, p Product) (inserted bool, err error) {
	res, err := tx.ExecContext(ctx, s.q(`insert into products (id, name, description, price) values (?, ?, ?, ?)
		on conflict (id) do nothing`), p.ID, p.Name, p.Description, int64(p.Price))
	if err != nil {
		return false, err
	}
	n, err := res.RowsAffected()
	return n == 1, err
}

func (s *SQLStore) update(ctx context.Context, tx *sql.Tx, p Product) error {
	_, err := tx.ExecContext(ctx, s.q(`update products set name = ?, description = ?, price = ? where id = ?`),
		p.Name, p.Description, int64(p.Price), p.ID)
	return err
}

// write runs change in a transaction, and returns the version that the trigger has counted for it.
//
// Before the commit is sent no failure can have committed anything, whatever the server still does with a statement
// that timed out: those errors are ErrNotCommitted. The commit's own failure is that too if it proves it, else
// ErrOutcomeUnknown.
func (s *SQLStore) write(ctx context.Context, op, id string, change func(*sql.Tx) error) (v Version, err error) {
	refused := func(err error) error {
		var reported *pgconn.PgError
		if errors.As(err, &reported) && (strings.HasPrefix(reported.Code, "22") || strings.HasPrefix(reported.Code, "23")) {
			err = fmt.Errorf("%w: %w", ErrInvalid, err) // a data exception, or a constraint
		}
		return fmt.Errorf("product: %s: %w: %w", op, nearcache.ErrNotCommitted, err)
	}
	tx, err := s.db.BeginTx(ctx, &sql.TxOptions{Isolation: s.isolation})
	if err != nil {
		return 0, refused(err)
	}
	defer func() { _ = tx.Rollback() }()
	if err := s.setTrace(ctx, tx); err != nil {
		return 0, refused(err)
	}
	if err := change(tx); err != nil {
		return 0, refused(err)
	}
	if v, err = s.version(ctx, tx, id); err != nil {
		return 0, refused(err)
	}
	if err := ctx.Err(); err != nil {
		return 0, refused(err)
	}
	if err := tx.Commit(); err != nil {
		if postgres.NotCommitted(err) {
			return 0, refused(err)
		}
		return 0, fmt.Errorf("product: %s: %w: %w", op, ErrOutcomeUnknown, err)
	}
	return v, nil
}

// setTrace has the trigger keep the write's trace with its changes.
func (s *SQLStore) setTrace(ctx context.Context, tx *sql.Tx) error {
	if s.Traceparent == nil {
		return nil
	}
	trace := s.Traceparent(ctx)
	if trace == "" {
		return nil
	}
	_, err := tx.ExecContext(ctx, `select set_config('nearcache.traceparent', $1, true)`, trace)
	return err
}
