package product_test

import (
	"context"
	"database/sql"
	"errors"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/postgres"
	"github.com/nearcache/nearcache-go/coherence/sqlite"
	"github.com/nearcache/nearcache-go/internal/product"
	"github.com/nearcache/nearcache-go/internal/services"
	"github.com/nearcache/nearcache-go/internal/services/servicestest"
	"github.com/nearcache/nearcache-go/nearcache"
)

// shop is a store beside its database and source.
type shop struct {
	*product.SQLStore
	db  *sql.DB
	src coherence.Source
}

func open(t *testing.T) shop {
	t.Helper()
	db, err := services.OpenSQLite(filepath.Join(t.TempDir(), "with space & more.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	src, err := sqlite.New(db, sqlite.Config{})
	if err != nil {
		t.Fatal(err)
	}
	s := product.NewSQLiteStore(db, src)
	if err := errors.Join(s.Install(t.Context()), src.Install(t.Context()),
		src.InstallTrigger(t.Context(), sqlite.Trigger{Table: product.Table, Namespace: product.Namespace,
			KeyColumns: []string{product.Key}})); err != nil {
		t.Fatal(err)
	}
	return shop{s, db, src}
}

func openPostgres(t *testing.T, address string) shop {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	db := stdlib.OpenDBFromPool(pool)
	src, err := postgres.New(pool, postgres.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { src.Close(); _ = db.Close(); pool.Close() })
	s := product.NewPostgresStore(db, src)
	if err := errors.Join(s.Install(t.Context()), src.Install(t.Context()), src.InstallTrigger(t.Context(),
		postgres.Trigger{Table: product.Table, Namespace: product.Namespace,
			KeyColumns: []string{product.Key}})); err != nil {
		t.Fatal(err)
	}
	return shop{s, db, src}
}

// everywhere runs a test on each database.
func everywhere(t *testing.T, f func(*testing.T, shop)) {
	t.Run("sqlite", func(t *testing.T) { f(t, open(t)) })
	t.Run("postgres", func(t *testing.T) { f(t, openPostgres(t, servicestest.Postgres(t))) })
}

// at is the condition that the product has a version.
func at(v product.Version) product.Condition {
	return func(now product.State) bool { return now.There && now.Version == v }
}

func TestStore_VersionsGoOnAcrossDeletes(t *testing.T) {
	everywhere(t, func(t *testing.T, s shop) {
		ctx, about := t.Context(), "about"
		p := product.Product{ID: "x", Name: "X", Price: 5, Description: &about}
		changed := p
		changed.Name = "changed"
		if _, v, err := s.Find(ctx, "x"); !errors.Is(err, product.ErrNotFound) || v != 0 {
			t.Errorf("before: %d, %v", v, err)
		}
		if v, err := s.Create(ctx, p); v != 1 || err != nil {
			t.Errorf("create: %d, %v", v, err)
		}
		if _, err := s.Create(ctx, p); !errors.Is(err, product.ErrExists) || !errors.Is(err, nearcache.ErrNotCommitted) {
			t.Errorf("create again: %v", err)
		}
		got, v, err := s.Find(ctx, "x")
		if diff := cmp.Diff(p, got); diff != "" || v != 1 || err != nil {
			t.Errorf("got version %d and error %v, want version 1; (-want +got) %s", v, err, diff)
		}
		if _, _, err := s.Replace(ctx, p, at(9)); !errors.Is(err, product.ErrConflict) || !errors.Is(err,
			nearcache.ErrNotCommitted) {
			t.Errorf("replace another version: %v", err)
		}
		if v, created, err := s.Replace(ctx, changed, at(1)); v != 2 || created || err != nil {
			t.Errorf("replace: %d, %v, %v", v, created, err)
		}
		if v, err := s.Delete(ctx, "x", nil); v != 3 || err != nil {
			t.Errorf("delete: %d, %v", v, err)
		}
		if _, err := s.Delete(ctx, "x", nil); !errors.Is(err, product.ErrNotFound) {
			t.Errorf("delete again: %v", err)
		}
		if _, v, err := s.Find(ctx, "x"); !errors.Is(err, product.ErrNotFound) || v != 3 {
			t.Errorf("the absence: %d, %v", v, err)
		}
		there := func(now product.State) bool { return now.There }
		if _, _, err := s.Replace(ctx, p, there); !errors.Is(err, product.ErrConflict) {
			t.Errorf("replace what must be there: %v", err)
		}
		if v, created, err := s.Replace(ctx, p, nil); v != 4 || !created || err != nil {
			t.Errorf("created again: %d, %v, %v", v, created, err)
		}
	})
}

// TestStore_EventsTellTheKindOfChange: a PUT that creates is a creation, and nothing is counted twice.
func TestStore_EventsTellTheKindOfChange(t *testing.T) {
	everywhere(t, func(t *testing.T, s shop) {
		ctx := t.Context()
		after, err := s.src.Position(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"created", "updated"} {
			if _, _, err := s.Replace(ctx, product.Product{ID: "p", Name: name}, nil); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.Delete(ctx, "p", nil); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Create(ctx, product.Product{ID: "p", Name: "again"}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.db.ExecContext(ctx, `update products set name = 'by hand'`); err != nil {
			t.Fatal(err)
		}
		events, _, err := s.src.Changes(ctx, after, 100)
		if err != nil {
			t.Fatal(err)
		}
		var ops []coherence.Op
		for i, e := range events {
			ops = append(ops, e.Op)
			if e.Version != coherence.Version(i+1) || e.Key != "p" || e.Namespace != product.Namespace {
				t.Errorf("event %d: %+v", i, e)
			}
		}
		want := []coherence.Op{coherence.OpCreated, coherence.OpUpdated, coherence.OpDeleted, coherence.OpCreated,
			coherence.OpUpdated}
		if !slices.Equal(ops, want) {
			t.Errorf("%v, want %v", ops, want)
		}
	})
}

// TestStore_ConcurrentWrites: each write has a version of its own, and of those that ask for one state one succeeds.
func TestStore_ConcurrentWrites(t *testing.T) {
	everywhere(t, func(t *testing.T, s shop) {
		const writers = 8
		var mu sync.Mutex
		var versions []product.Version
		creations := 0
		var price atomic.Int64 // a write that changes nothing counts no version
		race := func(may product.Condition) (conflicts int) {
			var wg sync.WaitGroup
			for range writers {
				wg.Go(func() {
					p := product.Product{ID: "p", Name: "n", Price: product.Price(price.Add(1))}
					v, created, err := s.Replace(t.Context(), p, may)
					mu.Lock()
					defer mu.Unlock()
					switch {
					case errors.Is(err, product.ErrConflict):
						conflicts++
					case err != nil:
						t.Error(err)
					default:
						versions = append(versions, v)
					}
					if created {
						creations++
					}
				})
			}
			wg.Wait()
			return conflicts
		}
		if n := race(func(now product.State) bool { return !now.There }); n != writers-1 || creations != 1 {
			t.Errorf("create only: %d conflicts and %d creations", n, creations)
		}
		if n := race(at(1)); n != writers-1 {
			t.Errorf("of one version: %d conflicts", n)
		}
		race(nil)
		slices.Sort(versions)
		if len(slices.Compact(slices.Clone(versions))) != len(versions) {
			t.Errorf("a version was given twice: %v", versions)
		}
	})
}

// TestStore_SaysThatNothingWasCommitted where the database is away, frozen, or a row is locked.
func TestStore_SaysThatNothingWasCommitted(t *testing.T) {
	pg := servicestest.StartPostgres(t)
	s := openPostgres(t, pg.URL)
	p := product.Product{ID: "p", Name: "n"}
	if _, err := s.Create(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	soon := func() context.Context {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		t.Cleanup(cancel)
		return ctx
	}
	writes := func(why string) {
		t.Helper()
		if _, err := s.Create(soon(), product.Product{ID: "p", Name: "n"}); !errors.Is(err, nearcache.ErrNotCommitted) {
			t.Errorf("%s: create: %v", why, err)
		}
		if _, _, err := s.Replace(soon(), p, nil); !errors.Is(err, nearcache.ErrNotCommitted) {
			t.Errorf("%s: replace: %v", why, err)
		}
		if _, err := s.Delete(soon(), "p", nil); !errors.Is(err, nearcache.ErrNotCommitted) {
			t.Errorf("%s: delete: %v", why, err)
		}
	}
	lock, err := s.db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lock.Exec(`select from products where id = 'p' for update`); err != nil {
		t.Fatal(err)
	}
	writes("a locked row")
	_ = lock.Rollback()
	thaw := pg.Freeze()
	writes("a frozen server")
	thaw()
	pg.Kill()
	writes("no server")
}

// TestStore_UnknownOutcome: a commit that is sent and not answered is not said to have failed.
func TestStore_UnknownOutcome(t *testing.T) {
	pg := servicestest.StartPostgres(t)
	s := openPostgres(t, pg.URL)
	// The trigger of a deferred constraint runs inside the commit, and waits there for a lock.
	if _, err := s.db.Exec(`create function wait() returns trigger language plpgsql as $$
		begin perform pg_advisory_xact_lock(7); return null; end $$;
		create constraint trigger wait after insert on products deferrable initially deferred
			for each row execute function wait()`); err != nil {
		t.Fatal(err)
	}
	lock, err := s.db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if _, err := lock.ExecContext(t.Context(), `select pg_advisory_lock(7)`); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	_, err = s.Create(ctx, product.Product{ID: "p", Name: "n"})
	if !errors.Is(err, product.ErrOutcomeUnknown) || errors.Is(err, nearcache.ErrNotCommitted) {
		t.Errorf("got error %v, want ErrOutcomeUnknown", err)
	}
}

// TestStore_ErrorsShowNoPassword has a database that refuses connections.
func TestStore_ErrorsShowNoPassword(t *testing.T) {
	u := url.URL{Scheme: "postgres", User: url.UserPassword("u", "hunter2"), Host: "127.0.0.1:1", Path: "/d"}
	pool, err := pgxpool.New(t.Context(), u.String())
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	src, err := postgres.New(pool, postgres.Config{})
	if err != nil {
		t.Fatal(err)
	}
	s := product.NewPostgresStore(stdlib.OpenDBFromPool(pool), src)
	_, err = s.Create(t.Context(), product.Product{ID: "p", Name: "n"})
	if err == nil || !errors.Is(err, nearcache.ErrNotCommitted) {
		t.Fatal(err)
	}
	if got := err.Error(); len(got) == 0 || strings.Contains(got, "hunter2") {
		t.Error(got)
	}
}
