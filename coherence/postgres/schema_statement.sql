-- Counting by statement: a trigger sees all rows of a statement at once, so that a bulk update costs one sorted upsert.
-- Triggers of the version before go on counting by row until install_trigger is called for them.

-- One index is enough: id grows within a transaction and over all of them.
alter table @@.outbox drop constraint outbox_pkey, add primary key (xid, id);
drop index @@.outbox_order;

alter table @@.triggers add column rows_function text not null default ''; -- of statements; empty: every row is counted by itself

-- The expression for stored_key. For a key of usual length it calls nothing.
create function @@.stored_sql(k text) returns text language sql immutable as $$
	select format('case when octet_length(%s) <= 1000 then %s else @@.stored_key(%s) end collate "C"', k, k, k)
$$;

-- The statement that counts the next version of many keys. changed is a query with each key, k, at most once, and what was
-- done to it, op. Versions are locked in the order of their bytes, so that two statements cannot wait for each other.
create function @@.count_sql(ns text, changed text) returns text language sql immutable as $$
	select format($f$with changed as materialized (%s), counted as (
			insert into @@.versions as t (namespace, key, version, deleted)
			select %L, %s, 1 + coalesce((select f.next_floor from @@.floors f where f.namespace = %L), 0), c.op = 'deleted'
				from changed c order by 2
			on conflict (namespace, key) do update set version = t.version + 1, deleted = excluded.deleted
			returning t.key, t.version)
		insert into @@.outbox (namespace, key, version, op)
		select %L, c.k, v.version, c.op from changed c join counted v on v.key = %s order by v.key$f$,
		changed, ns, @@.stored_sql('c.k'), ns, ns, @@.stored_sql('c.k'))
$$;

-- The query for count_sql over the rows of a statement. key is the expression for a row's key and value the one for what
-- must differ for an update to count, both of a row called r.
create function @@.changed_sql(op text, key text, value text, shared boolean) returns text language sql immutable as $$
	select case op
		when 'INSERT' then format('select %s collate "C" as k, ''created'' as op from new_rows r where %s is not null group by 1', key, key)
		when 'DELETE' then format('select %s collate "C" as k, ''deleted'' as op from old_rows r where %s is not null group by 1', key, key)
		-- Old and new rows are matched by their key. Rows that share a key are matched in the order of their contents: if all
		-- pairs are equal, the key's rows are what they were. A full join is never a nested loop, however the plan came about.
		else format($f$select coalesce(o.k, n.k) as k,
				case when bool_and(n.k is null) then 'deleted' when bool_and(o.k is null) then 'created' else 'updated' end as op
			from (select %s collate "C" as k, %s as v%s from old_rows r) o
			full join (select %s collate "C" as k, %s as v%s from new_rows r) n on n.k = o.k%s
			where coalesce(o.k, n.k) is not null and (o.k is null or n.k is null or o.v *<> n.v) group by 1$f$,
			key, value, nth, key, value, nth, case when shared then ' and n.i = o.i' else '' end)
		end
	from (select case when shared then format(', row_number() over (partition by %s order by %s using operator(pg_catalog.*<)) as i', key, value)
		else '' end) as x(nth)
$$;

-- Counts a key's next version, as before, in one statement. The callers have a pinned search_path. A transaction that counts a
-- version waits for the disk: of a version that was seen and then lost in a crash, the number would be given to another state.
create or replace function @@.count_change(ns text, k text, o text) returns bigint language plpgsql as $$
declare
	v bigint;
	ignored boolean;
begin
	if current_setting('synchronous_commit') = 'off' then
		perform set_config('synchronous_commit', 'local', true);
	end if;
	with counted as (
		insert into @@.versions as t (namespace, key, version, deleted)
		values (ns, case when octet_length(k) <= 1000 then k else @@.stored_key(k) end,
			1 + coalesce((select f.next_floor from @@.floors f where f.namespace = ns), 0), o = 'deleted')
		on conflict (namespace, key) do update set version = t.version + 1, deleted = excluded.deleted
		returning t.version)
	insert into @@.outbox (namespace, key, version, op) select ns, k, c.version, o from counted c
		returning version, (select pg_notify('@@', '') is null from @@.meta m where m.only_row and m.notify
				and pg_try_advisory_xact_lock(hashtextextended('nearcache notify @@', 0))) into v, ignored;
	return v;
end $$;

