// Package httpapi serves products over HTTP, reads through the near cache. docs/reference/http.md describes it for its users.
package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"

	"github.com/nearcache/nearcache-go/internal/product"
	"github.com/nearcache/nearcache-go/nearcache"
)

// MaxBody bounds a request's body.
const MaxBody = 64 << 10

// Handler serves the API. Its fields must be set before the first request.
type Handler struct {
	Store   product.Store
	Cache   *nearcache.Cache[string, product.Product]
	Ready   func(context.Context) error // why the server cannot serve; nil if it can
	Status  func() nearcache.Status
	Metrics http.Handler
	Logger  *slog.Logger
	// AfterCommit, for tests, is called after a write's commit and before anybody is told of it.
	AfterCommit func()
}

// Routes is the whole API.
func (h *Handler) Routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /products/{id}", h.get)
	mux.HandleFunc("PUT /products/{id}", h.put)
	mux.HandleFunc("DELETE /products/{id}", h.delete)
	mux.HandleFunc("GET /products", h.list)
	mux.HandleFunc("POST /products", h.post)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { text(w, "ok\n") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if err := h.Ready(r.Context()); err != nil {
			problem(w, http.StatusServiceUnavailable, "not ready: "+err.Error())
			return
		}
		text(w, "ready\n")
	})
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, http.StatusOK, statusOf(h.Status())) })
	mux.Handle("GET /metrics", h.Metrics)
	return withProblems(mux)
}

func text(w http.ResponseWriter, s string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = io.WriteString(w, s)
}

func (h *Handler) get(w http.ResponseWriter, r *http.Request) {
	id, ok := pathID(w, r)
	if !ok {
		return
	}
	ro, err := readOptions(r.Header)
	if err != nil {
		problem(w, http.StatusBadRequest, err.Error())
		return
	}
	res, err := h.Cache.Read(r.Context(), id, ro)
	if err == nil || errors.Is(err, nearcache.ErrNotFound) {
		describe(w.Header(), res, ro.Fresh)
	}
	if err != nil {
		h.fail(w, r, err)
		return
	}
	w.Header().Set("ETag", etag(res.Version))
	w.Header().Set("Cache-Control", "no-cache") // a client may keep it, and asks each time
	if unchanged(r.Header, res.Version) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	writeJSON(w, http.StatusOK, res.Value)
}

func (h *Handler) put(w http.ResponseWriter, r *http.Request) {
	id, ok := pathID(w, r)
	if !ok {
		return
	}
	match, err := ifMatch(r.Header)
	create, err2 := onlyCreate(r.Header)
	if err := errors.Join(err, err2); err != nil {
		problem(w, http.StatusBadRequest, err.Error())
		return
	}
	p, ok := h.body(w, r)
	if !ok {
		return
	}
	if p.ID == "" {
		p.ID = id
	}
	if p.ID != id {
		problem(w, http.StatusBadRequest, fmt.Sprintf("the ids differ: the path names %q and the body %q", id, p.ID))
		return
	}
	if !valid(w, p) {
		return
	}
	created := false
	v, err := h.write(r.Context(), p, func(ctx context.Context) (v product.Version, err error) {
		if !create {
			v, created, err = h.Store.Replace(ctx, p, match)
			return v, err
		}
		if v, err = h.Store.Create(ctx, p); errors.Is(err, product.ErrExists) {
			err = product.ErrConflict
		}
		created = err == nil
		return v, err
	})
	if h.fail(w, r, err) {
		return
	}
	status := http.StatusOK
	if created {
		status = http.StatusCreated
		w.Header().Set("Location", location(p.ID))
	}
	h.written(w, status, p, v)
}

func (h *Handler) post(w http.ResponseWriter, r *http.Request) {
	p, ok := h.body(w, r)
	if !ok || !valid(w, p) {
		return
	}
	v, err := h.write(r.Context(), p, func(ctx context.Context) (product.Version, error) { return h.Store.Create(ctx, p) })
	if h.fail(w, r, err) {
		return
	}
	w.Header().Set("Location", location(p.ID))
	h.written(w, http.StatusCreated, p, v)
}

