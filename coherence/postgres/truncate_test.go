package postgres_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/postgres"
	"github.com/nearcache/nearcache-go/internal/services/servicestest"
	"github.com/nearcache/nearcache-go/internal/testkit"
)

// epoch is the version of the first truncate of a database that is one event.
const epoch = coherence.Version(1 << 32)

// fewRows is a source for which four rows are many.
func fewRows(t *testing.T) (*postgres.Source, *pgxpool.Pool) {
	t.Helper()
	url := servicestest.Postgres(t)
	src, pool := newSource(t, url, postgres.Config{TruncateRows: 3}), newPool(t, url)
	for range 2 {
		if err := src.Install(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return src, pool
}

// halves makes a table of two partitions: below 100 there are 5 rows, and from 100 on 2. Each key has version 2.
func halves(t *testing.T) (*postgres.Source, *pgxpool.Pool) {
	t.Helper()
	src, pool := fewRows(t)
	exec1(t, pool, `create table products (id int primary key, name text) partition by range (id)`)
	exec1(t, pool, `create table low partition of products for values from (0) to (100)`)
	exec1(t, pool, `create table high partition of products for values from (100) to (200)`)
	install(t, src, on("products", "id"))
	exec1(t, pool, `insert into products select g, 'a' from unnest(array[1, 2, 3, 4, 5, 101, 102]) g`)
	exec1(t, pool, `update products set name = 'b'`)
	return src, pool
}

// wantEvents are the changes after the first so many.
func wantEvents(t *testing.T, src *postgres.Source, skip int, want ...string) {
	t.Helper()
	all, _ := changes(t, src, coherence.Position{})
	var got []string
	for _, e := range all[min(skip, len(all)):] {
		got = append(got, fmt.Sprintf("%s %d %s", e.Key, e.Version, e.Op))
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("events are %q, want %q", got, want)
	}
}

func versionOf(t *testing.T, src *postgres.Source, q postgres.Querier, key string) coherence.Version {
	t.Helper()
	v, err := src.VersionOf(t.Context(), q, "n", key)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestTruncate_OfManyRowsIsOneEvent(t *testing.T) {
	src, pool := halves(t)
	exec1(t, pool, `truncate products`) // its other partition has few rows
	want := []string{fmt.Sprintf(" %d truncated", epoch), fmt.Sprintf("101 %d deleted", epoch+1),
		fmt.Sprintf("102 %d deleted", epoch+1)}
	if at, err := src.Position(t.Context()); err != nil || at.IsZero() {
		t.Fatal(at, err)
	}
	events, _ := changes(t, src, coherence.Position{})
	if tail := events[14:]; tail[0].Op != coherence.OpTruncated {
		want = []string{fmt.Sprintf("101 %d deleted", 3), fmt.Sprintf("102 %d deleted", 3), want[0]} // the other order
	}
	wantEvents(t, src, 14, want...)
	for _, key := range []string{"1", "101", "never"} {
		if v := versionOf(t, src, pool, key); v < epoch || v > epoch+1 {
			t.Errorf("key %s has version %d, want %d or the next", key, v, epoch)
		}
	}
	exec1(t, pool, `insert into products values (1, 'c'), (50, 'c')`)
	exec1(t, pool, `delete from products`)
	exec1(t, pool, `truncate products`) // of no row
	wantEvents(t, src, 17, fmt.Sprintf("1 %d created", epoch+1), fmt.Sprintf("50 %d created", epoch+1),
		fmt.Sprintf("1 %d deleted", epoch+2), fmt.Sprintf("50 %d deleted", epoch+2))
	if v, err := src.BumpKey(t.Context(), "n", "3"); v != epoch+1 || err != nil {
		t.Errorf("a key that is counted by hand has version %d, %v, want %d", v, err, epoch+1)
	}
	if v, err := src.BumpKey(t.Context(), "n", "new"); v != epoch+1 || err != nil {
		t.Errorf("a new key that is counted by hand has version %d, %v, want %d", v, err, epoch+1)
	}
}

func TestTruncate_OfOnePartition(t *testing.T) {
	src, pool := halves(t)
	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.Background()) }()
	if _, err := tx.Exec(t.Context(), `truncate low`); err != nil {
		t.Fatal(err)
	}
	// A writer of the other partition does not wait, and its version is above that of the truncate, which is not seen yet.
	exec1(t, pool, `update products set name = 'c' where id = 101`)
	if v := versionOf(t, src, pool, "102"); v != 2 {
		t.Errorf("before the commit 102 has version %d, want 2", v)
	}
	if _, err := tx.Exec(t.Context(), `insert into products values (1, 'd'), (6, 'd')`); err != nil {
		t.Fatal(err)
	}
	if v := versionOf(t, src, tx, "1"); v != epoch+1 {
		t.Errorf("in the transaction 1 has version %d, want %d", v, epoch+1)
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]coherence.Version{"1": epoch + 1, "6": epoch + 1, "2": epoch, "101": epoch + 1,
		"102": epoch} {
		if v := versionOf(t, src, pool, key); v != want {
			t.Errorf("key %s has version %d, want %d", key, v, want)
		}
	}
	wantEvents(t, src, 14, fmt.Sprintf(" %d truncated", epoch), fmt.Sprintf("1 %d created", epoch+1),
		fmt.Sprintf("6 %d created", epoch+1), fmt.Sprintf("101 %d updated", epoch+1))
}

func TestTruncate_RolledBackCountsNothing(t *testing.T) {
	src, pool := halves(t)
	together(t, pool, `savepoint s`, `truncate products`, `rollback to s`)
	wantEvents(t, src, 14)
	if v := versionOf(t, src, pool, "1"); v != 2 {
		t.Errorf("1 has version %d, want 2", v)
	}
	// An epoch was used up; that is all.
	exec1(t, pool, `update products set name = 'c' where id = 1`)
	exec1(t, pool, `update products set name = 'd' where id = 1`)
	wantEvents(t, src, 14, fmt.Sprintf("1 %d updated", epoch+1), fmt.Sprintf("1 %d updated", epoch+2))
}

func TestTruncate_Cascades(t *testing.T) {
	src, pool := fewRows(t)
	exec1(t, pool, `create table shops (id int primary key)`)
	exec1(t, pool, `create table products (id int primary key, shop int references shops)`)
	install(t, src, on("products", "id"))
	exec1(t, pool, `insert into shops values (1)`)
	exec1(t, pool, `insert into products select g, 1 from generate_series(1, 5) g`)
	exec1(t, pool, `truncate shops cascade`)
	wantEvents(t, src, 5, fmt.Sprintf(" %d truncated", epoch))
}

// TestTruncate_WaitsForWhoCountedBefore: a transaction has counted a version of another partition, and commits after
// the truncate. Below the truncate's version nobody would notice what it wrote.
func TestTruncate_WaitsForWhoCountedBefore(t *testing.T) {
	src, pool := halves(t)
	counted, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = counted.Rollback(context.Background()) }()
	if _, err := counted.Exec(t.Context(), `update high set name = 'c' where id = 101`); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := pool.Exec(t.Context(), `truncate low`); err != nil {
			t.Error(err)
		}
	})
	testkit.Eventually(t, "the truncate waits", func() bool {
		return count(t, pool, `select count(*) from pg_stat_activity where query = 'truncate low' and wait_event = 'PgSleep'
			and datname = current_database()`) == 1
	})
	if v := versionOf(t, src, pool, "1"); v != 2 {
		t.Errorf("before the truncate has committed, 1 has version %d, want 2", v)
	}
	if err := counted.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	wantEvents(t, src, 14, "101 3 updated", fmt.Sprintf(" %d truncated", epoch))
	if v := versionOf(t, src, pool, "101"); v != epoch {
		t.Errorf("101 has version %d, want %d", v, epoch)
	}
}