-- Wakes the relay, unless another transaction that is open now will do it: notifications let one transaction of the whole
-- server commit at a time. What is not told is found with what the other transaction tells, or by the relay's next poll.
create function @@.notify() returns boolean language sql as $$
	select pg_notify('@@', '') is null from @@.meta m where m.only_row and m.notify
		and pg_try_advisory_xact_lock(hashtextextended('nearcache notify @@', 0))
$$;

-- Counts every row of one table, partitions apart.
create or replace function @@.count_rows(rel oid, parent oid, ns text, keys text[], numbers int2[], op text) returns void language plpgsql
	set search_path = pg_catalog, pg_temp set datestyle = 'ISO, MDY' set timezone = 'UTC' set enable_nestloop = off set jit = off as $$
begin
	if current_setting('synchronous_commit') = 'off' then
		perform set_config('synchronous_commit', 'local', true); -- see count_change
	end if;
	execute @@.count_sql(ns, format('select k, %L as op from (select %s collate "C" as k from only %s r) s where k is not null group by 1',
		op, @@.key_sql(rel, parent, keys, numbers, 'r'), rel::regclass));
	if found then
		perform @@.notify();
	end if;
end $$;

-- Installs the triggers of a namespace on a table. It may be called again, and does nothing then if nothing changed. An
-- outdated part is replaced. The table is locked against writers (not readers) while triggers are created.
create or replace function @@.install_trigger(rel regclass, ns text, keys text[], columns text[] default '{}', shared boolean default false)
returns void language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
	suffix text := rel::oid || '_' || left(md5(ns), 8);
	numbers int2[] := @@.check_table(rel, ns, keys, columns, shared);
	by_statement boolean := @@.by_statement(rel);
	definition text;
	known @@.triggers;
begin
	-- Whoever may create event triggers sees partitions come and go, too.
	if (select relkind = 'p' from pg_class where oid = rel) and not exists (select from pg_event_trigger where evtname = '@@_ddl') then
		begin
			create event trigger @@_ddl on ddl_command_end when tag in ('CREATE TABLE', 'ALTER TABLE') execute function @@.on_ddl();
			create event trigger @@_drop on sql_drop when tag in ('DROP TABLE') execute function @@.on_drop();
			alter event trigger @@_ddl enable always;
			alter event trigger @@_drop enable always;
		exception when insufficient_privilege then
			raise notice 'nearcache: partitions that are attached, detached or dropped will not be counted: this takes event triggers, which % may not create', current_user;
		end;
	end if;
	definition := case when by_statement then '2 ' else '1 ' end
		|| @@.key_sql(rel, rel, keys, numbers, 'r') || ' [' || array_to_string(columns, ', ') || '] ' || shared;
	select * into known from @@.triggers t where t.relation = rel and t.namespace = ns;
	if known.definition = definition and known.key_columns = keys and not exists (select from @@.check() f where f.relation = rel and f.namespace = ns) then
		return;
	end if;

	perform set_config('nearcache.installing', 'yes', true); -- what follows is no change of the table's own
	execute format('lock table %s in share row exclusive mode', rel);
	if known.relation is null then
		perform @@.raise_floor_for(rel, ns);
	end if;
	insert into @@.triggers values (rel, ns, rel::text, keys, numbers, columns, shared, '@@.row_' || suffix, '@@.truncate_' || suffix,
			left('@@', 20) || '_' || left(regexp_replace(ns, '[^a-zA-Z0-9_]', '_', 'g'), 20) || '_' || left(md5('@@/' || ns), 6), definition,
			'{}', case when by_statement then '@@.rows_' || suffix else '' end)
		on conflict (relation, namespace) do update set table_name = excluded.table_name, key_columns = excluded.key_columns,
			key_numbers = excluded.key_numbers, columns = excluded.columns, shared = excluded.shared, row_function = excluded.row_function,
			truncate_function = excluded.truncate_function, trigger_name = excluded.trigger_name, definition = excluded.definition,
			rows_function = excluded.rows_function
		returning * into known;
	if not by_statement then
		execute format('drop function if exists @@.rows_%s() cascade', suffix);
	end if;
	perform @@.write_functions(known);
	perform @@.cover(known);
	perform set_config('nearcache.installing', '', true);
	-- A table of that name that is gone, and came back with another number.
	for known in delete from @@.triggers t where t.table_name = rel::text and t.namespace = ns and t.relation <> rel
			and not exists (select from pg_class where oid = t.relation) returning t.* loop
		perform @@.drop_functions(known);
	end loop;
end $$;

-- Refuses a table whose changes could not be counted rightly; the numbers of the key columns otherwise.
create function @@.check_table(rel regclass, ns text, keys text[], columns text[], shared boolean) returns int2[] language plpgsql stable
	set search_path = pg_catalog, pg_temp as $$
