package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/postgres"
	"github.com/nearcache/nearcache-go/internal/services/servicestest"
	"github.com/nearcache/nearcache-go/internal/testkit"
)

func TestInstall_OnlyReadsWhenNothingChanged(t *testing.T) {
	_, pool, url := open(t)
	holder, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = holder.Rollback(context.Background()) }()
	for _, table := range []string{"outbox", "versions", "meta", "cursors"} {
		// The strongest lock that lets readers pass.
		if _, err := holder.Exec(t.Context(), "lock table nearcache."+table+" in exclusive mode"); err != nil {
			t.Fatal(err)
		}
	}
	if err := newSource(t, url, postgres.Config{}).Install(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestInstall_MovesForwardAndNeverBack(t *testing.T) {
	src, pool, url := open(t)
	forget := postgres.AddMigration(t,
		`alter table @@.meta add column later int; create or replace function @@.bump(ns text, k text, o text)
		returns bigint language sql security definer as $$ select 77::bigint $$;`)
	reader, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := reader.Exec(t.Context(), `select * from nearcache.meta`); err != nil {
		t.Fatal(err)
	}
	// Beside an open reader it gives way again and again: whoever comes after it is served.
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := newSource(t, url, postgres.Config{}).Install(t.Context()); err != nil {
			t.Error(err)
		}
	})
	testkit.Eventually(t, "the installation waits for the reader", func() bool {
		var n int
		_ = pool.QueryRow(t.Context(),
			`select count(*) from pg_locks where not granted and relation = 'nearcache.meta'::regclass`).Scan(&n)
		return n > 0
	})
	for range 3 {
		if _, err := src.Position(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if err := reader.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	bump := func() coherence.Version {
		v, err := src.BumpKey(t.Context(), "n", "k")
		if err != nil {
			t.Error(err)
		}
		return v
	}
	if v := bump(); v != 77 {
		t.Errorf("after the migration bump gives %d, want 77", v)
	}
	forget()
	if err := src.Install(t.Context()); !errors.Is(err, postgres.ErrNewerSchema) || !strings.Contains(err.Error(),
		fmt.Sprint("version ", postgres.SchemaVersion()+1)) {
		t.Errorf("Install of the older program: %v, want ErrNewerSchema", err)
	}
	if v := bump(); v != 77 {
		t.Errorf("the older program undid the newer one's function: bump gives %d", v)
	}
	wantFindings(t, src, coherence.FindingSchemaVersion)
}

func TestInstall_ByManyAtOnce(t *testing.T) {
	url := servicestest.Postgres(t)
	var wg sync.WaitGroup
	for range 6 {
		src := newSource(t, url, postgres.Config{Conns: 1})
		wg.Go(func() {
			if err := src.Install(t.Context()); err != nil {
				t.Error(err)
			}
			if _, err := src.Position(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestInstall_RefusesASchemaOfSomethingElse(t *testing.T) {
	url := servicestest.Postgres(t)
	exec1(t, newPool(t, url), `create schema other; create table other.meta (x int)`)
	err := newSource(t, url, postgres.Config{Schema: "other"}).Install(t.Context())
	if err == nil || !strings.Contains(err.Error(), "made by something else") {
		t.Errorf("Install = %v, want a refusal", err)
	}
}

func TestInstallSQL_IsTheWholeInstallation(t *testing.T) {
	url := servicestest.Postgres(t)
	pool := newPool(t, url)
	src := newSource(t, url, postgres.Config{Schema: "cache"})
	exec1(t, pool, `create table "Odd Name" (id int primary key, "it's" text)`)
	trigger, err := src.TriggerSQL(postgres.Trigger{Table: "Odd Name", Namespace: `o'dd\`, KeyColumns: []string{"id"},
		Columns: []string{"it's"}})
	if err != nil {
		t.Fatal(err)
	}
	exec1(t, pool, src.InstallSQL())
	exec1(t, pool, trigger)
	exec1(t, pool, `insert into "Odd Name" values (1, 'x')`)
	wantChanges(t, src, `o'dd\`, "1 1 created")
	if err := src.Install(t.Context()); err != nil {
		t.Error(err)
	}
	wantFindings(t, src)
}

func TestSource_NamesWhatIsMissing(t *testing.T) {
	url := servicestest.Postgres(t)
	src := newSource(t, url, postgres.Config{})
	calls := map[string]func() error{
		"Position": func() error { _, err := src.Position(t.Context()); return err },
		"Changes":  func() error { _, _, err := src.Changes(t.Context(), coherence.Position{}, 1); return err },
		"Version":  func() error { _, err := src.Version(t.Context(), "n", "k"); return err },
		"Check":    func() error { _, err := src.Check(t.Context()); return err },
	}
	for name, call := range calls {
		if err := call(); !errors.Is(err, postgres.ErrNotInstalled) {
			t.Errorf("%s before Install = %v, want ErrNotInstalled", name, err)
		}
	}
	if err := src.Install(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, call := range calls {
		if err := call(); err != nil {
			t.Errorf("%s = %v", name, err)
		}
	}
	src.Close()
	if _, err := src.Position(t.Context()); err == nil || !strings.Contains(err.Error(), "closed") {
		t.Errorf("Position after Close = %v", err)
	}
}

func TestNew_RefusesWhatCannotBe(t *testing.T) {
	pool, err := pgxpool.New(t.Context(), "postgres://localhost")
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	for _, cfg := range []postgres.Config{{Schema: "Upper"}, {Schema: "a'b"}, {Schema: strings.Repeat("x", 60)},
		{Conns: -1}, {LockTimeout: -1}, {LockTimeout: 1}} {
		if _, err := postgres.New(pool, cfg); err == nil {
			t.Errorf("New accepts %+v", cfg)
		}
	}
	if _, err := postgres.New(nil, postgres.Config{}); err == nil {
		t.Error("New accepts no pool")
	}
}

// TestWithoutNotify_NotifiesNobody listens, and the first notification must be the one that the test sends itself.
func TestWithoutNotify_NotifiesNobody(t *testing.T) {
	src, pool, url := open(t)
	quiet := newSource(t, url, postgres.Config{WithoutNotify: true})
	if err := quiet.Install(t.Context()); err != nil {
		t.Fatal(err)
	}
	first := func() string {
		conn, err := pgx.Connect(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(t.Context())
		if _, err := conn.Exec(t.Context(), `listen nearcache`); err != nil {
			t.Fatal(err)
		}
		if _, err := src.Bump(t.Context(), pool, "n", "k", coherence.OpUpdated); err != nil {
			t.Fatal(err)
		}
		exec1(t, pool, `select pg_notify('nearcache', 'sentinel')`)
		n, err := conn.WaitForNotification(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return n.Payload
	}
	if got := first(); got != "sentinel" {
		t.Errorf("with WithoutNotify a commit notified")
	}
	if err := src.Install(t.Context()); err != nil { // the last Install decides
		t.Fatal(err)
	}
	if got := first(); got == "sentinel" {
		t.Errorf("after an Install with notifications no commit notified")
	}
}

func TestSource_HasConnectionsOfItsOwn(t *testing.T) {
	u, err := url.Parse(servicestest.Postgres(t))
	if err != nil {
		t.Fatal(err)
	}
	// Only the hook knows who may connect, as with passwords that are rotated.
	user := u.User.Username()
	u.User = url.User("nobody_knows")
	cfg, err := pgxpool.ParseConfig(u.String())
	if err != nil {
		t.Fatal(err)
	}
	cfg.MaxConns = 1
	cfg.BeforeConnect = func(_ context.Context, c *pgx.ConnConfig) error { c.User = user; return nil }
	pool, err := pgxpool.NewWithConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	src, err := postgres.New(pool, postgres.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	slow, err := pool.Acquire(t.Context()) // a Loader that takes its time has the caller's only connection
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Release()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := src.Install(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := src.Position(ctx); err != nil {
		t.Error(err)
	}
	if _, _, err := src.Changes(ctx, coherence.Position{}, 1); err != nil {
		t.Error(err)
	}
	_, release, err := src.Lead(ctx, "relay")
	if err != nil {
		t.Fatal(err)
	}
	release()
	if err := src.Wait(ctx, time.Millisecond); err != nil {
		t.Error(err)
	}
}

func TestLoader_FindsRowsOlderThanTheTrigger(t *testing.T) {
	src, pool, _ := open(t)
	exec1(t, pool, `create table products (id text primary key, name text)`)
	exec1(t, pool, `insert into products values ('old', 'there before')`)
	exec1(t, pool, `create table fresh (id text primary key)`)
	load := func(id string) (name string, v coherence.Version) {
		t.Helper()
		var found *string
		err := pool.QueryRow(t.Context(), `select p.name, `+src.VersionSQL("'n'",
			"$1")+` from (select) one left join products p on p.id = $1`, id).Scan(&found, &v)
		if err != nil {
			t.Fatal(err)
		}
		if found != nil {
			name = *found
		}
		return name, v
	}
	install(t, src, on("products", "id"))
	name, before := load("old")
	if name != "there before" || before != 1 {
		t.Errorf("an old row is %q at version %d, want version 1", name, before)
	}
	if _, v := load("never"); v != 1 {
		t.Errorf("a row that never was is at version %d, want 1", v)
	}
	exec1(t, pool, `update products set name = 'changed'`)
	if name, v := load("old"); name != "changed" || v <= before {
		t.Errorf("after an update it is %q at version %d, before it was at %d", name, v, before)
	}
	// A table without rows needs no floor.
	install(t, src, postgres.Trigger{Table: "fresh", Namespace: "f", KeyColumns: []string{"id"}})
	exec1(t, pool, `insert into fresh values ('a')`)
	wantChanges(t, src, "f", "a 1 created")
}

// TestInstallTrigger_WaitsForWhoCountsByHand: a Bump that is not committed has number 1 for a key whose old state
// would be given number 1 too.
func TestInstallTrigger_WaitsForWhoCountsByHand(t *testing.T) {
	src, pool, _ := open(t)
	exec1(t, pool, `create table products (id text primary key, name text)`)
	exec1(t, pool, `insert into products values ('old', 'there before')`)
	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.Background()) }()
	if _, err := src.Bump(t.Context(), tx, "n", "old", coherence.OpUpdated); err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if err := src.InstallTrigger(short, on("products", "id")); !errors.Is(err, postgres.ErrBusy) {
		t.Errorf("InstallTrigger beside an open Bump: %v, want ErrBusy", err)
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	install(t, src, on("products", "id"))
	if v, err := src.Version(t.Context(), "n", "old"); v != 1 || err != nil {
		t.Errorf("version %d, %v", v, err)
	}
}

func ExampleSource() {
	ctx := context.Background()
	pool, err := pgxpool.New(ctx, "postgres://app@localhost/shop")
	if err != nil {
		panic(err)
	}
	defer pool.Close()
	src, err := postgres.New(pool, postgres.Config{})
	if err != nil {
		panic(err)
	}
	defer src.Close()
	if err := src.Install(ctx); err != nil { // in a migration, by the owner
		panic(err)
	}
	err = src.InstallTrigger(ctx, postgres.Trigger{Table: "products", Namespace: "product", KeyColumns: []string{"id"},
		Columns: []string{"name", "price"}})
	if err != nil {
		panic(err)
	}
	// A Loader reads the row and its version in one statement.
	var name string
	var version coherence.Version
	err = pool.QueryRow(ctx, `select name, `+src.VersionSQL("'product'", "$1")+` from products where id = $1`,
		"42").Scan(&name, &version)
	fmt.Println(name, version, err)
}
