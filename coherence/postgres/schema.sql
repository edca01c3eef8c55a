-- The first version of the source's tables and functions. Install runs it once, in a transaction; @@ is the schema's name.
create schema if not exists @@;

-- One row of what holds for the whole source.
create table @@.meta (
	only_row boolean primary key default true check (only_row),
	schema_version int not null,
	identity text not null default gen_random_uuid()::text, -- names the system, also in copies of it
	timeline bigint not null default (random() * 9e18)::bigint, -- drawn again for a new timeline
	names_server boolean not null default true, -- whether server() knows which server this is
	notify boolean not null default true,
	trimmed numeric not null default 0, -- changes below this transaction id were dropped...
	trimmed_in text not null default '' -- ...in this timeline; in another one the number means nothing
);

-- The version of a key that has no row in versions. next_floor is what writers go on from; floor is what readers are given.
-- They differ while a transaction that began before next_floor was raised may still commit a smaller number.
create table @@.floors (
	namespace text primary key,
	floor bigint not null default 0,
	next_floor bigint not null default 0,
	raised xid8 not null default pg_current_xact_id()
);

create table @@.versions (
	namespace text not null, key text not null, version bigint not null, deleted boolean not null,
	primary key (namespace, key)
) with (fillfactor = 80);
create index versions_deleted on @@.versions (namespace, key) where deleted;

-- The outbox has the transaction's own id, which subtransactions share.
create table @@.outbox (
	id bigserial primary key, xid xid8 not null default pg_current_xact_id(),
	namespace text not null, key text not null, version bigint not null, op text not null, fields jsonb,
	created_at timestamptz not null default clock_timestamp()
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000, autovacuum_analyze_scale_factor = 0.2);
create index outbox_order on @@.outbox (xid, id);

create table @@.cursors (name text primary key, timeline numeric not null, n numeric not null, seqs jsonb not null);

-- What install_trigger was asked for, so that check can compare.
create table @@.triggers (
	relation oid not null, namespace text not null, table_name text not null,
	key_columns text[] not null, key_numbers int2[] not null, columns text[] not null, shared boolean not null,
	row_function text not null, truncate_function text not null, trigger_name text not null,
	definition text not null, -- the key's expression, with the types that it was made for
	partitions oid[] not null default '{}',
	primary key (relation, namespace)
);

-- The name under which a key's version is kept: an index entry has at most 2,700 bytes.
create function @@.stored_key(k text) returns text language sql immutable strict parallel safe as $$
	select case when octet_length(k) <= 1000 then k else 'sha256:' || encode(sha256(convert_to(k, 'UTF8')), 'hex') end
$$;

-- A key's version, for a Loader that reads value and version in one statement.
create function @@.version_of(ns text, k text) returns bigint language sql stable parallel safe as $$
	select coalesce((select v.version from @@.versions v where v.namespace = ns and v.key = @@.stored_key(k)),
		(select f.floor from @@.floors f where f.namespace = ns), 0)
$$;

-- Counts a key's next version. The callers have a pinned search_path. A transaction that counts a version waits for the disk:
-- of a version that was seen and then lost in a crash, the number would be given to another state.
create function @@.count_change(ns text, k text, o text) returns bigint language plpgsql as $$
declare
	v bigint;
	loud boolean;
begin
	if current_setting('synchronous_commit') = 'off' then
		perform set_config('synchronous_commit', 'local', true);
	end if;
	with counted as (
		insert into @@.versions as t (namespace, key, version, deleted)
		values (ns, @@.stored_key(k), 1 + coalesce((select f.next_floor from @@.floors f where f.namespace = ns), 0), o = 'deleted')
		on conflict (namespace, key) do update set version = t.version + 1, deleted = excluded.deleted
		returning t.version)
	insert into @@.outbox (namespace, key, version, op) select ns, k, c.version, o from counted c
		returning version, (select m.notify from @@.meta m where m.only_row) into v, loud;
	if loud then
		perform pg_notify('@@', '');
	end if;
	return v;
end $$;

-- The same for a writer that calls it by itself; it needs the right to execute this function and no other.
create function @@.bump(ns text, k text, o text) returns bigint language plpgsql security definer
	set search_path = pg_catalog, pg_temp as $$
