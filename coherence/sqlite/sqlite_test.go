package sqlite_test

import (
	"context"
	"database/sql"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	_ "modernc.org/sqlite" // the driver

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/sqlite"
)

var _ interface {
	coherence.Source
	coherence.Leader
	coherence.Cursors
	coherence.Trimmer
	coherence.Versioner
} = (*sqlite.Source)(nil)

func open(t *testing.T) (*sqlite.Source, *sql.DB) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(t.TempDir(), "x.db")+"?_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_txlock=immediate")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	src := sqlite.New(db)
	for range 2 {
		if err := src.Install(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return src, db
}

func TestTrigger_CountsAndPositions(t *testing.T) {
	src, db := open(t)
	if _, err := db.Exec(`create table products (id integer primary key, name text)`); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := src.InstallTrigger(t.Context(), "products", "product", "id"); err != nil {
			t.Fatal(err)
		}
	}
	for _, q := range []string{`insert into products values (1, 'a'), (2, 'b')`, `update products set name = 'c' where id = 1`,
		`insert into products values (1, 'x') on conflict do nothing`, `delete from products where id = 1`,
		`insert into products values (1, 'again')`, `update products set id = 3 where id = 2`} {
		if _, err := db.Exec(q); err != nil {
			t.Fatal(q, err)
		}
	}
	probe, err := src.Position(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	type seen struct {
		Key string
		V   coherence.Version
		Op  coherence.Op
	}
	var got []seen
	after := coherence.Position{}
	for !after.Covers(probe) {
		events, upto, err := src.Changes(t.Context(), after, 3)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range events {
			if after.Covers(e.Position) || !upto.Covers(e.Position) || time.Since(e.Time).Abs() > time.Minute {
				t.Errorf("%+v between %v and %v", e, after, upto)
			}
			got = append(got, seen{e.Key, e.Version, e.Op})
		}
		after = upto
	}
	want := []seen{{"1", 1, "created"}, {"2", 1, "created"}, {"1", 2, "updated"}, {"1", 3, "deleted"}, {"1", 4, "created"},
		{"2", 2, "deleted"}, {"3", 1, "created"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestTrim_KeepsThePosition(t *testing.T) {
	src, db := open(t)
	for range 3 {
		if _, err := src.Bump(t.Context(), db, "n", "k", coherence.OpUpdated); err != nil {
			t.Fatal(err)
		}
	}
	at, err := src.Position(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if n, err := src.Trim(t.Context(), at, time.Hour); n != 0 || err != nil {
		t.Errorf("within the window: %d, %v", n, err)
	}
	if n, err := src.Trim(t.Context(), at, -time.Second); n != 3 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if now, err := src.Position(t.Context()); now != at || err != nil {
		t.Errorf("the position went from %v to %v, %v", at, now, err)
	}
	old := at
	old.N--
	if _, _, err := src.Changes(t.Context(), old, 1); !errors.Is(err, coherence.ErrTrimmed) {
		t.Errorf("%v", err)
	}
	if _, _, err := src.Changes(t.Context(), at, 1); err != nil {
		t.Error(err)
	}
}

func TestCursorAndLeader(t *testing.T) {
	src, _ := open(t)
	c := coherence.Cursor{Position: coherence.Position{Timeline: 7, N: 3}, Seqs: []uint64{1, 2}}
	if err := src.SaveCursor(t.Context(), "r", c); err != nil {
		t.Fatal(err)
	}
	got, err := src.LoadCursor(t.Context(), "r")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(c, got); diff != "" {
		t.Error(diff)
	}
	c.Position.N = 2
	if err := src.SaveCursor(t.Context(), "r", c); err == nil {
		t.Error("the cursor went back")
	}
	_, release, err := src.Lead(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(t.Context(), 700*time.Millisecond)
	defer cancel()
	if _, _, err := src.Lead(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a second leader: %v", err)
	}
	release()
	_, release, err = src.Lead(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	release()
}
