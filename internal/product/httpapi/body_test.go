package httpapi_test

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/nearcache/nearcache-go/internal/product/httpapi"
)

func TestBodies_ThatAreRefused(t *testing.T) {
	u := serve(t).url
	for body, has := range map[string]string{
		``:                                      "malformed",
		`null`:                                  "JSON null and not an object",
		`"x"`:                                   "JSON string and not an object",
		`7`:                                     "JSON number and not an object",
		`true`:                                  "JSON bool and not an object",
		`{"name":"X","price":1,"name":"Y"}`:     "comes twice",
		`{"NAME":"X","price":1}`:                "unknown field",
		`{"name":"\ud800","price":1}`:           "surrogate",
		`{"name":"\ud800\u0041","price":1}`:     "surrogate",
		`{"name":"\udc00","price":1}`:           "surrogate",
		"{\"name\":\"\xff\",\"price\":1}":       "UTF-8",
		`{"name":"X","price":1`:                 "malformed",
		`{"name":"\u0085","price":1}`:           `"field":"name"`,
		`{"name":"X","price":1e400}`:            "price",
		`{"name":{},"price":1}`:                 "name cannot be a JSON object",
		`{"id":7,"name":"X","price":1}`:         "id cannot be a JSON number",
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
	for _, id := range []string{"", "a\u0085b", "a\u009f", "\u2028", ".", "..", "a\\nb", strings.Repeat("x", 129)} {
		if got := ask(t, "POST", u+"/products", `{"id":"`+id+`","name":"X","price":1}`); got.status != 400 ||
			!strings.Contains(got.body, `"field":"id"`) {
			t.Errorf("id %.20q: %d %s", id, got.status, got.body)
		}
	}
	for _, path := range []string{"/products/%00", "/products/%ff", "/products/%2e%2e", "/products/" + strings.Repeat("x",
		129), "/products?after=%00",
		"/products?after=%ff", "/products?limit=501", "/products?limit=x", "/products?limit=%zz",
		"/products?limit=", "/products?limit=0", "/products?limit=-1", "/products?limit=%2B5", "/products?limit=05",
		"/products?limit=1e2",
		"/products?limit=99999999999999999999", "/products?limit=1&limit=2", "/products?after=a&after=b", "/products?lmit=1",
		"/products?after=%zz",
		"/products?a;b", "/products/x?y=%zz", "/products/%c2%85", "/products/%e2%80%a8", "/products/%zz", "/products/%",
		"/products/%2", "/%zz"} {
		got := raw(t, u, "GET "+path+" HTTP/1.1\r\nHost: x\r\n\r\n")
		if got.status != 400 || got.header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%.40s: %d %v %s", path, got.status, got.header, got.body)
		}
	}
}

// raw sends a request as it is, which net/http's client would not.
func raw(t *testing.T, u, request string) answer {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(u, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("%.60q: %v", request, err)
	}
	defer res.Body.Close()
	b, _ := io.ReadAll(res.Body)
	return answer{res.StatusCode, res.Header, string(b)}
}

// TestRefusals_OfTheServerItself are problems as well as those of the handlers.
func TestRefusals_OfTheServerItself(t *testing.T) {
	u := serve(t).url
	for request, want := range map[string]int{
		"GET /products/%zz HTTP/1.1\r\nHost: x\r\n\r\n":                                        400,
		"GET /products/x HTTP/1.1\r\n\r\n":                                                     400,
		"GET /products/x HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n":                               400,
		"GET /products/x HTTP/3.7\r\nHost: x\r\n\r\n":                                          505,
		"PUT /products/x HTTP/1.1\r\nHost: x\r\nExpect: 200-ok\r\nContent-Length: 2\r\n\r\n{}": 417,
		"nonsense\r\n\r\n": 400,
		"GET /products/x HTTP/1.1\r\nHost: x\r\nbad header: y\r\n\r\n":                                 400,
		"PUT /products/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n":                       501,
		"PUT /products/x HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n":                            400,
		"GET /products/x HTTP/1.1\r\nHost: x\r\nLong: " + strings.Repeat("x", 2<<20) + "\r\n\r\n":      431,
		"PUT /products/x HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}":      400,
		"PUT /products/x HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}": 415,
	} {
		got := raw(t, u, request)
		var p struct {
			Title, Detail string
			Status        int
		}
		if err := json.Unmarshal([]byte(got.body), &p); err != nil || got.status != want || p.Status != want ||
			p.Detail == "" ||
			p.Title != http.StatusText(want) || got.header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%.60q: %d %v %s; want %d", request, got.status, got.header, got.body, want)
		}
	}
}