begin
	return @@.count_change(ns, k, o);
end $$;
revoke execute on function @@.bump(text, text, text) from public;
revoke execute on function @@.count_change(text, text, text) from public;

-- A base type's text that no setting of a session changes; null if there is none. value is an expression.
create function @@.text_of(type oid, typmod int, value text) returns text language plpgsql stable as $$
declare
	t record;
	scale int;
begin
	loop
		select typtype, typbasetype, typtypmod, typname, typnamespace into t from pg_catalog.pg_type where oid = type;
		exit when t.typtype <> 'd';
		typmod := case when t.typtypmod >= 0 then t.typtypmod else typmod end;
		type := t.typbasetype;
	end loop;
	if t.typtype = 'e' then
		return value || '::pg_catalog.text';
	end if;
	return case
		when type in ('int2'::regtype, 'int4'::regtype, 'int8'::regtype, 'oid'::regtype, 'text'::regtype, 'varchar'::regtype,
			'bpchar'::regtype, 'name'::regtype, 'uuid'::regtype, 'bool'::regtype, 'macaddr'::regtype,
			'date'::regtype, 'timestamp'::regtype, 'timestamptz'::regtype) then value || '::pg_catalog.text'
		when type = 'bytea'::regtype then '(''\x'' || pg_catalog.encode(' || value || ', ''hex''))'
		when type = 'numeric'::regtype and typmod >= 0 then value || '::pg_catalog.text'
		when type = 'numeric'::regtype then 'pg_catalog.trim_scale(' || value || ')::pg_catalog.text'
	end;
end $$;

-- The expression for the key's name of a row. A column that was renamed since is found by its number in the parent table.
create function @@.key_sql(rel oid, parent oid, names text[], numbers int2[], alias text) returns text language plpgsql stable as $$
declare
	parts text[];
	name text;
	col record;
	part text;
