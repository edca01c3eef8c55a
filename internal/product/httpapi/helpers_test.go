package httpapi_test

import (
	"context"
	"database/sql"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nearcache/nearcache-go/coherence/sqlite"
	"github.com/nearcache/nearcache-go/internal/product"
	"github.com/nearcache/nearcache-go/internal/product/httpapi"
	"github.com/nearcache/nearcache-go/internal/services"
	"github.com/nearcache/nearcache-go/nearcache"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
)

// api is the API over SQLite and an in-process Redis.
type api struct {
	url   string
	db    *sql.DB
	loads *atomic.Int64 // reads of the source by the cache
	log   *strings.Builder
}

// serve serves the API; change may change the handler before.
func serve(t *testing.T, change ...func(*httpapi.Handler)) api {
	t.Helper()
	db, err := services.OpenSQLite(filepath.Join(t.TempDir(), "products.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	src, err := sqlite.New(db, sqlite.Config{})
	if err != nil {
		t.Fatal(err)
	}
	store := product.NewSQLiteStore(db, src)
	if err := errors.Join(store.Install(t.Context()), src.Install(t.Context()),
		src.InstallTrigger(t.Context(), sqlite.Trigger{Table: product.Table, Namespace: product.Namespace,
			KeyColumns: []string{product.Key}})); err != nil {
		t.Fatal(err)
	}
	client, err := nearcache.New(nearcache.Config{Redis: nearcachetest.NewRedis(t).ClientOption(), Source: src})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	if err := client.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	a := api{db: db, loads: new(atomic.Int64), log: new(strings.Builder)}
	cache, err := nearcache.NewCache(client, product.Namespace, nearcache.Options[string, product.Product]{
		Load: func(ctx context.Context, id string) (nearcache.Entry[product.Product], error) {
			a.loads.Add(1)
			p, v, err := store.Find(ctx, id)
			if errors.Is(err, product.ErrNotFound) {
				err = nearcache.ErrNotFound
			}
			return nearcache.Entry[product.Product]{Value: p, Version: v}, err
		}})
	if err != nil {
		t.Fatal(err)
	}
	h := &httpapi.Handler{Store: store, Cache: cache, Logger: slog.New(slog.NewTextHandler(a.log, nil)),
		Timeout: 5 * time.Second}
	for _, f := range change {
		f(h)
	}
	mux := http.NewServeMux()
	h.Routes(mux)
	server := httptest.NewUnstartedServer(httpapi.WithProblems(mux))
	server.Listener = httpapi.Listener(server.Listener)
	server.Start()
	t.Cleanup(server.Close)
	a.url = server.URL
	return a
}

type answer struct {
	status int
	header http.Header
	body   string
}

// ask sends a request; header are names and values, and a name may come twice.
func ask(t *testing.T, method, url, body string, header ...string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{res.StatusCode, res.Header, string(b)}
}
