package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/nearcache/nearcache-go/internal/product"
	"github.com/nearcache/nearcache-go/nearcache"
)

// problem answers with problem details (RFC 9457). They have no type of their own, so the title is the status's.
func problem(w http.ResponseWriter, status int, detail string, errs ...product.Problem) {
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	h.Del("Content-Length")
	h.Del("ETag")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(struct {
		Type   string            `json:"type"`
		Title  string            `json:"title"`
		Status int               `json:"status"`
		Detail string            `json:"detail,omitempty"`
		Errors []product.Problem `json:"errors,omitempty"`
	}{"about:blank", http.StatusText(status), status, detail, errs})
}

// fail answers for an error, and reports whether there was one. This is the only place where errors meet HTTP.
func (h *Handler) fail(w http.ResponseWriter, r *http.Request, err error) bool {
	switch {
	case err == nil:
		return false
	case errors.Is(err, nearcache.ErrNotInvalidated):
		// The write is done, and the cache will be told. That is not the client's concern.
		h.Logger.Warn("a write is not yet invalidated", "error", err)
		return false
	case errors.Is(err, product.ErrNotFound) || errors.Is(err, nearcache.ErrNotFound):
		problem(w, http.StatusNotFound, "no such product")
	case errors.Is(err, product.ErrExists):
		problem(w, http.StatusConflict, "the product exists already: PUT replaces it")
	case errors.Is(err, product.ErrConflict):
		problem(w, http.StatusPreconditionFailed, "the product has another version than If-Match, or If-None-Match, asks for")
	case errors.Is(err, nearcache.ErrNotReady):
		w.Header().Set("Retry-After", "1")
		problem(w, http.StatusServiceUnavailable, "the version is not there yet: no state of the product is as new as "+headerAtLeast+" asks for")
	case errors.Is(err, context.Canceled) && r.Context().Err() != nil:
		w.WriteHeader(499) // nobody reads it; it is for the log
	default:
		h.Logger.Error("a request failed", "method", r.Method, "path", r.URL.Path, "error", err)
		w.Header().Set("Retry-After", "1")
		problem(w, http.StatusServiceUnavailable, "the database cannot be reached")
	}
	return true
}

// withProblems turns the mux's own answers, 404 and 405, into problems.
func withProblems(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, pattern := mux.Handler(r); pattern != "" {
			mux.ServeHTTP(w, r)
			return
		}
		rec := &refusal{header: http.Header{}}
		mux.ServeHTTP(rec, r)
		if allow := rec.header.Get("Allow"); allow != "" {
			w.Header().Set("Allow", allow)
		}
		if to := rec.header.Get("Location"); to != "" {
			w.Header().Set("Location", to)
			w.WriteHeader(rec.status)
			return
		}
		problem(w, rec.status, "")
	})
}

// refusal takes the mux's own answer without its text.
type refusal struct {
	header http.Header
	status int
}

func (r *refusal) Header() http.Header         { return r.header }
func (r *refusal) Write(b []byte) (int, error) { return len(b), nil }
func (r *refusal) WriteHeader(status int)      { r.status = status }
