// Package httpapi serves products over HTTP, reads through the near cache. docs/reference/http.md describes it for
// its users.
package httpapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/nearcache/nearcache-go/internal/product"
	"github.com/nearcache/nearcache-go/nearcache"
)

// Handler serves the API. Its fields must be set before the first request.
type Handler struct {
	Store  product.Store
	Cache  *nearcache.Cache[string, product.Product]
	Logger *slog.Logger
	// Timeout is the time that each request has. Required.
	Timeout time.Duration
	// MinStaleness is the smallest bound that the caches are expected to prove. A read that asks for a smaller one counts
	// as one that forces a read of the source. Defaults to none.
	MinStaleness time.Duration
	// SourceReads limits the reads of the source that a request's headers force. nil does not.
	SourceReads *SourceReads
	// AfterCommit, for tests, is called after a write's commit and before anybody is told of it.
	AfterCommit func()
}

const listPattern = "GET /products"

// Routes adds the API's routes to a mux.
func (h *Handler) Routes(mux *http.ServeMux) {
	for pattern, serve := range map[string]http.HandlerFunc{
		"GET /products/{id}":    h.get,
		"PUT /products/{id}":    h.put,
		"DELETE /products/{id}": h.delete,
		listPattern:             h.list,
		"POST /products":        h.post,
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			ctx, cancel := context.WithTimeout(r.Context(), h.Timeout)
			defer cancel()
			if _, err := url.ParseQuery(r.URL.RawQuery); err != nil {
				problem(w, http.StatusBadRequest, "malformed query: it is not percent-encoded as a query must be")
				return
			}
			if pattern != listPattern && r.URL.RawQuery != "" {
				problem(w, http.StatusBadRequest, "unknown parameter: only a list takes parameters")
				return
			}
			serve(w, r.WithContext(ctx))
		})
	}
}

func (h *Handler) get(w http.ResponseWriter, r *http.Request) {
	id, ok := pathID(w, r)
	if !ok {
		return
	}
	ro, err := readOptions(r.Header)
	pre, err2 := readConditions(r.Header)
	if err := errors.Join(err, err2); err != nil {
		problem(w, http.StatusBadRequest, err.Error())
		return
	}
	res, err := h.read(r.Context(), id, ro)
	if err == nil || errors.Is(err, nearcache.ErrNotFound) {
		describe(w.Header(), res, ro.Fresh)
	}
	if h.fail(w, r, err) {
		return
	}
	now := product.State{There: true, Product: res.Value, Version: res.Version}
	w.Header().Set("ETag", etag(now))
	w.Header().Set("Cache-Control", "no-cache") // a client may keep it, and asks each time
	switch {
	case !pre.matches(now):
		problem(w, http.StatusPreconditionFailed, "the product is not in a state that If-Match names")
	case pre.excludes(now):
		w.WriteHeader(http.StatusNotModified)
	default:
		writeJSON(w, http.StatusOK, res.Value)
	}
}

// read reads through the cache, within what the limit lets a request's headers force.
//
// Fresh and a bound that no tier is expected to prove take a token before the read. AtLeast takes one when the answer
// is that there is no such version: a client that sends what a write returned never gets that answer, and one that
// makes versions up gets nothing else. Without tokens AtLeast is answered from the tiers if they have what it asks
// for.
func (h *Handler) read(ctx context.Context, id string, ro nearcache.ReadOptions) (nearcache.Result[product.Product],
	error) {
	forces := ro.Fresh || ro.MaxStaleness > 0 && ro.MaxStaleness < h.MinStaleness
	if forces && !h.SourceReads.take() {
		return nearcache.Result[product.Product]{}, errLimited
	}
	if ro.AtLeast == 0 || forces {
		return h.Cache.Read(ctx, id, ro)
	}
	if h.SourceReads.exhausted() {
		tiers := ro
		tiers.AtLeast = 0
		res, err := h.Cache.Read(ctx, id, tiers)
		if (err == nil || errors.Is(err, nearcache.ErrNotFound)) && res.Version < ro.AtLeast {
			h.SourceReads.refused()
			return nearcache.Result[product.Product]{}, errLimited
		}
		return res, err
	}
	res, err := h.Cache.Read(ctx, id, ro)
	if errors.Is(err, nearcache.ErrNotReady) {
		h.SourceReads.take()
	}
	return res, err
}

func (h *Handler) list(w http.ResponseWriter, r *http.Request) {
	asked, err := page(r.URL.Query())
	if err != nil {
		problem(w, http.StatusBadRequest, err.Error())
		return
	}
	ps, err := h.Store.List(r.Context(), asked)
	if h.fail(w, r, err) {
		return
	}
	page := struct {
		Products []product.Product `json:"products"`
		Next     string            `json:"next,omitempty"`
	}{Products: ps}
	if len(ps) == asked.Limit {
		next := url.Values{"limit": {strconv.Itoa(asked.Limit)}, "after": {ps[len(ps)-1].ID}}
		if asked.Search != "" {
			next.Set("search", asked.Search)
		}
		page.Next = "/products?" + next.Encode()
	}
	w.Header().Set("Cache-Control", "no-store")
	writeJSON(w, http.StatusOK, page)
}

// page reads the parameters of a list. One that is unknown, or comes twice, is refused like a field of a body.
func page(q url.Values) (p product.Page, err error) {
	const most, longest = 500, 200
	p.Limit = 50
	for name, values := range q {
		if name != "limit" && name != "after" && name != "search" {
			return p, fmt.Errorf("unknown parameter %.40q: limit, after and search are known", name)
		}
		if len(values) > 1 {
			return p, fmt.Errorf("the parameter %s is given %d times", name, len(values))
		}
	}
	if q.Has("limit") {
		n, err := strconv.Atoi(q.Get("limit"))
		if err != nil || n < 1 || n > most || strconv.Itoa(n) != q.Get("limit") {
			return p, fmt.Errorf("bad limit: a number from 1 to %d is needed", most)
		}
		p.Limit = n
	}
	p.After = q.Get("after")
	if why := product.CheckID(p.After); p.After != "" && why != "" {
		return p, errors.New("bad after: an id " + why)
	}
	p.Search = q.Get("search")
	if len(p.Search) > longest || !utf8.ValidString(p.Search) || strings.ContainsRune(p.Search, 0) {
		return p, fmt.Errorf("bad search: UTF-8 of at most %d bytes, without a zero, is needed", longest)
	}
	return p, nil
}

func pathID(w http.ResponseWriter, r *http.Request) (string, bool) {
	id := r.PathValue("id")
	if why := product.CheckID(id); why != "" {
		problem(w, http.StatusBadRequest, "bad id: it "+why)
		return "", false
	}
	return id, true
}

func location(id string) string { return "/products/" + url.PathEscape(id) }
