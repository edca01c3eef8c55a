-- A writer that counts by itself may be of any language, and nothing else looks at what it says: in a namespace that no
-- cache can have it would count for nobody, and a truncate needs a version above all others, which only a trigger gives.
create or replace function @@.bump(ns text, k text, o text) returns bigint language plpgsql security definer
	set search_path = pg_catalog, pg_temp as $$
begin
	if ns ~ '[:{}]' or octet_length(ns) not between 1 and 128 then
		raise exception 'nearcache: no cache can have the namespace %: it is empty, has a colon or a brace, or more than 128 bytes', quote_literal(left(ns, 200))
			using errcode = 'invalid_parameter_value';
	elsif o = 'truncated' then
		raise exception 'nearcache: bump counts one key, and a truncate is counted by the trigger of its table'
			using errcode = 'invalid_parameter_value';
	end if;
	return @@.count_change(ns, k, o);
end $$;