declare
	c record;
	col record;
	k text;
	numbers int2[];
begin
	select relkind, relpersistence, relispartition into c from pg_class where oid = rel;
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
	numbers := numbers[1:cardinality(keys)]; -- a key column may be one of columns, too
	if not shared and not exists (select from pg_index i where i.indrelid = rel and i.indisunique and i.indisvalid and i.indpred is null and i.indexprs is null
		and (select array_agg(x) from unnest((i.indkey::int2[])[0:i.indnkeyatts - 1]) x) <@ numbers) then
		raise exception 'nearcache: the key (%) of % is not unique', array_to_string(keys, ', '), rel
			using hint = 'Add a unique index, or allow shared keys: then writers of rows with one key wait for each other until commit, and two that write '
				|| 'several keys in different orders may deadlock.';
	end if;
	return numbers;
end $$;

-- Whether the triggers of statements see all changes of a table that this server's sessions make. A statement on the table
-- that this one inherits from fires no trigger here. A partition that is a foreign table cannot hand its rows to a
-- statement's trigger, which would make the statement fail; a table with a unique index has no such partition.
create function @@.by_statement(rel oid) returns boolean language sql stable set search_path = pg_catalog, pg_temp as $$
	select c.relkind = 'r' and not exists (select from pg_inherits where inhrelid = rel)
			or c.relkind = 'p' and exists (select from pg_index where indrelid = rel and indisunique)
		from pg_class c where c.oid = rel
$$;

-- Makes the functions of a trigger: one for a row, one for the rows of a statement, one for a truncate.
create function @@.write_functions(t @@.triggers) returns void language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
	settings text := '';
begin
	if exists (select from pg_attribute where attrelid = t.relation and attnum = any (t.key_numbers)
			and @@.base_type(atttypid) in ('date'::regtype, 'timestamp'::regtype, 'timestamptz'::regtype)) then
		settings := ' set datestyle = ''ISO, MDY'' set timezone = ''UTC''';
	end if;
	execute format('create or replace function %s() returns trigger language plpgsql security definer set search_path = pg_catalog, pg_temp %s as %L',
		t.row_function, settings, @@.row_body(t));
	execute format('create or replace function %s() returns trigger language plpgsql security definer set search_path = pg_catalog, pg_temp as %L',
		t.truncate_function, format($f$
begin
	perform @@.count_rows(tg_relid, %s, %L, %L, %L, 'deleted');
	return null;
end $f$, t.relation, t.namespace, t.key_columns, t.key_numbers));
	if t.rows_function <> '' then
		-- A plan is made once for a session, for whatever number of rows its first statement has. Without nested loops and
		-- compilation it is good for any.
		execute format('create or replace function %s() returns trigger language plpgsql security definer set search_path = pg_catalog, pg_temp '
			|| 'set enable_nestloop = off set jit = off %s as %L', t.rows_function, settings, @@.rows_body(t));
	end if;
end $$;

-- The columns that the cache shows of a row, as one value.
create function @@.shown_sql(columns text[], alias text) returns text language sql stable as $$
	select coalesce('row(' || string_agg(alias || '.' || quote_ident(x), ', ' order by i) || ')::record', alias) from unnest(columns) with ordinality u(x, i)
$$;

-- The body of the function for one row.
create function @@.row_body(t @@.triggers) returns text language sql stable as $$
	select format($f$
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
		if tg_op = 'UPDATE' and old_key is not distinct from new_key and not (%s *<> %s) then return null; end if;
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
end $f$, @@.key_sql(t.relation, t.relation, t.key_columns, t.key_numbers, 'old'), @@.key_sql(t.relation, t.relation, t.key_columns, t.key_numbers, 'new'),
		@@.shown_sql(t.columns, 'old'), @@.shown_sql(t.columns, 'new'),
		t.relation, t.key_columns, t.key_numbers, t.relation, t.key_columns, t.key_numbers, t.namespace, t.namespace, t.namespace)
$$;

