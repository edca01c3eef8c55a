package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// schemaSQL is idempotent. The outbox takes the transaction's own id, which subtransactions share, and notifies once a
// transaction, however many rows it writes. A transaction that counts a version waits for the disk: of a version that was
// seen and then lost in a crash, the number would be given to another state.
const schemaSQL = `
create schema if not exists @@;
create table if not exists @@.meta (
	only_row boolean primary key default true check (only_row),
	epoch bigint not null default (random() * 9e18)::bigint,
	identity text not null default gen_random_uuid()::text,
	trimmed numeric not null default 0);
insert into @@.meta default values on conflict do nothing;
create table if not exists @@.versions (
	namespace text not null, key text not null, version bigint not null, deleted boolean not null,
	primary key (namespace, key));
create table if not exists @@.outbox (
	id bigserial primary key, xid xid8 not null default pg_current_xact_id(),
	namespace text not null, key text not null, version bigint not null, op text not null, fields jsonb,
	created_at timestamptz not null default clock_timestamp());
create index if not exists outbox_order on @@.outbox (xid, id);
create table if not exists @@.cursors (
	name text primary key, epoch numeric not null, n numeric not null, seqs jsonb not null);
create or replace function @@.bump(ns text, k text, o text) returns bigint language plpgsql as $$
declare v bigint;
begin
	if current_setting('synchronous_commit') = 'off' then
		perform set_config('synchronous_commit', 'local', true);
	end if;
	insert into @@.versions as t (namespace, key, version, deleted) values (ns, k, 1, o = 'deleted')
		on conflict (namespace, key) do update set version = t.version + 1, deleted = excluded.deleted
		returning version into v;
	insert into @@.outbox (namespace, key, version, op) values (ns, k, v, o);
	perform pg_notify('@@', '');
	return v;
end $$;
create or replace function @@.key_of(r jsonb, cols text[]) returns text language sql immutable as $$
	select string_agg(r ->> c, ':' order by i) from unnest(cols) with ordinality as u(c, i)
$$;
create or replace function @@.on_row() returns trigger language plpgsql as $$
declare
	ns text := tg_argv[0];
	cols text[] := tg_argv[1]::text[];
	old_key text; new_key text;
begin
	if tg_op <> 'INSERT' then old_key := @@.key_of(to_jsonb(old), cols); end if;
	if tg_op <> 'DELETE' then new_key := @@.key_of(to_jsonb(new), cols); end if;
	if tg_op = 'UPDATE' and old_key is not distinct from new_key then
		perform @@.bump(ns, new_key, 'updated');
	else
		if old_key is not null then perform @@.bump(ns, old_key, 'deleted'); end if;
		if new_key is not null then perform @@.bump(ns, new_key, 'created'); end if;
	end if;
	return null;
end $$;
create or replace function @@.on_truncate() returns trigger language plpgsql as $$
begin
	execute format('select count(@@.bump($1, @@.key_of(to_jsonb(t), $2), ''deleted'')) from %I.%I t', tg_table_schema, tg_table_name)
		using tg_argv[0], tg_argv[1]::text[];
	return null;
end $$;`

// Install creates what is missing of the schema. It may be called at every start, by several processes at once.
func (s *Source) Install(ctx context.Context) error {
	err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		// "if not exists" is not atomic between sessions.
		if _, err := tx.Exec(ctx, `select pg_advisory_xact_lock(hashtextextended($1, 1))`, "nearcache install "+s.schema); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, s.q(schemaSQL))
		return err
	})
	if err != nil {
		return fmt.Errorf("postgres: install: %w", err)
	}
	return nil
}

// Trigger says which table's rows are keys of a namespace.
type Trigger struct {
	Table     string // the table, with its schema if it is not on the search path; required
	Namespace string // required
	// KeyColumns make up the key; several are joined by colons. It must be the name that the cache's EncodeKey gives.
	// Required.
	KeyColumns []string
}

// InstallTrigger makes every change of a table's rows count a version and write the outbox, whoever makes it: inserts,
// updates, deletes, and a truncate, which counts every row. An update that changes the key is a delete and an insert.
// Installing it again replaces it. Rows that are there already have no version until they change.
func (s *Source) InstallTrigger(ctx context.Context, t Trigger) error {
	if t.Table == "" || t.Namespace == "" || len(t.KeyColumns) == 0 {
		return errors.New("postgres: trigger: Table, Namespace and KeyColumns are required")
	}
	args := quote(t.Namespace) + ", " + quote("{"+strings.Join(quoteAll(t.KeyColumns), ",")+"}")
	table := pgx.Identifier(strings.Split(t.Table, ".")).Sanitize()
	err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, s.q(`drop trigger if exists @@_row on `+table+`;
			drop trigger if exists @@_truncate on `+table+`;
			create trigger @@_row after insert or update or delete on `+table+` for each row execute function @@.on_row(`+args+`);
			create trigger @@_truncate before truncate on `+table+` for each statement execute function @@.on_truncate(`+args+`)`))
		return err
	})
	if err != nil {
		return fmt.Errorf("postgres: trigger on %s: %w", t.Table, err)
	}
	return nil
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// quoteAll quotes the elements of an array literal.
func quoteAll(ss []string) []string {
	out := make([]string, len(ss))
	for i, s := range ss {
		out[i] = `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
	}
	return out
}
