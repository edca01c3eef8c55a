//go:build unix

package chaos

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/postgres"
	"github.com/nearcache/nearcache-go/internal/chaos/history"
	"github.com/nearcache/nearcache-go/nearcache"
)

// namespace is that of the items.
const namespace = "item"

// item is the cached value. It carries its version, because Get returns none.
type item struct {
	Version uint64 `json:"v"`
	Body    string `json:"b"`
}

// hashOf identifies a value in the history.
func hashOf(body string) uint64 { return xxhash.Sum64String(body) }

// schema is the table of items and the ground truth. Its triggers are of statements, as nearcache's own are, which
// count the version: triggers of rows would run before. Their names make them run after nearcache's.
const schema = `
create table if not exists items (id bigint primary key, body text not null);
create table if not exists nc_history (id bigserial primary key, key bigint not null, version bigint not null,
	body text, write bigint not null, uncounted boolean not null default false);
create index if not exists nc_history_key on nc_history (key, version);
create or replace function zz_history() returns trigger language plpgsql as $$
begin
	-- A version that a commit before this one has counted was not counted by this one.
	insert into nc_history (key, version, body, write, uncounted)
		select c.id, v.version, case when tg_op = 'DELETE' then null else c.body end,
			coalesce(nullif(current_setting('chaos.write', true), ''), '0')::bigint,
			exists (select from nc_history h where h.key = c.id and h.version = v.version)
		from changed c join nearcache.versions v on v.namespace = 'item' and v.key = c.id::text order by c.id;
	return null;
end $$;
drop trigger if exists zz_history_insert on items;
drop trigger if exists zz_history_update on items;
drop trigger if exists zz_history_delete on items;
create trigger zz_history_insert after insert on items referencing new table as changed
	for each statement execute function zz_history();
create trigger zz_history_update after update on items referencing new table as changed
	for each statement execute function zz_history();
create trigger zz_history_delete after delete on items referencing old table as changed
	for each statement execute function zz_history();
create table if not exists bulk (id bigint primary key, n bigint not null)`

// store is the items in the source of truth as one process reaches them.
type store interface {
	// truth is the source.
	truth() coherence.Source
	// install makes the schema and the items that the run begins with.
	install(ctx context.Context, keys int) error
	// load is the cache's Loader.
	load(ctx context.Context, k uint32) (nearcache.Entry[item], error)
	// bulk is a row of another table, and its version.
	bulk(ctx context.Context, k uint32) (nearcache.Entry[int64], error)
	// write commits changes in one transaction, which stays open for a while, and returns their versions. An error that
	// does not wrap errNothing leaves open whether it committed.
	write(ctx context.Context, changes []change, open time.Duration) (versions []uint64, err error)
	// large commits changes of a range of bulk rows and then of items in one transaction.
	large(ctx context.Context, from, upto int, changes []change) (versions []uint64, err error)
	// fill commits changes of a range of bulk rows.
	fill(ctx context.Context, from, upto int) error
	// leader is the member that leads the relays.
	leader(ctx context.Context) (string, error)
	// commits is the ground truth.
	commits(ctx context.Context) ([]history.Commit, error)
	close()
}

// openStore opens the store of a source, which is "postgres" or "mariadb".
func openStore(ctx context.Context, source, address string, conns int) (store, error) {
	if source == mariadb {
		return openMariaDB(address, conns)
	}
	return openPostgres(ctx, address, int32(conns))
}

// postgresStore is the items in Postgres.
type postgresStore struct {
	pool   *pgxpool.Pool
	source *postgres.Source
}

func openPostgres(ctx context.Context, url string, conns int32) (*postgresStore, error) {
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	cfg.MaxConns = conns
	cfg.ConnConfig.ConnectTimeout = time.Second
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, err
	}
	src, err := postgres.New(pool, postgres.Config{})
	if err != nil {
		pool.Close()
		return nil, err
	}
	return &postgresStore{pool: pool, source: src}, nil
}

func (s *postgresStore) truth() coherence.Source { return s.source }

func (s *postgresStore) close() {
	s.source.Close()
	s.pool.Close()
}

func (s *postgresStore) install(ctx context.Context, keys int) error {
	if err := s.source.Install(ctx); err != nil {
		return err
	}
	if _, err := s.pool.Exec(ctx, schema); err != nil {
		return fmt.Errorf("chaos: schema: %w", err)
	}
	if err := s.source.InstallTrigger(ctx,
		postgres.Trigger{Table: "items", Namespace: namespace, KeyColumns: []string{"id"}}); err != nil {
		return err
	}
	if err := s.source.InstallTrigger(ctx,
		postgres.Trigger{Table: "bulk", Namespace: "bulk", KeyColumns: []string{"id"}}); err != nil {
		return err
	}
	_, err := s.pool.Exec(ctx, `insert into bulk select i, 0 from generate_series(0, $1::bigint - 1) i
		on conflict do nothing`, keys)
	if err != nil {
		return fmt.Errorf("chaos: bulk: %w", err)
	}
	_, err = s.pool.Exec(ctx, `insert into items select i, 'first of ' || i from generate_series(0, $1::bigint - 1) i
		on conflict do nothing`, keys)
	if err != nil {
		return fmt.Errorf("chaos: items: %w", err)
	}
	return nil
}

