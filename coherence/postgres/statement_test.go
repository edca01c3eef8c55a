package postgres_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/postgres"
	"github.com/nearcache/nearcache-go/internal/services/servicestest"
	"github.com/nearcache/nearcache-go/internal/testkit"
)

// together runs statements in one transaction.
func together(t *testing.T, pool *pgxpool.Pool, statements ...string) {
	t.Helper()
	err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
		for _, q := range statements {
			if _, err := tx.Exec(t.Context(), q); err != nil {
				return fmt.Errorf("%s: %w", q, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func count(t *testing.T, pool *pgxpool.Pool, sql string, args ...any) (n int) {
	t.Helper()
	if err := pool.QueryRow(t.Context(), sql, args...).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// texts are the rows of a query with two columns of text.
func texts(t *testing.T, pool *pgxpool.Pool, sql string) map[string]string {
	t.Helper()
	rows, err := pool.Query(t.Context(), sql)
	if err != nil {
		t.Fatal(err)
	}
	out := make(map[string]string)
	var k, v string
	if _, err := pgx.ForEachRow(rows, []any{&k, &v}, func() error { out[k] = v; return nil }); err != nil {
		t.Fatal(err)
	}
	return out
}

// wantCounted runs statements in one transaction and compares what was counted in namespace n with what changed: the
// result of rows, a query for key and contents, before and after.
func wantCounted(t *testing.T, pool *pgxpool.Pool, rows string, statements ...string) {
	t.Helper()
	const versions = `select key, version::text from nearcache.versions where namespace = 'n'`
	mark := count(t, pool, `select coalesce(max(id), 0) from nearcache.outbox`)
	before, old := texts(t, pool, rows), texts(t, pool, versions)
	together(t, pool, statements...)
	after, now := texts(t, pool, rows), texts(t, pool, versions)
	want := make(map[string]string)
	for k := range before {
		if _, there := after[k]; !there {
			want[k] = "gone"
		}
	}
	for k := range after {
		if old, there := before[k]; !there || old != after[k] {
			want[k] = "there"
		}
	}
	got := texts(t, pool, fmt.Sprintf(`select distinct on (key) key, case op when 'deleted' then 'gone' else 'there' end
		from nearcache.outbox where namespace = 'n' and id > %d order by key, id desc`, mark))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s: what is counted (-want +got):\n%s", strings.Join(statements, "; "), diff)
	}
	for k := range now {
		if (old[k] != now[k]) != (want[k] != "") {
			t.Errorf("%s: the version of %s was %s and is %s", strings.Join(statements, "; "), k, old[k], now[k])
		}
	}
	last := texts(t, pool, `select distinct on (key) key, version::text from nearcache.outbox where namespace = 'n'
		order by key, id desc`)
	if diff := cmp.Diff(last, now); diff != "" {
		t.Errorf("%s: the last events and the versions (-outbox +versions):\n%s", strings.Join(statements, "; "), diff)
	}
}

// TestTrigger_IsCalledOnceForAStatement: a bulk update costs less than as many single ones.
func TestTrigger_IsCalledOnceForAStatement(t *testing.T) {
	src, pool, _ := open(t)
	withTrigger(t, src, pool)
	exec1(t, pool, `insert into products select g::text, 'a' from generate_series(1, 1000) g`)
	var calls int
	err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
		_, err := tx.Exec(t.Context(), `set local track_functions = 'all'; update products set name = 'b'`)
		if err != nil {
			return err
		}
		return tx.QueryRow(t.Context(), `select coalesce(sum(calls), 0) from pg_stat_xact_user_functions
			where schemaname = 'nearcache'`).Scan(&calls)
	})
	if err != nil {
		t.Fatal(err)
	}
	if calls == 0 || calls > 3 { // the trigger, and what it notifies with
		t.Errorf("an update of 1000 rows calls functions %d times, want 1 to 3", calls)
	}
	const second = `select count(*) from nearcache.versions where namespace = 'product' and version = 2`
	if n := count(t, pool, second); n != 1000 {
		t.Errorf("%d rows of 1000 have version 2", n)
	}
}

// TestTrigger_CountsEveryKindOfStatement: each touches no row, one, or several, by every way that Postgres has.
func TestTrigger_CountsEveryKindOfStatement(t *testing.T) {
	src, pool, _ := open(t)
	exec1(t, pool, `create table shops (id int primary key)`)
	exec1(t, pool, `create table products (id int primary key, name text, doc json,
		shop int references shops on delete cascade on update cascade)`)
	install(t, src, on("products", "id"))
	exec1(t, pool, `insert into shops values (1), (2)`)
	exec1(t, pool, `create function touch(i int) returns int language plpgsql as $$ begin
		update products set name = name || '!' where id = i; return i; end $$`)
	statements := []string{
		`insert into products select g, 'a', '{}', 1 + g % 2 from generate_series(1, 6) g`,
		`insert into products select 9 where false`,
		`update products set name = 'b' where id > 99`,
		`delete from products where id > 99`,
		`update products set name = name, doc = doc`,
		`update products set name = 'a' where id = 1`,
		`update products set name = 'b' where id = 1`,
		`update products set name = case when id < 3 then 'b' else name end`,
		`update products set doc = '[]' where id in (2, 3)`,
		`update products set id = id + 10 where id > 2`,
		`update products set id = 3 where id = 13`,
		`insert into products values (1, 'c'), (5, 'c') on conflict (id) do nothing`,
		`insert into products values (1, 'c') on conflict (id) do nothing`,
		`insert into products values (1, 'd') on conflict (id) do update set name = excluded.name`,
		`insert into products values (1, 'd'), (2, 'd'), (7, 'd') on conflict (id) do update set name = excluded.name`,
		`with a as (update products set name = 'e' where id = 1), b as (update products set name = 'e' where id = 2),
			c as (delete from products where id = 3) insert into products values (8, 'e'), (9, 'e')`,
		`with d as (delete from products where id = 8 returning *) insert into products select id, 'f' from d`,
		`select touch(id) from products where id < 3`,
		`update products p set name = q.name from products q where q.id = 9 and p.id < 3`,
		`update shops set id = id + 10`,
		`delete from shops where id = 12`,
		`delete from shops`,
		`delete from products where id = 1`,
		`delete from products`,
		`insert into products values (1, 'g'), (2, 'g')`,
		`truncate products`,
		`insert into products values (1, 'g'), (2, 'g')`,
		`truncate shops cascade`,
	}
	if count(t, pool, `select current_setting('server_version_num')::int`) >= 150000 {
		statements = append(statements, `insert into products select g, 'h' from generate_series(1, 3) g`,
			`merge into products p using (values (1), (2), (4), (5)) v(id) on p.id = v.id when matched and p.id = 1 then delete
				when matched then update set name = 'm' when not matched then insert values (v.id, 'm')`)
	}
	for _, q := range statements {
		wantCounted(t, pool, `select id::text, row(p.*)::text from products p`, q)
	}
	// COPY
	mark := count(t, pool, `select max(id) from nearcache.outbox`)
	if _, err := pool.CopyFrom(t.Context(), pgx.Identifier{"products"}, []string{"id", "name"},
		pgx.CopyFromRows([][]any{{int32(101), "x"}, {int32(102), "x"}})); err != nil {
		t.Fatal(err)
	}
	if n := count(t, pool, `select count(*) from nearcache.outbox where id > $1`, mark); n != 2 {
		t.Errorf("COPY of 2 rows counts %d", n)
	}
}

// TestTrigger_MatchesRowsThatChangePlaces: two rows of a table may have one key in the middle of a statement.
func TestTrigger_MatchesRowsThatChangePlaces(t *testing.T) {
	src, pool, _ := open(t)
	exec1(t, pool, `create table products (id int not null, name text, unique (id) deferrable initially deferred)`)
	install(t, src, on("products", "id"))
	const rows = `select id::text, string_agg(name, ',' order by name) from products group by id`
	wantCounted(t, pool, rows, `insert into products values (1, 'a'), (2, 'b'), (3, 'c')`)
	wantCounted(t, pool, rows, `update products set id = 3 - id where id < 3`)
	wantCounted(t, pool, rows, `update products set id = id % 3 + 1`)
	wantCounted(t, pool, rows, `delete from products`)
}

func TestTrigger_CountsSharedKeysByWhatTheyShare(t *testing.T) {
	src, pool, _ := open(t)
	exec1(t, pool, `create table lines (order_id int not null, line int, item json, views int default 0)`)
	tr := on("lines", "order_id")
	tr.SharedKeys, tr.Columns = true, []string{"line", "item"}
	install(t, src, tr)
	const rows = `select order_id::text, string_agg(row(line, item)::text, ',' order by line, item::text)
		from lines group by 1`
	for _, q := range []string{
		`insert into lines select 1 + g / 4, g, '{}' from generate_series(0, 11) g`,
		`update lines set views = views + 1`,
		`update lines set item = item`,
		`update lines set item = '[]' where line = 5`,
		`update lines set item = '[]' where line in (0, 5, 6)`,
		// The lines of an order change places among themselves: the order is what it was.
		`update lines set line = 8 + 11 - line where order_id = 3 and item::text = '{}'`,
		`update lines set order_id = 4 where order_id = 1`,
		`delete from lines where order_id = 4`,
		`update lines set order_id = 7 where order_id = 2`,
		`truncate lines`,
	} {
		wantCounted(t, pool, rows, q)
	}
	// A column that was renamed: the statement's rows are matched by all that they have.
	wantCounted(t, pool, rows, `insert into lines select 1 + g / 4, g, '{}' from generate_series(0, 11) g`)
	exec1(t, pool, `alter table lines rename column order_id to number`)
	const renamed = `select number::text, string_agg(row(line, item)::text, ',' order by line, item::text)
		from lines group by 1`
	for _, q := range []string{
		`update lines set item = item`,
		`update lines set item = '[1]' where number < 3`,
		`update lines set number = 9 where number = 1`,
		`delete from lines where number = 77`,
		`delete from lines`,
	} {
		wantCounted(t, pool, renamed, q)
	}
}

// holds locks a key's version in a transaction of its own.
func holds(t *testing.T, pool *pgxpool.Pool, key string) (holder pgx.Tx, pid int) {
	t.Helper()
	holder, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = holder.Rollback(context.Background()) })
	if err := holder.QueryRow(t.Context(), `select pg_backend_pid() from nearcache.versions where key = $1 for update`,
		key).Scan(&pid); err != nil {
		t.Fatal(err)
	}
	return holder, pid
}