begin
	for i in 1 .. cardinality(names) loop
		name := names[i];
		if not exists (select from pg_catalog.pg_attribute where attrelid = rel and attname = name and attnum > 0 and not attisdropped) then
			select attname into name from pg_catalog.pg_attribute where attrelid = parent and attnum = numbers[i] and not attisdropped;
		end if;
		select atttypid, atttypmod into col from pg_catalog.pg_attribute where attrelid = rel and attname = name and attnum > 0 and not attisdropped;
		if not found then
			raise exception 'nearcache: table % has no key column % any more, so its changes cannot be counted', rel::regclass, names[i]
				using errcode = 'undefined_column',
				hint = 'Install the trigger again with the present key columns, or remove it: select @@.remove_trigger(''' || parent::regclass || ''', ...)';
		end if;
		part := @@.text_of(col.atttypid, col.atttypmod, alias || '.' || quote_ident(name));
		if part is null then -- the type was changed since; installing again would be refused
			part := alias || '.' || quote_ident(name) || '::pg_catalog.text';
		end if;
		if cardinality(names) > 1 then
			part := 'pg_catalog.replace(pg_catalog.replace(' || part || ', ''\'', ''\\''), '':'', ''\:'')';
		end if;
		parts := parts || part;
	end loop;
	return array_to_string(parts, ' || '':'' || ');
end $$;

-- Installs the triggers of a namespace on a table. It may be called again, and does nothing then if nothing changed. An
-- outdated part is replaced. The table is locked against writers (not readers) while triggers are created.
create function @@.install_trigger(rel regclass, ns text, keys text[], columns text[] default '{}', shared boolean default false)
returns void language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
	c record;
	col record;
	k text;
	suffix text := rel::oid || '_' || left(md5(ns), 8);
	row_function text := '@@.row_' || suffix;
	truncate_function text := '@@.truncate_' || suffix;
	trigger_name text := left('@@', 20) || '_' || left(regexp_replace(ns, '[^a-zA-Z0-9_]', '_', 'g'), 20) || '_' || left(md5('@@/' || ns), 6);
	truncate_name text := trigger_name || '_truncate';
	numbers int2[];
	definition text;
	settings text := '';
	compare text := '';
	known @@.triggers;
	part record;
begin
	select relkind, relpersistence, relispartition, relnamespace::regnamespace::text as schema into c from pg_class where oid = rel;
	if c.relkind not in ('r', 'p') then
		raise exception 'nearcache: % is a %, and no table', rel, case c.relkind when 'v' then 'view' when 'm' then 'materialized view'
			when 'f' then 'foreign table' else 'relation of kind ' || c.relkind::text end using hint = 'Install the trigger on the tables that it reads.';
	elsif c.relispartition then
		raise exception 'nearcache: % is a partition', rel using hint = 'Install the trigger on its parent.';
	elsif c.relpersistence <> 'p' then
		raise exception 'nearcache: % is %: it becomes empty without a trigger', rel, case c.relpersistence when 'u' then 'unlogged' else 'temporary' end
			using hint = 'alter table ... set logged';
	elsif c.relkind = 'r' and exists (select from pg_inherits where inhparent = rel) then
		raise exception 'nearcache: % has tables that inherit from it, whose rows its trigger would not see', rel
			using hint = 'Use partitions, or install a trigger on each table.';
	elsif ns = '' or cardinality(keys) = 0 or keys is null then
		raise exception 'nearcache: namespace and key columns are required';
	elsif not has_table_privilege(rel, 'select') or row_security_active(rel) then
		raise exception 'nearcache: % may not read all rows of %', current_user, rel
			using hint = 'Install the trigger as the table''s owner: a truncate has to count every row.';
	end if;
	foreach k in array keys || columns loop
		select attnum, atttypid, atttypmod, attnotnull, attcollation, coalesce(l.collisdeterministic, true) as plain into col
			from pg_attribute a left join pg_collation l on l.oid = a.attcollation
			where attrelid = rel and attname = k and attnum > 0 and not attisdropped;
		if not found then
			raise exception 'nearcache: % has no column %', rel, quote_ident(k)
				using hint = 'It has ' || (select string_agg(quote_ident(attname), ', ' order by attnum) from pg_attribute
					where attrelid = rel and attnum > 0 and not attisdropped) || '.';
		end if;
		continue when not k = any (keys);
		if not col.attnotnull then
			raise exception 'nearcache: key column %.% may be null: a row without a key is nobody''s value', rel, quote_ident(k)
				using hint = 'alter table ' || rel || ' alter column ' || quote_ident(k) || ' set not null';
		end if;
		if @@.text_of(col.atttypid, col.atttypmod, 'x') is null or not col.plain then
			raise exception 'nearcache: key column %.% is of type %, whose equal values may be written in several ways', rel, quote_ident(k),
				format_type(col.atttypid, col.atttypmod) || case when col.plain then '' else ' with a nondeterministic collation' end
				using hint = 'Use a column that has one spelling for each value, such as a generated column: lower(...) or ...::text.';
		end if;
		numbers := numbers || col.attnum;
	end loop;
	if not shared and not exists (select from pg_index i where i.indrelid = rel and i.indisunique and i.indisvalid and i.indpred is null and i.indexprs is null
		and (select array_agg(x) from unnest((i.indkey::int2[])[0:i.indnkeyatts - 1]) x) <@ numbers[1:cardinality(keys)]) then
		raise exception 'nearcache: the key (%) of % is not unique', array_to_string(keys, ', '), rel
			using hint = 'Add a unique index, or allow shared keys: then writers of rows with one key wait for each other until commit, and two that write '
				|| 'several keys in different orders may deadlock.';
	end if;
	numbers := numbers[1:cardinality(keys)];
	-- Whoever may create event triggers sees partitions come and go, too.
	if c.relkind = 'p' and not exists (select from pg_event_trigger where evtname = '@@_ddl') then
		begin
			create event trigger @@_ddl on ddl_command_end when tag in ('CREATE TABLE', 'ALTER TABLE') execute function @@.on_ddl();
			create event trigger @@_drop on sql_drop when tag in ('DROP TABLE') execute function @@.on_drop();
			alter event trigger @@_ddl enable always;
			alter event trigger @@_drop enable always;
		exception when insufficient_privilege then
			raise notice 'nearcache: partitions that are attached, detached or dropped will not be counted: this takes event triggers, which % may not create', current_user;
		end;
	end if;
	definition := '1 ' || @@.key_sql(rel, rel, keys, numbers, 'r') || ' [' || array_to_string(columns, ', ') || '] ' || shared;
	select * into known from @@.triggers t where t.relation = rel and t.namespace = ns;
	if known.definition = definition and known.key_columns = keys and not exists (select from @@.check() f where f.relation = rel and f.namespace = ns) then
		return;
	end if;

	perform set_config('nearcache.installing', 'yes', true); -- what follows is no change of the table's own
	execute format('lock table %s in share row exclusive mode', rel);
	if known.relation is null then
		perform @@.raise_floor_for(rel, ns);
	end if;
	if exists (select from pg_attribute where attrelid = rel and attnum = any (numbers) and @@.base_type(atttypid) in ('date'::regtype, 'timestamp'::regtype, 'timestamptz'::regtype)) then
		settings := ' set datestyle = ''ISO, MDY'' set timezone = ''UTC''';
	end if;
	if cardinality(columns) > 0 then
		compare := format('if tg_op = ''UPDATE'' and old_key is not distinct from new_key and not (row(%s)::record *<> row(%s)::record) then return null; end if;',
			(select string_agg('old.' || quote_ident(x), ', ' order by i) from unnest(columns) with ordinality u(x, i)),
			(select string_agg('new.' || quote_ident(x), ', ' order by i) from unnest(columns) with ordinality u(x, i)));
	end if;
	execute format($f$create or replace function %s() returns trigger language plpgsql security definer set search_path = pg_catalog, pg_temp %s as $body$
declare
	old_key text;
	new_key text;
begin
	if tg_op = 'UPDATE' and not (old *<> new) then
		return null; -- nothing changed
	end if;
	begin
		if tg_op <> 'INSERT' then old_key := %s; end if;
		if tg_op <> 'DELETE' then new_key := %s; end if;
		%s
	exception when undefined_column then -- a column was renamed or dropped
		if tg_op <> 'INSERT' then execute 'select ' || @@.key_sql(tg_relid, %s, %L, %L, '($1)') into old_key using old; end if;
		if tg_op <> 'DELETE' then execute 'select ' || @@.key_sql(tg_relid, %s, %L, %L, '($1)') into new_key using new; end if;
	end;
	if tg_op = 'UPDATE' and old_key = new_key then
		perform @@.count_change(%L, new_key, 'updated');
	else
		if old_key is not null then perform @@.count_change(%L, old_key, 'deleted'); end if;
		if new_key is not null then perform @@.count_change(%L, new_key, 'created'); end if;
	end if;
	return null;
end $body$ $f$, row_function, settings, @@.key_sql(rel, rel, keys, numbers, 'old'), @@.key_sql(rel, rel, keys, numbers, 'new'), compare,
		rel::oid, keys, numbers, rel::oid, keys, numbers, ns, ns, ns);
	execute format($f$create or replace function %s() returns trigger language plpgsql security definer set search_path = pg_catalog, pg_temp as $body$
begin
	perform @@.count_rows(tg_relid, %s, %L, %L, %L, 'deleted');
	return null;
end $body$ $f$, truncate_function, rel::oid, ns, keys, numbers);

	if not exists (select from pg_trigger where tgrelid = rel and tgname = trigger_name and tgfoid = row_function::regproc and tgparentid = 0) then
		execute format('create or replace trigger %I after insert or update or delete on %s for each row execute function %s()', trigger_name, rel, row_function);
	end if;
	for part in select x.relid, x.isleaf from pg_partition_tree(rel) x where c.relkind = 'p' union all select rel, true where c.relkind = 'r' loop
		if exists (select from pg_trigger where tgrelid = part.relid and tgname = trigger_name and tgenabled <> 'A') then
			execute format('alter table %s enable always trigger %I', part.relid::regclass, trigger_name);
		end if;
		-- A truncate of the parent fires the triggers of its partitions.
		continue when not part.isleaf or (select relkind from pg_class where oid = part.relid) <> 'r';
		if not exists (select from pg_trigger where tgrelid = part.relid and tgname = truncate_name and tgfoid = truncate_function::regproc) then
			execute format('create or replace trigger %I before truncate on %s for each statement execute function %s()', truncate_name, part.relid::regclass, truncate_function);
		end if;
		if exists (select from pg_trigger where tgrelid = part.relid and tgname = truncate_name and tgenabled <> 'A') then
			execute format('alter table %s enable always trigger %I', part.relid::regclass, truncate_name);
		end if;
	end loop;
	insert into @@.triggers values (rel, ns, rel::text, keys, numbers, columns, shared, row_function, truncate_function, trigger_name, definition,
			(select coalesce(array_agg(x.relid::oid), '{}') from pg_partition_tree(rel) x where x.relid <> rel and c.relkind = 'p'))
		on conflict (relation, namespace) do update set table_name = excluded.table_name, key_columns = excluded.key_columns,
			key_numbers = excluded.key_numbers, columns = excluded.columns, shared = excluded.shared, row_function = excluded.row_function,
			truncate_function = excluded.truncate_function, trigger_name = excluded.trigger_name, definition = excluded.definition,
			partitions = excluded.partitions;
	perform set_config('nearcache.installing', '', true);
	-- A table of that name that is gone, and came back with another number.
	for known in delete from @@.triggers t where t.table_name = rel::text and t.namespace = ns and t.relation <> rel
			and not exists (select from pg_class where oid = t.relation) returning t.* loop
		execute format('drop function if exists %s() cascade', known.row_function);
		execute format('drop function if exists %s() cascade', known.truncate_function);
	end loop;