-- The body of the function for the rows of a statement. A statement of one row, the usual one, is spared sorting and joins.
create function @@.rows_body(t @@.triggers) returns text language sql stable as $$
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
			values (%L, %s, 1 + coalesce((select f.next_floor from @@.floors f where f.namespace = %L), 0), o = 'deleted')
			on conflict (namespace, key) do update set version = t.version + 1, deleted = excluded.deleted
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
end $f$, key, shown, key, shown, key, key, t.namespace, @@.stored_sql('k'), t.namespace, t.namespace, t.namespace, t.relation, t.key_columns, t.key_numbers, t.shared,
		@@.count_sql(t.namespace, @@.changed_sql('UPDATE', key, shown, t.shared)),
		@@.count_sql(t.namespace, @@.changed_sql('INSERT', key, shown, t.shared)),
		@@.count_sql(t.namespace, @@.changed_sql('DELETE', key, shown, t.shared)))
	from (select @@.key_sql(t.relation, t.relation, t.key_columns, t.key_numbers, 'r') as key, @@.shown_sql(t.columns, 'r') as shown) x
$$;

-- The triggers that a table of the tree has. A truncate of the parent fires the triggers of its partitions.
create function @@.parts_of(t @@.triggers, relkind "char") returns table (name text, event text, level text, fn text, wanted "char")
language sql stable as $$
	select t.trigger_name, 'after insert or update or delete', 'for each row', t.row_function,
			case when t.rows_function = '' or relkind = 'p' then 'A' else 'R' end::"char"
	union all
	select t.trigger_name || '_' || lower(op), 'after ' || op, concat_ws(' ', 'referencing', case when op <> 'INSERT' then 'old table as old_rows' end,
			case when op <> 'DELETE' then 'new table as new_rows' end, 'for each statement'), t.rows_function, 'O'::"char"
		from unnest(array['INSERT', 'UPDATE', 'DELETE']) op where t.rows_function <> ''
	union all
	select t.trigger_name || '_truncate', 'before truncate', 'for each statement', t.truncate_function, 'A'::"char" where relkind = 'r'
$$;

-- Creates the triggers that are missing on a table and its partitions, and sets for which sessions each fires.
--
-- A statement fires the triggers of the table that it names, with the rows of all its partitions; so each table of the tree
-- has them. Sessions that apply what another server has done (the replica role, a logical subscription) fire triggers for
-- rows only, so those are there for them alone. On a partition that comes later the trigger for rows is as it is on its
-- parent, where it is for every session: until the partition has triggers for statements, its rows may count twice.
create function @@.cover(t @@.triggers) returns void language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
	p record;
	g record;
begin
	-- Parents first: to enable a trigger for rows there enables it on the partitions, too.
	for p in select c.oid::regclass as rel, c.relkind from (select t.relation as relid, 0 as level
				union all select x.relid, x.level from pg_partition_tree(t.relation) x where x.level > 0) tree
			join pg_class c on c.oid = tree.relid where c.relkind in ('r', 'p') order by tree.level loop
		for g in select * from @@.parts_of(t, p.relkind) loop
			if not exists (select from pg_trigger where tgrelid = p.rel and tgname = g.name and tgfoid = g.fn::regproc) then
				execute format('create or replace trigger %I %s on %s %s execute function %s()', g.name, g.event, p.rel, g.level, g.fn);
			end if;
			if exists (select from pg_trigger where tgrelid = p.rel and tgname = g.name and tgenabled <> g.wanted) then
				execute format('alter table %s enable %s trigger %I', p.rel,
					case g.wanted when 'A' then 'always' when 'R' then 'replica' else '' end, g.name);
			end if;
		end loop;
	end loop;
	update @@.triggers x set partitions = (select coalesce(array_agg(y.relid::oid), '{}') from pg_partition_tree(t.relation) y where y.level > 0)
		where x.relation = t.relation and x.namespace = t.namespace;
end $$;

-- After a table was changed: the rows of a partition that came or went count, and a new one gets its triggers.
create or replace function @@.on_ddl() returns event_trigger language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
	t @@.triggers;
	p oid;
	g record;
	changed boolean;
begin
	if current_setting('nearcache.installing', true) = 'yes' then
		return;
	end if;
	for t in select x.* from @@.triggers x join pg_class c on c.oid = x.relation where c.relkind = 'p' loop
		changed := false;
		for p in select u from unnest(t.partitions) u join pg_class c on c.oid = u and c.relkind in ('r', 'p')
				where not exists (select from pg_partition_tree(t.relation) x where x.relid = u) loop
			perform @@.count_rows(p, t.relation, t.namespace, t.key_columns, t.key_numbers, 'deleted');
			for g in select tgname from pg_trigger where tgrelid = p and tgparentid = 0 and not tgisinternal
					and (tgfoid = t.truncate_function::regproc or t.rows_function <> '' and tgfoid = nullif(t.rows_function, '')::regproc) loop
				execute format('drop trigger %I on %s', g.tgname, p::regclass);
			end loop;
			changed := true;
		end loop;
		for p in select x.relid from pg_partition_tree(t.relation) x join pg_class c on c.oid = x.relid and c.relkind in ('r', 'p')
				where x.level > 0 and not x.relid::oid = any (t.partitions) loop
			perform @@.count_rows(p, t.relation, t.namespace, t.key_columns, t.key_numbers, 'created');
			changed := true;
		end loop;
		if changed then
			-- Only partitions that came are without triggers, and whoever changes those has them locked.
			perform set_config('nearcache.installing', 'yes', true);
			perform @@.cover(t);
			perform set_config('nearcache.installing', '', true);
		end if;
	end loop;
