package httpapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nearcache/nearcache-go/internal/product"
	"github.com/nearcache/nearcache-go/internal/product/httpapi"
	"github.com/nearcache/nearcache-go/nearcache"
)

// stuck is a store that answers nothing before the request's time is over, and then what is set.
type stuck struct {
	product.Store
	err error // the reason beside the context's
}

func (s stuck) wait(ctx context.Context) error {
	<-ctx.Done()
	return fmt.Errorf("%w: %w", s.err, ctx.Err())
}

func (s stuck) List(ctx context.Context, _ product.Page) ([]product.Product, error) {
	return nil, s.wait(ctx)
}

func (s stuck) Create(ctx context.Context, _ product.Product) (product.Version, error) {
	return 0, s.wait(ctx)
}

func (s stuck) Replace(ctx context.Context, _ product.Product, _ product.Condition) (product.Version, bool, error) {
	return 0, false, s.wait(ctx)
}

func (s stuck) Delete(ctx context.Context, _ string, _ product.Condition) (product.Version, error) {
	return 0, s.wait(ctx)
}

// TestDeadline_OfEachRequest: the answer comes when the time is over, and a write's says what may have been written.
func TestDeadline_OfEachRequest(t *testing.T) {
	for _, c := range []struct {
		err     error
		outcome string
	}{{nearcache.ErrNotCommitted, "not-committed"}, {product.ErrOutcomeUnknown, "unknown"}} {
		u := serve(t, func(h *httpapi.Handler) {
			h.Timeout = 50 * time.Millisecond
			h.Store = stuck{h.Store, c.err}
		}).url
		for _, r := range []struct{ method, path, body, outcome string }{
			{"GET", "/products", "", ""},
			{"PUT", "/products/x", `{"name":"X","price":1}`, c.outcome},
			{"POST", "/products", `{"id":"x","name":"X","price":1}`, c.outcome},
			{"DELETE", "/products/x", "", c.outcome},
		} {
			got := ask(t, r.method, u+r.path, r.body)
			var p struct{ Detail, Outcome string }
			if err := json.Unmarshal([]byte(got.body), &p); err != nil || got.status != 504 || p.Outcome != r.outcome ||
				!strings.Contains(p.Detail, "within 50ms") {
				t.Errorf("%s %s: %d %s, want outcome %q", r.method, r.path, got.status, got.body, r.outcome)
			}
			if again := got.header.Get("Retry-After") != ""; again != (r.outcome != "unknown") {
				t.Errorf("%s %s, outcome %q: Retry-After %q", r.method, r.path, r.outcome, got.header.Get("Retry-After"))
			}
			if r.outcome == "unknown" && !strings.Contains(p.Detail, "may have been done") {
				t.Errorf("got the detail %s, want one that says the write may have been done", p.Detail)
			}
		}
	}
}

// refusing is a store that the database has refused.
type refusing struct{ stuck }

func (r refusing) wait(context.Context) error {
	return fmt.Errorf("%w: connection refused", nearcache.ErrNotCommitted)
}

func (r refusing) Replace(ctx context.Context, _ product.Product, _ product.Condition) (product.Version, bool, error) {
	return 0, false, r.wait(ctx)
}

// TestRefusedWrite_LeavesTheTiers: after a PUT that has certainly changed nothing the caches hold what they held.
func TestRefusedWrite_LeavesTheTiers(t *testing.T) {
	a := serve(t)
	u := a.url + "/products/x"
	ask(t, "PUT", u, `{"name":"X","price":1}`)
	for range 100 {
		if strings.Contains(ask(t, "GET", u, "").header.Get("Cache-Status"), "L1") {
			break
		}
	}
	if got := ask(t, "PUT", u, `{"name":"Y","price":1}`, "If-Match", `"9"`); got.status != 412 {
		t.Fatal(got.status)
	}
	if got := ask(t, "GET", u, ""); !strings.Contains(got.header.Get("Cache-Status"), "L1") {
		t.Errorf("after a write that was refused: %v", got.header)
	}
	b := serve(t, func(h *httpapi.Handler) { h.Store = refusing{stuck{Store: h.Store}} })
	got := ask(t, "PUT", b.url+"/products/x", `{"name":"Y","price":1}`)
	var p struct{ Detail, Outcome string }
	if err := json.Unmarshal([]byte(got.body), &p); err != nil || got.status != 503 || p.Outcome != "not-committed" {
		t.Errorf("got the status %d and %s, want 503 and the outcome not-committed", got.status, got.body)
	}
}

