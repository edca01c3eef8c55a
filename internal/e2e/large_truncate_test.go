package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/nearcache/nearcache-go/coherence/postgres"
	"github.com/nearcache/nearcache-go/internal/l2"
	"github.com/nearcache/nearcache-go/internal/testkit"
)

// TestRelay_LargeTruncate: a truncate of any number of rows is one change, which voids all that Redis holds. It was as
// many changes as there were rows.
func TestRelay_LargeTruncate(t *testing.T) {
	rows := largeRows(t)
	w := newWorld(t)
	relay := w.start("outbox-relay")
	g := newLarge(t, w)
	testkit.Eventually(t, "the relay has begun", func() bool { return !g.watermark().IsZero() })
	src, err := postgres.New(g.pool, postgres.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	g.exec(`update nearcache.meta set truncate_rows = least(truncate_rows, $1)`, rows-1)
	g.exec(`create table bulk (id int primary key)`)
	g.exec(`insert into bulk select generate_series(1, $1::int)`, rows)
	err = src.InstallTrigger(t.Context(), postgres.Trigger{Table: "bulk", Namespace: "bulk", KeyColumns: []string{"id"}})
	if err != nil {
		t.Fatal(err)
	}
	var keys []l2.Key
	for i := 1; i <= rows; i += max(1, rows/500) {
		k := g.l2.Keyspace().Key("bulk", fmt.Sprint(i))
		if err := g.fill(t.Context(), k, 1); err != nil {
			t.Fatal(err)
		}
		keys = append(keys, k)
	}
	before, idle, changes := g.incarnations(), relay.memory("VmRSS"), g.count(`select count(*) from nearcache.outbox`)
	start := time.Now()
	g.exec(`truncate bulk`)
	took := time.Since(start)
	testkit.Eventually(t, "every bucket begins a new incarnation", func() bool {
		for b, now := range g.incarnations() {
			if now == before[b] {
				return false
			}
		}
		return true
	})
	t.Logf("a truncate of %d rows: the statement took %v, and all of Redis was void %v after it began; memory of the "+
		"relay %d MiB before, %d MiB at most", rows, took.Round(time.Millisecond),
		time.Since(start).Round(time.Millisecond), idle>>20, relay.memory("VmHWM")>>20)
	if n := g.count(`select count(*) from nearcache.outbox`) - changes; n != 1 {
		t.Errorf("the truncate is %d changes, want 1", n)
	}
	for _, k := range keys {
		if raw, at, err := g.l2.Get(t.Context(), k, l2.ReadOptions{Watermark: true}); err != nil {
			t.Error(err)
		} else if rec, err := l2.DecodeRecord(raw); err == nil && rec.Incarnation == at.Incarnation {
			t.Errorf("Redis still serves the old record of %s", k.Name)
		}
	}
	v, err := src.Version(t.Context(), "bulk", "1")
	if err != nil || v <= 1 {
		t.Errorf("the key of a truncated row has version %d, %v, want more than 1", v, err)
	}
	g.exec(`insert into bulk values (1)`)
	if now, err := src.Version(t.Context(), "bulk", "1"); now != v+1 || err != nil {
		t.Errorf("after an insert it has version %d, %v, want %d", now, err, v+1)
	}
}

func (g *large) exec(sql string, args ...any) {
	g.t.Helper()
	if _, err := g.pool.Exec(g.t.Context(), sql, args...); err != nil {
		g.t.Fatal(err)
	}
}

func (g *large) count(sql string) (n int) {
	g.t.Helper()
	if err := g.pool.QueryRow(g.t.Context(), sql).Scan(&n); err != nil {
		g.t.Fatal(err)
	}
	return n
}

func (g *large) incarnations() (out [l2.DefaultBuckets]l2.Incarnation) {
	g.t.Helper()
	all, err := g.l2.Watermarks(g.t.Context())
	if err != nil {
		g.t.Fatal(err)
	}
	for b, w := range all {
		out[b] = w.Incarnation
	}
	return out
}
