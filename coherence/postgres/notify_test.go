package postgres_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/nearcache/nearcache-go/coherence"
)

// TestNotify_OneOfTheOpenTransactionsTells: transactions that tell commit one after the other, in the whole server.
func TestNotify_OneOfTheOpenTransactionsTells(t *testing.T) {
	src, pool, url := open(t)
	withTrigger(t, src, pool)
	listener, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close(t.Context())
	if _, err := listener.Exec(t.Context(), `listen nearcache`); err != nil {
		t.Fatal(err)
	}
	// told reports whether a commit notified since the last call.
	told := func() bool {
		t.Helper()
		exec1(t, pool, `select pg_notify('nearcache', 'end')`)
		for n := 0; ; n++ {
			got, err := listener.WaitForNotification(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if got.Payload == "end" {
				return n > 0
			}
		}
	}
	writes := map[string]func() error{
		"one row": func() error {
			_, err := pool.Exec(t.Context(), `insert into products values ('a', 'a')
				on conflict (id) do update set name = products.name || 'b'`)
			return err
		},
		"several rows": func() error {
			_, err := pool.Exec(t.Context(), `delete from products; insert into products values ('x', 'a'), ('y', 'a')`)
			return err
		},
		"by hand": func() error {
			_, err := src.BumpKey(t.Context(), "n", "k")
			return err
		},
	}
	for what, write := range writes {
		if err := write(); err != nil || !told() {
			t.Errorf("%s: a commit alone tells nobody (%v)", what, err)
		}
		first, err := pool.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = first.Rollback(context.Background()) }()
		if _, err := src.Bump(t.Context(), first, "n", "first", coherence.OpUpdated); err != nil {
			t.Fatal(err)
		}
		if err := write(); err != nil || told() {
			t.Errorf("%s: a commit tells beside an open transaction that will (%v)", what, err)
		}
		if err := first.Commit(t.Context()); err != nil || !told() {
			t.Errorf("%s: the other commit tells nobody (%v)", what, err)
		}
	}
}