// TestTruncate_CountsRowsBesideWhoStaysOpen: it waits for two seconds at most, and not at all for who waits for it.
func TestTruncate_CountsRowsBesideWhoStaysOpen(t *testing.T) {
	for name, waits := range map[string]bool{"open": false, "waits for the truncate": true} {
		t.Run(name, func(t *testing.T) {
			src, pool := halves(t)
			counted, err := pool.Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = counted.Rollback(context.Background()) }()
			if _, err := counted.Exec(t.Context(), `update high set name = 'c' where id = 101`); err != nil {
				t.Fatal(err)
			}
			truncate, err := pool.Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = truncate.Rollback(context.Background()) }()
			var wg sync.WaitGroup
			if waits {
				if _, err := truncate.Exec(t.Context(), `lock table low`); err != nil {
					t.Fatal(err)
				}
				wg.Go(func() {
					if _, err := counted.Exec(t.Context(), `update low set name = 'c' where id = 1`); err != nil {
						t.Error(err)
					}
				})
				testkit.Eventually(t, "the writer waits", func() bool {
					return count(t, pool, `select count(*) from pg_locks where not granted and relation = 'low'::regclass`) == 1
				})
			}
			if _, err := truncate.Exec(t.Context(), `truncate low`); err != nil {
				t.Fatal(err)
			}
			if err := truncate.Commit(t.Context()); err != nil {
				t.Fatal(err)
			}
			wg.Wait()
			if err := counted.Commit(t.Context()); err != nil {
				t.Fatal(err)
			}
			if v := versionOf(t, src, pool, "101"); v != 3 {
				t.Errorf("101 has version %d, want 3", v)
			}
			// The epoch is used up, and no event has it.
			for i := 1; i <= 5; i++ {
				if v := versionOf(t, src, pool, fmt.Sprint(i)); v != epoch+1 {
					t.Errorf("%d has version %d, want %d", i, v, epoch+1)
				}
			}
		})
	}
}

