package httpapi_test

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// TestProblems_HaveTheirMembers is RFC 9457: with no type of its own, a problem's title is that of its status.
func TestProblems_HaveTheirMembers(t *testing.T) {
	u := serve(t).url
	for path, status := range map[string]int{"/products/none": 404, "/nowhere": 404, "/products/%00": 400} {
		for _, method := range []string{"GET", "HEAD"} {
			got := ask(t, method, u+path, "")
			if got.status != status || got.header.Get("Content-Type") != "application/problem+json" ||
				got.header.Get("Cache-Control") != "no-store" {
				t.Errorf("%s %s: got the status %d and header %v, want an uncacheable problem",
					method, path, got.status, got.header)
			}
			if method == "HEAD" {
				continue
			}
			var p struct {
				Type, Title string
				Status      int
			}
			if err := json.Unmarshal([]byte(got.body), &p); err != nil || p.Type != "about:blank" ||
				p.Title != http.StatusText(status) || p.Status != status {
				t.Errorf("%s: got error %v and body %s, want a problem with the status and its text", path, err, got.body)
			}
		}
	}
	if got := ask(t, "PATCH", u+"/products/x", ""); got.status != 405 ||
		got.header.Get("Allow") != "DELETE, GET, HEAD, PUT, OPTIONS" ||
		got.header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("PATCH: %d %v", got.status, got.header)
	}
	if got := ask(t, "GET", u+"/products/none", "", "Nearcache-At-Least", "1"); got.status != 503 ||
		got.header.Get("Retry-After") == "" {
		t.Errorf("a version that is not there: %d %v", got.status, got.header)
	}
}

// cacheStatus is what RFC 9211 allows of an item with the parameters used here.
var cacheStatus = regexp.MustCompile(`^nearcache(; hit|; fwd=(request|miss))` +
	`(; detail=[A-Za-z*][A-Za-z0-9!#$%&'*+.^_|~:/\x60-]*)?$`)

func TestCacheStatus_NamesTheTier(t *testing.T) {
	u := serve(t).url + "/products/x"
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
	if s := ask(t, "GET", u, "", "Nearcache-Fresh",
		"?1").header.Get("Cache-Status"); s != "nearcache; fwd=request; detail=source" {
		t.Errorf("a fresh read: %q", s)
	}
}

func TestWrites_AnswerWithTheVersion(t *testing.T) {
	u := serve(t).url
	got := ask(t, "POST", u+"/products", `{"id":"a b/c","name":"X","price":1.5}`)
	want := map[string]string{"Nearcache-Version": "1", "Location": "/products/a%20b%2Fc",
		"Content-Type": "application/json"}
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
	tag := got.header.Get("ETag")
	got = ask(t, "GET", u+got.header.Get("Location"), "", "Nearcache-At-Least", got.header.Get("Nearcache-Version"))
	if got.header.Get("ETag") != tag || tag == "" {
		t.Errorf("the tag of the write is %s, of the read %s", tag, got.header.Get("ETag"))
	}
	if got.status != 200 || got.body != `{"id":"a b/c","name":"X","price":1.50}`+"\n" ||
		got.header.Get("Content-Type") != "application/json" {
		t.Errorf("got the status %d, header %v and body %s, want 200 and the product", got.status, got.header, got.body)
	}
}
