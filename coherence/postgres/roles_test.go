package postgres_test

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/postgres"
	"github.com/nearcache/nearcache-go/internal/testkit"
)

// grants are the statements of the guide for a role, with the role's name put in.
func grants(t *testing.T, role, name string) []string {
	t.Helper()
	guide, err := os.ReadFile("../../docs/guides/postgres.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)```sql\n-- role: " + role + "\n(.*?)```").FindSubmatch(guide)
	if block == nil {
		t.Fatalf("the guide has no statements for role %s", role)
	}
	statements := strings.ReplaceAll(string(block[1]), "shop_"+role, name)
	return strings.Split(strings.TrimSpace(regexp.MustCompile(`--[^\n]*`).ReplaceAllString(statements, "")), ";\n")
}

// roleSource is a Source of a role that has what the guide says, without the statement that has a text in it.
func roleSource(t *testing.T, pool *pgxpool.Pool, role_, without string) (*postgres.Source, *pgxpool.Pool) {
	t.Helper()
	name, own := role(t, pool, role_)
	for _, g := range grants(t, role_, name) {
		if without == "" || !strings.Contains(g, without) {
			exec1(t, pool, g)
		}
	}
	src, err := postgres.New(own, postgres.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(src.Close)
	return src, own
}

func TestRoles_NeedWhatTheGuideSays(t *testing.T) {
	src, pool, _ := open(t)
	withTrigger(t, src, pool)
	exec1(t, pool, `insert into products select g::text, '' from generate_series(1, 1200) g`)
	exec1(t, pool, `delete from products`)
	changes(t, src, coherence.Position{})

	bumper, own := roleSource(t, pool, "bumper", "")
	if _, err := bumper.Bump(t.Context(), own, "n", "k", coherence.OpUpdated); err != nil {
		t.Error(err)
	}
	instance, _ := roleSource(t, pool, "instance", "")
	relay, _ := roleSource(t, pool, "relay", "")
	for what, call := range map[string]func() error{
		"instance: Install":  func() error { return instance.Install(t.Context()) },
		"instance: Position": func() error { _, err := instance.Position(t.Context()); return err },
		"instance: Version":  func() error { _, err := instance.Version(t.Context(), "n", "k"); return err },
		"instance: BumpKey":  func() error { _, err := instance.BumpKey(t.Context(), "n", "k"); return err },
		"instance: Identity": func() error { _, err := instance.Identity(t.Context()); return err },
		"instance: Check": func() error {
			found, err := instance.Check(t.Context())
			if len(found) > 0 {
				t.Errorf("an instance finds %+v", found)
			}
			return err
		},
		"relay: Check":      func() error { _, err := relay.Check(t.Context()); return err },
		"relay: Position":   func() error { _, err := relay.Position(t.Context()); return err },
		"relay: SaveCursor": func() error { return relay.SaveCursor(t.Context(), "r", coherence.Cursor{Seqs: []uint64{1}}) },
		"relay: LoadCursor": func() error { _, err := relay.LoadCursor(t.Context(), "r"); return err },
		"relay: Wait":       func() error { return relay.Wait(t.Context(), time.Millisecond) },
		"relay: Lead": func() error {
			_, release, err := relay.Lead(t.Context(), "r")
			if err == nil {
				release()
			}
			return err
		},
	} {
		if err := call(); err != nil {
			t.Errorf("%s: got error %v, want none", what, err)
		}
	}
	testkit.Eventually(t, "the relay trims changes and versions", func() bool {
		_, at, err := relay.Changes(t.Context(), coherence.Position{}, 10_000)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := relay.Trim(t.Context(), at, 0); err != nil {
			t.Fatal(err)
		}
		var n int
		err = pool.QueryRow(t.Context(), `select count(*) from nearcache.versions where namespace = 'product'`).Scan(&n)
		return err == nil && n == 0
	})
	a, err := src.Position(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if b, err := instance.Position(t.Context()); err != nil || b.Timeline != a.Timeline {
		t.Errorf("an instance sees timeline %x and the owner %x (%v)", b.Timeline, a.Timeline, err)
	}
}

// TestRoles_NeedEachGrant: without any one of the guide's grants something fails, and the error says what to do.
func TestRoles_NeedEachGrant(t *testing.T) {
	_, pool, _ := open(t)
	for _, c := range []struct {
		role, without string
		call          func(src *postgres.Source, own *pgxpool.Pool) error
	}{
		{"bumper", "usage", func(s *postgres.Source, own *pgxpool.Pool) error {
			_, err := s.Bump(t.Context(), own, "n", "k", coherence.OpUpdated)
			return err
		}},
		{"bumper", "execute", func(s *postgres.Source, own *pgxpool.Pool) error {
			_, err := s.Bump(t.Context(), own, "n", "k", coherence.OpUpdated)
			return err
		}},
		{"instance", "usage", func(s *postgres.Source, _ *pgxpool.Pool) error {
			_,
				err := s.Position(t.Context())
			return err
		}},
		{"instance", "select", func(s *postgres.Source, _ *pgxpool.Pool) error {
			_,
				err := s.Position(t.Context())
			return err
		}},
		{"instance", "execute", func(s *postgres.Source, _ *pgxpool.Pool) error {
			_, err := s.BumpKey(t.Context(), "n", "k")
			return err
		}},
		{"relay", "nearcache.outbox", func(s *postgres.Source, _ *pgxpool.Pool) error {
			_, _, err := s.Changes(t.Context(), coherence.Position{}, 1)
			return err
		}},
		{"relay", "nearcache.cursors", func(s *postgres.Source, _ *pgxpool.Pool) error {
			_,
				err := s.LoadCursor(t.Context(), "r")
			return err
		}},
		{"relay", "nearcache.triggers", func(s *postgres.Source, _ *pgxpool.Pool) error {
			_,
				err := s.Check(t.Context())
			return err
		}},
		{"relay", "nearcache.versions", func(s *postgres.Source, _ *pgxpool.Pool) error {
			_, err := s.Version(t.Context(), "n", "k")
			return err
		}},
	} {
		t.Run(fmt.Sprintf("%s without %s", c.role, c.without), func(t *testing.T) {
			src, own := roleSource(t, pool, c.role, c.without)
			err := c.call(src, own)
			var pg *pgconn.PgError
			if !errors.As(err, &pg) || pg.Code != "42501" || !errors.Is(err, coherence.ErrMisconfigured) ||
				!strings.Contains(err.Error(), "docs/guides/postgres.md") {
				t.Errorf("got %v, want a permission that is denied, and where to look", err)
			}
		})
	}
}
