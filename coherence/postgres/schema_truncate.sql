-- A table of many rows that is truncated, attached or detached is one event of its whole namespace, and one version that
-- every key of the namespace has then: its upper 32 bits are an epoch, its lower ones count from 0 again. So it is above
-- every version of an earlier epoch, without a look at any of them.
--
-- A sequence gives the epochs, because it shows its last number to every snapshot at once. A writer counts on from it,
-- also one whose snapshot is older than the truncate: from its own snapshot it would give a key a version that is below
-- the truncate's, and nobody would notice its write.
create sequence @@.epochs;

-- The versions of truncates. A reader is given the greatest one of its namespace, if its key's own version is not above
-- it. Rows are added and never changed by writers, so two truncates do not wait for each other here.
create table @@.truncates (
	namespace text not null, version bigint not null,
	swept_to text not null default '', -- keys before this one have no needless rows in versions...
	swept boolean not null default false, -- ...and now none has
	primary key (namespace, version)
);

alter table @@.meta add column truncate_rows bigint not null default 100000; -- of more rows, a truncate is one event

-- A writer that counted before this migration, and is still open, did not look at the epoch.
lock table @@.versions in share row exclusive mode;

-- Triggers that were installed before do not look at it either. InstallTrigger sees by this that they are outdated.
update @@.triggers set definition = '0' || substr(definition, 2);

-- A key's version, for a Loader that reads value and version in one statement.
create or replace function @@.version_of(ns text, k text) returns bigint language sql stable parallel safe as $$
	select greatest(
		coalesce((select v.version from @@.versions v where v.namespace = ns and v.key = @@.stored_key(k)),
			(select f.floor from @@.floors f where f.namespace = ns), 0),
		(select x.version from @@.truncates x where x.namespace = ns order by x.version desc limit 1))
$$;

-- The expression for the version that writers go on from, at least. A copy of the tables may lack the sequence's number;
-- then the last truncate's version has it. ns is an expression.
create function @@.least_sql(ns text) returns text language sql immutable as $$
	select format('(select greatest(coalesce(pg_catalog.pg_sequence_last_value(''@@.epochs''::pg_catalog.regclass), 0) << 32, '
		|| '(select x.version from @@.truncates x where x.namespace = %s order by x.version desc limit 1)))', ns)
$$;

-- The expression for a key's first version. A key that has a row in versions goes on from there, or has this version, if
-- it is larger.
create function @@.first_sql(ns text) returns text language sql immutable as $$
	select format('1 + greatest((select f.next_floor from @@.floors f where f.namespace = %s), %s)', ns, @@.least_sql(ns))
$$;

-- Counts a key's next version.
do $do$
begin
	execute format($f$create or replace function @@.count_change(ns text, k text, o text) returns bigint language plpgsql as $body$
declare
	v bigint;
	ignored boolean;
begin
	if current_setting('synchronous_commit') = 'off' then
		perform set_config('synchronous_commit', 'local', true); -- a version that was seen must not be lost in a crash
	end if;
	with counted as (
		insert into @@.versions as t (namespace, key, version, deleted)
		values (ns, case when octet_length(k) <= 1000 then k else @@.stored_key(k) end, %s, o = 'deleted')
		on conflict (namespace, key) do update set version = greatest(t.version + 1, excluded.version), deleted = excluded.deleted
		returning t.version)
	insert into @@.outbox (namespace, key, version, op) select ns, k, c.version, o from counted c
		returning version, (select pg_notify('@@', '') is null from @@.meta m where m.only_row and m.notify
				and pg_try_advisory_xact_lock(hashtextextended('nearcache notify @@', 0))) into v, ignored;
	return v;
end $body$ $f$, @@.first_sql('ns'));
end $do$;

-- The statement that counts the next version of many keys. changed is a query with each key, k, at most once, and what was
-- done to it, op. Versions are locked in the order of their bytes, so that two statements cannot wait for each other.
create or replace function @@.count_sql(ns text, changed text) returns text language sql immutable as $$
	select format($f$with changed as materialized (%s), counted as (
			insert into @@.versions as t (namespace, key, version, deleted)
			select %L, %s, %s, c.op = 'deleted' from changed c order by 2
			on conflict (namespace, key) do update set version = greatest(t.version + 1, excluded.version), deleted = excluded.deleted
			returning t.key, t.version)
		insert into @@.outbox (namespace, key, version, op)
		select %L, c.k, v.version, c.op from changed c join counted v on v.key = %s order by v.key$f$,
		changed, ns, @@.stored_sql('c.k'), @@.first_sql(quote_literal(ns)), ns, @@.stored_sql('c.k'))
$$;

-- Counts every row of one table, partitions apart: one by one, or all by one event if there are many.
create or replace function @@.count_rows(rel oid, parent oid, ns text, keys text[], numbers int2[], op text) returns void language plpgsql
	set search_path = pg_catalog, pg_temp set datestyle = 'ISO, MDY' set timezone = 'UTC' set enable_nestloop = off set jit = off as $$
declare
	most bigint := (select m.truncate_rows from @@.meta m where m.only_row);
	many boolean;
begin
	if current_setting('synchronous_commit') = 'off' then
		perform set_config('synchronous_commit', 'local', true); -- see count_change
	end if;
	execute format('select count(*) > %s from (select from only %s limit %s) r', most, rel::regclass, most + 1) into many;
	if many and @@.count_namespace(ns) then
		return;
	end if;
	execute @@.count_sql(ns, format('select k, %L as op from (select %s collate "C" as k from only %s r) s where k is not null group by 1',
		op, @@.key_sql(rel, parent, keys, numbers, 'r'), rel::regclass));
	if found then
		perform @@.notify();
	end if;
