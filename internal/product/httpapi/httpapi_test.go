package httpapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/nearcache/nearcache-go/coherence/sqlite"
	"github.com/nearcache/nearcache-go/internal/product"
	"github.com/nearcache/nearcache-go/internal/product/httpapi"
	"github.com/nearcache/nearcache-go/internal/services"
	"github.com/nearcache/nearcache-go/nearcache"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
)

// serve serves the API over SQLite and an in-process Redis.
func serve(t *testing.T) string {
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
	if err := errors.Join(src.Install(t.Context()), store.Install(t.Context())); err != nil {
		t.Fatal(err)
	}
	client, err := nearcache.New(nearcache.Config{Redis: nearcachetest.NewRedis(t).ClientOption()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	if err := client.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	cache, err := nearcache.NewCache(client, product.Namespace, nearcache.Options[string, product.Product]{
		Load: func(ctx context.Context, id string) (nearcache.Entry[product.Product], error) {
			p, v, err := store.Find(ctx, id)
			if errors.Is(err, product.ErrNotFound) {
				err = nearcache.ErrNotFound
			}
			return nearcache.Entry[product.Product]{Value: p, Version: v}, err
		}})
	if err != nil {
		t.Fatal(err)
	}
	h := &httpapi.Handler{Store: store, Cache: cache, Logger: slog.New(slog.DiscardHandler), Metrics: http.NotFoundHandler(),
		Ready: func(context.Context) error { return errors.New("the database is away") }}
	server := httptest.NewServer(h.Routes())
	t.Cleanup(server.Close)
	return server.URL
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

func TestIfNoneMatch_ListsWeakTagsAndSeveralLines(t *testing.T) {
	u := serve(t) + "/products/x"
	ask(t, "PUT", u, `{"name":"X","price":1}`)
	for _, c := range []struct {
		lines []string
		want  int
	}{
		{[]string{`"1"`}, 304}, {[]string{`W/"1"`}, 304}, {[]string{`*`}, 304}, {[]string{`"7", W/"1"`}, 304}, {[]string{`"7"`, `"1"`}, 304},
		{[]string{`"a,b" , "1"`}, 304}, {[]string{`,, "1",`}, 304},
		{[]string{`"2"`}, 200}, {[]string{`1`}, 200}, {[]string{`"1`}, 200}, {[]string{`"a,"1","`}, 200}, {[]string{`"01"`}, 200}, {[]string{``}, 200},
	} {
		for _, method := range []string{"GET", "HEAD"} {
			var header []string
			for _, l := range c.lines {
				header = append(header, "If-None-Match", l)
			}
			got := ask(t, method, u, "", header...)
			if got.status != c.want || got.header.Get("ETag") != `"1"` || got.header.Get("Cache-Status") == "" {
				t.Errorf("%s with %q: %d %v, want %d", method, c.lines, got.status, got.header, c.want)
			}
			if got.body != "" && (method == "HEAD" || c.want == 304) {
				t.Errorf("%s, %d: has a body", method, got.status)
			}
		}
	}
}

func TestPreconditions_OfWrites(t *testing.T) {
	u := serve(t) + "/products/x"
	put := func(want int, header ...string) {
		t.Helper()
		if got := ask(t, "PUT", u, `{"name":"X","price":1}`, header...); got.status != want {
			t.Errorf("PUT with %q: %d %s, want %d", header, got.status, got.body, want)
		}
	}
	put(412, "If-Match", `*`)
	put(412, "If-Match", `"1"`)
	put(201, "If-None-Match", `*`)
	put(412, "If-None-Match", `*`)
	put(400, "If-None-Match", `"1"`)
	put(200, "If-Match", `"1"`)
	put(200, "If-Match", `W/"1", "foreign", "2"`)
	put(412, "If-Match", `"2"`)
	put(412, "If-Match", `W/"3"`) // compared strongly
	put(412, "If-Match", `"foreign"`)
	put(400, "If-Match", `3`)
	put(400, "If-Match", `"3", "4"`)
	put(200, "If-Match", `*`)
	if got := ask(t, "DELETE", u, "", "If-Match", `"3"`); got.status != 412 {
		t.Errorf("DELETE of another version: %d", got.status)
	}
	if got := ask(t, "DELETE", u, "", "If-Match", `"4"`); got.status != 204 || got.header.Get("Nearcache-Version") != "5" {
		t.Errorf("DELETE: %d %v", got.status, got.header)
	}
	put(412, "If-Match", `"4"`) // versions go on across deletes
}

func TestBodies_ThatAreRefused(t *testing.T) {
	u := serve(t)
	for body, has := range map[string]string{
		``:                                      "malformed",
		`null`:                                  "price",
		`[]`:                                    "not an object",
		`{"name":"X"}`:                          `"field":"price"`,
		`{"name":"X","price":null}`:             `"field":"price"`,
		`{"name":"X","price":1.005}`:            "two decimals",
		`{"name":7,"price":1}`:                  "name cannot be a JSON number",
		`{"name":"X","price":1,"colour":"red"}`: "unknown field",
		`{"name":"X","price":1} {}`:             "follows",
		`{"name":"X","price":1}x`:               "malformed",
		`{"name":"a\u0000b","price":1}`:         `"field":"name"`,
		`{"name":"X","price":1,"description":"\u0000"}`:                     `"field":"description"`,
		`{"name":"` + strings.Repeat("x", httpapi.MaxBody) + `","price":1}`: "too large",
		`{"name":"X","price":1}` + strings.Repeat(" ", httpapi.MaxBody):     "too large",
	} {
		if got := ask(t, "PUT", u+"/products/x", body); got.status != 400 || !strings.Contains(got.body, has) {
			t.Errorf("%.60s: %d %.200s; want 400 with %s", body, got.status, got.body, has)
		}
	}
	for _, id := range []string{"", ".", "..", "a\\nb", strings.Repeat("x", 129)} {
		if got := ask(t, "POST", u+"/products", `{"id":"`+id+`","name":"X","price":1}`); got.status != 400 || !strings.Contains(got.body, `"field":"id"`) {
			t.Errorf("id %.20q: %d %s", id, got.status, got.body)
		}
	}
	for _, path := range []string{"/products/%00", "/products/%ff", "/products/%2e%2e", "/products/" + strings.Repeat("x", 129), "/products?after=%00",
		"/products?after=%ff", "/products?limit=501", "/products?limit=x"} {
		if got := ask(t, "GET", u+path, ""); got.status != 400 {
			t.Errorf("%.40s: %d %s", path, got.status, got.body)
		}
	}
}

// TestProblems_HaveTheirMembers is RFC 9457: with no type of its own, a problem's title is that of its status.
func TestProblems_HaveTheirMembers(t *testing.T) {
	u := serve(t)
	for path, status := range map[string]int{"/products/none": 404, "/nowhere": 404, "/products/%00": 400, "/readyz": 503} {
		for _, method := range []string{"GET", "HEAD"} {
			got := ask(t, method, u+path, "")
			if got.status != status || got.header.Get("Content-Type") != "application/problem+json" || got.header.Get("Cache-Control") != "no-store" {
				t.Errorf("%s %s: %d %v", method, path, got.status, got.header)
			}
			if method == "HEAD" {
				continue
			}
			var p struct {
				Type, Title string
				Status      int
			}
			if err := json.Unmarshal([]byte(got.body), &p); err != nil || p.Type != "about:blank" || p.Title != http.StatusText(status) || p.Status != status {
				t.Errorf("%s: %v %s", path, err, got.body)
			}
		}
	}
	if got := ask(t, "PATCH", u+"/products/x", ""); got.status != 405 || got.header.Get("Allow") != "DELETE, GET, HEAD, PUT" ||
		got.header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("PATCH: %d %v", got.status, got.header)
	}
	if got := ask(t, "GET", u+"/products/none", "", "Nearcache-At-Least", "1"); got.status != 503 || got.header.Get("Retry-After") == "" {
		t.Errorf("a version that is not there: %d %v", got.status, got.header)
	}
}

// cacheStatus is what RFC 9211 allows of an item with the parameters used here.
var cacheStatus = regexp.MustCompile(`^nearcache(; hit|; fwd=(request|miss))(; detail=[A-Za-z*][A-Za-z0-9!#$%&'*+.^_|~:/\x60-]*)?$`)

func TestCacheStatus_NamesTheTier(t *testing.T) {
	u := serve(t) + "/products/x"
	ask(t, "PUT", u, `{"name":"X","price":1}`)
	var saw []string
	for range 1000 {
		got := ask(t, "GET", u, "")
		s := got.header.Get("Cache-Status")
		if !cacheStatus.MatchString(s) {
			t.Fatalf("%q is not of RFC 9211's form", s)
		}
		if hit := strings.Contains(s, "; hit"); hit != (got.header.Get("Age") != "") {
			t.Errorf("%q with Age %q", s, got.header.Get("Age"))
		}
		if len(saw) == 0 || saw[len(saw)-1] != s {
			saw = append(saw, s)
		}
		if strings.HasSuffix(s, "L1") {
			break
		}
	}
	want := []string{"nearcache; fwd=miss; detail=source", "nearcache; hit; detail=L2", "nearcache; hit; detail=L1"}
	if diff := cmp.Diff(want, saw); diff != "" {
		t.Error(diff)
	}
	if s := ask(t, "GET", u, "", "Nearcache-Fresh", "?1").header.Get("Cache-Status"); s != "nearcache; fwd=request; detail=source" {
		t.Errorf("a fresh read: %q", s)
	}
}

func TestWrites_AnswerWithTheVersion(t *testing.T) {
	u := serve(t)
	got := ask(t, "POST", u+"/products", `{"id":"a b/c","name":"X","price":1.5}`)
	want := map[string]string{"Etag": `"1"`, "Nearcache-Version": "1", "Location": "/products/a%20b%2Fc", "Content-Type": "application/json"}
	pick := func(h http.Header) map[string]string {
		m := map[string]string{}
		for k := range want {
			m[k] = h.Get(k)
		}
		return m
	}
	if diff := cmp.Diff(want, pick(got.header), cmpopts.EquateEmpty()); diff != "" || got.status != 201 {
		t.Error(got.status, diff)
	}
	got = ask(t, "GET", u+got.header.Get("Location"), "", "Nearcache-At-Least", got.header.Get("Nearcache-Version"))
	if got.status != 200 || got.body != `{"id":"a b/c","name":"X","price":1.50}`+"\n" || got.header.Get("Content-Type") != "application/json" {
		t.Errorf("%d %v %s", got.status, got.header, got.body)
	}
}
