package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/nearcache/nearcache-go/internal/product"
	"github.com/nearcache/nearcache-go/nearcache"
)

func (h *Handler) put(w http.ResponseWriter, r *http.Request) {
	id, ok := pathID(w, r)
	if !ok {
		return
	}
	pre, err := writeConditions(r.Header)
	if err != nil {
		problem(w, http.StatusBadRequest, err.Error())
		return
	}
	p, ok := readBody(w, r)
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
		v, created, err = h.Store.Replace(ctx, p, pre.hold)
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
	written(w, status, p, v)
}

func (h *Handler) post(w http.ResponseWriter, r *http.Request) {
	if len(r.Header.Values("If-Match")) > 0 || len(r.Header.Values("If-None-Match")) > 0 {
		problem(w, http.StatusBadRequest, "POST takes no precondition: it creates, and answers 409 if the product exists")
		return
	}
	p, ok := readBody(w, r)
	if !ok || !valid(w, p) {
		return
	}
	v, err := h.write(r.Context(), p, func(ctx context.Context) (product.Version, error) { return h.Store.Create(ctx, p) })
	if h.fail(w, r, err) {
		return
	}
	w.Header().Set("Location", location(p.ID))
	written(w, http.StatusCreated, p, v)
}

func (h *Handler) delete(w http.ResponseWriter, r *http.Request) {
	id, ok := pathID(w, r)
	if !ok {
		return
	}
	pre, err := writeConditions(r.Header)
	if err != nil {
		problem(w, http.StatusBadRequest, err.Error())
		return
	}
	v, err := h.Cache.Write(r.Context(), id, func(ctx context.Context) (product.Version, error) {
		return h.committed(h.Store.Delete(ctx, id, pre.hold))
	})
	if h.fail(w, r, err) {
		return
	}
	w.Header().Set(headerVersion, v.String())
	w.WriteHeader(http.StatusNoContent)
}

// write runs a write of a product's new state through the cache.
func (h *Handler) write(ctx context.Context, p product.Product,
	tx func(context.Context) (product.Version, error)) (product.Version, error) {
	return h.Cache.WriteEntry(ctx, p.ID, func(ctx context.Context) (nearcache.Entry[product.Product], error) {
		v, err := h.committed(tx(ctx))
		return nearcache.Entry[product.Product]{Value: p, Version: v}, err
	})
}

// committed is the place between a commit and its invalidation.
func (h *Handler) committed(v product.Version, err error) (product.Version, error) {
	if err == nil && h.AfterCommit != nil {
		h.AfterCommit()
	}
	return v, err
}

func written(w http.ResponseWriter, status int, p product.Product, v product.Version) {
	w.Header().Set("ETag", etag(product.State{There: true, Product: p, Version: v}))
	w.Header().Set(headerVersion, v.String())
	writeJSON(w, status, p)
}

// valid answers with what is wrong with a product, if anything is.
func valid(w http.ResponseWriter, p product.Product) bool {
	if bad := p.Validate(); len(bad) > 0 {
		problem(w, http.StatusBadRequest, "invalid product", bad...)
		return false
	}
	return true
}

// isWrite says whether a request can have changed something.
func isWrite(r *http.Request) bool { return r.Method != http.MethodGet && r.Method != http.MethodHead }

// errLimited is the answer to a read that the limit on forced reads of the source does not let through.
var errLimited = errors.New("too many reads that force a read of the source")
