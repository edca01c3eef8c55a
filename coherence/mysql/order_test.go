package mysql_test

import (
	"database/sql"
	"fmt"
	"sync"
	"testing"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/ablate"
	"github.com/nearcache/nearcache-go/internal/testkit"
)

// begin begins a transaction that is rolled back if the test does not end it.
func (b *bench) begin(t *testing.T) *sql.Tx {
	t.Helper()
	begun, err := b.db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = begun.Rollback() })
	return begun
}

func (b *bench) bump(t *testing.T, tx *sql.Tx, key string) uint64 {
	t.Helper()
	v, err := b.Bump(t.Context(), tx, "n", key, coherence.OpUpdated)
	if err != nil {
		t.Fatal(err)
	}
	return uint64(v)
}

func commit(t *testing.T, tx *sql.Tx) {
	t.Helper()
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
}

// read reads changes, ids only.
func (b *bench) read(t *testing.T, after coherence.Position, limit int) (ids []uint64, upto coherence.Position) {
	t.Helper()
	events, upto, err := b.Changes(t.Context(), after, limit)
	if err != nil {
		t.Fatalf("Changes(%v, %d): %v", after, limit, err)
	}
	for _, e := range events {
		ids = append(ids, e.Position.N)
	}
	return ids, upto
}

// TestChanges_IDsCommitInAnotherOrder: a transaction that took the smaller id commits last. Its change comes after that
// of the other, and is not left out.
func TestChanges_IDsCommitInAnotherOrder(t *testing.T) {
	t.Parallel()
	b := open(t)
	_, start := b.read(t, coherence.Position{}, 10)
	slow, fast := b.begin(t), b.begin(t)
	small, large := b.bump(t, slow, "slow"), b.bump(t, fast, "fast")
	commit(t, fast)
	for _, limit := range []int{0, 1, 10} {
		if ids, upto := b.read(t, start, limit); len(ids) > 0 || upto.N >= small {
			t.Errorf("with limit %d and id %d open: %v up to %d, want nothing and less", limit, small, ids, upto.N)
		}
	}
	commit(t, slow)
	if ids, upto := b.read(t, start, 10); fmt.Sprint(ids) != fmt.Sprint([]uint64{small, large}) || upto.N != large {
		t.Errorf("when both are committed: %v up to %d, want %d and %d", ids, upto.N, small, large)
	}
}

// TestChanges_WithoutItsRules: each rule is what keeps a change from being lost.
func TestChanges_WithoutItsRules(t *testing.T) {
	if !ablate.Enabled {
		t.Skip("needs a binary built with -tags ablate")
	}
	for _, rule := range []ablate.Rule{ablate.SnapshotGuard, ablate.OutboxMark} {
		t.Run(string(rule), func(t *testing.T) {
			b := open(t)
			got := b.insertsLate(t, func() {
				if err := ablate.Take(rule); err != nil {
					t.Fatal(err)
				}
			})
			if err := ablate.Take(""); err != nil {
				t.Fatal(err)
			}
			if got.ids == nil || got.upto < got.late {
				t.Errorf("without the rule %s: %v up to %d, want id %d to be passed", rule, got.ids, got.upto, got.late)
			}
		})
	}
}

// lateInsert is what Changes saw while an id had been given out and had no row.
type lateInsert struct {
	ids        []uint64
	upto, late uint64
}

// TestChanges_WaitForAnIDWithoutARow: a writer has got an id and is held up before it inserts the row, so no look at
// the table finds it. A larger id is committed meanwhile.
func TestChanges_WaitForAnIDWithoutARow(t *testing.T) {
	t.Parallel()
	b := open(t)
	got := b.insertsLate(t, func() {})
	if len(got.ids) > 0 || got.upto >= got.late {
		t.Errorf("while id %d has no row: %v up to %d, want nothing and less", got.late, got.ids, got.upto)
	}
	ids, _ := b.read(t, coherence.Position{}, 10)
	if want := []uint64{got.late - 1, got.late, got.late + 1}; fmt.Sprint(ids) != fmt.Sprint(want) {
		t.Errorf("when both are committed: %v, want %v", ids, want)
	}
}