// TestMethods: HEAD is GET without a body, OPTIONS says what there is, and all others are refused.
func TestMethods(t *testing.T) {
	u := serve(t).url
	ask(t, "PUT", u+"/products/x", `{"name":"X","price":1}`)
	for _, c := range []struct {
		method, path string
		status       int
		allow        string
	}{
		{"HEAD", "/products/x", 200, ""}, {"HEAD", "/products", 200, ""}, {"HEAD", "/products/none", 404, ""},
		{"OPTIONS", "/products/x", 204, "DELETE, GET, HEAD, PUT, OPTIONS"}, {"OPTIONS", "/products", 204,
			"GET, HEAD, POST, OPTIONS"},
		{"OPTIONS", "/nowhere", 404, ""},
		{"PATCH", "/products/x", 405, "DELETE, GET, HEAD, PUT, OPTIONS"}, {"POST", "/products/x", 405,
			"DELETE, GET, HEAD, PUT, OPTIONS"},
		{"DELETE", "/products", 405, "GET, HEAD, POST, OPTIONS"}, {"TRACE", "/products/x", 405,
			"DELETE, GET, HEAD, PUT, OPTIONS"},
		{"GET", "/products/", 404, ""}, {"GET", "/products/a/b", 404, ""}, {"GET", "/products/a%2Fb", 404, ""}, {"GET", "/",
			404, ""},
	} {
		got := ask(t, c.method, u+c.path, "")
		if got.status != c.status || got.header.Get("Allow") != c.allow {
			t.Errorf("%s %s: %d, Allow %q", c.method, c.path, got.status, got.header.Get("Allow"))
		}
		if c.method == "HEAD" && got.body != "" {
			t.Errorf("HEAD %s has a body", c.path)
		}
	}
}

// TestHeaders_ThatAreRefused: none is dropped in silence.
func TestHeaders_ThatAreRefused(t *testing.T) {
	u := serve(t).url + "/products/x"
	ask(t, "PUT", u, `{"name":"X","price":1}`)
	for _, h := range [][]string{
		{"Nearcache-Fresh", "?2"}, {"Nearcache-Fresh", "true"}, {"Nearcache-Fresh", "?1", "Nearcache-Fresh", "?0"},
		{"Nearcache-Fresh", ""},
		{"Nearcache-At-Least", "x"}, {"Nearcache-At-Least", "-1"}, {"Nearcache-At-Least", "1.5"}, {"Nearcache-At-Least",
			"18446744073709551616"},
		{"Nearcache-At-Least", "1", "Nearcache-At-Least", "2"}, {"Nearcache-At-Least", `"1`}, {"Nearcache-At-Least", ""},
		{"Nearcache-Max-Staleness", "0"}, {"Nearcache-Max-Staleness", "-1"}, {"Nearcache-Max-Staleness", "1e3"},
		{"Nearcache-Max-Staleness", "inf"},
		{"Nearcache-Max-Staleness", "NaN"}, {"Nearcache-Max-Staleness", "0x1p-2"}, {"Nearcache-Max-Staleness", "99999999999"},
		{"Nearcache-Max-Staleness", "1", "Nearcache-Max-Staleness", "2"}, {"Nearcache-Serve-Stale", "soon"},
		{"Nearcache-Serve-Stale", ""},
		{"If-Match", ""}, {"If-Match", "1"}, {"If-Match", `*, "1"`},
	} {
		if got := ask(t, "GET", u, "", h...); got.status != 400 ||
			got.header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("header %q: got the status %d and %s, want 400 and a problem", h, got.status, got.body)
		}
	}
	if got := ask(t, "POST", strings.TrimSuffix(u, "/x"), `{"id":"y","name":"Y","price":1}`, "If-None-Match",
		"*"); got.status != 400 {
		t.Errorf("POST with a precondition: %d", got.status)
	}
}

// TestItems_TakeNoParameters: a DELETE with a condition in its query deleted without it.
func TestItems_TakeNoParameters(t *testing.T) {
	u := serve(t).url
	const body = `{"name":"X","price":1}`
	ask(t, "PUT", u+"/products/x", body)
	for _, c := range [][2]string{{"GET", "/products/x?version=7"}, {"DELETE", "/products/x?if-match=7"},
		{"PUT", "/products/x?%zz"}, {"PUT", "/products/x?y"}, {"POST", "/products?id=y"}} {
		if got := ask(t, c[0], u+c[1], body); got.status != 400 {
			t.Errorf("%s %s: %d %s, want 400", c[0], c[1], got.status, got.body)
		}
	}
	if got := ask(t, "GET", u+"/products/x?", ""); got.status != 200 {
		t.Errorf("an empty query: %d %s, want 200", got.status, got.body)
	}
}

// TestIDs_AreReadWhereTheyWereCreated: a product could be created whose Location was no path of the server.
func TestIDs_AreReadWhereTheyWereCreated(t *testing.T) {
	u := serve(t).url
	for _, id := range []string{"/", "//", "a/", "/a", "a//b", "a/../b", "a/.", "./a", "...", "%", "%2F", "a?b", "a#b",
		";",
		" ", "+", "\"", "\\", "*", "\u00e9", "\U0001f600", "\u200b", "."} {
		body, err := json.Marshal(map[string]any{"id": id, "name": "n", "price": 1})
		if err != nil {
			t.Fatal(err)
		}
		created := ask(t, "POST", u+"/products", string(body))
		if created.status == 400 && (id == "/" || id == ".") {
			continue
		}
		location := created.header.Get("Location")
		if created.status != 201 {
			t.Errorf("%q: %d %s", id, created.status, created.body)
		} else if got := ask(t, "GET", u+location, ""); got.status != 200 || got.body != created.body {
			t.Errorf("%q at %s: %d %s, want what was created", id, location, got.status, got.body)
		} else if got := ask(t, "DELETE", u+location, ""); got.status != 204 {
			t.Errorf("DELETE %s: %d %s", location, got.status, got.body)
		}
	}
}
