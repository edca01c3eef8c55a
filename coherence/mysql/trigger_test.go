package mysql_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/mysql"
)

// seen is a change as "op key".
func (b *bench) seen(t *testing.T, namespace string) (got []string) {
	t.Helper()
	events, _, err := b.Changes(t.Context(), coherence.Position{}, 10_000)
	if err != nil {
		t.Fatal(err)
	}
	last := coherence.Version(1) // of rows that are older than the trigger
	for _, e := range events {
		if e.Version <= last {
			t.Errorf("%s %q has version %d after %d", e.Op, e.Key, e.Version, last)
		}
		last = e.Version
		if time.Since(e.Time).Abs() > time.Minute {
			t.Errorf("%s was changed at %v", e.Key, e.Time)
		}
		if e.Namespace == namespace {
			got = append(got, string(e.Op)+" "+e.Key)
		}
	}
	return got
}

func (b *bench) want(t *testing.T, namespace string, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, b.seen(t, namespace)); diff != "" {
		t.Errorf("changes of %s (-want +got):\n%s", namespace, diff)
	}
}

func (b *bench) trigger(t *testing.T, tr mysql.Trigger) {
	t.Helper()
	for range 2 {
		if err := b.InstallTrigger(t.Context(), tr); err != nil {
			t.Fatal(err)
		}
	}
}

var products = mysql.Trigger{Table: "products", Namespace: "product", KeyColumns: []string{"id"}}

func TestTrigger_CountsEveryChange(t *testing.T) {
	t.Parallel()
	b := open(t)
	b.exec(t, `create table products (id int primary key, sku varchar(9) unique, name text)`,
		`insert into products values (9, 'old', 'old')`)
	b.trigger(t, products)
	if v, err := b.Version(t.Context(), "product", "9"); err != nil || v != 1 {
		t.Errorf("a row that is older than the trigger has version %d, %v, want 1", v, err)
	}
	b.exec(t, `insert into products values (1, 's1', 'a'), (2, 's2', 'b')`,
		`update products set name = 'c' where id = 1`,
		`insert into products values (1, 's1', 'x') on duplicate key update name = values(name)`,
		`insert ignore into products values (1, 's1', 'y')`,
		`delete from products where id = 1`,
		`update products set id = 3 where id = 2`,
		`replace into products values (4, 's2', 'replaced')`) // removes 3, by its other unique column
	b.want(t, "product", "created 1", "created 2", "updated 1", "updated 1", "deleted 1", "deleted 2", "created 3",
		"deleted 3", "created 4")
	rolled := b.begin(t)
	if _, err := rolled.Exec(`update products set name = 'lost'`); err != nil {
		t.Fatal(err)
	}
	if err := rolled.Rollback(); err != nil {
		t.Fatal(err)
	}
	if got := b.seen(t, "product"); len(got) != 9 {
		t.Errorf("after a rollback: %v", got[9:])
	}
}

func TestTrigger_ColumnsThatCount(t *testing.T) {
	t.Parallel()
	b := open(t)
	b.exec(t, `create table products (id int primary key, name varchar(9) collate utf8mb4_general_ci, views int)`)
	tr := products
	tr.Columns = []string{"name"}
	b.trigger(t, tr)
	b.exec(t, `insert into products values (1, 'a', 0)`, `update products set views = 1`,
		`update products set name = 'a'`,
		`update products set name = 'A'`, // equal by the collation, and another text
		`update products set name = null`, `update products set name = null, views = 3`)
	b.want(t, "product", "created 1", "updated 1", "updated 1")
	// Another set of columns replaces the triggers, and no change between is left out.
	b.trigger(t, products)
	b.exec(t, `update products set views = 4`)
	if got := b.seen(t, "product"); len(got) != 4 {
		t.Errorf("with all columns: %v, want one more change", got)
	}
}

func TestTrigger_SeveralNamespacesAndCompositeKeys(t *testing.T) {
	t.Parallel()
	b := open(t)
	b.exec(t, "create table `order.lines` (shop varchar(20) collate utf8mb4_bin, number varbinary(9), item text, "+
		"primary key (shop, number))")
	line := mysql.Trigger{Table: "`order.lines`", Namespace: "line", KeyColumns: []string{"shop", "number"}}
	shop := mysql.Trigger{Table: "`order.lines`", Namespace: "it's", KeyColumns: []string{"shop"}, SharedKeys: true}
	b.trigger(t, line)
	b.trigger(t, shop)
	b.exec(t, "insert into `order.lines` values ('a:b', 'c', ''), ('a', 'b:c', ''), ('n', x'00ff', '')")
	b.want(t, "line", "created "+coherence.CompositeKey("a:b", `\x63`),
		"created "+coherence.CompositeKey("a", `\x623a63`),
		"created "+coherence.CompositeKey("n", `\x00ff`))
	b.want(t, "it's", "created a:b", "created a", "created n")
	if err := b.RemoveTrigger(t.Context(), shop); err != nil {
		t.Fatal(err)
	}
	b.exec(t, "delete from `order.lines` where shop = 'a'")
	if lines, shops := b.seen(t, "line"), b.seen(t, "it's"); len(lines) != 4 || len(shops) != 3 {
		t.Errorf("after one of two triggers was removed: %v and %v, want 4 and 3 changes", lines, shops)
	}
	if found, err := b.Check(t.Context()); err != nil || len(found) > 0 {
		t.Errorf("Check = %+v, %v, want nothing", found, err)
	}
}

