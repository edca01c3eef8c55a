package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/postgres"
	"github.com/nearcache/nearcache-go/internal/services/servicestest"
	"github.com/nearcache/nearcache-go/internal/testkit"
)

// pgTool runs a program of Postgres and returns what it prints.
func pgTool(t *testing.T, stdin string, name string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		matches, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
		if len(matches) == 0 {
			t.Skipf("%s is not installed", name)
		}
		path = matches[len(matches)-1]
	}
	cmd := exec.Command(path, args...)
	cmd.Stdin = strings.NewReader(stdin)
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v: %s", name, err, errs.String())
	}
	return string(out)
}

// passThrough relays as a relay does from a position of before: reset once, and then on without end.
func passThrough(t *testing.T, src *postgres.Source, before coherence.Position) {
	t.Helper()
	now, err := src.Position(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if now.Timeline == before.Timeline {
		t.Fatalf("after the restore the timeline is still %x: what was cached before counts as proved", now.Timeline)
	}
	if _, _, err := src.Changes(t.Context(), before, 10); !errors.Is(err, coherence.ErrTrimmed) {
		t.Errorf("Changes from before the restore: %v, want ErrTrimmed", err)
	}
	_, at, err := src.Changes(t.Context(), coherence.Position{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := src.BumpKey(t.Context(), "n", "after the restore"); err != nil {
		t.Fatal(err)
	}
	found := false
	testkit.Eventually(t, "the change after the restore comes", func() bool {
		events, upto, err := src.Changes(t.Context(), at, 10)
		if err != nil {
			t.Fatalf("the relay is reset again and again: %v", err)
		}
		for _, e := range events {
			found = found || e.Key == "after the restore"
		}
		at = upto
		return found
	})
	if _, err := src.Trim(t.Context(), at, 0); err != nil {
		t.Error(err)
	}
	if _, _, err := src.Changes(t.Context(), at, 10); err != nil {
		t.Errorf("after the trim: %v", err)
	}
}

func TestTimeline_OfADumpInAYoungerServer(t *testing.T) {
	src, pool, from := open(t)
	withTrigger(t, src, pool)
	for i := range 30 {
		exec1(t, pool, `insert into products values ($1, 'a')`, fmt.Sprint(i))
	}
	_, at := changes(t, src, coherence.Position{})
	if _, err := src.Trim(t.Context(), at, 0); err != nil {
		t.Fatal(err)
	}
	exec1(t, pool, `update products set name = 'b'`) // not trimmed: goes into the dump
	_, at = changes(t, src, at)
	// As if the old server had run for years.
	exec1(t, pool, `update nearcache.outbox set xid = (xid::text::numeric + 1000000000000)::text::xid8`)
	exec1(t, pool, `update nearcache.meta set trimmed = trimmed + 1000000000000`)
	dump := pgTool(t, "", "pg_dump", from)

	server := servicestest.StartPostgres(t)
	pgTool(t, dump, "psql", "-v", "ON_ERROR_STOP=1", server.URL)
	restored := newSource(t, server.URL, postgres.Config{})
	if err := restored.Install(t.Context()); err != nil {
		t.Fatal(err)
	}
	passThrough(t, restored, at)
	var foreign int
	if err := newPool(t, server.URL).QueryRow(t.Context(), `select count(*) from nearcache.outbox
		where xid >= pg_snapshot_xmax(pg_current_snapshot())`).Scan(&foreign); err != nil || foreign > 0 {
		t.Errorf("%d rows of the old server stay for ever (%v)", foreign, err)
	}
	// The triggers came with the dump; installing them again puts their records right.
	exec1(t, newPool(t, server.URL), `insert into products values ('new', 'c')`)
	if v, err := restored.Version(t.Context(), "product", "new"); v != 1 || err != nil {
		t.Errorf("a write after the restore has version %d, %v", v, err)
	}
	wantFindings(t, restored, coherence.FindingTriggerMissing)
	install(t, restored, postgres.Trigger{Table: "products", Namespace: "product", KeyColumns: []string{"id"}})
	wantFindings(t, restored)
}

func TestTimeline_OfADumpInPlace(t *testing.T) {
	for name, args := range map[string][]string{
		"clean": {"--clean", "--if-exists"},
		"data":  {"--data-only"},
	} {
		t.Run(name, func(t *testing.T) {
			src, pool, from := open(t)
			withTrigger(t, src, pool)
			exec1(t, pool, `insert into products values ('1', 'a')`)
			dump := pgTool(t, "", "pg_dump", append(args, from)...)
			exec1(t, pool, `update products set name = 'b'`)
			_, at := changes(t, src, coherence.Position{})
			if name == "data" {
				exec1(t, pool, `truncate products, nearcache.versions, nearcache.outbox, nearcache.meta, nearcache.cursors,
					nearcache.triggers, nearcache.floors`)
				exec1(t, pool, `truncate nearcache.versions, nearcache.outbox`) // what the truncate itself counted
			}
			pgTool(t, dump, "psql", "-v", "ON_ERROR_STOP=1", from)
			passThrough(t, newSource(t, from, postgres.Config{}), at)
		})
	}
}

func TestServer_WithoutItsFunctions(t *testing.T) {
	server := servicestest.StartPostgres(t)
	pool := newPool(t, server.URL)
	exec1(t, pool, `create role managed login; grant create on database postgres to managed`)
	for _, f := range []string{"pg_control_system()", "pg_control_checkpoint()", "pg_walfile_name(pg_lsn)",
		"pg_current_wal_insert_lsn()"} {
		exec1(t, pool, "revoke execute on function "+f+" from public")
	}
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.User("managed")
	src := newSource(t, u.String(), postgres.Config{})
	if err := src.Install(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantFindings(t, src, coherence.FindingNoServerIdentity)
	if v, err := src.BumpKey(t.Context(), "n", "k"); v != 1 || err != nil {
		t.Errorf("BumpKey = %d, %v", v, err)
	}
	before, err := src.Position(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// All roles see one timeline, whatever they may do themselves.
	if by, err := newSource(t, server.URL, postgres.Config{}).Position(t.Context()); err != nil ||
		by.Timeline != before.Timeline {
		t.Errorf("the superuser sees timeline %x, %v; the owner %x", by.Timeline, err, before.Timeline)
	}
	_, at := changes(t, src, coherence.Position{})
	if err := src.NewTimeline(t.Context()); err != nil {
		t.Fatal(err)
	}
	passThrough(t, src, at)
}

// stopAfter ends a context after n statements with a text in them.
type stopAfter struct {
	text string
	n    int
	stop context.CancelFunc
}

func (s *stopAfter) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	if strings.Contains(data.SQL, s.text) {
		if s.n--; s.n < 0 {
			s.stop()
		}
	}
	return ctx
}

func (s *stopAfter) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

func TestTrim_GoesOnWhereItWasStopped(t *testing.T) {
	_, pool, url := open(t)
	exec1(t, pool, `insert into nearcache.outbox (namespace, key, version, op)
		select 'n', g::text, 1, 'updated' from generate_series(1, 25000) g`)
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	cfg.ConnConfig.Tracer = &stopAfter{text: "with old as", n: 2, stop: cancel}
	limited, err := pgxpool.NewWithConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer limited.Close()
	src, err := postgres.New(limited, postgres.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	at, err := src.Position(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if n, err := src.Trim(ctx, at, 0); n != 20_000 || err != nil {
		t.Errorf("Trim that is stopped after two steps = %d, %v, want 20000 and no error", n, err)
	}
	if n, err := newSource(t, url, postgres.Config{}).Trim(t.Context(), at, 0); n != 5_000 || err != nil {
		t.Errorf("the next Trim = %d, %v, want the 5000 that were left", n, err)
	}
}

// deletedProducts is a table of 1500 products of which 1490 were deleted at version 3.
func deletedProducts(t *testing.T) (*postgres.Source, *pgxpool.Pool) {
	t.Helper()
	src, pool, _ := open(t)
	withTrigger(t, src, pool)
	exec1(t, pool, `insert into products select g::text, '' from generate_series(1, 1500) g`)
	exec1(t, pool, `update products set name = 'x'`)
	exec1(t, pool, `delete from products where id::int > 10`)
	return src, pool
}

// trim trims once, and returns how many version rows are left.
func trim(t *testing.T, src *postgres.Source, pool *pgxpool.Pool) (left int) {
	t.Helper()
	at, err := src.Position(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := src.Trim(t.Context(), at, time.Hour); err != nil {
		t.Fatal(err)
	}
	if err := pool.QueryRow(t.Context(),
		`select count(*) from nearcache.versions where namespace = 'product'`).Scan(&left); err != nil {
		t.Fatal(err)
	}
	return left
}

func wantVersion(t *testing.T, src *postgres.Source, key string, want coherence.Version) {
	t.Helper()
	if v, err := src.Version(t.Context(), "product", key); v != want || err != nil {
		t.Errorf("product %s has version %d, %v, want %d", key, v, err, want)
	}
}

func TestTrim_UsesNoVersionAgain(t *testing.T) {
	src, pool := deletedProducts(t)
	testkit.Eventually(t, "the version rows of deleted keys are removed", func() bool { return trim(t, src, pool) == 10 })
	wantVersion(t, src, "800", 3)
	exec1(t, pool, `insert into products values ('800', 'again')`)
	wantVersion(t, src, "800", 4)
	wantVersion(t, src, "5", 2)
}

// TestTrim_WaitsForWhoCounted: a transaction has counted the first version of a key from the old floor. A reader that
// was given the new floor meanwhile would see the version go back.
func TestTrim_WaitsForWhoCounted(t *testing.T) {
	src, pool := deletedProducts(t)
	counted, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = counted.Rollback(context.Background()) }()
	if _, err := counted.Exec(t.Context(), `insert into products values ('first', '')`); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if left := trim(t, src, pool); left != 1500 {
			t.Fatalf("%d version rows are left beside the transaction, want 1500", left)
		}
		wantVersion(t, src, "first", 0)
	}
	if err := counted.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantVersion(t, src, "first", 1)
	testkit.Eventually(t, "the version rows of deleted keys are removed", func() bool { return trim(t, src, pool) == 11 })
	wantVersion(t, src, "first", 1)
	wantVersion(t, src, "second", 3)
}

// TestTrim_WaitsForWhoSeesTheOldFloor: a transaction that has not written anything yet would count from it.
func TestTrim_WaitsForWhoSeesTheOldFloor(t *testing.T) {
	src, pool := deletedProducts(t)
	sees, err := pool.BeginTx(t.Context(), pgx.TxOptions{IsoLevel: pgx.RepeatableRead})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sees.Rollback(context.Background()) }()
	if _, err := sees.Exec(t.Context(), `select count(*) from nearcache.versions`); err != nil {
		t.Fatal(err)
	}
	// The raise is settled, as other transactions go; only the snapshot is from before.
	trim(t, src, pool)
	changes(t, src, coherence.Position{})
	for range 3 {
		if left := trim(t, src, pool); left != 1500 {
			t.Fatalf("%d version rows are left beside a snapshot of before, want 1500", left)
		}
	}
	if _, err := sees.Exec(t.Context(), `insert into products values ('700', 'again'), ('new', '')`); err != nil {
		t.Fatal(err)
	}
	if err := sees.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantVersion(t, src, "700", 4)
	wantVersion(t, src, "new", 1)
	testkit.Eventually(t, "the version rows of deleted keys are removed", func() bool { return trim(t, src, pool) == 12 })
	wantVersion(t, src, "new", 1)
}
