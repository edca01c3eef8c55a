package postgres_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/postgres"
)

// install puts a trigger on a table, twice, for it must not matter.
func install(t *testing.T, src *postgres.Source, tr postgres.Trigger) {
	t.Helper()
	for range 2 {
		if err := src.InstallTrigger(t.Context(), tr); err != nil {
			t.Fatal(err)
		}
	}
}

// on is a trigger of namespace n.
func on(table string, keys ...string) postgres.Trigger {
	return postgres.Trigger{Table: table, Namespace: "n", KeyColumns: keys}
}

// wantChanges are all changes of a namespace, as "key version op".
func wantChanges(t *testing.T, src *postgres.Source, namespace string, want ...string) {
	t.Helper()
	var got []string
	changes(t, src, coherence.Position{}) // settled
	events, _, err := src.Changes(t.Context(), coherence.Position{}, 10_000)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		if e.Namespace == namespace {
			got = append(got, fmt.Sprintf("%s %d %s", e.Key, e.Version, e.Op))
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("changes of %s (-want +got):\n%s", namespace, diff)
	}
}

// role makes a role that may do nothing yet, and returns a pool of its own. Roles are the server's, so each test's is
// named after its database.
func role(t *testing.T, pool *pgxpool.Pool, name string) (string, *pgxpool.Pool) {
	t.Helper()
	var database string
	if err := pool.QueryRow(t.Context(), `select current_database()`).Scan(&database); err != nil {
		t.Fatal(err)
	}
	name = database + "_" + name
	exec1(t, pool, fmt.Sprintf(`create role %s login`, name))
	t.Cleanup(func() {
		ctx := context.Background()
		_, _ = pool.Exec(ctx, "drop owned by "+name+" cascade")
		if _, err := pool.Exec(ctx, "drop role "+name); err != nil {
			t.Error(err)
		}
	})
	u, err := url.Parse(pool.Config().ConnString())
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.User(name)
	return name, newPool(t, u.String())
}

func TestTrigger_FailsNoWriterOfOneTable(t *testing.T) { // the writer has rights on its own table alone
	src, pool, _ := open(t)
	exec1(t, pool, `create table products (id text primary key, name text)`)
	install(t, src, on("products", "id"))
	name, writer := role(t, pool, "writer")
	exec1(t, pool, fmt.Sprintf(`grant insert, update, delete, truncate, select on products to %s`, name))
	// A search path of the writer's own must not lead the trigger astray.
	exec1(t, pool, fmt.Sprintf(`create schema evil authorization %s`, name))
	exec1(t, writer,
		`create function evil.pg_notify(text, text) returns void language plpgsql as $$ begin raise 'evil'; end $$`)
	exec1(t, writer, `create table evil.versions (namespace text)`)
	exec1(t, writer, fmt.Sprintf(`alter role %s set search_path = evil, pg_catalog, public`, name))
	writer.Reset()
	exec1(t, writer, `insert into products values ('1', 'a')`)
	exec1(t, writer, `update products set name = 'b'`)
	exec1(t, writer, `delete from products`)
	exec1(t, writer, `insert into products values ('2', 'a')`)
	exec1(t, writer, `truncate products`)
	wantChanges(t, src, "n", "1 1 created", "1 2 updated", "1 3 deleted", "2 1 created", "2 2 deleted")
	if _, err := writer.Exec(t.Context(), `select nearcache.bump('n', '1', 'updated')`); err == nil {
		t.Error("a role without rights on the schema may call bump")
	}
}

func TestTrigger_ReadsTheKeyAlone(t *testing.T) {
	src, pool, _ := open(t)
	exec1(t, pool, `create table products (id int primary key, about json, x xml, p point)`)
	install(t, src, on("products", "id"))
	exec1(t, pool, `insert into products values (1, '{"a": "\u0000"}', '<a/>', '(1,2)')`)
	exec1(t, pool, `update products set about = '{"b": "\u0000"}'`)
	exec1(t, pool, `update products set about = '{"b": "\u0000"}'`) // changes nothing
	exec1(t, pool, `delete from products`)
	wantChanges(t, src, "n", "1 1 created", "1 2 updated", "1 3 deleted")
}

