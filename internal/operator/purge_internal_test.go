package operator

import (
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/postgres"
	"github.com/nearcache/nearcache-go/internal/services/servicestest"
)

// TestPublished_AnIdleCursorIsEnough: a relay's cursor stands still while commits without changes move the position.
func TestPublished_AnIdleCursorIsEnough(t *testing.T) {
	pool, err := pgxpool.New(t.Context(), servicestest.Postgres(t))
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	src, err := postgres.New(pool, postgres.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	if err := src.Install(t.Context()); err != nil {
		t.Fatal(err)
	}
	position := func() coherence.Position {
		t.Helper()
		p, err := src.Position(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	covers := func(cursor, at coherence.Position, want bool) {
		t.Helper()
		if got, err := published(t.Context(), src, cursor, at); err != nil || got != want {
			t.Errorf("got %v, %v for a cursor at %v and a position of %v, want %v", got, err, cursor, at, want)
		}
	}
	before := position()
	if _, err := src.BumpKey(t.Context(), "shelf", "a:1"); err != nil {
		t.Fatal(err)
	}
	changed := position()
	covers(before, changed, false)
	covers(changed, changed, true)
	for range 3 {
		if _, err := pool.Exec(t.Context(), "select pg_current_xact_id()"); err != nil {
			t.Fatal(err)
		}
	}
	idle := position()
	if changed.Covers(idle) {
		t.Fatalf("the position stands still at %v", idle)
	}
	covers(changed, idle, true)
	covers(before, idle, false)
	covers(coherence.Position{}, idle, false)
	covers(coherence.Position{Timeline: idle.Timeline + 1, N: idle.N}, idle, false)
}