// TestTrigger_OfOneStatementLocksKeysInOneOrder: two writers have one statement each. Their rows lead to the same
// keys in opposite orders.
//
//	counted row by row                            counted in the order of keys
//	a: waits for 10, which is held                a: waits for 10, which is held
//	b: waits for 20, which is held                b: waits for 10 behind a
//	10 is free: a has 10, waits for 20 behind b   10 is free: a has 10, waits for 20, which is held
//	20 is free: b has 20, waits for 10: deadlock  20 is free: a commits; b goes on
func TestTrigger_OfOneStatementLocksKeysInOneOrder(t *testing.T) {
	src, pool, url := open(t)
	exec1(t, pool, `create table lines (id int primary key, order_id int not null, item text)`)
	tr := on("lines", "order_id")
	tr.SharedKeys = true
	install(t, src, tr)
	watch := newPool(t, url) // the other one has no connection left
	exec1(t, pool, `insert into lines values (1, 10, 'a'), (2, 20, 'a'), (3, 20, 'a'), (4, 10, 'a')`)
	first, _ := holds(t, pool, "10")
	second, pid := holds(t, pool, "20")
	const writers = `select count(*) from pg_stat_activity a where datname = current_database()
		and query like 'update lines%' and `
	var wg sync.WaitGroup
	for i, q := range []string{`update lines set item = 'b' where id in (1, 2)`,
		`update lines set item = 'b' where id in (3, 4)`} {
		wg.Go(func() {
			if _, err := pool.Exec(t.Context(), q); err != nil {
				t.Errorf("%s: got error %v, want none", q, err)
			}
		})
		testkit.Eventually(t, "the writer waits", func() bool {
			return count(t, watch, writers+`wait_event_type = 'Lock'`) == i+1
		})
	}
	if err := first.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "a writer waits for the other, which waits for the second holder", func() bool {
		return count(t, watch, writers+`$1 = any (pg_blocking_pids(pid))`, pid) == 1 &&
			count(t, watch, writers+`exists (select from pg_stat_activity b where b.query like 'update lines%'
				and b.pid = any (pg_blocking_pids(a.pid)))`) == 1
	})
	if err := second.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	versions := texts(t, pool, `select key, version::text from nearcache.versions`)
	if diff := cmp.Diff(map[string]string{"10": "3", "20": "3"}, versions); diff != "" {
		t.Errorf("versions (-want +got):\n%s", diff)
	}
}

