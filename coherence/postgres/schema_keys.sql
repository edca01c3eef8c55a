-- The text of a key in a session that has set standard_conforming_strings off: there '\x' is 'x', so a literal with a
-- backslash in it has to say by E that it is one.

-- A base type's text that no setting of a session changes; null if there is none. value is an expression.
create or replace function @@.text_of(type oid, typmod int, value text) returns text language plpgsql stable as $$
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
		when type = 'bytea'::regtype then $q$(E'\\x' || pg_catalog.encode($q$ || value || $q$, 'hex'))$q$
		when type = 'numeric'::regtype and typmod >= 0 then value || '::pg_catalog.text'
		when type = 'numeric'::regtype then 'pg_catalog.trim_scale(' || value || ')::pg_catalog.text'
	end;
end $$;

-- The expression for the key's name of a row. A column that was renamed since is found by its number in the parent table.
create or replace function @@.key_sql(rel oid, parent oid, names text[], numbers int2[], alias text) returns text language plpgsql stable as $$
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
			part := $q$pg_catalog.replace(pg_catalog.replace($q$ || part || $q$, E'\\', E'\\\\'), ':', E'\\:')$q$;
		end if;
		parts := parts || part;
	end loop;
	return array_to_string(parts, ' || '':'' || ');
end $$;
