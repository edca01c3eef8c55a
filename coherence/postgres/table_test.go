package postgres_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/postgres"
)

// TestTrigger_OnATableWithAnyColumnNames: a column can have the name of an alias in the trigger's statements.
func TestTrigger_OnATableWithAnyColumnNames(t *testing.T) {
	src, pool, _ := open(t)
	const names = `r text, o text, n text, k text, v text, c text, i text, old text, new text, old_key text, differs text,
		tg_op text, "R' %s $f$" text`
	exec1(t, pool, `create table products (id int primary key, `+names+`)`)
	exec1(t, pool, `create table lines (id int, line int, `+names+`, primary key (id, line))`)
	exec1(t, pool, `create table "r" ("r" text primary key, "R' %s $f$" text)`)
	install(t, src, on("products", "id"))
	install(t, src, on("r", "r"))
	lines := on("lines", "id")
	lines.SharedKeys = true
	install(t, src, lines)

	const products = `select id::text, p::text from products p`
	wantCounted(t, pool, products, `insert into products (id, r, k) select i, i, i from generate_series(1, 3) i`)
	wantCounted(t, pool, products, `update products set r = 'x' where id = 1`)
	wantCounted(t, pool, products, `update products set r = 'x'`)
	wantCounted(t, pool, products, `update products set k = r where id < 3`)
	wantCounted(t, pool, products, `update products set "R' %s $f$" = 'x' where id < 3`)
	const byLine = `select id::text, string_agg(l::text, ',' order by line) from lines l group by 1`
	wantCounted(t, pool, byLine, `insert into lines (id, line) select i / 3, i from generate_series(1, 9) i`)
	wantCounted(t, pool, byLine, `update lines set r = 'x' where line = 1`)
	wantCounted(t, pool, byLine, `update lines set r = 'x' where line > 4`)
	wantCounted(t, pool, `select r, r.*::text from r`, `insert into r values ('a'), ('b')`)
	wantCounted(t, pool, `select r, r.*::text from r`, `update r set "R' %s $f$" = r where r = 'a'`)

	for _, table := range []string{"products", "lines"} { // the key's statement is now made anew each time
		exec1(t, pool, `alter table `+table+` rename id to ident`)
	}
	wantCounted(t, pool, strings.Replace(products, "id", "ident", 1), `update products set k = 'y' where ident < 3`)
	wantCounted(t, pool, strings.Replace(byLine, "id", "ident", 1), `update lines set r = 'y' where line > 4`)
}