// TestTruncate_TwoAtOnce: the second one sees the first, which may commit later, and counts rows.
func TestTruncate_TwoAtOnce(t *testing.T) {
	src, pool := halves(t)
	exec1(t, pool, `insert into products select g, 'a' from generate_series(111, 114) g`)
	first, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = first.Rollback(context.Background()) }()
	if _, err := first.Exec(t.Context(), `truncate low`); err != nil {
		t.Fatal(err)
	}
	exec1(t, pool, `truncate high`)
	if v := versionOf(t, src, pool, "101"); v != 2*epoch+1 {
		t.Errorf("101 has version %d, want %d", v, 2*epoch+1)
	}
	if err := first.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]coherence.Version{"1": epoch, "101": 2*epoch + 1} {
		if v := versionOf(t, src, pool, key); v != want {
			t.Errorf("%s has version %d, want %d", key, v, want)
		}
	}
}

// TestTruncate_BesideAnOldSnapshot: a truncate shows at once, whatever the snapshot. So a transaction that began before
// it must not count from what its snapshot says of versions.
func TestTruncate_BesideAnOldSnapshot(t *testing.T) {
	src, pool := halves(t)
	old, err := pool.BeginTx(t.Context(), pgx.TxOptions{IsoLevel: pgx.RepeatableRead})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = old.Rollback(context.Background()) }()
	if v := versionOf(t, src, old, "1"); v != 2 {
		t.Fatalf("1 has version %d, want 2", v)
	}
	exec1(t, pool, `truncate products`)
	if _, err := old.Exec(t.Context(), `insert into products values (1, 'c'), (6, 'c'), (7, 'c')`); err != nil {
		t.Fatal(err)
	}
	if _, err := old.Exec(t.Context(), `update products set name = 'd' where id = 6`); err != nil {
		t.Fatal(err)
	}
	if _, err := old.Exec(t.Context(), `select nearcache.bump('n', '2', 'updated')`); err != nil {
		t.Fatal(err)
	}
	if err := old.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]coherence.Version{"1": epoch + 1, "6": epoch + 2, "2": epoch + 1} {
		if v := versionOf(t, src, pool, key); v != want {
			t.Errorf("%s has version %d, want %d: above that of the truncate", key, v, want)
		}
	}
}