// TestTrigger_FailsTheWriteWhoseKeyIsTooLong: a key that was cut would be another key's.
func TestTrigger_FailsTheWriteWhoseKeyIsTooLong(t *testing.T) {
	t.Parallel()
	b := open(t)
	b.exec(t, `create table products (id varchar(2000) collate ascii_bin not null, unique (id))`)
	b.trigger(t, products)
	lax := openDB(t, b.dsn+"?sql_mode=%27%27")
	if _, err := lax.Exec(`insert into products values (?)`, strings.Repeat("x", 1025)); err == nil {
		t.Error("a key of 1025 bytes was counted")
	}
	if _, err := lax.Exec(`insert into products values (?)`, strings.Repeat("x", 1024)); err != nil {
		t.Errorf("a key of 1024 bytes: %v", err)
	}
}

func TestInstallTrigger_RefusesWhatItCannotCount(t *testing.T) {
	t.Parallel()
	b := open(t)
	b.exec(t, `create table parents (id int primary key)`,
		`create table products (id int primary key, name text, code varchar(9) collate utf8mb4_general_ci not null unique,
			at timestamp not null unique, f double not null unique, spare int unique, bits bit(4) not null unique)`,
		`create table children (id int primary key, p int, foreign key (p) references parents (id) on delete cascade)`,
		`create table memories (id int primary key) engine = MyISAM`,
		`create view shown as select * from products`)
	for want, tr := range map[string]mysql.Trigger{
		"required":           {Table: "products"},
		"there is no table":  {Table: "nowhere", Namespace: "n", KeyColumns: []string{"id"}},
		"is a view":          {Table: "shown", Namespace: "n", KeyColumns: []string{"id"}},
		`no column "idd"`:    {Table: "products", Namespace: "n", KeyColumns: []string{"idd"}},
		`no column "price"`:  {Table: "products", Namespace: "n", KeyColumns: []string{"id"}, Columns: []string{"price"}},
		"no text that Go":    {Table: "products", Namespace: "n", KeyColumns: []string{"name"}},
		"several spellings":  {Table: "products", Namespace: "n", KeyColumns: []string{"code"}},
		"time zone":          {Table: "products", Namespace: "n", KeyColumns: []string{"at"}},
		"rounded":            {Table: "products", Namespace: "n", KeyColumns: []string{"f"}},
		"may be null":        {Table: "products", Namespace: "n", KeyColumns: []string{"spare"}},
		"fires no trigger":   {Table: "children", Namespace: "n", KeyColumns: []string{"id"}},
		"its engine is":      {Table: "memories", Namespace: "n", KeyColumns: []string{"id"}},
		"has 3 parts":        {Table: "a.b.c", Namespace: "n", KeyColumns: []string{"id"}},
		"an open backquote":  {Table: "`a", Namespace: "n", KeyColumns: []string{"id"}},
		"contains a colon":   {Table: "products", Namespace: "a:b", KeyColumns: []string{"id"}},
		"key column bits is": {Table: "products", Namespace: "n", KeyColumns: []string{"bits"}},
	} {
		if err := b.InstallTrigger(t.Context(), tr); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("InstallTrigger(%+v) = %v, want an error with %q", tr, err, want)
		}
	}
	if _, err := b.BumpKey(t.Context(), "a:b", "k"); err == nil || !strings.Contains(err.Error(), "contains a colon") {
		t.Errorf("BumpKey with a colon in the namespace: %v", err)
	}
	b.exec(t, `create table plain (id int not null)`)
	err := b.InstallTrigger(t.Context(), mysql.Trigger{Table: "plain", Namespace: "n", KeyColumns: []string{"id"}})
	if err == nil || !strings.Contains(err.Error(), "not unique") {
		t.Errorf("a key that is not unique: %v, want a refusal", err)
	}
}

