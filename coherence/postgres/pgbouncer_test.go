package postgres_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/postgres"
	"github.com/nearcache/nearcache-go/coherence/sourcetest"
	"github.com/nearcache/nearcache-go/internal/services/servicestest"
)

// execMode is what the guide says for a pooler in transaction mode.
const execMode = "default_query_exec_mode=exec"

// unwoken is a Source that nothing wakes.
type unwoken struct{ coherence.Source }

func (s unwoken) Abilities() coherence.Abilities {
	a := s.Source.Abilities()
	a.Waker = nil
	return a
}

// TestPgBouncer_SourceConforms in transaction mode, but for the waker.
func TestPgBouncer_SourceConforms(t *testing.T) {
	bouncer := servicestest.StartPgBouncer(t, servicestest.Postgres(t), "transaction", "server_round_robin = 1")
	for _, c := range sourcetest.Checks() {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			_, _, url := open(t)
			through := bouncer.Through(t, url, execMode)
			pool := newPool(t, through)
			src, err := postgres.New(pool, postgres.Config{})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(src.Close)
			h := harness(t, src, pool, through, func(ctx context.Context, name string) error {
				return depose(ctx, pool, name)
			})
			h.Source = unwoken{src}
			c.Run(t, h)
		})
	}
}

// depose ends the term of a leader.
func depose(ctx context.Context, pool *pgxpool.Pool, name string) error {
	tag, err := pool.Exec(ctx, `update nearcache.leaders set holder = '', term = term + 1
		where name = $1 and holder <> ''`, name)
	if err == nil && tag.RowsAffected() == 0 {
		err = errors.New("nobody leads")
	}
	return err
}

// TestLead_OneOfDirectAndPooled: relays lead in turn, whatever way each of them has to the server.
func TestLead_OneOfDirectAndPooled(t *testing.T) {
	server := servicestest.Postgres(t)
	transaction := servicestest.StartPgBouncer(t, server, "transaction")
	session := servicestest.StartPgBouncer(t, server, "session")
	through := map[string]func(*testing.T, string) string{
		"direct":      func(_ *testing.T, url string) string { return url },
		"transaction": func(t *testing.T, url string) string { return transaction.Through(t, url, execMode) },
		"session":     func(t *testing.T, url string) string { return session.Through(t, url) },
	}
	for _, ways := range [][2]string{{"direct", "transaction"}, {"transaction", "direct"}, {"session", "transaction"}} {
		t.Run(ways[0]+" then "+ways[1], func(t *testing.T) {
			t.Parallel()
			_, pool, url := open(t)
			leadInTurn(t, pool, newSource(t, through[ways[0]](t, url), postgres.Config{}),
				newSource(t, through[ways[1]](t, url), postgres.Config{}))
		})
	}
}

func leadInTurn(t *testing.T, pool *pgxpool.Pool, first, second *postgres.Source) {
	leading, release, err := first.Lead(t.Context(), "relay")
	if err != nil {
		t.Fatal(err)
	}
	brief, cancel := context.WithTimeout(t.Context(), 4*time.Second) // longer than a lease that is not renewed
	defer cancel()
	if _, _, err := second.Lead(brief, "relay"); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("Lead beside a leader = %v, want it to wait", err)
	}
	if leading.Err() != nil {
		t.Error("the leader lost its leadership")
	}
	release()
	_, release, err = second.Lead(t.Context(), "relay")
	if err != nil {
		t.Fatal(err)
	}
	release()
	// The first relay loses its session, or behind a pooler its way to the server.
	leading, release, err = first.Lead(t.Context(), "relay")
	if err != nil {
		t.Fatal(err)
	}
	if endLeader(t.Context(), pool, "relay") != nil {
		first.Close()
	}
	_, next, err := second.Lead(t.Context(), "relay")
	if err != nil {
		t.Fatal(err)
	}
	<-leading.Done()
	release()
	next()
}

// TestWait_PollsBehindAPooler that gives each transaction another session, however it picks one.
func TestWait_PollsBehindAPooler(t *testing.T) {
	for _, picks := range []string{"server_round_robin = 0", "server_round_robin = 1", "default_pool_size = 1"} {
		t.Run(picks, func(t *testing.T) {
			t.Parallel()
			_, pool, url := open(t)
			bouncer := servicestest.StartPgBouncer(t, url, "transaction", picks)
			through := bouncer.Through(t, url, execMode)
			busy := newPool(t, through) // makes the pooler open two sessions, where it may
			one, err := busy.Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if picks != "default_pool_size = 1" {
				exec1(t, busy, `select`)
			}
			if err := one.Rollback(t.Context()); err != nil {
				t.Fatal(err)
			}
			src := newSource(t, through, postgres.Config{})
			for range 3 {
				begun := time.Now()
				if err := src.Wait(t.Context(), 20*time.Millisecond); err != nil {
					t.Fatal(err)
				}
				if waited := time.Since(begun); waited < 20*time.Millisecond {
					t.Errorf("Wait returned after %v, want 20ms: nothing can wake it", waited)
				}
			}
			if !src.Pooled() {
				t.Error("the pooler was not noticed")
			}
			if n := count(t, pool, `select count(*) from pg_stat_activity where query like 'listen%'`); n != 0 {
				t.Errorf("%d sessions that others are given listen", n)
			}
			ended, cancel := context.WithCancel(t.Context())
			cancel()
			if err := src.Wait(ended, time.Hour); !errors.Is(err, context.Canceled) {
				t.Errorf("Wait with a context that has ended = %v", err)
			}
		})
	}
}