func TestTrigger_FollowsWhatBecomesOfItsColumns(t *testing.T) {
	src, pool, _ := open(t)
	exec1(t, pool, `create table products (gone int, id int primary key, name text)`)
	exec1(t, pool, `alter table products drop column gone`)
	install(t, src, on("products", "id"))
	exec1(t, pool, `insert into products values (1, 'a')`)
	exec1(t, pool, `alter table products rename column id to number`)
	exec1(t, pool, `update products set name = 'b'`)
	exec1(t, pool, `update products set number = 2`)
	exec1(t, pool, `delete from products`)
	exec1(t, pool, `insert into products values (3, 'a')`)
	exec1(t, pool, `truncate products`)
	wantChanges(t, src, "n", "1 1 created", "1 2 updated", "1 3 deleted", "2 1 created", "2 2 deleted", "3 1 created",
		"3 2 deleted")
	wantFindings(t, src, coherence.FindingKeyColumnChanged)
	install(t, src, on("products", "number"))
	wantFindings(t, src)
	// A null key: the row is nobody's value, and its writer need not know.
	exec1(t, pool, `alter table products drop constraint products_pkey, alter column number drop not null`)
	exec1(t, pool, `insert into products values (null, 'a')`)
	exec1(t, pool, `update products set number = 5`)
	exec1(t, pool, `update products set number = null`)
	exec1(t, pool, `delete from products`)
	wantFindings(t, src, coherence.FindingKeyNotUnique, coherence.FindingKeyNullable)
	exec1(t, pool, `alter table products drop column number`)
	_, err := pool.Exec(t.Context(), `insert into products values ('x')`)
	if err == nil || !strings.Contains(err.Error(), "has no key column number any more") {
		t.Errorf("a write whose key cannot be known: %v, want an error that says so", err)
	}
	if err := src.RemoveTrigger(t.Context(), on("products")); err != nil {
		t.Fatal(err)
	}
	exec1(t, pool, `insert into products values ('x')`)
}