func (s *postgresStore) load(ctx context.Context, k uint32) (nearcache.Entry[item], error) {
	var version int64
	var body *string
	err := s.pool.QueryRow(ctx, `select `+s.source.VersionSQL("'item'", "$1::text")+`, i.body from (select) one
		left join items i on i.id = $1::text::bigint`, strconv.FormatUint(uint64(k), 10)).Scan(&version, &body)
	switch {
	case err != nil:
		return nearcache.Entry[item]{}, err
	case body == nil:
		return nearcache.Entry[item]{Version: nearcache.Version(version)}, nearcache.ErrNotFound
	}
	return nearcache.Entry[item]{Value: item{Version: uint64(version), Body: *body},
		Version: nearcache.Version(version)}, nil
}

// change is one state to be written; a body of "" deletes.
type change struct {
	key    uint32
	number uint64 // of the write
	body   string
}

// errNothing says that a transaction changed nothing, certainly.
var errNothing = errors.New("chaos: nothing was written")

func (s *postgresStore) write(ctx context.Context, changes []change, open time.Duration) (versions []uint64,
	err error) {
	tx, err := s.pool.Begin(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNothing, err)
	}
	// Whatever this finds to roll back was not committed, and a connection that is broken is rolled back by the
	// server.
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
	for _, c := range changes {
		v, err := s.put(ctx, tx, c)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errNothing, err)
		}
		versions = append(versions, v)
	}
	if open > 0 {
		pause(ctx, open)
	}
	return versions, tx.Commit(ctx)
}

func (s *postgresStore) put(ctx context.Context, tx pgx.Tx, c change) (uint64, error) {
	if _, err := tx.Exec(ctx, `select set_config('chaos.write', $1, true)`, strconv.FormatUint(c.number, 10)); err != nil {
		return 0, err
	}
	sql := `insert into items values ($1, $2) on conflict (id) do update set body = excluded.body`
	args := []any{int64(c.key), c.body}
	if c.body == "" {
		sql, args = `delete from items where id = $1`, args[:1]
	}
	tag, err := tx.Exec(ctx, sql, args...)
	if err != nil {
		return 0, err
	}
	if tag.RowsAffected() == 0 {
		return 0, errors.New("it is deleted already")
	}
	v, err := s.source.VersionOf(ctx, tx, namespace, strconv.FormatUint(uint64(c.key), 10))
	return uint64(v), err
}

// bulkSQL counts a change of each of a range of rows, in one statement.
const bulkSQL = `insert into bulk select i, 1 from generate_series($1::bigint, $2::bigint) i
	on conflict (id) do update set n = bulk.n + 1`

func (s *postgresStore) fill(ctx context.Context, from, upto int) error {
	_, err := s.pool.Exec(ctx, bulkSQL, from, upto)
	return err
}

func (s *postgresStore) large(ctx context.Context, from, upto int, changes []change) (versions []uint64, err error) {
	tx, err := s.pool.Begin(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNothing, err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
	if _, err := tx.Exec(ctx, bulkSQL, from, upto); err != nil {
		return nil, fmt.Errorf("%w: %w", errNothing, err)
	}
	for _, c := range changes {
		v, err := s.put(ctx, tx, c)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errNothing, err)
		}
		versions = append(versions, v)
	}
	return versions, tx.Commit(ctx)
}

func (s *postgresStore) bulk(ctx context.Context, k uint32) (e nearcache.Entry[int64], err error) {
	err = s.pool.QueryRow(ctx, `select coalesce(v.version, 1), b.n from bulk b
		left join nearcache.versions v on v.namespace = 'bulk' and v.key = b.id::text
		where b.id = $1`, int64(k)).Scan(&e.Version, &e.Value)
	return e, err
}

// leader goes by the name that a member's connections have.
func (s *postgresStore) leader(ctx context.Context) (name string, err error) {
	err = s.pool.QueryRow(ctx, `select a.application_name from nearcache.leaders l
		join pg_stat_activity a on a.pid = l.session and a.backend_start = l.session_began
		where l.holder <> '' limit 1`).Scan(&name)
	return name, err
}

func (s *postgresStore) commits(ctx context.Context) (out []history.Commit, err error) {
	rows, err := s.pool.Query(ctx, `select key, version, body, write, uncounted from nc_history`)
	if err != nil {
		return nil, fmt.Errorf("chaos: ground truth: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var key, version, write int64
		var body *string
		var uncounted bool
		if err := rows.Scan(&key, &version, &body, &write, &uncounted); err != nil {
			return nil, fmt.Errorf("chaos: ground truth: %w", err)
		}
		c := history.Commit{Key: uint32(key), Version: uint64(version), Write: uint64(write), Deleted: body == nil,
			Uncounted: uncounted}
		if body != nil {
			c.Hash = hashOf(*body)
		}
		out = append(out, c)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("chaos: ground truth: %w", err)
	}
	return out, nil
}

// pause waits for d or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