end $$;

-- Counts every row of one table, partitions apart.
create function @@.count_rows(rel oid, parent oid, ns text, keys text[], numbers int2[], op text) returns void language plpgsql
	set search_path = pg_catalog, pg_temp set datestyle = 'ISO, MDY' set timezone = 'UTC' as $$
begin
	execute format('select count(@@.count_change(%L, k, %L)) from (select distinct %s as k from only %s r order by 1) s where k is not null',
		ns, op, @@.key_sql(rel, parent, keys, numbers, 'r'), rel::regclass);
end $$;

-- After a table was changed: the rows of a partition that came or went count, and a new one gets its truncate trigger.
create function @@.on_ddl() returns event_trigger language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
	t @@.triggers;
	p oid;
	changed boolean;
begin
	if current_setting('nearcache.installing', true) = 'yes' then
		return;
	end if;
	for t in select x.* from @@.triggers x join pg_class c on c.oid = x.relation where c.relkind = 'p' loop
		changed := false;
		for p in select u from unnest(t.partitions) u join pg_class c on c.oid = u and c.relkind = 'r'
				where not exists (select from pg_partition_tree(t.relation) x where x.relid = u) loop
			perform @@.count_rows(p, t.relation, t.namespace, t.key_columns, t.key_numbers, 'deleted');
			execute format('drop trigger if exists %I on %s', t.trigger_name || '_truncate', p::regclass);
			changed := true;
		end loop;
		for p in select x.relid from pg_partition_tree(t.relation) x join pg_class c on c.oid = x.relid and c.relkind = 'r'
				where not x.relid::oid = any (t.partitions) loop
			perform @@.count_rows(p, t.relation, t.namespace, t.key_columns, t.key_numbers, 'created');
			changed := true;
		end loop;
		if changed then
			perform @@.install_trigger(t.relation, t.namespace, t.key_columns, t.columns, t.shared);
		end if;
	end loop;