func (h *Handler) delete(w http.ResponseWriter, r *http.Request) {
	id, ok := pathID(w, r)
	if !ok {
		return
	}
	match, err := ifMatch(r.Header)
	if err != nil {
		problem(w, http.StatusBadRequest, err.Error())
		return
	}
	v, err := h.Cache.Write(r.Context(), id, func(ctx context.Context) (product.Version, error) {
		return h.committed(h.Store.Delete(ctx, id, match))
	})
	if h.fail(w, r, err) {
		return
	}
	w.Header().Set(headerVersion, v.String())
	w.WriteHeader(http.StatusNoContent)
}

// write runs a write of a product's new state through the cache.
func (h *Handler) write(ctx context.Context, p product.Product, tx func(context.Context) (product.Version, error)) (product.Version, error) {
	return h.Cache.WriteEntry(ctx, p.ID, func(ctx context.Context) (nearcache.Entry[product.Product], error) {
		v, err := h.committed(tx(ctx))
		return nearcache.Entry[product.Product]{Value: p, Version: v}, err
	})
}

// committed marks the refusals after which the cache has nothing to do.
func (h *Handler) committed(v product.Version, err error) (product.Version, error) {
	if errors.Is(err, product.ErrConflict) || errors.Is(err, product.ErrExists) || errors.Is(err, product.ErrNotFound) {
		return 0, fmt.Errorf("%w: %w", nearcache.ErrNotCommitted, err)
	}
	if err == nil && h.AfterCommit != nil {
		h.AfterCommit()
	}
	return v, err
}

func (h *Handler) written(w http.ResponseWriter, status int, p product.Product, v product.Version) {
	w.Header().Set("ETag", etag(v))
	w.Header().Set(headerVersion, v.String())
	writeJSON(w, status, p)
}

func (h *Handler) list(w http.ResponseWriter, r *http.Request) {
	limit := 50
	if s := r.URL.Query().Get("limit"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || n > 500 {
			problem(w, http.StatusBadRequest, "bad limit: a number from 1 to 500 is needed")
			return
		}
		limit = n
	}
	after := r.URL.Query().Get("after")
	if why := product.CheckID(after); after != "" && why != "" {
		problem(w, http.StatusBadRequest, "bad after: an id "+why)
		return
	}
	ps, err := h.Store.List(r.Context(), after, limit)
	if h.fail(w, r, err) {
		return
	}
	page := struct {
		Products []product.Product `json:"products"`
		Next     string            `json:"next,omitempty"`
	}{Products: ps}
	if len(ps) == limit {
		page.Next = "/products?" + url.Values{"limit": {strconv.Itoa(limit)}, "after": {ps[limit-1].ID}}.Encode()
	}
	w.Header().Set("Cache-Control", "no-store")
	writeJSON(w, http.StatusOK, page)
}

// body reads a product from the request. What the request calls its content does not matter: it must be JSON.
func (h *Handler) body(w http.ResponseWriter, r *http.Request) (p product.Product, ok bool) {
	var in struct {
		product.Product
		Price *product.Price `json:"price"` // hides the product's, to tell 0 from nothing
	}
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, MaxBody))
	d.DisallowUnknownFields()
	err := d.Decode(&in)
	if err == nil {
		var more json.Token
		if more, err = d.Token(); err == nil {
			err = fmt.Errorf("%v follows the JSON object", more)
		} else if err == io.EOF {
			err = nil
		}
	}
	var large *http.MaxBytesError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &large):
		problem(w, http.StatusBadRequest, fmt.Sprintf("body too large: at most %d bytes are taken", MaxBody))
	case errors.As(err, &kind) && kind.Field != "":
		problem(w, http.StatusBadRequest, fmt.Sprintf("malformed body: %s cannot be a JSON %s", kind.Field, kind.Value))
	case errors.As(err, &kind):
		problem(w, http.StatusBadRequest, fmt.Sprintf("malformed body: a JSON %s and not an object", kind.Value))
	case err != nil:
		problem(w, http.StatusBadRequest, "malformed body: "+err.Error())
	case in.Price == nil:
		problem(w, http.StatusBadRequest, "invalid product", product.Problem{Field: "price", Detail: "is missing"})
	default:
		p = in.Product
		p.Price = *in.Price
		return p, true
	}
	return p, false
}

func valid(w http.ResponseWriter, p product.Product) bool {
	if bad := p.Validate(); len(bad) > 0 {
		problem(w, http.StatusBadRequest, "invalid product", bad...)
		return false
	}
	return true
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