func TestTrigger_SeesStatementsOnEveryTableOfATree(t *testing.T) {
	src, pool, _ := open(t)
	exec1(t, pool, `create table products (id int primary key, name text) partition by range (id)`)
	exec1(t, pool, `create table low partition of products for values from (0) to (10)`)
	exec1(t, pool, `create table high (name text, id int not null)`) // another order of columns
	exec1(t, pool, `alter table products attach partition high for values from (10) to (20)`)
	exec1(t, pool, `create table top partition of products for values from (20) to (40) partition by range (id)`)
	exec1(t, pool, `create table top_1 partition of top for values from (20) to (30)`)
	install(t, src, on("products", "id"))
	for _, session := range []string{"", `set local session_replication_role = replica`} {
		for _, q := range []string{
			`insert into products select g, 'a' from generate_series(5, 25) g where g <> 12`,
			`update products set name = 'b'`,
			`update products set id = id + 4 where id in (8, 25)`, // into another partition, and within one
			`update low set name = 'c' where id < 8`,
			`update high set name = 'c' where id = 11`,
			`update top set name = 'c'`,
			`update top_1 set name = 'd' where id < 23`,
			`insert into top values (27, 'e'), (28, 'e')`,
			`delete from top where id > 26`,
			`delete from top_1 where id = 20`,
			`truncate top`,
			`truncate high`,
			`delete from products`,
		} {
			wantCounted(t, pool, `select id::text, name from products`, session, q)
		}
	}
}