end $$;

-- Gives every key of a namespace a version above all that were handed out, by one event. Reports whether it did.
--
-- A transaction that counted before this one drew its epoch, and commits after it, would hand out a version that is too
-- small. Each writer keeps a lock on versions until its end, so such transactions are seen here and waited for. Those
-- that come later count on from the new epoch. Of two truncates at a time each sees the other one.
create function @@.count_namespace(ns text) returns boolean language plpgsql as $$
declare
	v bigint;
	writers text[];
begin
	if exists (select from @@.triggers t where t.namespace = ns and starts_with(t.definition, '0')) then
		raise notice 'nearcache: rows of namespace % are counted one by one: a trigger of it is of an older version', ns
			using hint = 'Install the trigger again.';
		return false;
	end if;
	lock table @@.versions in row exclusive mode; -- before the epoch is drawn: now this is a writer, too
	v := greatest(nextval('@@.epochs'), (select max(x.version) >> 32 from @@.truncates x where x.namespace = ns) + 1) << 32;
	writers := array(select w from @@.writers() w);
	for i in 0 .. 200 loop
		if not exists (select from @@.writers() w where w = any (writers)) then
			insert into @@.truncates (namespace, version) values (ns, v);
			insert into @@.outbox (namespace, key, version, op) values (ns, '', v, 'truncated');
			perform @@.notify();
			return true;
		end if;
		exit when exists (select from pg_locks l where l.virtualtransaction = any (writers)
			and pg_backend_pid() = any (pg_blocking_pids(l.pid))); -- it waits for this transaction
		perform pg_sleep(0.01);
	end loop;
	raise notice 'nearcache: rows of namespace % are counted one by one, which takes longer: another transaction that counted a version is still open', ns;
	return false;
end $$;

-- The other transactions that hold what a writer holds which counts versions.
create function @@.writers() returns setof text language sql as $$
	select distinct l.virtualtransaction from pg_catalog.pg_locks l
		where l.locktype = 'relation' and l.relation = '@@.versions'::regclass and l.mode = 'RowExclusiveLock' and l.granted
			and l.database = (select d.oid from pg_catalog.pg_database d where d.datname = current_database())
			and l.pid is distinct from pg_backend_pid()
$$;

-- The body of the function for the rows of a statement. A statement of one row, the usual one, is spared sorting and joins.
create or replace function @@.rows_body(t @@.triggers) returns text language sql stable as $$
	select format($f$
declare
	n bigint;
	old_key text;
	new_key text;
	differs boolean;
	k text;
	o text;
begin
	begin
		if tg_op = 'UPDATE' then
			select count(*), min(o.k), min(n.k), bool_or(o.v *<> n.v) into n, old_key, new_key, differs
				from (select %s collate "C" as k, %s as v from old_rows r limit 2) o left join (select %s collate "C" as k, %s as v from new_rows r limit 2) n on true;
		elsif tg_op = 'INSERT' then
			select count(*), min(x.k) into n, new_key from (select %s collate "C" as k from new_rows r limit 2) x;
		else
			select count(*), min(x.k) into n, old_key from (select %s collate "C" as k from old_rows r limit 2) x;
		end if;
	exception when undefined_column then -- a column was renamed or dropped
		n := null;
	end;
	if n = 0 or n = 1 and (old_key is null and new_key is null or old_key = new_key and not differs) then
		return null;
	end if;
	if current_setting('synchronous_commit') = 'off' then
		perform set_config('synchronous_commit', 'local', true); -- see count_change
	end if;
	if n = 1 and (old_key is null or new_key is null or old_key = new_key) then
		o := case when old_key is null then 'created' when new_key is null then 'deleted' else 'updated' end;
		k := coalesce(new_key, old_key);
		with counted as (
			insert into @@.versions as t (namespace, key, version, deleted)
			values (%L, %s, %s, o = 'deleted')
			on conflict (namespace, key) do update set version = greatest(t.version + 1, excluded.version), deleted = excluded.deleted
			returning t.version)
		insert into @@.outbox (namespace, key, version, op) select %L, k, c.version, o from counted c
			returning (select pg_notify('@@', '') is null from @@.meta m where m.only_row and m.notify
					and pg_try_advisory_xact_lock(hashtextextended('nearcache notify @@', 0))) into differs; -- see notify
		return null;
	end if;
	if n is null then
		if tg_op = 'INSERT' then perform from new_rows limit 1; else perform from old_rows limit 1; end if;
		if found then
			execute @@.count_sql(%L, @@.changed_sql(tg_op, @@.key_sql(tg_relid, %s, %L, %L, 'r'), 'r', %L));
		end if;
	elsif tg_op = 'UPDATE' then
		%s;
	elsif tg_op = 'INSERT' then
		%s;
	else
		%s;
	end if;
	if found then
		perform @@.notify();
	end if;
	return null;
end $f$, key, shown, key, shown, key, key, t.namespace, @@.stored_sql('k'), @@.first_sql(quote_literal(t.namespace)), t.namespace, t.namespace, t.relation, t.key_columns, t.key_numbers, t.shared,
		@@.count_sql(t.namespace, @@.changed_sql('UPDATE', key, shown, t.shared)),
		@@.count_sql(t.namespace, @@.changed_sql('INSERT', key, shown, t.shared)),
		@@.count_sql(t.namespace, @@.changed_sql('DELETE', key, shown, t.shared)))
	from (select @@.key_sql(t.relation, t.relation, t.key_columns, t.key_numbers, 'r') as key, @@.shown_sql(t.columns, 'r') as shown) x
$$;