end $$;

-- A dropped partition's rows cannot be read any more, so nobody could be told of them.
create function @@.on_drop() returns event_trigger language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
	gone oid[] := array(select objid from pg_event_trigger_dropped_objects() where object_type = 'table');
	t record;
begin
	for t in select x.table_name from @@.triggers x where x.partitions && gone and not x.relation = any (gone)
			and exists (select from unnest(x.partitions) p where p = any (gone) and not exists (select from pg_class where oid = p)) loop
		raise exception 'nearcache: the rows of a partition of % would vanish without a trace: caches would go on showing them', t.table_name
			using hint = 'Detach the partition first: alter table ' || t.table_name || ' detach partition ...; then drop it.';
	end loop;
end $$;

-- A domain's base type.
create function @@.base_type(type oid) returns oid language plpgsql stable as $$
declare
	t record;
begin
	loop
		select typtype, typbasetype into t from pg_catalog.pg_type where oid = type;
		exit when t.typtype <> 'd';
		type := t.typbasetype;
	end loop;
	return type;
end $$;

-- Gives the rows that are older than a namespace's trigger a version, 1, which the next change exceeds. A transaction that is
-- counting a version of the namespace by itself would not see that, so it is waited for.
create function @@.raise_floor_for(rel regclass, ns text) returns void language plpgsql as $$
declare
	filled boolean;
