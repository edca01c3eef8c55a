package sqlload_test

import (
	"context"
	"database/sql"
	"errors"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	_ "modernc.org/sqlite" // the driver

	"github.com/nearcache/nearcache-go/coherence/sqlite"
	"github.com/nearcache/nearcache-go/nearcache"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
	"github.com/nearcache/nearcache-go/nearcache/sqlload"
)

type product struct {
	Name  string
	Price int
}

// shop is a table with a trigger.
func shop(t *testing.T) (*sql.DB, *sqlite.Source) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(t.TempDir(), "x.db")+
		"?_txlock=immediate&_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	src, err := sqlite.New(db, sqlite.Config{})
	if err != nil {
		t.Fatal(err)
	}
	exec(t, db, `create table products (id text primary key not null, name text not null, price integer not null)`)
	if err := src.Install(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := src.InstallTrigger(t.Context(), sqlite.Trigger{Table: "products", Namespace: "product",
		KeyColumns: []string{"id"}}); err != nil {
		t.Fatal(err)
	}
	return db, src
}

func exec(t *testing.T, db *sql.DB, query string) {
	t.Helper()
	if _, err := db.ExecContext(t.Context(), query); err != nil {
		t.Fatal(err)
	}
}

func id(k string) []any       { return []any{k} }
func fields(p *product) []any { return []any{&p.Name, &p.Price} }

// byID is the query that the package documentation shows.
const byID = "from (select 1) one left join products p on p.id = ?1"

func find(src *sqlite.Source, from string) string {
	return `select ` + src.VersionSQL("'product'", "?1") + `, p.id is not null, p.name, p.price ` + from
}

// TestQuery_LoadsValueAndVersion goes through a cache with a Source, which refuses versions that are not its own.
func TestQuery_LoadsValueAndVersion(t *testing.T) {
	db, src := shop(t)
	client, err := nearcache.New(nearcache.Config{Redis: nearcachetest.NewRedis(t).ClientOption(), Source: src})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	cache, err := nearcache.NewCache(client, "product", nearcache.Options[string, product]{
		Load: sqlload.Query(db, find(src, byID), id, fields)})
	if err != nil {
		t.Fatal(err)
	}
	fresh := nearcache.ReadOptions{Fresh: true}
	read := func(want product, version nearcache.Version, wantErr error) {
		t.Helper()
		r, err := cache.Read(t.Context(), "7", fresh)
		if !errors.Is(err, wantErr) || r.Version != version || r.Value != want {
			t.Errorf("Read = %+v version %d, %v, want %+v version %d, %v", r.Value, r.Version, err, want, version, wantErr)
		}
	}
	read(product{}, 0, nearcache.ErrNotFound)
	exec(t, db, `insert into products values ('7', 'lamp', 5)`)
	read(product{"lamp", 5}, 1, nil)
	exec(t, db, `update products set price = 6`)
	read(product{"lamp", 6}, 2, nil)
	exec(t, db, `delete from products`)
	read(product{}, 3, nearcache.ErrNotFound) // the absence has a version too
}

func TestQuery_SaysWhatIsWrongWithTheQuery(t *testing.T) {
	db, src := shop(t)
	exec(t, db, `insert into products values ('1', 'a', 1), ('2', 'b', 2)`)
	none := sqlload.Query(db, find(src, "from products p where p.id = ?1"), id, fields)
	if _, err := none(t.Context(), "9"); !errors.Is(err, sqlload.ErrNoRow) {
		t.Errorf("a query without a row: %v, want ErrNoRow", err)
	}
	for name, query := range map[string]string{
		"two rows":           find(src, "from products p"),
		"a missing column":   `select 1, true, 'a'`,
		"a wrong type":       `select 1, true, 'a', 'dear'`,
		"no number":          `select 'v1', true, 'a', 1`,
		"a negative version": `select -1, true, 'a', 1`,
		"no SQL":             `selec`,
	} {
		e, err := sqlload.Query(db, query, id, fields)(t.Context(), "1")
		if err == nil || errors.Is(err, nearcache.ErrNotFound) {
			t.Errorf("%s: %+v, %v, want an error", name, e, err)
		}
	}
}

// getProductRow is a row as sqlc generates it.
type getProductRow struct {
	Version int64
	Found   bool
	Name    sql.NullString
	Price   sql.NullInt64
}

func TestRow_LoadsWhatAMethodReads(t *testing.T) {
	rows := map[string]getProductRow{
		"1": {Version: 4, Found: true, Name: sql.NullString{String: "a", Valid: true}, Price: sql.NullInt64{Int64: 2}},
		"2": {Version: 5},
	}
	load := sqlload.Row(func(_ context.Context, k string) (getProductRow, error) {
		r, ok := rows[k]
		if !ok {
			return r, sql.ErrNoRows
		}
		return r, nil
	}, func(r getProductRow) (product, nearcache.Version, bool) {
		return product{r.Name.String, int(r.Price.Int64)}, nearcache.Version(r.Version), r.Found
	})
	e, err := load(t.Context(), "1")
	if diff := cmp.Diff(nearcache.Entry[product]{Value: product{"a", 2}, Version: 4}, e); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if e, err := load(t.Context(), "2"); !errors.Is(err, nearcache.ErrNotFound) || e.Version != 5 {
		t.Errorf("an absent row = %+v, %v, want ErrNotFound of version 5", e, err)
	}
	if _, err := load(t.Context(), "3"); !errors.Is(err, sqlload.ErrNoRow) {
		t.Errorf("no row = %v, want ErrNoRow", err)
	}
}