// insertsLate holds a writer up by locks on the gap where its row belongs: first that of the other writer, which
// inserts into its own gap, and from then on one on the smaller gap before the other's row.
func (b *bench) insertsLate(t *testing.T, before func()) (got lateInsert) {
	t.Helper()
	first := b.begin(t)
	last := b.bump(t, first, "first")
	commit(t, first)
	_, start := b.read(t, coherence.Position{}, 10)

	quick, holder := b.begin(t), b.begin(t)
	b.in(t, quick, `select id from `+b.name+`.outbox where id > ? for update`, last)
	var done sync.WaitGroup
	done.Go(func() {
		if _, err := b.BumpKey(t.Context(), "n", "late"); err != nil {
			t.Errorf("the writer that was held up: %v", err)
		}
	})
	testkit.Eventually(t, "the writer waits to insert its row", func() bool {
		var waits int
		b.exec(t, `do sleep(0.15)`) // the server shows what it knew when it was last asked, if that was less than 0.1 s ago
		err := b.db.QueryRowContext(t.Context(), `select count(*) from information_schema.innodb_trx
			where trx_state = 'LOCK WAIT' and trx_query like ?`, "%insert into "+b.name+".outbox%").Scan(&waits)
		return err == nil && waits == 1
	})
	got.late = last + 1
	if larger := b.bump(t, quick, "quick"); larger != got.late+1 {
		t.Fatalf("the other writer got id %d, want %d: the one before it is the held up writer's", larger, got.late+1)
	}
	b.in(t, holder, `select id from `+b.name+`.outbox where id = ? for update`, got.late)
	commit(t, quick)
	before()
	ids, upto := b.read(t, start, 10)
	got.ids, got.upto = ids, upto.N
	if err := holder.Rollback(); err != nil {
		t.Fatal(err)
	}
	done.Wait()
	return got
}

// in runs a query in a transaction.
func (b *bench) in(t *testing.T, tx *sql.Tx, query string, args ...any) {
	t.Helper()
	rows, err := tx.QueryContext(t.Context(), query, args...)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	if err := rows.Close(); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}

// TestChanges_LookPastARollback: an id that was given out and taken back holds nothing up.
func TestChanges_LookPastARollback(t *testing.T) {
	t.Parallel()
	b := open(t)
	lost, kept := b.begin(t), b.begin(t)
	b.bump(t, lost, "lost")
	large := b.bump(t, kept, "kept")
	commit(t, kept)
	if err := lost.Rollback(); err != nil {
		t.Fatal(err)
	}
	if ids, upto := b.read(t, coherence.Position{}, 10); len(ids) != 1 || upto.N != large {
		t.Errorf("after a rollback: %v up to %d, want id %d", ids, upto.N, large)
	}
}

// TestBump_WritersOfNewKeysDoNotWait: a transaction that counts one key holds up nobody who counts another. MySQL locks
// the gap before the key, too, unless the transaction is READ COMMITTED, which docs/guides/mysql.md says.
func TestBump_WritersOfNewKeysDoNotWait(t *testing.T) {
	t.Parallel()
	b := open(t)
	holder := *b
	if b.mysql != "" {
		holder.db = openDB(t, b.dsn+"?transaction_isolation=%27READ-COMMITTED%27")
	}
	for _, k := range []string{"b", "d", "f"} {
		if _, err := b.BumpKey(t.Context(), "n", k); err != nil {
			t.Fatal(err)
		}
	}
	open := holder.begin(t)
	b.bump(t, open, "d") // is there
	b.bump(t, open, "g") // is new
	for _, k := range []string{"a", "b", "c", "e", "f", "h"} {
		if _, err := b.BumpKey(t.Context(), "n", k); err != nil {
			t.Errorf("key %s beside an open transaction of d and g: %v", k, err)
		}
	}
}
