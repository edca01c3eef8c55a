package postgres_test

import (
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/postgres"
)

// TestSetTrace_IsOfItsTransaction: a change that a trigger or Bump counts has the trace of its transaction alone.
func TestSetTrace_IsOfItsTransaction(t *testing.T) {
	const trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	src, pool, _ := open(t)
	exec1(t, pool, `create table things (id text primary key, x int)`)
	if err := src.InstallTrigger(t.Context(), postgres.Trigger{Table: "things", Namespace: "thing",
		KeyColumns: []string{"id"}}); err != nil {
		t.Fatal(err)
	}
	conn, err := pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	write := func(key, traceparent string) {
		t.Helper()
		err := pgx.BeginFunc(t.Context(), conn, func(tx pgx.Tx) error {
			if traceparent != "" {
				if err := src.SetTrace(t.Context(), tx, traceparent); err != nil {
					return err
				}
			}
			if _, err := src.Bump(t.Context(), tx, "tag", key, coherence.OpUpdated); err != nil {
				return err
			}
			_, err := tx.Exec(t.Context(), `insert into things values ($1, 1)`, key)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	write("before", "")
	write("traced", trace)
	write("after", "") // on the same connection
	write("forged", "no traceparent'; drop table things")
	exec1(t, pool, `select set_config('nearcache.traceparent', repeat('x', 100000), false)`)
	events, _, err := src.Changes(t.Context(), coherence.Position{}, 100)
	if err != nil || len(events) != 8 {
		t.Fatalf("%d events, %v; want 8", len(events), err)
	}
	for _, e := range events {
		want := ""
		if e.Key == "traced" {
			want = trace
		}
		if e.Trace != want {
			t.Errorf("%s %s has the trace %q, want %q", e.Namespace, e.Key, e.Trace, want)
		}
	}
}