// TestTruncate_OfATableThatWasCopiedWithoutItsSequences, as by logical replication.
func TestTruncate_OfATableThatWasCopiedWithoutItsSequences(t *testing.T) {
	src, pool := halves(t)
	exec1(t, pool, `truncate low`)
	exec1(t, pool, `select setval('nearcache.epochs', 1, false)`)
	exec1(t, pool, `insert into products values (1, 'c'), (2, 'c'), (3, 'c'), (4, 'c')`)
	if v := versionOf(t, src, pool, "1"); v != epoch+1 {
		t.Errorf("1 has version %d, want %d", v, epoch+1)
	}
	exec1(t, pool, `truncate low`)
	if v := versionOf(t, src, pool, "1"); v != 2*epoch {
		t.Errorf("1 has version %d, want %d", v, 2*epoch)
	}
}

// TestTruncate_OfAPartitionThatComesOrGoes: it may have as many rows as a truncated table.
func TestTruncate_OfAPartitionThatComesOrGoes(t *testing.T) {
	src, pool := halves(t)
	exec1(t, pool, `alter table products detach partition low`)
	wantEvents(t, src, 14, fmt.Sprintf(" %d truncated", epoch))
	exec1(t, pool, `alter table products attach partition low for values from (0) to (100)`)
	wantEvents(t, src, 15, fmt.Sprintf(" %d truncated", 2*epoch))
	wantFindings(t, src)
}

func TestTrim_SweepsWhatATruncateLeft(t *testing.T) {
	src, pool := fewRows(t)
	withTrigger(t, src, pool)
	exec1(t, pool, `insert into products select g::text, '' from generate_series(1, 25000) g`)
	exec1(t, pool, `select nearcache.bump('other', 'k', 'updated')`)
	for range 2 {
		exec1(t, pool, `truncate products`)
		exec1(t, pool, `insert into products select g::text, '' from generate_series(1, 10) g`)
	}
	testkit.Eventually(t, "the needless version rows are removed", func() bool { return trim(t, src, pool) == 10 })
	if n := count(t, pool, `select count(*) from nearcache.truncates where swept`); n != 1 {
		t.Errorf("%d truncates are remembered as swept, want 1", n)
	}
	for key, want := range map[string]coherence.Version{"1": 2*epoch + 1, "20000": 2 * epoch, "never": 2 * epoch} {
		wantVersion(t, src, key, want)
	}
	exec1(t, pool, `insert into products values ('20000', '')`)
	wantVersion(t, src, "20000", 2*epoch+1)
	if v, err := src.Version(t.Context(), "other", "k"); v != 1 || err != nil {
		t.Errorf("a key of another namespace has version %d, %v, want 1", v, err)
	}
}

// TestTruncate_CountsRowsWhereATriggerIsOutdated: the older trigger would count on from below the truncate's version.
func TestTruncate_CountsRowsWhereATriggerIsOutdated(t *testing.T) {
	src, pool := openVersion(t, 3)
	exec1(t, pool, `create table products (id int primary key, name text)`)
	install(t, src, on("products", "id"))
	exec1(t, pool, `insert into products select g, 'a' from generate_series(1, 3) g`)
	if err := src.Install(t.Context()); err != nil {
		t.Fatal(err)
	}
	exec1(t, pool, `update nearcache.meta set truncate_rows = 2`)
	exec1(t, pool, `truncate products`)
	exec1(t, pool, `insert into products select g, 'a' from generate_series(1, 3) g`)
	wantEvents(t, src, 3, "1 2 deleted", "2 2 deleted", "3 2 deleted", "1 3 created", "2 3 created", "3 3 created")
	install(t, src, on("products", "id"))
	wantFindings(t, src)
	exec1(t, pool, `truncate products`)
	exec1(t, pool, `insert into products values (1, 'b')`)
	wantEvents(t, src, 9, fmt.Sprintf(" %d truncated", epoch), fmt.Sprintf("1 %d created", epoch+1))
}

func TestNew_RefusesANegativeTruncateRows(t *testing.T) {
	pool := newPool(t, servicestest.Postgres(t))
	if _, err := postgres.New(pool, postgres.Config{TruncateRows: -1}); err == nil {
		t.Error("New takes TruncateRows: -1")
	}
}
