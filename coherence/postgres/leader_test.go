package postgres_test

import (
	"context"
	"testing"

	"github.com/nearcache/nearcache-go/coherence/postgres"
	"github.com/nearcache/nearcache-go/internal/testkit"
)

// TestLead_CandidatesKeepNoConnection: besides the ones that the program has anyway.
func TestLead_CandidatesKeepNoConnection(t *testing.T) {
	src, pool, url := open(t)
	_, release, err := src.Lead(t.Context(), "relay")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	got := make(chan func(), 1)
	mine := newPool(t, url+"&application_name=candidate")
	exec1(t, mine, `select`) // the program's
	candidate, err := postgres.New(mine, postgres.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(candidate.Close)
	go func() {
		defer close(got)
		if _, release, err := candidate.Lead(ctx, "relay"); err == nil {
			got <- release
		}
	}()
	const connections = `select count(*) from pg_stat_activity where application_name = 'candidate' and `
	testkit.Eventually(t, "the candidate asks and gives the connection back", func() bool {
		return count(t, pool, connections+`state = 'idle' and query like '%nearcache.leaders%'`) == 1 &&
			mine.Stat().AcquiredConns() == 0
	})
	if n := count(t, pool, connections+`true`); n != 1 {
		t.Errorf("a candidate's program has %d connections, want 1", n)
	}
	// It asks again, also while the program uses all of its connections, and leads once nobody does.
	for range mine.Config().MaxConns {
		c, err := mine.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Release()
	}
	release()
	next, ok := <-got
	if !ok {
		t.Fatal("the candidate does not lead after the release")
	}
	next()
	cancel()
}