begin
	if (select floor from @@.floors where namespace = ns) >= 1 then
		return;
	end if;
	execute format('select exists (select from %s)', rel) into filled;
	if filled then
		lock table @@.versions in share mode;
		insert into @@.floors as f values (ns, 1, 1) on conflict (namespace) do update set floor = greatest(f.floor, 1), next_floor = greatest(f.next_floor, 1);
	end if;
end $$;

-- Removes what install_trigger made, also for a table that is gone. Versions stay.
create function @@.remove_trigger(tbl text, ns text) returns void language plpgsql as $$
declare
	rel oid := pg_catalog.to_regclass(tbl);
	wanted text[] := pg_catalog.parse_ident(tbl);
	known text[];
	t record;
begin
	for t in select * from @@.triggers x where x.namespace = ns loop
		known := pg_catalog.parse_ident(t.table_name);
		continue when t.relation <> rel or rel is null and known[cardinality(known) - cardinality(wanted) + 1:] <> wanted;
		delete from @@.triggers x where x.relation = t.relation and x.namespace = ns;
		execute pg_catalog.format('drop function if exists %s() cascade', t.row_function);
		execute pg_catalog.format('drop function if exists %s() cascade', t.truncate_function);
	end loop;
end $$;

-- What makes the triggers miss changes.
create function @@.check() returns table (code text, relation oid, table_name text, namespace text, detail text)
language sql stable set search_path = pg_catalog, pg_temp as $$
	with known as (
		select t.*, c.oid as present, c.relkind,
			case when c.oid is not null then c.oid::regclass::text else t.table_name end as present_name
		from @@.triggers t left join pg_class c on c.oid = t.relation
	), parts as (
		select k.*, k.relation as part, k.relkind as part_kind from known k where k.present is not null
		union all
		select k.*, x.relid::oid, c.relkind from known k, pg_partition_tree(k.relation) x join pg_class c on c.oid = x.relid
			where k.relkind = 'p' and x.relid <> k.relation::regclass
	), wanted as (
		select p.*, p.trigger_name as tg, p.row_function as fn from parts p where p.part_kind in ('r', 'p')
		union all
		select p.*, p.trigger_name || '_truncate', p.truncate_function from parts p where p.part_kind = 'r'
	)
	select case when to_regclass(k.table_name) is null then 'table_missing' else 'trigger_missing' end, k.relation, k.table_name, k.namespace,
			case when to_regclass(k.table_name) is null then 'the table does not exist any more: create it and install the trigger again, or remove it'
			else 'the table was created again, as by a restore: install the trigger again' end
		from known k where k.present is null
	union all
	select 'trigger_missing', w.relation, w.part::regclass::text, w.namespace, 'trigger ' || w.tg || ' is missing: install the trigger again'
		from wanted w where not exists (select from pg_trigger g where g.tgrelid = w.part and g.tgname = w.tg)
	union all
	select 'trigger_disabled', w.relation, w.part::regclass::text, w.namespace, 'trigger ' || w.tg || ' does not fire for every session ('
			|| case g.tgenabled when 'D' then 'disabled' when 'O' then 'not for replicas' else 'for replicas only' end || '): install the trigger again'
		from wanted w join pg_trigger g on g.tgrelid = w.part and g.tgname = w.tg where g.tgenabled <> 'A'
	union all
	select 'key_column_changed', k.relation, k.present_name, k.namespace, 'key column ' || u.name || ' was '
			|| case when a.attisdropped then 'dropped' else 'renamed to ' || a.attname end || ': install the trigger again'
		from known k cross join lateral unnest(k.key_columns, k.key_numbers) u(name, num)
		join pg_attribute a on a.attrelid = k.relation and a.attnum = u.num
		where k.present is not null and a.attname <> u.name
	union all
	select 'key_column_changed', k.relation, k.present_name, k.namespace, 'a key column has another type: install the trigger again'
		from known k where k.present is not null
		and not exists (select from unnest(k.key_columns, k.key_numbers) u(name, num) left join pg_attribute a
			on a.attrelid = k.relation and a.attnum = u.num where a.attname is distinct from u.name)
		and not starts_with(k.definition, '1 ' || @@.key_sql(k.relation, k.relation, k.key_columns, k.key_numbers, 'r') || ' [')
	union all
	select 'key_nullable', k.relation, k.present_name, k.namespace, 'key column ' || a.attname || ' may be null; rows without a key are not counted'
		from known k join pg_attribute a on a.attrelid = k.relation and a.attnum = any (k.key_numbers) and not a.attisdropped where not a.attnotnull
	union all
	select 'key_not_unique', k.relation, k.present_name, k.namespace, 'no unique index holds the key (' || array_to_string(k.key_columns, ', ')
			|| ') any more: writers of one key wait for each other until commit'
		from known k where k.present is not null and not k.shared and not exists (
			select from pg_index i where i.indrelid = k.relation and i.indisunique and i.indisvalid and i.indpred is null and i.indexprs is null
			and (select array_agg(x) from unnest((i.indkey::int2[])[0:i.indnkeyatts - 1]) x) <@ k.key_numbers)
	union all
	select 'no_server_identity', 0::oid, '', '', 'the server does not say which server it is: after a restore into another one, call NewTimeline'
		from @@.meta m where not m.names_server
	union all
	select 'partition_gone', k.relation, k.present_name, k.namespace, 'partition ' || coalesce(p::regclass::text, p::text)
			|| ' was detached or dropped, and its rows were not counted: clear the caches of the namespace, then install the trigger again'
		from known k cross join lateral unnest(k.partitions) p
		where k.present is not null and not exists (select from pg_partition_tree(k.relation) x where x.relid = p)