func wantFindings(t *testing.T, src *postgres.Source, codes ...string) {
	t.Helper()
	found, err := src.Check(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range found {
		got = append(got, f.Code)
		if f.Text == "" {
			t.Errorf("finding %s says nothing", f.Code)
		}
	}
	if diff := cmp.Diff(codes, got); diff != "" {
		t.Errorf("findings %+v (-want +got):\n%s", found, diff)
	}
}

func TestTrigger_KeysHaveOneSpelling(t *testing.T) {
	src, pool, _ := open(t)
	exec1(t, pool, `create type mood as enum ('sad', 'so: happy')`)
	exec1(t, pool, `create domain code as char(5)`)
	for i, c := range []struct{ kind, value, want string }{
		{"bigint", "-7", "-7"},
		{"text", `'a:b\c'`, `a:b\c`},
		{"varchar(9)", "'x '", "x "},
		{"char(5)", "'ab'", "ab"},
		{"code", "'ab'", "ab"},
		{"uuid", "'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"},
		{"bytea", `'\x00ff'`, `\x00ff`},
		{"mood", "'so: happy'", "so: happy"},
		{"boolean", "true", "true"},
		{"numeric(10,2)", "1.5", "1.50"},
		{"numeric", "1.500", "1.5"},
		{"date", "'2026-01-31'", "2026-01-31"},
		{"timestamptz", "'2026-01-01 00:00:00.25+00'", "2026-01-01 00:00:00.25+00"},
		{"timestamp", "'2026-01-01 00:00:00'", "2026-01-01 00:00:00"},
	} {
		table, ns := fmt.Sprint("t", i), fmt.Sprint("n", i)
		exec1(t, pool, fmt.Sprintf(`create table %s (k %s primary key)`, table, c.kind))
		install(t, src, postgres.Trigger{Table: table, Namespace: ns, KeyColumns: []string{"k"}})
		conn, err := pool.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, q := range []string{`set timezone = 'America/New_York'`, `set datestyle = 'German, DMY'`,
			`set bytea_output = 'escape'`, `set extra_float_digits = -5`,
			fmt.Sprintf(`insert into %s values (%s)`, table, c.value), `truncate ` + table, `reset all`} {
			if _, err := conn.Exec(t.Context(), q); err != nil {
				t.Fatalf("%s: got error %v, want none", q, err)
			}
		}
		conn.Release()
		wantChanges(t, src, ns, c.want+" 1 created", c.want+" 2 deleted")
	}
}

func TestTrigger_CompositeKeysAreInjective(t *testing.T) {
	src, pool, _ := open(t)
	exec1(t, pool, `create table lines (a text, b text, c bytea, primary key (a, b, c))`)
	install(t, src, on("lines", "a", "b", "c"))
	exec1(t, pool, `insert into lines values ('a:b', 'c', '\x00')`)
	exec1(t, pool, `insert into lines values ('a', 'b:c', '\x00')`)
	exec1(t, pool, `insert into lines values ('a\', 'b', '\x00')`)
	wantChanges(t, src, "n", coherence.CompositeKey("a:b", "c", `\x00`)+" 1 created", coherence.CompositeKey("a", "b:c",
		`\x00`)+" 1 created",
		coherence.CompositeKey(`a\`, "b", `\x00`)+" 1 created")
}

func TestTrigger_KeysOfAnyLength(t *testing.T) {
	src, pool, _ := open(t)
	exec1(t, pool, `create table pages (url text not null, name text)`)
	exec1(t, pool, `create unique index on pages (md5(url))`)
	tr := on("pages", "url")
	tr.SharedKeys = true
	install(t, src, tr)
	long := "é" // and what does not compress, for an index entry may be compressed
	for range 100 {
		long += fmt.Sprintf("%x", sha256.Sum256([]byte(long)))
	}
	exec1(t, pool, `insert into pages values ($1, 'a')`, long)
	exec1(t, pool, `update pages set name = 'b'`)
	wantChanges(t, src, "n", long+" 1 created", long+" 2 updated")
	if v, err := src.Version(t.Context(), "n", long); v != 2 || err != nil {
		t.Errorf("version %d, %v, want 2", v, err)
	}
}

func TestTrigger_ColumnsThatCount(t *testing.T) {
	src, pool, _ := open(t)
	exec1(t, pool, `create table products (id int primary key, name text, about json, views int)`)
	tr := on("products", "id")
	tr.Columns = []string{"name", "about"}
	install(t, src, tr)
	exec1(t, pool, `insert into products values (1, 'a', '{}', 0)`)
	exec1(t, pool, `update products set views = 1`)
	exec1(t, pool, `update products set name = 'a', about = '{}'`)
	wantChanges(t, src, "n", "1 1 created")
	exec1(t, pool, `update products set name = null, views = 2`)
	exec1(t, pool, `update products set about = '[]'`)
	wantChanges(t, src, "n", "1 1 created", "1 2 updated", "1 3 updated")
	exec1(t, pool, `alter table products drop column about`) // one column less that could change; the writer need not know
	exec1(t, pool, `update products set views = 3, name = 'z'`)
	exec1(t, pool, `update products set id = 2`)
	wantChanges(t, src, "n", "1 1 created", "1 2 updated", "1 3 updated", "1 4 updated", "1 5 deleted", "2 1 created")
}

func TestTrigger_SeveralNamespacesOnATable(t *testing.T) {
	src, pool, _ := open(t)
	exec1(t, pool, `create table lines (order_id int, line int, item text, primary key (order_id, line))`)
	install(t, src, postgres.Trigger{Table: "lines", Namespace: "line", KeyColumns: []string{"order_id", "line"}})
	install(t, src, postgres.Trigger{Table: "lines", Namespace: "order", KeyColumns: []string{"order_id"},
		SharedKeys: true})
	exec1(t, pool, `insert into lines values (1, 1, 'a')`)
	exec1(t, pool, `update lines set item = 'b'`)
	wantChanges(t, src, "line", "1:1 1 created", "1:1 2 updated")
	wantChanges(t, src, "order", "1 1 created", "1 2 updated")
	if err := src.RemoveTrigger(t.Context(), postgres.Trigger{Table: "lines", Namespace: "line"}); err != nil {
		t.Fatal(err)
	}
	exec1(t, pool, `truncate lines`)
	wantChanges(t, src, "line", "1:1 1 created", "1:1 2 updated")
	wantChanges(t, src, "order", "1 1 created", "1 2 updated", "1 3 deleted")
	wantFindings(t, src)
}

func TestTrigger_FiresForReplicas(t *testing.T) {
	src, pool, _ := open(t)
	withTrigger(t, src, pool)
	err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
		_, err := tx.Exec(t.Context(),
			`set local session_replication_role = replica; insert into products values ('1', 'a'); truncate products`)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	wantChanges(t, src, "product", "1 1 created", "1 2 deleted")
}

func TestTrigger_SeesEveryPartition(t *testing.T) {
	src, pool, _ := open(t)
	exec1(t, pool, `create table products (id int, name text, primary key (id)) partition by range (id)`)
	exec1(t, pool, `create table products_1 partition of products for values from (0) to (10)`)
	exec1(t, pool, `create table products_2 (name text, id int not null)`) // another order of columns
	exec1(t, pool, `alter table products attach partition products_2 for values from (10) to (20)`)
	exec1(t, pool, `create table products_3 partition of products for values from (20) to (40) partition by range (id)`)
	exec1(t, pool, `create table products_3_1 partition of products_3 for values from (20) to (30)`)
	install(t, src, on("products", "id"))
	wantFindings(t, src)
	exec1(t, pool, `insert into products values (1, 'a'), (11, 'b'), (21, 'c')`)
	exec1(t, pool, `update products_2 set name = 'd'`)
	exec1(t, pool, `truncate products_2`)
	exec1(t, pool, `truncate products`)
	err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
		_, err := tx.Exec(t.Context(),
			`set local session_replication_role = replica; insert into products_3_1 values (22, 'r')`)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	wantChanges(t, src, "n", "1 1 created", "11 1 created", "21 1 created", "11 2 updated", "11 3 deleted",
		"1 2 deleted", "21 2 deleted", "22 1 created")
}

func TestTrigger_SeesPartitionsComeAndGo(t *testing.T) {
	src, pool, _ := open(t)
	exec1(t, pool, `create table products (id int, day date, primary key (id, day)) partition by range (id)`)
	exec1(t, pool, `create table products_1 partition of products for values from (0) to (10)`)
	install(t, src, on("products", "id", "day"))
	exec1(t, pool, `insert into products values (1, '2026-01-31')`)
	exec1(t, pool, `create table products_2 partition of products for values from (10) to (20)`)
	wantFindings(t, src)
	exec1(t, pool, `insert into products_2 values (11, '2026-01-31')`)
	exec1(t, pool, `truncate products_2`)
	exec1(t, pool, `create table filled (id int not null, day date not null)`)
	exec1(t, pool, `insert into filled values (21, '2026-02-01')`)
	exec1(t, pool, `alter table products attach partition filled for values from (20) to (30)`)
	wantFindings(t, src)
	if _, err := pool.Exec(t.Context(), `drop table products_1`); err == nil || !strings.Contains(err.Error(),
		"would vanish without a trace") {
		t.Errorf("a partition is dropped: %v, want an error that says to detach it", err)
	}
	exec1(t, pool, `set datestyle = 'German'; alter table products detach partition products_1; reset datestyle`)
	exec1(t, pool, `drop table products_1`)
	wantFindings(t, src)
	exec1(t, pool, `create table unrelated (id int)`)
	exec1(t, pool, `drop table unrelated`)
	wantChanges(t, src, "n", "1:2026-01-31 1 created", "11:2026-01-31 1 created", "11:2026-01-31 2 deleted",
		"21:2026-02-01 1 created", "1:2026-01-31 2 deleted")
	exec1(t, pool, `drop table products`) // all of it: nothing is left to be shown
	wantFindings(t, src, coherence.FindingTableMissing)
}

// TestTrigger_OfAnOwnerWhoMayNotWatchTables: partitions can be installed without event triggers.
func TestTrigger_OfAnOwnerWhoMayNotWatchTables(t *testing.T) {
	_, pool, _ := open(t)
	name, owner := role(t, pool, "owner")
	exec1(t, pool, fmt.Sprintf(`create schema own authorization %s; grant create on database %s to %s`, name,
		pool.Config().ConnConfig.Database, name))
	exec1(t, owner, `create table own.products (id int primary key) partition by range (id)`)
	exec1(t, owner, `create table own.products_1 partition of own.products for values from (0) to (10)`)
	src, err := postgres.New(owner, postgres.Config{Schema: "mine"})
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	if err := src.Install(t.Context()); err != nil {
		t.Fatal(err)
	}
	install(t, src, on("own.products", "id"))
	exec1(t, owner, `insert into own.products values (1)`)
	wantChanges(t, src, "n", "1 1 created")
	wantFindings(t, src)
}

func TestCheck_FindsWhatTriggersMiss(t *testing.T) {
	src, pool, _ := open(t)
	exec1(t, pool, `create table products (id int, name text, primary key (id)) partition by range (id)`)
	exec1(t, pool, `create table products_1 partition of products for values from (0) to (10)`)
	install(t, src, on("products", "id"))
	exec1(t, pool, `create table plain (id int primary key)`)
	plain := postgres.Trigger{Table: "plain", Namespace: "p", KeyColumns: []string{"id"}}
	install(t, src, plain)
	wantFindings(t, src)
	for _, c := range []struct {
		breaks []string
		want   string
		mends  postgres.Trigger
	}{
		{[]string{`alter table plain disable trigger user`}, coherence.FindingTriggerDisabled, plain},
		{[]string{`alter table plain enable trigger user`}, coherence.FindingTriggerDisabled, plain}, // not for replicas
		{[]string{`do $$ declare n text; begin select tgname into n from pg_trigger
				where tgrelid = 'plain'::regclass and tgtype & 32 = 0;
			execute format('drop trigger %I on plain', n); end $$`}, coherence.FindingTriggerMissing, plain},
		{[]string{`alter table plain alter column id type bigint`, `alter table plain alter column id type text`,
			`alter table plain drop constraint plain_pkey, alter column id type char(9), add primary key (id)`}, "", plain},
		{[]string{`alter table plain alter column id type bytea using ''`}, coherence.FindingKeyColumnChanged, plain},
		// Where event triggers are not allowed, partitions that come and go are noticed here alone.
		{[]string{`drop event trigger if exists nearcache_ddl; drop event trigger if exists nearcache_drop`,
			`create table products_2 partition of products for values from (10) to (20)`},
			coherence.FindingTriggerMissing, on("products", "id")},
		{[]string{`drop event trigger if exists nearcache_ddl; drop event trigger if exists nearcache_drop`,
			`alter table products detach partition products_1`}, coherence.FindingPartitionGone, on("products", "id")},
	} {
		for _, q := range c.breaks {
			exec1(t, pool, q)
		}
		found, err := src.Check(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		seen := c.want == ""
		for _, f := range found {
			seen = seen || f.Code == c.want
		}
		if !seen {
			t.Errorf("after %q: found %+v, want %s", c.breaks, found, c.want)
		}
		install(t, src, c.mends)
		wantFindings(t, src)
	}
	exec1(t, pool, `drop table plain`)
	wantFindings(t, src, coherence.FindingTableMissing)
	if err := src.RemoveTrigger(t.Context(), plain); err != nil {
		t.Fatal(err)
	}
	wantFindings(t, src)
}

func TestInstallTrigger_RefusesWhatItCannotCount(t *testing.T) {
	src, pool, _ := open(t)
	exec1(t, pool, `create table products (id int primary key, name text not null, "Code" text not null unique,
		sku text unique, f float8 not null unique, p point)`)
	exec1(t, pool, `create view shown as select * from products`)
	exec1(t, pool, `create unlogged table scratch (id int primary key)`)
	exec1(t, pool, `create table parent (id int primary key)`)
	exec1(t, pool, `create table child () inherits (parent)`)
	exec1(t, pool, `create table parts (id int primary key) partition by range (id)`)
	exec1(t, pool, `create table part partition of parts default`)
	exec1(t, pool, `create table half (id int not null, deleted boolean not null)`)
	exec1(t, pool, `create unique index on half (id) where not deleted`)
	exec1(t, pool, `create collation any_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false)`)
	exec1(t, pool, `create table cased (k text collate any_case primary key)`)
	exec1(t, pool, `create extension if not exists citext`)
	exec1(t, pool, `create table folded (k citext primary key)`)
	for _, c := range []struct {
		tr   postgres.Trigger
		want string
	}{
		{postgres.Trigger{Table: "products"}, "required"},
		{postgres.Trigger{Table: "products", Namespace: "a:b", KeyColumns: []string{"id"}}, "contains a colon"},
		{on("nowhere", "id"), `relation "nowhere" does not exist`},
		{on("products", "ID"), `has no column "ID"`},
		{on("products", "code"), "has no column code"},
		{postgres.Trigger{Table: "products", Namespace: "n", KeyColumns: []string{"id"}, Columns: []string{"price"}},
			"has no column price"},
		{on("products", "sku"), "may be null"},
		{on("products", "name"), "is not unique"},
		{on("half", "id"), "is not unique"},
		{on("products", "f"), "double precision"},
		{on("folded", "k"), "citext"},
		{on("cased", "k"), "nondeterministic"},
		{on("shown", "id"), "is a view"},
		{on("scratch", "id"), "unlogged"},
		{on("parent", "id"), "inherit"},
		{on("part", "id"), "is a partition"},
	} {
		err := src.InstallTrigger(t.Context(), c.tr)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("InstallTrigger(%+v) = %v, want an error with %q", c.tr, err, c.want)
		}
	}
	if _, err := pool.Exec(t.Context(), `select nearcache.install_trigger('products', '{', '{id}')`); err == nil ||
		!strings.Contains(err.Error(), "no cache can have the namespace") {
		t.Errorf("by SQL, with a brace in the namespace: %v", err)
	}
	if _, err := src.BumpKey(t.Context(), "a:b", "k"); err == nil || !strings.Contains(err.Error(), "contains a colon") {
		t.Errorf("BumpKey with a colon in the namespace: %v", err)
	}
	for _, args := range []string{`'a:b', 'k', 'updated'`, `'', 'k', 'updated'`, `repeat('n', 129), 'k', 'updated'`} {
		if _, err := pool.Exec(t.Context(), `select nearcache.bump(`+args+`)`); err == nil ||
			!strings.Contains(err.Error(), "no cache can have the namespace") {
			t.Errorf("bump(%s) by SQL: %v", args, err)
		}
	}
	if _, err := src.Bump(t.Context(), pool, "n", "k", coherence.OpTruncated); err == nil ||
		!strings.Contains(err.Error(), "bump counts one key") {
		t.Errorf("Bump of a truncate: %v", err)
	}
	for _, tr := range []postgres.Trigger{on("products", "Code"), on("public.products", "id"), on(`"products"`, "id"),
		on("products", "id", "name")} {
		if err := src.InstallTrigger(t.Context(), tr); err != nil {
			t.Errorf("InstallTrigger(%+v): %v", tr, err)
		}
	}
}

func TestInstallTrigger_TakesNoLockWhenNothingChanged(t *testing.T) {
	src, pool, url := open(t)
	withTrigger(t, src, pool)
	writer, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = writer.Rollback(context.Background()) }()
	if _, err := writer.Exec(t.Context(),
		`insert into products values ('a', 'b'); lock table products in access exclusive mode`); err != nil {
		t.Fatal(err)
	}
	again := newSource(t, url, postgres.Config{})
	if err := again.Install(t.Context()); err != nil {
		t.Error(err)
	}
	tr := postgres.Trigger{Table: "products", Namespace: "product", KeyColumns: []string{"id"}}
	if err := again.InstallTrigger(t.Context(), tr); err != nil {
		t.Error(err)
	}
	// When something changed, it gives way: whoever comes after it waits for LockTimeout, not for the open transaction.
	tr.Columns = []string{"name"}
	short, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if err := again.InstallTrigger(short, tr); !errors.Is(err, postgres.ErrBusy) {
		t.Errorf("beside a transaction that has the table locked: %v, want ErrBusy", err)
	}
	if err := writer.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := again.InstallTrigger(t.Context(), tr); err != nil {
		t.Error(err)
	}
}

func TestInstallTrigger_LocksOutNoReader(t *testing.T) {
	src, pool, _ := open(t)
	exec1(t, pool, `create table products (id text primary key, name text)`)
	reader, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = reader.Rollback(context.Background()) }()
	if _, err := reader.Exec(t.Context(), `select * from products`); err != nil {
		t.Fatal(err)
	}
	tr := on("products", "id")
	install(t, src, tr)
	tr.Columns = []string{"name"}
	install(t, src, tr)
}