func TestCheck_FindsWhatTriggersMiss(t *testing.T) {
	t.Parallel()
	b := open(t)
	b.exec(t, `create table parents (id int primary key)`, `create table products (id int primary key, p int)`,
		`insert into products values (1, null)`)
	b.trigger(t, products)
	check := func(want ...string) {
		t.Helper()
		found, err := b.Check(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, f := range found {
			got = append(got, f.Code)
			if f.Namespace != "product" || !strings.Contains(f.Text, "table test") {
				t.Errorf("finding %+v", f)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("findings (-want +got):\n%s", diff)
		}
	}
	check()
	statements, err := b.TriggerSQL(t.Context(), products)
	if err != nil || len(statements) != 3 {
		t.Fatalf("TriggerSQL = %q, %v, want three statements", statements, err)
	}
	name := statements[2][strings.Index(statements[2], "."):]
	b.exec(t, `drop trigger `+name[1:strings.Index(name, " ")])
	check(coherence.FindingTriggerMissing)
	b.trigger(t, products)
	check()
	b.exec(t, `truncate table products`)
	check(mysql.FindingTableRemade)
	b.trigger(t, products)
	b.exec(t, `alter table products add foreign key (p) references parents (id) on delete set null`)
	found, err := b.Check(t.Context())
	if err != nil || len(found) == 0 || found[len(found)-1].Code != mysql.FindingCascade {
		t.Errorf("with a foreign key: %+v, %v, want %s", found, err, mysql.FindingCascade)
	}
	b.exec(t, `drop table products`)
	check(coherence.FindingTableMissing)
	if err := b.RemoveTrigger(t.Context(), products); err != nil {
		t.Fatal(err)
	}
	check()
}

func TestInstallTrigger_WaitsForOthersAndSaysSo(t *testing.T) {
	t.Parallel()
	b := open(t)
	b.exec(t, `create table products (id int primary key)`)
	held := b.begin(t)
	b.in(t, held, `select * from products`)
	released := make(chan error, 1)
	go func() {
		released <- b.InstallTrigger(t.Context(), products)
	}()
	b.exec(t, `do sleep(1.5)`) // one attempt is over
	if err := held.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := <-released; err != nil {
		t.Errorf("InstallTrigger beside a transaction that ended: %v", err)
	}
	b.exec(t, `insert into products values (1)`)
	b.want(t, "product", "created 1")
}

func TestSource_NamesMissingTables(t *testing.T) {
	t.Parallel()
	b := open(t)
	src, err := mysql.New(b.db, mysql.Config{Database: b.name + "_none"})
	if err != nil {
		t.Fatal(err)
	}
	_, position := src.Position(t.Context())
	_, check := src.Check(t.Context())
	_, bump := src.BumpKey(t.Context(), "n", "k")
	for name, err := range map[string]error{"Position": position, "Check": check, "BumpKey": bump} {
		if !errors.Is(err, mysql.ErrNotInstalled) || !errors.Is(err, coherence.ErrMisconfigured) {
			t.Errorf("%s = %v, want ErrNotInstalled", name, err)
		}
	}
	b.exec(t, `update `+b.name+`.meta set schema_version = 99`)
	if err := b.Install(t.Context()); !errors.Is(err, mysql.ErrNewerSchema) {
		t.Errorf("Install over a newer schema = %v, want ErrNewerSchema", err)
	}
	if found, err := b.Check(t.Context()); err != nil || len(found) != 1 ||
		found[0].Code != coherence.FindingSchemaVersion {
		t.Errorf("Check of a newer schema = %+v, %v", found, err)
	}
}

// TestLoader_ReadsValueAndVersion is the statement that docs/guides/mysql.md gives.
func TestLoader_ReadsValueAndVersion(t *testing.T) {
	t.Parallel()
	b := open(t)
	b.exec(t, `create table products (id int primary key, name varchar(20))`)
	b.trigger(t, products)
	b.exec(t, `insert into products values (1, 'a')`, `update products set name = 'b'`)
	load := `select p.name, ` + b.VersionSQL("product", "?") + ` from (select 1) one left join products p on p.id = ?`
	for _, id := range []any{1, "1"} {
		var name string
		var version uint64
		if err := b.db.QueryRow(load, id, id).Scan(&name, &version); err != nil || name != "b" {
			t.Fatalf("load = %q %d, %v", name, version, err)
		}
		if v, err := b.Version(t.Context(), "product", "1"); err != nil || uint64(v) != version || version == 0 {
			t.Errorf("the Loader reads version %d, and Version says %d, %v", version, v, err)
		}
	}
	var plan string
	err := b.db.QueryRow(`explain format=json `+load, "1", "1").Scan(&plan)
	byKey := strings.Contains(plan, `"access_type": "const"`) && !strings.Contains(plan, `"access_type": "ALL"`) &&
		!strings.Contains(plan, `"access_type": "index"`)
	if err != nil || !byKey {
		t.Errorf("the plan is no look-up by the key: %v %s", err, plan)
	}
}
