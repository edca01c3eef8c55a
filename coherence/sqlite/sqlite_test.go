package sqlite_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	_ "modernc.org/sqlite" // the driver

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/sourcetest"
	"github.com/nearcache/nearcache-go/coherence/sqlite"
)

func openDB(t *testing.T, file string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+file+"?_pragma=busy_timeout(20000)&_pragma=journal_mode(WAL)&_txlock=immediate")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func open(t *testing.T) (*sqlite.Source, *sql.DB) {
	t.Helper()
	db := openDB(t, filepath.Join(t.TempDir(), "x.db"))
	return install(t, db), db
}

func install(t *testing.T, db *sql.DB) *sqlite.Source {
	t.Helper()
	src, err := sqlite.New(db, sqlite.Config{})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := src.Install(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return src
}

func exec(t *testing.T, db *sql.DB, queries ...string) {
	t.Helper()
	for _, q := range queries {
		if _, err := db.ExecContext(t.Context(), q); err != nil {
			t.Fatalf("%s: got error %v, want none", q, err)
		}
	}
}

// tx is a transaction as the suite sees one.
type tx struct {
	*sql.Tx
	src *sqlite.Source
}

func (t tx) Write(ctx context.Context, namespace, key string, op coherence.Op) (coherence.Version, error) {
	return t.src.Bump(ctx, t.Tx, namespace, key, op)
}
func (t tx) Commit(context.Context) error   { return t.Tx.Commit() }
func (t tx) Rollback(context.Context) error { return t.Tx.Rollback() }

func TestSource_Conforms(t *testing.T) {
	sourcetest.Run(t, func(t *testing.T) sourcetest.Harness {
		file := filepath.Join(t.TempDir(), "x.db")
		db := openDB(t, file)
		src := install(t, db)
		return sourcetest.Harness{
			Source:    src,
			OneWriter: true,
			Begin: func(ctx context.Context) (sourcetest.Tx, error) {
				begun, err := db.BeginTx(ctx, nil)
				return tx{begun, src}, err
			},
			Reopen:      func(context.Context) (coherence.Source, error) { return install(t, openDB(t, file)), nil },
			NewTimeline: src.NewTimeline,
			Another: func(context.Context) (coherence.Source, error) {
				return install(t, openDB(t, filepath.Join(t.TempDir(), "y.db"))), nil
			},
			Depose: func(ctx context.Context, name string) error {
				_, err := db.ExecContext(ctx, `update nearcache_leaders set token = 'nobody', until = 0 where name = ?`, name)
				return err
			},
		}
	})
}

type seen struct {
	Key     string
	Version coherence.Version
	Op      coherence.Op
}

func changes(t *testing.T, src *sqlite.Source, namespace string) (got []seen) {
	t.Helper()
	events, _, err := src.Changes(t.Context(), coherence.Position{}, 10_000)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		if time.Since(e.Time).Abs() > time.Minute {
			t.Errorf("%s was changed at %v", e.Key, e.Time)
		}
		if e.Namespace == namespace {
			got = append(got, seen{e.Key, e.Version, e.Op})
		}
	}
	return got
}

func wantChanges(t *testing.T, src *sqlite.Source, namespace string, want ...seen) {
	t.Helper()
	if diff := cmp.Diff(want, changes(t, src, namespace)); diff != "" {
		t.Errorf("changes of %s (-want +got):\n%s", namespace, diff)
	}
}

