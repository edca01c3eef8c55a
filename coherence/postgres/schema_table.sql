-- Tables that change under their trigger: renamed ones, unlogged ones, rows that row-level security hides. And a column
-- of the name "r".

-- The columns that the cache shows of a row, as one value. In a table with a column "r", r alone would be that column.
create or replace function @@.shown_sql(columns text[], alias text) returns text language sql stable as $$
	select coalesce('row(' || string_agg(alias || '.' || quote_ident(x), ', ' order by i) || ')::record',
		case when alias = 'r' then 'r.*::record' else alias end) from unnest(columns) with ordinality u(x, i)
$$;

-- The query for count_sql over the rows of a statement. key is the expression for a row's key and value the one for what
-- must differ for an update to count, both of a row called r; as a value, r is the whole row.
create or replace function @@.changed_sql(op text, key text, value text, shared boolean) returns text language sql immutable as $$
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
			key, v, nth, key, v, nth, case when shared then ' and n.i = o.i' else '' end)
		end
	from (select case when value = 'r' then 'r.*::record' else value end) as y(v)
	cross join lateral (select case when shared
		then format(', row_number() over (partition by %s order by %s using operator(pg_catalog.*<)) as i', key, v) else '' end) as x(nth)
$$;

-- Counts every row of one table, partitions apart: one by one, or all by one event if there are many,
-- or if the trigger's owner may not see all of them.
create or replace function @@.count_rows(rel oid, parent oid, ns text, keys text[], numbers int2[], op text) returns void language plpgsql
	set search_path = pg_catalog, pg_temp set datestyle = 'ISO, MDY' set timezone = 'UTC' set enable_nestloop = off set jit = off as $$
declare
	most bigint := (select m.truncate_rows from @@.meta m where m.only_row);
	many boolean;
begin
	if current_setting('synchronous_commit') = 'off' then
		perform set_config('synchronous_commit', 'local', true); -- see count_change
	end if;
	if not has_table_privilege(rel, 'select') or row_security_active(rel) then
		if @@.count_namespace(ns) then
			return;
		end if;
		raise exception 'nearcache: % may not read all rows of %, so they cannot be counted', current_user, rel::regclass
			using errcode = 'insufficient_privilege',
			hint = 'Give it the right to select, and to bypass row-level security, or install the trigger again as the table''s owner.';
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

-- Whoever may create event triggers sees partitions come and go, too.
create function @@.watch_partitions() returns void language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
	if not exists (select from pg_event_trigger where evtname = '@@_ddl') then
		create event trigger @@_ddl on ddl_command_end when tag in ('CREATE TABLE', 'ALTER TABLE') execute function @@.on_ddl();
		alter event trigger @@_ddl enable always;
	end if;
	if not exists (select from pg_event_trigger where evtname = '@@_drop' and 'DROP SCHEMA' = any (evttags)) then
		drop event trigger if exists @@_drop;
		create event trigger @@_drop on sql_drop when tag in ('DROP TABLE', 'DROP SCHEMA', 'DROP OWNED') execute function @@.on_drop();
		alter event trigger @@_drop enable always;
	end if;
exception when insufficient_privilege then
	raise notice 'nearcache: partitions that are attached, detached or dropped will not be counted: this takes event triggers, which % may not create', current_user;
end $$;

-- Installs the triggers of a namespace on a table. It may be called again, and does nothing then if nothing changed. An
-- outdated part is replaced. The table is locked against writers (not readers) while triggers are created.
create or replace function @@.install_trigger(rel regclass, ns text, keys text[], columns text[] default '{}', shared boolean default false)
returns void language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
	suffix text := rel::oid || '_' || left(md5(ns), 8);
	numbers int2[];
	by_statement boolean := @@.by_statement(rel);
	definition text;
	known @@.triggers;
	f text;