// TestTrigger_SeesPartitionsThatNobodyAnnounced: without event triggers a partition that comes later has no trigger for
// statements yet.
func TestTrigger_SeesPartitionsThatNobodyAnnounced(t *testing.T) {
	src, pool, _ := open(t)
	exec1(t, pool, `create table products (id int primary key, name text) partition by range (id)`)
	exec1(t, pool, `create table low partition of products for values from (0) to (10)`)
	tr := on("products", "id")
	install(t, src, tr)
	exec1(t, pool, `drop event trigger nearcache_ddl; drop event trigger nearcache_drop`)
	exec1(t, pool, `create table top partition of products for values from (20) to (40) partition by range (id)`)
	exec1(t, pool, `create table top_1 partition of top for values from (20) to (30)`)
	const rows = `select id::text, name from products`
	all := func() {
		t.Helper()
		for _, q := range []string{`insert into top_1 values (21, 'a'), (22, 'a')`, `insert into top values (23, 'a')`,
			`update top set name = 'b'`, `update top_1 set name = 'c' where id = 21`, `update products set name = 'd'`,
			`delete from top_1`} {
			wantCounted(t, pool, rows, q)
		}
	}
	all()
	wantFindings(t, src, coherence.FindingTriggerMissing, coherence.FindingTriggerMissing)
	install(t, src, tr)
	wantFindings(t, src)
	all()
	before := count(t, pool, `select count(*) from nearcache.outbox`)
	exec1(t, pool, `insert into products values (24, 'a')`)
	if n := count(t, pool, `select count(*) from nearcache.outbox`); n != before+1 {
		t.Errorf("a row of a partition with triggers counts %d times", n-before)
	}
}

// TestTrigger_SeesStatementsOnAParentByInheritance: they fire no statement's trigger of the child.
func TestTrigger_SeesStatementsOnAParentByInheritance(t *testing.T) {
	src, pool, _ := open(t)
	exec1(t, pool, `create table parent (id int not null, name text)`)
	exec1(t, pool, `create table child (primary key (id)) inherits (parent)`)
	exec1(t, pool, `create table later (id int primary key, name text)`)
	install(t, src, on("child", "id"))
	other := postgres.Trigger{Table: "later", Namespace: "later", KeyColumns: []string{"id"}}
	install(t, src, other)
	const rows = `select id::text, name from child`
	for _, q := range []string{`insert into child values (1, 'a'), (2, 'a')`, `update parent set name = 'b'`,
		`update child set name = 'c' where id = 1`, `delete from parent where id = 1`, `delete from child`} {
		wantCounted(t, pool, rows, q)
	}
	wantFindings(t, src)
	exec1(t, pool, `alter table later alter column id set not null, inherit parent`)
	wantFindings(t, src, coherence.FindingTriggerMissing)
	install(t, src, other)
	wantFindings(t, src)
	exec1(t, pool, `insert into later values (1, 'a')`)
	exec1(t, pool, `update parent set name = 'b'`)
	wantChanges(t, src, "later", "1 1 created", "1 2 updated")
	exec1(t, pool, `create table grandchild () inherits (child)`)
	wantFindings(t, src, coherence.FindingTriggerMissing)
	exec1(t, pool, `drop table grandchild; alter table later no inherit parent`)
	install(t, src, other) // statements again
	exec1(t, pool, `update later set name = 'c'`)
	wantChanges(t, src, "later", "1 1 created", "1 2 updated", "1 3 updated")
	wantFindings(t, src)
}