// TestTrigger_CountsATruncateOfHiddenRows: rows that its owner may not see would stay cached.
func TestTrigger_CountsATruncateOfHiddenRows(t *testing.T) {
	admin, pool, url := open(t)
	name, owner := role(t, pool, "owner")
	exec1(t, pool, fmt.Sprintf(`create schema own authorization %s; grant create on database %s to %[1]s`, name,
		pool.Config().ConnConfig.Database))
	exec1(t, owner, `create table own.products (id int primary key, tenant text)`)
	src, err := postgres.New(owner, postgres.Config{Schema: "mine"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(src.Close)
	if err := src.Install(t.Context()); err != nil {
		t.Fatal(err)
	}
	install(t, src, on("own.products", "id"))
	exec1(t, owner, `insert into own.products values (1, 'a'), (2, 'b')`)
	hidden := func() {
		t.Helper()
		exec1(t, pool, `truncate own.products; insert into own.products values (1, 'a')`)
		wantFindings(t, src, coherence.FindingRowsHidden)
	}
	exec1(t, owner, `alter table own.products enable row level security`) // not for the owner
	wantFindings(t, src)
	exec1(t, owner, `alter table own.products force row level security`)
	exec1(t, owner, `create policy tenants on own.products using (tenant = current_setting('app.tenant', true))`)
	hidden()
	exec1(t, owner, `alter table own.products no force row level security`)
	wantFindings(t, src)
	exec1(t, pool, `alter table own.products owner to current_user`)
	hidden()

	// A superuser may see everything, and the trigger is that one's after another installation.
	super := newSource(t, url, postgres.Config{Schema: "mine"})
	install(t, super, on("own.products", "id"))
	wantFindings(t, super)
	exec1(t, pool, `truncate own.products`)
	const epoch = 1 << 32
	wantChanges(t, src, "n", "1 1 created", "2 1 created",
		fmt.Sprintf(" %d truncated", epoch), fmt.Sprintf("1 %d created", epoch+1),
		fmt.Sprintf(" %d truncated", 2*epoch), fmt.Sprintf("1 %d created", 2*epoch+1),
		fmt.Sprintf("1 %d deleted", 2*epoch+2))
	wantFindings(t, admin)
}

// TestCheck_FindsTablesThatTookTheirPlace: migration tools fill a new table and then give it the old one's name.
func TestCheck_FindsTablesThatTookTheirPlace(t *testing.T) {
	src, pool, _ := open(t)
	exec1(t, pool, `create table products (id int primary key)`)
	install(t, src, on("products", "id"))
	exec1(t, pool, `alter table products rename to elsewhere`)
	wantFindings(t, src) // its changes count as before
	exec1(t, pool, `alter table elsewhere rename to products`)

	exec1(t, pool, `create table fresh (id int primary key)`)
	exec1(t, pool, `alter table products rename to gone; alter table fresh rename to products`)
	wantFindings(t, src, coherence.FindingTriggerMissing)
	install(t, src, on("products", "id"))
	wantFindings(t, src)
	exec1(t, pool, `insert into products values (1)`)
	exec1(t, pool, `drop table gone`)
	wantFindings(t, src)
	wantChanges(t, src, "n", "1 1 created")

	exec1(t, pool, `alter table products set unlogged`)
	wantFindings(t, src, coherence.FindingTableUnlogged)
	exec1(t, pool, `alter table products set logged`)
	wantFindings(t, src)
}

// TestCheck_WhateverTheSessionQuotes: names are compared, and a session can have them all quoted.
func TestCheck_WhateverTheSessionQuotes(t *testing.T) {
	src, pool, url := open(t)
	exec1(t, pool, `create table products (id int primary key)`)
	install(t, src, on("products", "id"))
	exec1(t, pool, `alter database `+pool.Config().ConnConfig.Database+` set quote_all_identifiers = on`)
	quoting := newSource(t, url, postgres.Config{})
	wantFindings(t, quoting)
	install(t, quoting, on("products", "id"))
	wantFindings(t, src)
}

// TestTrigger_SeesASchemaOfPartitionsDropped: partitions can be in another schema than their table.
func TestTrigger_SeesASchemaOfPartitionsDropped(t *testing.T) {
	src, pool, _ := open(t)
	exec1(t, pool, `create schema parts; create table products (id int primary key) partition by range (id)`)
	exec1(t, pool, `create table parts.low partition of products for values from (0) to (10)`)
	install(t, src, on("products", "id"))
	exec1(t, pool, `insert into products values (1)`)
	if _, err := pool.Exec(t.Context(), `drop schema parts cascade`); err == nil ||
		!strings.Contains(err.Error(), "would vanish without a trace") {
		t.Errorf("a schema with a partition is dropped: %v, want an error that says to detach it", err)
	}
	exec1(t, pool, `alter table products detach partition parts.low concurrently`)
	exec1(t, pool, `drop schema parts cascade`)
	wantFindings(t, src)
	wantChanges(t, src, "n", "1 1 created", "1 2 deleted")
	exec1(t, pool, `drop schema nearcache cascade`) // with the functions of the event triggers
	exec1(t, pool, `create table unrelated (id int); drop table unrelated`)
}

// TestTrigger_FailsNobodysDDL: a superuser makes the event triggers, and another role owns their functions.
func TestTrigger_FailsNobodysDDL(t *testing.T) {
	_, pool, url := open(t)
	name, owner := role(t, pool, "owner")
	exec1(t, pool, fmt.Sprintf(`grant create on database %s to %s`, pool.Config().ConnConfig.Database, name))
	src, err := postgres.New(owner, postgres.Config{Schema: "mine"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(src.Close)
	if err := src.Install(t.Context()); err != nil {
		t.Fatal(err)
	}
	exec1(t, pool, `create table products (id int primary key) partition by range (id)`)
	super := newSource(t, url, postgres.Config{Schema: "mine"})
	install(t, super, on("products", "id"))

	exec1(t, pool, `create table low partition of products for values from (0) to (10)`)
	exec1(t, pool, `insert into products values (1)`)
	exec1(t, pool, `create table high (id int primary key); insert into high values (11)`)
	exec1(t, pool, `alter table products attach partition high for values from (10) to (20)`)
	found, err := super.Check(t.Context())
	if err != nil || len(found) != 2 {
		t.Errorf("found %+v, %v; want a missing trigger of each partition", found, err)
	}
	install(t, super, on("products", "id"))
	wantFindings(t, super)
	exec1(t, pool, `alter table products detach partition low`)
	wantFindings(t, super, coherence.FindingPartitionGone)
}
