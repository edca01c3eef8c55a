package operator_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/nearcache/nearcache-go/nearcache"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
)

// shown is an instance whose DebugHandler is served to those who are authorised, and which is hit while it is asked.
func shown(t *testing.T, redis *nearcachetest.Redis, hit func(*nearcache.Cache[string, int])) *httptest.Server {
	t.Helper()
	client, err := nearcache.New(nearcache.Config{Redis: redis.ClientOption()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	if err := client.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	cache, err := nearcache.NewCache(client, "product", nearcache.Options[string, int]{
		Load: func(context.Context, string) (nearcache.Entry[int], error) {
			return nearcache.Entry[int]{Value: 1, Version: 7}, nil
		}})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		held(t, cache, fmt.Sprint("p", i))
	}
	view := nearcache.DebugHandler(client)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+secret {
			http.Error(w, "who are you?", http.StatusUnauthorized)
			return
		}
		hit(cache)
		view.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return server
}

func TestTop_ShowsWhatInstancesServe(t *testing.T) {
	redis := nearcachetest.NewRedis(t)
	hit := func(c *nearcache.Cache[string, int]) {
		for range 200 {
			_, _ = c.Get(context.Background(), "p0")
			_, _ = c.Get(context.Background(), "p0")
			_, _ = c.Get(context.Background(), "p1")
		}
	}
	one, two := shown(t, redis, hit), shown(t, redis, hit)
	env := map[string]string{"NEARCACHE_DEBUG_AUTHORIZATION": "Bearer " + secret}
	line := []string{"top", one.URL, two.URL, "--every", "100ms", "--looks", "3"}
	out := must(t, env, "INSTANCE", line...)
	looks := strings.Split(out, "INSTANCE")
	last := looks[len(looks)-1]
	if len(looks) != 4 || !strings.Contains(last, one.URL) || !strings.Contains(last, two.URL) ||
		!strings.Contains(last, "100.0%") {
		t.Errorf("got\n%s\nwant three looks at two instances, the last one with a hit ratio", out)
	}
	first, second := strings.Index(last, `product:"p0"`), strings.Index(last, `product:"p1"`)
	if first < 0 || second < first {
		t.Errorf("got\n%s\nwant p0 before p1", last)
	}
	if row := last[first : first+strings.Index(last[first:], "\n")]; !strings.Contains(row, "  2 ") ||
		!strings.Contains(row, "  7 ") {
		t.Errorf("got %q, want version 7 in L1 of 2 instances", row)
	}
	code, out, _ := call(t, env, append(line, "--json", "--keys", "1")...)
	if code != 0 || strings.Count(out, "\n") != 3 || !strings.Contains(out, `"key":"p0"`) ||
		strings.Contains(out, `"key":"p1"`) {
		t.Errorf("got %d and\n%s\nwant three lines, with one key", code, out)
	}

	// One instance that is away is said, and the other is shown.
	two.Close()
	must(t, env, "refused", line...)
	fails(t, nil, 1, "401", "top", one.URL, "--looks", "1")
	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	fails(t, env, 1, "404", "top", other.URL, "--looks", "1")
	html := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "<html>")
	}))
	defer html.Close()
	fails(t, env, 1, "no DebugHandler", "top", html.URL, "--looks", "1")
}