// TestTrigger_FailsNoStatementOverAForeignPartition: it cannot hand its rows to a trigger of a statement.
func TestTrigger_FailsNoStatementOverAForeignPartition(t *testing.T) {
	src, pool, _ := open(t)
	cfg := pool.Config().ConnConfig
	exec1(t, pool, `create extension postgres_fdw`)
	exec1(t, pool, fmt.Sprintf(`create server here foreign data wrapper postgres_fdw
		options (host '%s', port '%d', dbname '%s')`, cfg.Host, cfg.Port, cfg.Database))
	exec1(t, pool, fmt.Sprintf(`create user mapping for current_user server here
		options (user '%s', password_required 'false')`, cfg.User))
	exec1(t, pool, `create table lines (id int not null, item text) partition by range (id)`)
	exec1(t, pool, `create table near partition of lines for values from (0) to (10)`)
	exec1(t, pool, `create table far_away (id int not null, item text)`)
	tr := on("lines", "id")
	tr.SharedKeys = true
	install(t, src, tr)
	exec1(t, pool, `create foreign table far partition of lines for values from (10) to (20) server here
		options (table_name 'far_away')`)
	const rows = `select id::text, string_agg(item, ',') from lines group by 1`
	for _, q := range []string{`insert into lines values (1, 'a'), (2, 'a'), (11, 'a')`,
		`update lines set item = item || 'b' where id in (1, 11)`, `delete from lines`} {
		wantCounted(t, pool, rows, q)
	}
}

// openVersion is a source over a database that an older program has installed.
func openVersion(t *testing.T, n int) (*postgres.Source, *pgxpool.Pool) {
	t.Helper()
	url := servicestest.Postgres(t)
	src, pool := newSource(t, url, postgres.Config{}), newPool(t, url)
	if err := src.InstallVersion(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	return src, pool
}

// TestInstall_ReplacesTriggersOfOlderVersions: they count until then.
func TestInstall_ReplacesTriggersOfOlderVersions(t *testing.T) {
	src, pool := openVersion(t, 1)
	exec1(t, pool, `create table products (id int primary key, name text) partition by range (id)`)
	exec1(t, pool, `create table low partition of products for values from (0) to (10)`)
	install(t, src, on("products", "id"))
	exec1(t, pool, `insert into products values (1, 'a'), (2, 'a')`)
	if err := src.Install(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantFindings(t, src)
	const rows = `select id::text, name from products`
	wantCounted(t, pool, rows, `update products set name = 'b'`)
	exec1(t, pool, `create table high partition of products for values from (10) to (20)`)
	wantCounted(t, pool, rows, `insert into high values (11, 'a')`)
	wantFindings(t, src)
	kinds := func() string {
		found := texts(t, pool, `select distinct concat_ws(' ', c.relname,
			case when tgtype & 1 = 1 then 'row' else 'statement' end, tgenabled), ''
			from pg_trigger g join pg_class c on c.oid = tgrelid
			where tgfoid::regproc::text like 'nearcache.row%'`)
		return strings.Join(slices.Sorted(maps.Keys(found)), ", ")
	}
	if got, want := kinds(), "high row A, low row A, products row A"; got != want {
		t.Errorf("before InstallTrigger: %s, want %s", got, want)
	}
	install(t, src, on("products", "id"))
	want := "high row R, high statement O, low row R, low statement O, products row A, products statement O"
	if got := kinds(); got != want {
		t.Errorf("after InstallTrigger: %s, want %s", got, want)
	}
	wantFindings(t, src)
	wantCounted(t, pool, rows, `update products set name = 'c'`)
	wantCounted(t, pool, rows, `update high set name = 'd'`)
	wantCounted(t, pool, rows, `set local session_replication_role = replica`, `update products set name = 'e'`)
}
