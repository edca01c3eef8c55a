package postgres_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	_ "github.com/jackc/pgx/v5/stdlib" // the database/sql driver "pgx"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/postgres"
	"github.com/nearcache/nearcache-go/internal/services/servicestest"
	"github.com/nearcache/nearcache-go/internal/testkit"
)

var _ interface {
	coherence.Source
	coherence.Leader
	coherence.Cursors
	coherence.Waker
	coherence.Trimmer
	coherence.Versioner
} = (*postgres.Source)(nil)

// open is an installed source over a database of the test's own.
func open(t *testing.T) (*postgres.Source, *pgxpool.Pool, string) {
	t.Helper()
	url := servicestest.Postgres(t)
	pool, err := pgxpool.New(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	src, err := postgres.New(pool, postgres.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(src.Close)
	for range 2 { // idempotent
		if err := src.Install(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return src, pool, url
}

func exec1(t *testing.T, pool *pgxpool.Pool, sql string, args ...any) {
	t.Helper()
	if _, err := pool.Exec(t.Context(), sql, args...); err != nil {
		t.Fatal(err)
	}
}

// withTrigger makes a table of products whose trigger is installed.
func withTrigger(t *testing.T, src *postgres.Source, pool *pgxpool.Pool) {
	t.Helper()
	exec1(t, pool, `create table products (id text primary key, name text)`)
	for range 2 {
		if err := src.InstallTrigger(t.Context(), postgres.Trigger{Table: "products", Namespace: "product",
			KeyColumns: []string{"id"}}); err != nil {
			t.Fatal(err)
		}
	}
}

type seen struct {
	Key     string
	Version coherence.Version
	Op      coherence.Op
}

// changes waits until everything committed is settled, which other tests' transactions may hold up, and reads it all.
func changes(t *testing.T, src *postgres.Source, after coherence.Position) (out []seen, upto coherence.Position) {
	t.Helper()
	p, err := src.Position(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "the changes are settled", func() bool {
		events, u, err := src.Changes(t.Context(), after, 10_000)
		if err != nil {
			t.Fatal(err)
		}
		out, upto = nil, u
		for _, e := range events {
			if !upto.Covers(e.Position) || after.Covers(e.Position) {
				t.Errorf("event at %v, not between %v and %v", e.Position, after, upto)
			}
			out = append(out, seen{e.Key, e.Version, e.Op})
		}
		return u.Covers(p)
	})
	return out, upto
}

func TestTrigger_CountsWhateverWrites(t *testing.T) {
	src, pool, url := open(t)
	withTrigger(t, src, pool)
	exec1(t, pool, `insert into products values ('a', 'by pgx')`)
	db, err := sql.Open("pgx", url)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(`update products set name = 'by database/sql'`); err != nil {
		t.Fatal(err)
	}
	if psql, err := exec.LookPath("psql"); err != nil {
		t.Error("psql is not installed")
	} else if out, err := exec.Command(psql, url, "-c", `delete from products`).CombinedOutput(); err != nil {
		t.Fatalf("psql: got error %v and output %s, want no error", err, out)
	}
	exec1(t, pool, `insert into products values ('a', 'again'), ('b', 'other') on conflict do nothing`)
	exec1(t, pool, `insert into products values ('a', 'again') on conflict do nothing`) // does nothing, counts nothing
	exec1(t, pool, `update products set id = 'c' where id = 'b'`)
	exec1(t, pool, `truncate products`)
	got, _ := changes(t, src, coherence.Position{})
	slices.SortStableFunc(got[len(got)-2:], func(a, b seen) int { return strings.Compare(a.Key, b.Key) })
	want := []seen{{"a", 1, "created"}, {"a", 2, "updated"}, {"a", 3, "deleted"}, {"a", 4, "created"}, {"b", 1, "created"},
		{"b", 2, "deleted"}, {"c", 1, "created"}, {"a", 5, "deleted"}, {"c", 2, "deleted"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if v, err := src.Version(t.Context(), "product", "a"); v != 5 || err != nil {
		t.Errorf("version %d, %v", v, err)
	}
}

// TestChanges_LosesNoOpenTransaction is R17: a reader that goes by ids alone loses the first row.
func TestChanges_LosesNoOpenTransaction(t *testing.T) {
	src, pool, _ := open(t)
	_, start := changes(t, src, coherence.Position{})
	early, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := src.Bump(t.Context(), early, "n", "early", coherence.OpUpdated); err != nil {
		t.Fatal(err)
	}
	late, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := src.Bump(t.Context(), late, "n", "late", coherence.OpUpdated); err != nil {
		t.Fatal(err)
	}
	if err := late.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	var naive int64 // the cursor of a reader by id: it has seen the late row and will never look before it
	if err := pool.QueryRow(t.Context(), `select max(id) from nearcache.outbox`).Scan(&naive); err != nil {
		t.Fatal(err)
	}
	events, upto, err := src.Changes(t.Context(), start, 100)
	if err != nil || len(events) != 0 {
		t.Errorf("with an older transaction open: %v, %v", events, err)
	}
	sample, err := src.Position(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if upto.Covers(sample) {
		t.Errorf("upto %v claims to cover %v, although a transaction is open", upto, sample)
	}
	if err := early.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	got, _ := changes(t, src, upto)
	if diff := cmp.Diff([]seen{{"early", 1, "updated"}, {"late", 1, "updated"}}, got); diff != "" {
		t.Error(diff)
	}
	var n int
	if err := pool.QueryRow(t.Context(), `select count(*) from nearcache.outbox where id > $1`,
		naive).Scan(&n); err != nil || n != 0 {
		t.Errorf("the reader by id finds %d rows: this test shows nothing", n)
	}
}

// TestVersions_FollowCommitOrder is R18: two writers of one key, of which the second waits for the first's lock.
func TestVersions_FollowCommitOrder(t *testing.T) {
	src, pool, _ := open(t)
	withTrigger(t, src, pool)
	exec1(t, pool, `insert into products values ('a', 'one')`)
	first, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := first.Exec(t.Context(), `delete from products where id = 'a'`); err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() {
		_, err := pool.Exec(context.Background(), `insert into products values ('a', 'two')`)
		done <- err
	}()
	testkit.Eventually(t, "the insert waits", func() bool {
		var n int
		_ = pool.QueryRow(t.Context(), `select count(*) from pg_locks where not granted
			and pid in (select pid from pg_stat_activity where datname = current_database())`).Scan(&n)
		return n > 0
	})
	if err := first.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	got, _ := changes(t, src, coherence.Position{})
	if diff := cmp.Diff([]seen{{"a", 1, "created"}, {"a", 2, "deleted"}, {"a", 3, "created"}}, got); diff != "" {
		t.Error(diff)
	}
}

func TestVersions_ManyWritersOfOneKey(t *testing.T) {
	src, pool, _ := open(t)
	withTrigger(t, src, pool)
	var wg sync.WaitGroup
	for c := range 8 {
		wg.Go(func() {
			for i := range 25 {
				sql := `insert into products values ('a', 'x') on conflict do nothing`
				if (i+c)%2 == 0 {
					sql = `delete from products where id = 'a'`
				}
				if _, err := pool.Exec(context.Background(), sql); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	got, _ := changes(t, src, coherence.Position{})
	versions := map[coherence.Version]bool{}
	for _, s := range got {
		if versions[s.Version] {
			t.Errorf("version %d twice", s.Version)
		}
		versions[s.Version] = true
	}
	if len(got) == 0 {
		t.Error("nothing was written")
	}
}

func TestRollback_LeavesNothing(t *testing.T) {
	src, pool, _ := open(t)
	withTrigger(t, src, pool)
	err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
		if err := pgx.BeginFunc(t.Context(), tx, func(sub pgx.Tx) error {
			if _, err := sub.Exec(t.Context(), `insert into products values ('lost', '')`); err != nil {
				return err
			}
			return errors.New("roll back to the savepoint")
		}); err == nil {
			t.Error("the savepoint was kept")
		}
		_, err := tx.Exec(t.Context(), `insert into products values ('kept', '')`)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	got, _ := changes(t, src, coherence.Position{})
	if diff := cmp.Diff([]seen{{"kept", 1, "created"}}, got); diff != "" {
		t.Error(diff)
	}
}

// TestChanges_APieceOfALargeTransactionCostsItsOwnSize: a piece from the midst of 100,000 changes is a range of the
// index, also before anything was analyzed, and for a statement that ran while the outbox was empty.
func TestChanges_APieceOfALargeTransactionCostsItsOwnSize(t *testing.T) {
	const rows, piece, most = 100_000, 500, 100
	src, pool, _ := open(t)
	exec1(t, pool, `alter table nearcache.outbox set (autovacuum_enabled = off)`)
	after := coherence.Position{}
	for range 20 { // a plan that is kept is chosen by now
		_, after = changes(t, src, coherence.Position{})
	}
	exec1(t, pool, `insert into nearcache.outbox (namespace, key, version, op)
		select 'n', g, 1, 'updated' from generate_series(1, $1::int) g`, rows)
	testkit.Eventually(t, "it is settled", func() bool {
		events, _, err := src.Changes(t.Context(), after, 1)
		return err == nil && len(events) == 1
	})
	for seen, inside := 0, after; seen < rows; {
		blocks, err := src.ChangesBlocks(t.Context(), inside, piece)
		if err != nil || blocks > most {
			t.Fatalf("a piece of %d changes after %v reads %d blocks (%v), want at most %d", piece, inside, blocks, err, most)
		}
		events, upto, err := src.Changes(t.Context(), inside, piece)
		if err != nil || len(events) != piece {
			t.Fatalf("%d events, %v", len(events), err)
		}
		for i, e := range events {
			if e.Key != fmt.Sprint(seen+i+1) {
				t.Fatalf("change %d is of key %s", seen+i+1, e.Key)
			}
		}
		if seen += len(events); (seen < rows) != (upto.Part > 0) {
			t.Fatalf("%v after %d changes", upto, seen)
		}
		inside = upto
	}
}

// TestChanges_SettlesNothingThatACrashTakesBack: a transaction that rolled back waits for no disk, and after a crash
// its id is given out again.
func TestChanges_SettlesNothingThatACrashTakesBack(t *testing.T) { // C1
	server := servicestest.StartPostgres(t)
	connect := func() (*postgres.Source, *pgxpool.Pool) {
		pool, err := pgxpool.New(t.Context(), server.URL)
		if err != nil {
			t.Fatal(err)
		}
		src, err := postgres.New(pool, postgres.Config{})
		if err != nil {
			t.Fatal(err)
		}
		return src, pool
	}
	src, pool := connect()
	if err := src.Install(t.Context()); err != nil {
		t.Fatal(err)
	}
	exec1(t, pool, `create table junk (i int)`)
	testkit.Eventually(t, "there is much that a crash would lose", func() bool {
		for range 20 {
			tx, err := pool.Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := tx.Exec(t.Context(), `insert into junk values (1)`); err != nil {
				t.Fatal(err)
			}
			_ = tx.Rollback(t.Context())
		}
		var lost int
		if err := pool.QueryRow(t.Context(),
			`select pg_current_wal_insert_lsn() - pg_current_wal_flush_lsn()`).Scan(&lost); err != nil {
			t.Fatal(err)
		}
		return lost > 3000
	})
	_, upto, err := src.Changes(t.Context(), coherence.Position{}, 10)
	if err != nil {
		t.Fatal(err)
	}
	server.Kill()
	pool.Close()
	server.Restart()
	src, pool = connect()
	defer pool.Close()
	if p, err := src.Position(t.Context()); err != nil || p.Timeline != upto.Timeline || !p.Covers(upto) {
		t.Errorf("at %v after the crash (%v), and %v was settled before it", p, err, upto)
	}
	beyond := coherence.Position{Timeline: upto.Timeline, N: upto.N + 1000}
	if _, _, err := src.Changes(t.Context(), beyond, 10); !errors.Is(err, coherence.ErrTrimmed) {
		t.Errorf("a position of a history that was taken back: %v", err)
	}
}

func TestBump_WaitsForTheDisk(t *testing.T) {
	src, pool, _ := open(t)
	err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(t.Context(), `set local synchronous_commit = off`); err != nil {
			return err
		}
		if _, err := src.Bump(t.Context(), tx, "n", "a", coherence.OpCreated); err != nil {
			return err
		}
		var mode string
		if err := tx.QueryRow(t.Context(), `show synchronous_commit`).Scan(&mode); err != nil || mode == "off" {
			t.Errorf("synchronous_commit is %q, %v", mode, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestCursor_DoesNotGoBack(t *testing.T) {
	src, _, _ := open(t)
	c := coherence.Cursor{Position: coherence.Position{Timeline: 1<<63 + 5, N: 100}, Seqs: []uint64{1, 1 << 60}}
	if err := src.SaveCursor(t.Context(), "r", c); err != nil {
		t.Fatal(err)
	}
	back := c
	back.Position.N = 99
	if err := src.SaveCursor(t.Context(), "r", back); err == nil {
		t.Error("a zombie moved the cursor back")
	}
	got, err := src.LoadCursor(t.Context(), "r")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(c, got); diff != "" {
		t.Error(diff)
	}
	back.Position.Timeline++ // another history starts anew
	if err := src.SaveCursor(t.Context(), "r", back); err != nil {
		t.Error(err)
	}
}

func TestLead_OneAtATimeAndPassedOn(t *testing.T) {
	src, pool, _ := open(t)
	leading, release, err := src.Lead(t.Context(), "relay")
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	second := make(chan func(), 1)
	go func() {
		_, release, err := src.Lead(context.Background(), "relay")
		if err != nil {
			t.Error(err)
			release = func() {}
		}
		second <- release
	}()
	select {
	case <-second:
		t.Fatal("two leaders")
	case <-time.After(500 * time.Millisecond):
	}
	if err := endLeader(t.Context(), pool, "relay"); err != nil {
		t.Fatal(err)
	}
	select {
	case <-leading.Done():
	case <-time.After(10 * time.Second):
		t.Error("the leader does not notice that its connection is gone")
	}
	select {
	case release := <-second:
		release()
	case <-time.After(10 * time.Second):
		t.Error("nobody takes over")
	}
}

func TestWait_WakesOnCommit(t *testing.T) {
	src, pool, _ := open(t)
	if err := src.Wait(t.Context(), time.Minute); err != nil { // the first only begins to listen
		t.Fatal(err)
	}
	if err := src.Wait(t.Context(), 10*time.Millisecond); err != nil {
		t.Errorf("nothing happened: %v", err)
	}
	woken := make(chan error)
	go func() { woken <- src.Wait(context.Background(), time.Minute) }()
	if _, err := src.Bump(t.Context(), pool, "n", "k", coherence.OpUpdated); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-woken:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Error("not woken")
	}
}

func TestTrim_IsRemembered(t *testing.T) {
	src, pool, _ := open(t)
	for i := range 3 {
		if _, err := src.Bump(t.Context(), pool, "n", fmt.Sprint(i), coherence.OpUpdated); err != nil {
			t.Fatal(err)
		}
	}
	_, upto := changes(t, src, coherence.Position{})
	first, _, err := src.Changes(t.Context(), coherence.Position{}, 1)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := src.Trim(t.Context(), upto, time.Hour); n != 0 || err != nil {
		t.Errorf("changes within the window went: %d, %v", n, err)
	}
	if n, err := src.Trim(t.Context(), upto, 0); n != 3 || err != nil {
		t.Errorf("trimmed %d, %v", n, err)
	}
	if _, _, err := src.Changes(t.Context(), first[0].Position, 10); !errors.Is(err, coherence.ErrTrimmed) {
		t.Errorf("from a position that is gone: %v", err)
	}
	if _, _, err := src.Changes(t.Context(), upto, 10); err != nil {
		t.Errorf("from where everybody is: %v", err)
	}
	other := upto
	other.Timeline++
	if _, _, err := src.Changes(t.Context(), other, 10); !errors.Is(err, coherence.ErrTrimmed) {
		t.Errorf("another history's position: %v", err)
	}
}