$$;

insert into @@.meta (schema_version) values (1);

-- Which server and history this is, and whether there is a log that a crash would lose. Some managed variants of Postgres
-- have no such functions, or allow them to nobody; what to do instead is decided here, so that all roles agree.
do $do$
declare
	system text := '(select c.system_identifier::text from pg_control_system() c)';
	history text := 'substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8)';
	unflushed text := 'pg_current_wal_insert_lsn() > pg_current_wal_flush_lsn()';
begin
	begin
		execute 'select ' || system;
	exception when others then
		system := $q$'?'$q$;
		update @@.meta set names_server = false;
	end;
	begin
		execute 'select ' || history;
	exception when others then
		begin
			history := '(select lpad(upper(to_hex(c.timeline_id)), 8, ''0'') from pg_control_checkpoint() c)';
			execute 'select ' || history;
		exception when others then
			history := $q$'?'$q$;
			update @@.meta set names_server = false;
		end;
	end;
	begin
		execute 'select ' || unflushed;
	exception when others then
		unflushed := 'true';
	end;
	-- A dump carries none of this: the database and the table have other numbers where it is restored, and the table's file
	-- has another one when its contents are replaced.
	execute format($f$create function @@.server(out standby boolean, out history text, out unflushed boolean) language plpgsql security definer
		set search_path = pg_catalog, pg_temp as $body$
begin
	standby := pg_is_in_recovery();
	if not standby then
		history := concat_ws('/', %s, %s, (select d.oid from pg_database d where d.datname = current_database()),
			'@@.versions'::regclass::oid, pg_relation_filenode('@@.versions'));
		unflushed := %s;
	end if;
end $body$ $f$, system, history, unflushed);
end $do$;