func TestPgBouncer_WakesInSessionMode(t *testing.T) {
	_, pool, url := open(t)
	src := newSource(t, servicestest.StartPgBouncer(t, url, "session").Through(t, url), postgres.Config{})
	if err := src.Wait(t.Context(), time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if _, err := src.Bump(t.Context(), pool, "n", "k", coherence.OpUpdated); err != nil {
		t.Fatal(err)
	}
	if err := src.Wait(t.Context(), time.Minute); err != nil || src.Pooled() {
		t.Errorf("Wait = %v, Pooled = %v; want a wake-up", err, src.Pooled())
	}
}

// TestPgBouncer_PreparedStatementsAreNamed: pgx prepares statements unless the connection string says otherwise, and
// the error says so.
func TestPgBouncer_PreparedStatementsAreNamed(t *testing.T) {
	_, _, url := open(t)
	through := servicestest.StartPgBouncer(t, url, "transaction").Through(t, url)
	src := newSource(t, through, postgres.Config{})
	if _, err := src.Version(t.Context(), "n", "k"); err != nil {
		t.Fatal(err)
	}
	// Another program's transaction has the session now in which the statement was prepared.
	tx, err := newPool(t, through).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(context.Background())
	_, err = src.Version(t.Context(), "n", "k")
	if !errors.Is(err, postgres.ErrPooled) || !errors.Is(err, coherence.ErrMisconfigured) ||
		!strings.Contains(err.Error(), execMode) {
		t.Errorf("Version = %v, want ErrPooled, which is a misconfiguration", err)
	}
}

func TestPgBouncer_StatementModeIsRefused(t *testing.T) {
	_, _, url := open(t)
	src := newSource(t, servicestest.StartPgBouncer(t, url, "statement").Through(t, url, execMode), postgres.Config{})
	if _, err := src.Trim(t.Context(), position(t, src), 0); !errors.Is(err, coherence.ErrMisconfigured) ||
		!strings.Contains(err.Error(), "transaction mode") {
		t.Errorf("Trim = %v, want the mode to be named", err)
	}
}

func position(t *testing.T, src *postgres.Source) coherence.Position {
	t.Helper()
	p, err := src.Position(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestSaveCursor_RefusesAnEarlierLeader, also in another timeline, where positions say nothing.
func TestSaveCursor_RefusesAnEarlierLeader(t *testing.T) {
	first, pool, url := open(t)
	second := newSource(t, url, postgres.Config{})
	cursor := func(timeline, n uint64) coherence.Cursor {
		return coherence.Cursor{Position: coherence.Position{Timeline: timeline, N: n}, Seqs: []uint64{n}}
	}
	lead := func(src *postgres.Source) func() {
		t.Helper()
		_, release, err := src.Lead(t.Context(), "relay")
		if err != nil {
			t.Fatal(err)
		}
		return release
	}
	release := lead(first)
	if err := first.SaveCursor(t.Context(), "relay", cursor(1, 5)); err != nil {
		t.Fatal(err)
	}
	if err := depose(t.Context(), pool, "relay"); err != nil {
		t.Fatal(err)
	}
	next := lead(second)
	for _, late := range []coherence.Cursor{cursor(1, 9), cursor(2, 1)} {
		if err := first.SaveCursor(t.Context(), "relay", late); err == nil {
			t.Errorf("an earlier leader saved %v", late.Position)
		}
	}
	if err := second.SaveCursor(t.Context(), "relay", cursor(1, 6)); err != nil {
		t.Error(err)
	}
	if err := first.SaveCursor(t.Context(), "other", cursor(1, 1)); err != nil {
		t.Errorf("a cursor that it never led: %v", err)
	}
	release()
	if got, err := second.LoadCursor(t.Context(), "relay"); err != nil || got.Position != cursor(1, 6).Position {
		t.Errorf("the cursor is %+v, %v", got, err)
	}
	next()
	// Leading again makes it the present one.
	defer lead(first)()
	if err := first.SaveCursor(t.Context(), "relay", cursor(1, 7)); err != nil {
		t.Error(err)
	}
}

// TestLead_OfAnotherRole: a role that may not see when another's session began does not take it for gone.
func TestLead_OfAnotherRole(t *testing.T) {
	_, pool, _ := open(t)
	a, _ := roleSource(t, pool, "relay", "")
	name, own := role(t, pool, "another")
	for _, g := range grants(t, "relay", name) {
		exec1(t, pool, g)
	}
	b, err := postgres.New(own, postgres.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	leading, release, err := a.Lead(t.Context(), "relay")
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	brief, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
	defer cancel()
	if _, _, err := b.Lead(brief, "relay"); !errors.Is(err, context.DeadlineExceeded) || leading.Err() != nil {
		t.Errorf("Lead of another role = %v, want it to wait", err)
	}
}
