-- Statements end at a line that consists of a semicolon. {db} is the database of the source.
create database if not exists {db} character set utf8mb4 collate utf8mb4_bin
;
-- The source itself. Its row is written last, so that a half-made source counts as none.
create table if not exists {db}.meta (
	only_row tinyint unsigned not null primary key,
	schema_version int unsigned not null,
	identity varchar(64) not null,
	timeline bigint unsigned not null,
	trimmed bigint unsigned not null
) engine = InnoDB
;
-- Forgotten when the server stops: a server that has no row here was started since.
create table if not exists {db}.boot (
	server_id bigint unsigned not null primary key,
	token bigint unsigned not null
) engine = MEMORY
;
create table if not exists {db}.versions (
	namespace varbinary(128) not null,
	k varbinary(1024) not null,
	version bigint unsigned not null,
	deleted tinyint unsigned not null,
	primary key (namespace, k),
	key deleted_keys (deleted, namespace)
) engine = InnoDB
;
-- The version of every key of a namespace that has no row in versions.
create table if not exists {db}.floors (
	namespace varbinary(128) not null primary key,
	floor bigint unsigned not null
) engine = InnoDB
;
-- A change has its id as its version. Rows that are older than a trigger have version 1, so ids begin at 2.
create table if not exists {db}.outbox (
	id bigint unsigned not null auto_increment primary key,
	namespace varbinary(128) not null,
	k varbinary(1024) not null,
	op varbinary(16) not null,
	created_at datetime(6) not null
) engine = InnoDB auto_increment = 2
;
-- A row per connection that has written. It is marked while the connection asks for an id.
create table if not exists {db}.writers (
	conn bigint unsigned not null primary key,
	n bigint unsigned not null,
	marked tinyint unsigned not null,
	at datetime(6) not null
) engine = InnoDB
;
create table if not exists {db}.cursors (
	name varbinary(255) not null primary key,
	timeline bigint unsigned not null,
	n bigint unsigned not null,
	part bigint unsigned not null,
	seqs mediumtext not null,
	saves bigint unsigned not null
) engine = InnoDB
;
-- Who leads the relays of a name.
create table if not exists {db}.leaders (
	name varbinary(255) not null primary key,
	term bigint unsigned not null, -- grows with each leader
	beat bigint unsigned not null, -- grows within a term
	holder varchar(255) not null, -- for people; empty: the leader gave it back
	renewed_at datetime(6) not null -- for people: no decision stands on a clock
) engine = InnoDB
;
create table if not exists {db}.triggers (
	table_schema varchar(64) not null,
	table_name varchar(64) not null,
	namespace varbinary(128) not null,
	event varchar(6) not null,
	trigger_name varchar(64) not null,
	key_columns text not null,
	table_made varchar(255) not null,
	primary key (table_schema, table_name, namespace, event)
) engine = InnoDB
;
drop procedure if exists {db}.count_change
;
-- Counts the next version of a key. A null key is none. The key's row is locked by an insert, whether it is there or
-- not: a select or an update that finds no row would lock the gap where it belongs, and writers of other keys would wait.
create procedure {db}.count_change(in p_namespace varbinary(128), in p_key varbinary(1024), in p_op varbinary(16))
	modifies sql data sql security definer
begin
	declare change_id bigint unsigned;
	if p_key is not null then
		insert into {db}.versions (namespace, k, version, deleted) values (p_namespace, p_key, 0, 0)
			on duplicate key update version = version;
		insert into {db}.writers (conn, n, marked, at) values (connection_id(), 1, 1, utc_timestamp(6))
			on duplicate key update n = n + 1, marked = 1, at = utc_timestamp(6);
		insert into {db}.outbox (namespace, k, op, created_at) values (p_namespace, p_key, p_op, utc_timestamp(6));
		set change_id = last_insert_id();
		update {db}.writers set marked = 0 where conn = connection_id();
		update {db}.versions set version = change_id, deleted = (p_op = 'deleted')
			where namespace = p_namespace and k = p_key;
	end if;
end
;
drop procedure if exists {db}.note_boot
;
create procedure {db}.note_boot() modifies sql data sql security definer
begin
	insert ignore into {db}.boot (server_id, token)
		values (@@global.server_id, cast(conv(substring(md5(uuid()), 1, 15), 16, 10) as unsigned) | 1);
end
;
drop procedure if exists {db}.describe_table
;
-- What the catalogs say of a table, in which an account sees only what it has rights on, and this sees what its maker
-- sees. Each query names one table: one that joins catalogs opens every table and view of the server.
create procedure {db}.describe_table(in p_schema varchar(64), in p_table varchar(64), out o_there int,
	out o_made varchar(255), out o_triggers mediumtext, out o_cascades int, out o_columns mediumtext)
	reads sql data sql security definer
begin
	declare o_engine varchar(255) default '';
	declare before_this bigint unsigned default @@session.group_concat_max_len;
	set session group_concat_max_len = 1048576;
	select count(*), coalesce(max(t.create_time), '') into o_there, o_made
		from information_schema.tables t where t.table_schema = p_schema and t.table_name = p_table;
	{engine}
	set o_made = concat(o_made, '/', o_engine);
	select coalesce(group_concat(g.trigger_name separator ' '), '') into o_triggers
		from information_schema.triggers g where g.trigger_schema = p_schema and g.event_object_table = p_table;
	select count(*) into o_cascades
		from information_schema.referential_constraints f where f.constraint_schema = p_schema and f.table_name = p_table
			and (f.delete_rule not in ('RESTRICT', 'NO ACTION') or f.update_rule not in ('RESTRICT', 'NO ACTION'));
	select concat('[', coalesce(group_concat(json_array(c.column_name, c.data_type, if(c.column_type like '%zerofill%',
			'zerofill', ''), coalesce(c.collation_name, ''), c.is_nullable) order by c.ordinal_position), ''), ']')
		into o_columns from information_schema.columns c where c.table_schema = p_schema and c.table_name = p_table;
	set session group_concat_max_len = before_this;
end
;
drop procedure if exists {db}.note_trigger
;
create procedure {db}.note_trigger(in p_schema varchar(64), in p_table varchar(64), in p_namespace varbinary(128),
	in p_event varchar(6), in p_trigger varchar(64), in p_keys text)
	modifies sql data sql security definer
begin
	declare is_there, has_cascades int;
	declare made varchar(255);
	declare has_triggers, has_columns mediumtext;
	call {db}.describe_table(p_schema, p_table, is_there, made, has_triggers, has_cascades, has_columns);
	insert into {db}.triggers (table_schema, table_name, namespace, event, trigger_name, key_columns, table_made)
		values (p_schema, p_table, p_namespace, p_event, p_trigger, p_keys, made)
		on duplicate key update trigger_name = values(trigger_name), key_columns = values(key_columns),
			table_made = values(table_made);
end
;
drop procedure if exists {db}.check_table
;
create procedure {db}.check_table(in p_schema varchar(64), in p_table varchar(64))
	reads sql data sql security definer
begin
	declare is_there, has_cascades int;
	declare made varchar(255);
	declare has_triggers, has_columns mediumtext;
	call {db}.describe_table(p_schema, p_table, is_there, made, has_triggers, has_cascades, has_columns);
	select is_there, made, has_triggers, has_cascades, has_columns;
end
;