end $$;

create function @@.drop_functions(t @@.triggers) returns void language plpgsql as $$
declare
	f text;
begin
	foreach f in array array[t.row_function, t.truncate_function, t.rows_function] loop
		if f <> '' then
			execute pg_catalog.format('drop function if exists %s() cascade', f);
		end if;
	end loop;
end $$;

-- Removes what install_trigger made, also for a table that is gone. Versions stay.
create or replace function @@.remove_trigger(tbl text, ns text) returns void language plpgsql as $$
declare
	rel oid := pg_catalog.to_regclass(tbl);
	wanted text[] := pg_catalog.parse_ident(tbl);
	known text[];
	t @@.triggers;
begin
	for t in select * from @@.triggers x where x.namespace = ns loop
		known := pg_catalog.parse_ident(t.table_name);
		continue when t.relation <> rel or rel is null and known[cardinality(known) - cardinality(wanted) + 1:] <> wanted;
		delete from @@.triggers x where x.relation = t.relation and x.namespace = ns;
		perform @@.drop_functions(t);
	end loop;
end $$;

-- What makes the triggers miss changes.
create or replace function @@.check() returns table (code text, relation oid, table_name text, namespace text, detail text)
language sql stable set search_path = pg_catalog, pg_temp as $$
	with known as (
		select t.*, t as entry, c.oid as present, c.relkind,
			case when c.oid is not null then c.oid::regclass::text else t.table_name end as present_name
		from @@.triggers t left join pg_class c on c.oid = t.relation
	), parts as (
		select k.*, k.relation as part, k.relkind as part_kind from known k where k.present is not null
		union all
		select k.*, x.relid::oid, c.relkind from known k, pg_partition_tree(k.relation) x join pg_class c on c.oid = x.relid
			where k.relkind = 'p' and x.relid <> k.relation::regclass
	), wanted as (
		select p.relation, p.part, p.namespace, g.name, g.wanted, a.tgenabled as is from parts p cross join lateral @@.parts_of(p.entry, p.part_kind) g
			left join pg_trigger a on a.tgrelid = p.part and a.tgname = g.name
			where p.part_kind in ('r', 'p')
	)
	select case when to_regclass(k.table_name) is null then 'table_missing' else 'trigger_missing' end, k.relation, k.table_name, k.namespace,
			case when to_regclass(k.table_name) is null then 'the table does not exist any more: create it and install the trigger again, or remove it'
			else 'the table was created again, as by a restore: install the trigger again' end
		from known k where k.present is null
	union all
	select 'trigger_missing', w.relation, w.part::regclass::text, w.namespace, 'trigger ' || string_agg(w.name, ', ') || ' is missing: install the trigger again'
		from wanted w where w.is is null group by 2, 3, 4
	union all
	-- For every session is always enough; it may count twice.
	select 'trigger_disabled', w.relation, w.part::regclass::text, w.namespace, 'trigger ' || string_agg(w.name, ', ') || ' does not fire for every session ('
			|| case w.is when 'D' then 'disabled' when 'O' then 'not for replicas' else 'for replicas only' end || '): install the trigger again'
		from wanted w where w.is not in ('A', w.wanted) group by 2, 3, 4, w.is
	union all
	select 'trigger_missing', k.relation, k.present_name, k.namespace,
			'it inherits from another table since, whose statements fire no trigger here: install the trigger again'
		from known k where k.present is not null and k.rows_function <> '' and not @@.by_statement(k.relation)
	union all
	select 'trigger_missing', k.relation, k.present_name, k.namespace, 'tables inherit from it since, whose rows are not counted: install a trigger on each'
		from known k where k.relkind = 'r' and exists (select from pg_inherits where inhparent = k.relation)
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
		and not starts_with(substr(k.definition, 3), @@.key_sql(k.relation, k.relation, k.key_columns, k.key_numbers, 'r') || ' [')
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
