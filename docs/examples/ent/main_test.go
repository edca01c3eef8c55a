package main

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/relay"
	"github.com/nearcache/nearcache-go/docs/examples/ent/ent"
	"github.com/nearcache/nearcache-go/internal/services/servicestest"
	"github.com/nearcache/nearcache-go/internal/testkit"
	"github.com/nearcache/nearcache-go/nearcache"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
)

// everywhere runs a test on SQLite in this process, and on Postgres where there is one.
func everywhere(t *testing.T, f func(*testing.T, *store)) {
	t.Run("SQLite", func(t *testing.T) {
		s, err := openSQLite(t.Context(), filepath.Join(t.TempDir(), "products.db"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.close) // after the client's
		f(t, s)
	})
	t.Run("Postgres", func(t *testing.T) {
		s, err := openPostgres(t.Context(), servicestest.Postgres(t))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.close) // after the client's
		f(t, s)
	})
}

// open is a repository on a Redis in this process, with a relay.
func open(t *testing.T, s *store) *Products {
	t.Helper()
	client, err := nearcache.New(nearcache.Config{Redis: nearcachetest.NewRedis(t).ClientOption(), Source: s.source})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	relayed := make(chan error, 1)
	go func() {
		relayed <- relay.Relay{Source: s.source, L2: client.L2(), Interval: 10 * time.Millisecond}.Run(ctx)
	}()
	t.Cleanup(func() {
		stop()
		if err := <-relayed; err != nil {
			t.Error(err)
		}
		client.Close()
	})
	products, err := newProducts(client, s)
	if err != nil {
		t.Fatal(err)
	}
	return products
}

func TestRun_PrintsWhatItReads(t *testing.T) {
	for name, url := range map[string]func(*testing.T) string{
		"SQLite":   func(*testing.T) string { return "" },
		"Postgres": func(t *testing.T) string { return servicestest.Postgres(t) },
	} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			if err := run(t.Context(), &out, servicestest.StartRedis(t).Addr, url(t)); err != nil {
				t.Fatal(err)
			}
			if want := "espresso 250\nespresso 260\nespresso 270\n"; out.String() != want {
				t.Errorf("got %q, want %q", out.String(), want)
			}
		})
	}
}

// TestProducts_ReadThroughWithTheSourcesVersion: the Loader's version is that of the trigger, also for an absence.
func TestProducts_ReadThroughWithTheSourcesVersion(t *testing.T) {
	everywhere(t, func(t *testing.T, s *store) {
		products := open(t, s)
		if _, err := products.Get(t.Context(), 42); !errors.Is(err, nearcache.ErrNotFound) {
			t.Fatalf("Get before the insert: %v, want ErrNotFound", err)
		}
		if err := products.Create(t.Context(), Product{ID: 42, Name: "espresso", PriceCents: 250}); err != nil {
			t.Fatal(err)
		}
		if err := products.SetPrice(t.Context(), 42, 300); err != nil {
			t.Fatal(err)
		}
		got, err := products.cache.Read(t.Context(), 42, nearcache.ReadOptions{})
		if err != nil || got.Value != (Product{ID: 42, Name: "espresso", PriceCents: 300}) {
			t.Fatalf("after the write: %+v, %v", got.Value, err)
		}
		nearcachetest.CheckLoader(t, products.loader(), 42)
		want, err := s.source.Abilities().Versioner.Version(t.Context(), namespace, "42")
		if err != nil || want == 0 || got.Version != want {
			t.Errorf("the value has version %d, the source says %d, %v", got.Version, want, err)
		}
		absent, err := products.loader()(t.Context(), 7)
		if !errors.Is(err, nearcache.ErrNotFound) || absent.Value != (Product{}) {
			t.Errorf("an absent product is loaded as %+v, %v", absent, err)
		}
	})
}

// TestProducts_WriteAndOutboxCommitTogether, or not at all.
func TestProducts_WriteAndOutboxCommitTogether(t *testing.T) {
	everywhere(t, func(t *testing.T, s *store) {
		products := open(t, s)
		if err := products.Create(t.Context(), Product{ID: 42, Name: "espresso", PriceCents: 250}); err != nil {
			t.Fatal(err)
		}
		failed := errors.New("the second step failed")
		err := products.write(t.Context(), 42, func(ctx context.Context, tx *ent.Tx) error {
			return errors.Join(tx.Product.UpdateOneID(42).SetPriceCents(1).Exec(ctx), failed)
		})
		if !errors.Is(err, failed) || !errors.Is(err, nearcache.ErrNotCommitted) {
			t.Fatalf("a transaction that fails returns %v", err)
		}
		if err := products.SetPrice(t.Context(), 7, 1); !errors.Is(err, nearcache.ErrNotFound) {
			t.Errorf("SetPrice of an absent product = %v, want ErrNotFound", err)
		}
		if err := products.SetPrice(t.Context(), 42, 260); err != nil {
			t.Fatal(err)
		}
		if p, err := products.Get(t.Context(), 42); err != nil || p.PriceCents != 260 {
			t.Errorf("Get = %+v, %v", p, err)
		}
		var events []coherence.Event
		testkit.Eventually(t, "the outbox has the insert and the update that committed", func() bool {
			events, _, err = s.source.Changes(t.Context(), coherence.Position{}, 10)
			return err == nil && len(events) == 2
		})
		for i, op := range []coherence.Op{coherence.OpCreated, coherence.OpUpdated} {
			if e := events[i]; e.Namespace != namespace || e.Key != "42" || e.Op != op {
				t.Errorf("change %d is %+v, want %s of 42", i, e, op)
			}
		}
	})
}

// TestProducts_SeesWhatOthersWrite: a statement that knows no cache reaches it by the trigger and the relay.
func TestProducts_SeesWhatOthersWrite(t *testing.T) {
	everywhere(t, func(t *testing.T, s *store) {
		products := open(t, s)
		if err := products.Create(t.Context(), Product{ID: 42, Name: "espresso", PriceCents: 250}); err != nil {
			t.Fatal(err)
		}
		if p, err := products.Get(t.Context(), 42); err != nil || p.PriceCents != 250 {
			t.Fatalf("Get = %+v, %v", p, err)
		}
		if _, err := s.client.ExecContext(t.Context(), "update products set price_cents = 999"); err != nil {
			t.Fatal(err)
		}
		testkit.Eventually(t, "the cache has the new price", func() bool {
			p, err := products.Get(t.Context(), 42)
			return err == nil && p.PriceCents == 999
		})
	})
}