begin
	if rel is null or ns is null or keys is null or columns is null or shared is null then
		raise exception 'nearcache: an argument of install_trigger is null' using errcode = 'null_value_not_allowed';
	end if;
	if ns ~ '[:{}]' or octet_length(ns) > 128 then
		raise exception 'nearcache: no cache can have the namespace %: it has a colon or a brace, or more than 128 bytes', quote_literal(ns);
	end if;
	numbers := @@.check_table(rel, ns, keys, columns, shared);
	if (select relkind = 'p' from pg_class where oid = rel) then
		perform @@.watch_partitions();
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
	for f in select unnest(array[known.row_function, known.truncate_function, known.rows_function]) loop
		continue when f = '';
		execute format('alter function %s() owner to %I', f, current_user); -- whose rights it runs with
	end loop;
	perform @@.cover(known);
	perform set_config('nearcache.installing', '', true);
	-- A table of that name that is gone, and came back with another number.
	for known in delete from @@.triggers t where t.table_name = rel::text and t.namespace = ns and t.relation <> rel
			and not exists (select from pg_class where oid = t.relation) returning t.* loop
		perform @@.drop_functions(known);
	end loop;
end $$;

-- After a table was changed: the rows of a partition that came or went count, and a new one gets its triggers. Where the
-- schema's owner may not do that, the statement of somebody else succeeds nevertheless, and check says what is missing.
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
		begin
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
		exception when insufficient_privilege then
			continue when not exists (select from pg_event_trigger_ddl_commands() d where d.objid = t.relation
				or d.objid in (select x.relid from pg_partition_tree(t.relation) x));
			raise warning 'nearcache: the partitions of % have changed, and their rows were not counted: %', t.table_name, sqlerrm
				using hint = format('Clear the caches of namespace %s, and install the trigger again as a role that owns %s and its partitions.',
					t.namespace, t.table_name);
		end;
	end loop;
end $$;

-- What makes the triggers miss changes.
create or replace function @@.check() returns table (code text, relation oid, table_name text, namespace text, detail text)
language sql stable set search_path = pg_catalog, pg_temp as $$
	with known as (
		select t.*, t as entry, c.oid as present, c.relkind,
			case when c.oid is not null then c.oid::regclass::text else t.table_name end as present_name,
			n.oid as namesake, n.oid is not null and exists (select from @@.triggers o where o.relation = n.oid and o.namespace = t.namespace) as followed
		from @@.triggers t left join pg_class c on c.oid = t.relation
			left join (pg_class n join pg_namespace s on s.oid = n.relnamespace) on array[s.nspname, n.relname]::text[] = parse_ident(t.table_name)
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
	select case when k.namesake is null then 'table_missing' else 'trigger_missing' end, k.relation, k.table_name, k.namespace,
			case when k.namesake is null then 'the table does not exist any more: create it and install the trigger again, or remove it'
			else 'the table was created again, as by a restore: install the trigger again' end
		from known k where k.present is null and not k.followed
	union all
	select 'trigger_missing', k.relation, k.table_name, k.namespace, 'this is another table since, without a trigger; the one that had the name is '
			|| k.present_name || ': install the trigger again'
		from known k where k.present <> k.namesake and not k.followed
	union all
	select 'table_unlogged', k.relation, k.present_name, k.namespace, 'the table is unlogged since, and a crash empties it without a trigger: '
			|| 'alter table ... set logged'
		from known k join pg_class c on c.oid = k.present where c.relpersistence <> 'p'
	union all
	select 'rows_hidden', p.relation, p.part::regclass::text, p.namespace, 'role ' || r.rolname || ', which owns the trigger, may not read all rows, '
			|| 'so a truncate drops all keys of the namespace, or fails beside a transaction that counted: give it the right to select, and to bypass row-level security, or install the trigger again as the table''s owner'
		from parts p join pg_class c on c.oid = p.part
		join pg_proc f on f.pronamespace = '@@'::regnamespace and '@@.' || f.proname = p.truncate_function
		join pg_roles r on r.oid = f.proowner
		where p.part_kind = 'r' and (not has_table_privilege(r.oid, c.oid, 'select') or c.relrowsecurity and not r.rolsuper and not r.rolbypassrls
			and (c.relforcerowsecurity or not pg_has_role(r.oid, c.relowner, 'usage')))
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

-- These compare and keep the text of names.
alter function @@.install_trigger(regclass, text, text[], text[], boolean) set quote_all_identifiers = off;
alter function @@.check() set quote_all_identifiers = off;