func product(t *testing.T, src *sqlite.Source) {
	t.Helper()
	for range 2 {
		if err := src.InstallTrigger(t.Context(), sqlite.Trigger{Table: "products", Namespace: "product",
			KeyColumns: []string{"id"}}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTrigger_CountsEveryChange(t *testing.T) {
	src, db := open(t)
	exec(t, db, `create table products (id integer primary key, name text)`)
	product(t, src)
	exec(t, db, `insert into products values (1, 'a'), (2, 'b')`, `update products set name = 'c' where id = 1`,
		`insert into products values (1, 'x') on conflict do nothing`, `delete from products where id = 1`,
		`insert into products values (1, 'again')`, `update products set id = 3 where id = 2`,
		`insert or replace into products values (3, 'replaced')`)
	wantChanges(t, src, "product", seen{"1", 1, "created"}, seen{"2", 1, "created"}, seen{"1", 2, "updated"}, seen{"1",
		3, "deleted"},
		seen{"1", 4, "created"}, seen{"2", 2, "deleted"}, seen{"3", 1, "created"}, seen{"3", 2, "created"})
}

func TestTrigger_ReplaceThroughASecondUniqueColumn(t *testing.T) {
	src, db := open(t)
	exec(t, db, `create table products (id integer primary key, sku text unique, a text, b text, unique (a, b))`)
	product(t, src)
	exec(t, db, `insert into products values (1, 's1', 'a', 'b'), (2, 's2', 'a', 'c'), (3, 's3', 'x', 'y')`,
		`insert or replace into products values (4, 's1', 'n', 'n')`,   // removes 1
		`update or replace products set a = 'x', b = 'y' where id = 2`) // removes 3
	got := changes(t, src, "product")[3:]
	want := []seen{{"1", 2, "updated"}, {"4", 1, "created"}, {"3", 2, "updated"}, {"2", 2, "updated"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestTrigger_ReplaceByWhatAnIndexCompares: a column may take two values for one that an index takes for two.
func TestTrigger_ReplaceByWhatAnIndexCompares(t *testing.T) {
	for name, c := range map[string]struct {
		table, rows, replace string
		want                 []seen
	}{
		"an index that is stricter than its column": {
			`create table products (id integer primary key, sku text collate nocase);
				create unique index skus on products (sku collate binary)`,
			`(1, 'A'), (2, 'a')`, `update or replace products set sku = 'a' where id = 1`,
			[]seen{{"2", 2, "updated"}, {"1", 2, "updated"}}},
		"an index that is laxer than its column": {
			`create table products (id integer primary key, sku text);
				create unique index skus on products (sku collate nocase)`,
			`(1, 'A'), (2, 'b')`, `insert or replace into products values (3, 'B')`,
			[]seen{{"2", 2, "updated"}, {"3", 1, "created"}}},
		"an update that leaves the index alone": {
			`create table products (id integer primary key, sku text unique, n int)`,
			`(1, 'A', 1), (2, 'b', 2)`, `update or replace products set n = 3`,
			[]seen{{"1", 2, "updated"}, {"2", 2, "updated"}}},
		"the row's number": {
			`create table products (id text primary key, n int)`,
			`('a', 1), ('b', 2)`, `insert or replace into products (rowid, id, n) values (1, 'c', 3)`,
			[]seen{{"a", 2, "updated"}, {"c", 1, "created"}}},
		"the key itself": {
			`create table products (id text primary key, n int)`,
			`('a', 1), ('b', 2)`, `update or replace products set id = 'b' where id = 'a'`,
			[]seen{{"a", 2, "deleted"}, {"b", 2, "created"}}},
	} {
		t.Run(name, func(t *testing.T) {
			src, db := open(t)
			exec(t, db, c.table)
			product(t, src)
			exec(t, db, `insert into products values `+c.rows, c.replace)
			if diff := cmp.Diff(c.want, changes(t, src, "product")[2:]); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.replace, diff)
			}
		})
	}
}

func TestTrigger_ColumnsThatCount(t *testing.T) {
	src, db := open(t)
	exec(t, db, `create table products (id integer primary key, name text, views integer)`)
	if err := src.InstallTrigger(t.Context(), sqlite.Trigger{Table: "products", Namespace: "product",
		KeyColumns: []string{"id"}, Columns: []string{"name"}}); err != nil {
		t.Fatal(err)
	}
	exec(t, db, `insert into products values (1, 'a', 0)`, `update products set views = 1`,
		`update products set name = 'a'`,
		`update products set name = null`, `update products set name = null, views = 3`)
	wantChanges(t, src, "product", seen{"1", 1, "created"}, seen{"1", 2, "updated"})
}

func TestTrigger_SeveralNamespacesAndCompositeKeys(t *testing.T) {
	src, db := open(t)
	exec(t, db, `create table lines (shop text, number blob, item text, primary key (shop, number))`)
	for namespace, keys := range map[string][]string{"line": {"shop", "number"}, "shop": {"shop"}} {
		trigger := sqlite.Trigger{Table: "lines", Namespace: namespace, KeyColumns: keys, SharedKeys: namespace == "shop"}
		if err := src.InstallTrigger(t.Context(), trigger); err != nil {
			t.Fatal(err)
		}
	}
	exec(t, db, `insert into lines values ('a:b', 'c', ''), ('a', 'b:c', ''), ('n', x'00ff', ''), (null, 'x', '')`)
	wantChanges(t, src, "line", seen{coherence.CompositeKey("a:b", "c"), 1, "created"}, seen{coherence.CompositeKey("a",
		"b:c"), 1, "created"},
		seen{coherence.CompositeKey("n", `\x00ff`), 1, "created"})
	wantChanges(t, src, "shop", seen{"a:b", 1, "created"}, seen{"a", 1, "created"}, seen{"n", 1, "created"})
	if err := src.RemoveTrigger(t.Context(), sqlite.Trigger{Table: "lines", Namespace: "shop"}); err != nil {
		t.Fatal(err)
	}
	exec(t, db, `delete from lines where shop = 'a'`)
	if got := changes(t, src, "line"); len(got) != 4 {
		t.Errorf("after the other namespace's trigger was removed got %v, want 4 changes", got)
	}
	if got := changes(t, src, "shop"); len(got) != 3 {
		t.Errorf("after its trigger was removed got %v, want 3 changes", got)
	}
}

func TestTrigger_FollowsARenamedColumn(t *testing.T) {
	src, db := open(t)
	exec(t, db, `create table products (id integer primary key, name text)`)
	product(t, src)
	exec(t, db, `alter table products rename column id to number`, `insert into products values (7, 'a')`)
	wantChanges(t, src, "product", seen{"7", 1, "created"})
}

func TestInstallTrigger_RefusesWhatItCannotCount(t *testing.T) {
	src, db := open(t)
	exec(t, db, `create table products (id integer primary key, name text, code text collate nocase unique)`,
		`create view shown as select * from products`,
		`create table lower (k text not null, v text)`, `create unique index lower_k on lower (lower(k))`)
	for want, trigger := range map[string]sqlite.Trigger{
		"required":         {Table: "products"},
		"contains a colon": {Table: "products", Namespace: "a:b", KeyColumns: []string{"id"}},
		"no table":         {Table: "nowhere", Namespace: "n", KeyColumns: []string{"id"}},
		"is a view":        {Table: "shown", Namespace: "n", KeyColumns: []string{"id"}},
		`no column "idd"`:  {Table: "products", Namespace: "n", KeyColumns: []string{"idd"}},
		`no column "price"`: {Table: "products", Namespace: "n", KeyColumns: []string{"id"},
			Columns: []string{"price"}},
		"not unique":                      {Table: "products", Namespace: "n", KeyColumns: []string{"name"}},
		"collation":                       {Table: "products", Namespace: "n", KeyColumns: []string{"code"}},
		"index lower_k has an expression": {Table: "lower", Namespace: "n", KeyColumns: []string{"k"}, SharedKeys: true},
	} {
		if err := src.InstallTrigger(t.Context(), trigger); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("InstallTrigger(%+v) = %v, want an error with %q", trigger, err, want)
		}
	}
}

func TestCheck_FindsDroppedTriggersAndTables(t *testing.T) {
	src, db := open(t)
	exec(t, db, `create table products (id integer primary key, name text)`)
	product(t, src)
	if found, err := src.Check(t.Context()); err != nil || len(found) > 0 {
		t.Errorf("Check = %+v, %v, want nothing", found, err)
	}
	exec(t, db, `drop trigger nearcache_products_product_delete`)
	found, err := src.Check(t.Context())
	if err != nil || len(found) != 1 || found[0].Code != coherence.FindingTriggerMissing ||
		found[0].Namespace != "product" {
		t.Errorf("Check = %+v, %v, want %s", found, err, coherence.FindingTriggerMissing)
	}
	product(t, src)
	if found, err := src.Check(t.Context()); err != nil || len(found) > 0 {
		t.Errorf("after InstallTrigger: Check = %+v, %v, want nothing", found, err)
	}
	exec(t, db, `drop table products`)
	found, err = src.Check(t.Context())
	if err != nil || len(found) != 1 || found[0].Code != coherence.FindingTableMissing {
		t.Errorf("Check = %+v, %v, want %s", found, err, coherence.FindingTableMissing)
	}
}

func TestSource_NamesMissingAndNewerTables(t *testing.T) {
	db := openDB(t, filepath.Join(t.TempDir(), "x.db"))
	src, err := sqlite.New(db, sqlite.Config{Prefix: "cache_"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := src.Position(t.Context()); !errors.Is(err, sqlite.ErrNotInstalled) {
		t.Errorf("Position = %v, want ErrNotInstalled", err)
	}
	if err := src.Install(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := src.Bump(t.Context(), db, "n", "k", coherence.OpCreated); err != nil {
		t.Error(err)
	}
	exec(t, db, `update cache_meta set schema_version = 99`)
	if err := src.Install(t.Context()); !errors.Is(err, sqlite.ErrNewerSchema) {
		t.Errorf("Install = %v, want ErrNewerSchema", err)
	}
	for _, prefix := range []string{"Upper", "a'b", "1", strings.Repeat("x", 40)} {
		if _, err := sqlite.New(db, sqlite.Config{Prefix: prefix}); err == nil {
			t.Errorf("New accepts the prefix %q", prefix)
		}
	}
	if _, err := sqlite.New(nil, sqlite.Config{}); err == nil {
		t.Error("New accepts no database")
	}
}

func TestVersionSQL_FindsRowsOlderThanTheTrigger(t *testing.T) {
	src, db := open(t)
	exec(t, db, `create table products (id text primary key, name text)`,
		`insert into products values ('old', 'there before')`)
	product(t, src)
	load := func(id string) (name string, v coherence.Version) {
		t.Helper()
		var found sql.NullString
		err := db.QueryRowContext(t.Context(), `select p.name, `+src.VersionSQL("'product'", "k.id")+`
			from (select ? as id) k left join products p on p.id = k.id`, id).Scan(&found, &v)
		if err != nil {
			t.Fatal(err)
		}
		return found.String, v
	}
	if name, v := load("old"); name != "there before" || v == 0 {
		t.Errorf("an old row is %q at version %d", name, v)
	}
	_, before := load("old")
	exec(t, db, `update products set name = 'changed'`)
	if name, v := load("old"); name != "changed" || v <= before {
		t.Errorf("after an update it is %q at version %d, before it was at %d", name, v, before)
	}
	if name, v := load("never"); name != "" || v != before {
		t.Errorf("a row that never was is %q at version %d", name, v)
	}
}

func TestTrim_RemovesVersionsOfDeletedKeys(t *testing.T) {
	src, db := open(t)
	exec(t, db, `create table products (id integer primary key, name text)`)
	product(t, src)
	exec(t, db, `with recursive g (i) as (select 1 union all select i + 1 from g where i < 1500)
		insert into products select i, '' from g`,
		`update products set name = 'x'`, `delete from products where id > 10`)
	at, err := src.Position(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := src.Trim(t.Context(), at, time.Hour); err != nil {
		t.Fatal(err)
	}
	var left int
	if err := db.QueryRow(`select count(*) from nearcache_versions`).Scan(&left); err != nil || left != 10 {
		t.Errorf("%d version rows are left (%v), want those of the 10 products", left, err)
	}
	v, err := src.Version(t.Context(), "product", "700")
	if err != nil || v < 3 {
		t.Errorf("a key that was deleted at version 3 has version %d, %v", v, err)
	}
	exec(t, db, `insert into products values (700, 'again')`)
	if again, err := src.Version(t.Context(), "product", "700"); err != nil || again <= v {
		t.Errorf("it comes back at version %d after %d, %v", again, v, err)
	}
}

func Example() {
	ctx := context.Background()
	db, err := sql.Open("sqlite", ":memory:")
	if err != nil {
		panic(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1) // each connection to :memory: would be a database of its own
	src, err := sqlite.New(db, sqlite.Config{})
	if err != nil {
		panic(err)
	}
	if err := src.Install(ctx); err != nil {
		panic(err)
	}
	if _, err := db.ExecContext(ctx, `create table products (id text primary key, name text)`); err != nil {
		panic(err)
	}
	err = src.InstallTrigger(ctx, sqlite.Trigger{Table: "products", Namespace: "product", KeyColumns: []string{"id"}})
	if err != nil {
		panic(err)
	}
	if _, err := db.ExecContext(ctx,
		`insert into products values ('42', 'lamp'); update products set name = 'desk lamp'`); err != nil {
		panic(err)
	}
	events, _, err := src.Changes(ctx, coherence.Position{}, 100)
	if err != nil {
		panic(err)
	}
	for _, e := range events {
		fmt.Println(e.Namespace, e.Key, e.Op, e.Version)
	}
	// A Loader reads the row and its version in one statement.
	var name string
	var version coherence.Version
	query := `select name, ` + src.VersionSQL("'product'", "id") + ` from products where id = ?`
	if err := db.QueryRowContext(ctx, query, "42").Scan(&name, &version); err != nil {
		panic(err)
	}
	fmt.Println(name, version)
	// Output:
	// product 42 created 1
	// product 42 updated 2
	// desk lamp 2
}