// TestForcedReads_AreLimited: what anybody may send must not cost the database a read each.
func TestForcedReads_AreLimited(t *testing.T) {
	const burst = 5
	for name, header := range map[string][]string{
		"Fresh":         {"Nearcache-Fresh", "?1"},
		"a tiny bound":  {"Nearcache-Max-Staleness", "0.000000001"},
		"both":          {"Nearcache-Fresh", "?1", "Nearcache-Max-Staleness", "0.000001"},
		"no such state": {"Nearcache-At-Least", "9999999"},
	} {
		a := serve(t, func(h *httpapi.Handler) {
			h.SourceReads, h.MinStaleness = httpapi.NewSourceReads(1, burst), 200*time.Millisecond
		})
		u := a.url + "/products/x"
		ask(t, "PUT", u, `{"name":"X","price":1}`)
		for range 100 {
			if strings.Contains(ask(t, "GET", u, "").header.Get("Cache-Status"), "L1") {
				break
			}
		}
		before, limited := a.loads.Load(), 0
		for range 30 {
			got := ask(t, "GET", u, "", header...)
			if got.status == 429 {
				limited++
				if got.header.Get("Retry-After") == "" || got.header.Get("Content-Type") != "application/problem+json" {
					t.Errorf("%s: got the header %v, want Retry-After and a problem", name, got.header)
				}
			}
		}
		loads := a.loads.Load() - before
		t.Logf("%s: 30 reads, %d loads, %d limited", name, loads, limited)
		if loads > burst+10 || limited < 15 {
			t.Errorf("%s: 30 reads, %d loads, %d limited", name, loads, limited)
		}
		for _, fine := range [][]string{nil, {"Nearcache-At-Least", "1"}, {"Nearcache-Serve-Stale", "5"}} {
			if got := ask(t, "GET", u, "", fine...); got.status != 200 {
				t.Errorf("%s: afterwards a read with %q: %d", name, fine, got.status)
			}
		}
	}
}

// TestForcedReads_AnHonestClientIsNotLimited: it asks for the versions that its writes have returned.
func TestForcedReads_AnHonestClientIsNotLimited(t *testing.T) {
	a := serve(t, func(h *httpapi.Handler) { h.SourceReads = httpapi.NewSourceReads(1, 1) })
	u := a.url + "/products/x"
	for i := range 50 {
		v := ask(t, "PUT", u, `{"name":"`+strconv.Itoa(i)+`","price":1}`).header.Get("Nearcache-Version")
		if got := ask(t, "GET", u, "", "Nearcache-At-Least", v); got.status != 200 {
			t.Fatalf("version %s: %d %s", v, got.status, got.body)
		}
	}
}

// invalid is a store whose database has a constraint that Validate does not know.
type invalid struct{ product.Store }

func (invalid) Create(context.Context, product.Product) (product.Version, error) {
	return 0, fmt.Errorf("%w: %w", nearcache.ErrNotCommitted, errors.Join(product.ErrInvalid))
}

func TestConstraint_IsNoOutage(t *testing.T) {
	u := serve(t, func(h *httpapi.Handler) { h.Store = invalid{h.Store} }).url
	if got := ask(t, "POST", u+"/products", `{"id":"x","name":"X","price":1}`); got.status != 409 ||
		!strings.Contains(got.body, "refuses") {
		t.Errorf("got the status %d and %s, want 409 with a refusal", got.status, got.body)
	}
}
