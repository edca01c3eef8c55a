package postgres_test

import (
	"strings"
	"testing"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/postgres"
)

func TestLastChange_TellsWhetherItWasCounted(t *testing.T) {
	src, pool, _ := open(t)
	exec1(t, pool, `create table products (id text primary key, name text)`)
	exec1(t, pool, `insert into products values ('before', 'a'), ('before too', 'a')`)
	install := func(tr postgres.Trigger) {
		t.Helper()
		if err := src.InstallTrigger(t.Context(), tr); err != nil {
			t.Fatal(err)
		}
	}
	install(postgres.Trigger{Table: "products", Namespace: "product", KeyColumns: []string{"id"}})
	exec1(t, pool, `insert into products values ('a', '1'), ('b', '1'), ('c', '1'), ('d', '1'), ('e', '1'), ('f', '1')`)
	exec1(t, pool, `update products set name = '2' where id = 'a'`)
	exec1(t, pool, `delete from products where id in ('c', 'f')`)
	// A savepoint has a transaction id of its own, which row and version share.
	exec1(t, pool, `do $$ begin
		update products set name = '2' where id = 'e';
		begin update products set name = '3' where id = 'e'; exception when division_by_zero then null; end;
	end $$`)
	exec1(t, pool, `alter table products disable trigger user`)
	exec1(t, pool, `update products set name = 'uncounted' where id in ('b', 'before too')`)
	exec1(t, pool, `delete from products where id = 'd'`)
	exec1(t, pool, `insert into products values ('f', 'again'), ('new', 'uncounted')`)

	exec1(t, pool, `create table lines (shop int, id uuid, name text, views int, primary key (shop, id))`)
	install(postgres.Trigger{Table: "lines", Namespace: "line", KeyColumns: []string{"shop", "id"},
		Columns: []string{"name"}})
	const id = "6f1c2d7e-0000-4000-8000-0123456789ab"
	exec1(t, pool, `insert into lines values (7, $1, 'a', 0)`, id)

	for _, c := range []struct {
		namespace, key string
		outcome        coherence.ChangeOutcome
		name, detail   string
	}{
		{"product", "a", coherence.ChangeCounted, "a", "counted its version"},
		{"product", "e", coherence.ChangeCounted, "e", "counted its version"},
		{"product", "before", coherence.ChangeCounted, "before", "not changed since"},
		{"product", "c", coherence.ChangeCounted, "", "deletion was counted"},
		{"product", "b", coherence.ChangeUncounted, "b", "the last version was counted by"},
		{"product", "before too", coherence.ChangeUncounted, "before too", "after the trigger was installed"},
		{"product", "new", coherence.ChangeUncounted, "new", "after the trigger was installed"},
		{"product", "d", coherence.ChangeUncounted, "", "its deletion was not counted"},
		{"product", "f", coherence.ChangeUncounted, "f", "inserted the row"},
		{"product", "nowhere", coherence.ChangeUnknown, "", ""},
		{"nobody", "a", coherence.ChangeUnknown, "", ""},
		{"line", "7:" + id, coherence.ChangeCounted, "7:" + id, "counted its version"},
		{"line", "07:" + strings.ToUpper(id), coherence.ChangeUnknown, "7:" + id, "counted as"},
		{"line", "seven:" + id, coherence.ChangeUnknown, "", "no value of the key columns' types"},
		{"line", "7", coherence.ChangeUnknown, "", ""},
	} {
		got, err := src.LastChange(t.Context(), c.namespace, c.key)
		if err != nil {
			t.Errorf("%s %q: %v", c.namespace, c.key, err)
			continue
		}
		if got.Outcome != c.outcome || got.Key != c.name || !strings.Contains(got.Detail, c.detail) {
			t.Errorf("%s %q: got %+v, want %v, %q and %q", c.namespace, c.key, got, c.outcome, c.name, c.detail)
		}
	}
	exec1(t, pool, `update lines set views = 1`)
	got, err := src.LastChange(t.Context(), "line", "7:"+id)
	if err != nil || got.Outcome != coherence.ChangeUnknown {
		t.Errorf("a column that does not count was changed: got %+v, %v; want that it is not known", got, err)
	}
}
