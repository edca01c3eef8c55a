package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/nearcache/nearcache-go/internal/product"
	"github.com/nearcache/nearcache-go/nearcache"
)

// details is a problem (RFC 9457). Problems have no type of their own, so the title is the status's.
type details struct {
	Type   string            `json:"type"`
	Title  string            `json:"title"`
	Status int               `json:"status"`
	Detail string            `json:"detail,omitempty"`
	Errors []product.Problem `json:"errors,omitempty"`
	// Outcome says what a write that failed may have done.
	Outcome string `json:"outcome,omitempty"`
}

// What a failed write may have done.
const (
	notCommitted = "not-committed" // nothing was written: the request can be repeated
	unknown      = "unknown"       // it may have been written, or be written yet
)

// Problem answers with a problem (RFC 9457).
func Problem(w http.ResponseWriter, status int, detail string) { problem(w, status, detail) }

func problem(w http.ResponseWriter, status int, detail string, errs ...product.Problem) {
	send(w, details{Status: status, Detail: detail, Errors: errs})
}

func send(w http.ResponseWriter, d details) {
	d.Type, d.Title = "about:blank", http.StatusText(d.Status)
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	h.Del("Content-Length")
	h.Del("ETag")
	w.WriteHeader(d.Status)
	_ = json.NewEncoder(w).Encode(d)
}

// fail answers for an error, and reports whether there was one. This is the only place where errors meet HTTP.
func (h *Handler) fail(w http.ResponseWriter, r *http.Request, err error) bool {
	switch {
	case err == nil:
		return false
	case errors.Is(err, nearcache.ErrNotInvalidated):
		// The write is done, and the cache will hear of it. That is not the client's concern.
		h.Logger.Warn("a write is not yet invalidated", "error", err)
		return false
	case errors.Is(err, product.ErrNotFound) || errors.Is(err, nearcache.ErrNotFound):
		problem(w, http.StatusNotFound, "no such product")
	case errors.Is(err, product.ErrExists):
		problem(w, http.StatusConflict, "the product exists already: PUT replaces it")
	case errors.Is(err, product.ErrConflict):
		problem(w, http.StatusPreconditionFailed, "the product is not in a state that If-Match or If-None-Match asks for")
	case errors.Is(err, product.ErrInvalid):
		send(w, details{Status: http.StatusConflict, Detail: "the database refuses this product", Outcome: notCommitted})
	case errors.Is(err, nearcache.ErrNotReady):
		w.Header().Set("Retry-After", "1")
		problem(w, http.StatusServiceUnavailable,
			"the version is not there yet: no state of the product is as new as "+headerAtLeast+" asks for")
	case errors.Is(err, errLimited):
		w.Header().Set("Retry-After", "1")
		problem(w, http.StatusTooManyRequests, "too many requests whose headers force a read of the database: "+
			headerFresh+", a small "+headerMaxStaleness+", or a version in "+headerAtLeast+" that does not exist")
	case errors.Is(err, context.Canceled) && r.Context().Err() != nil && !errors.Is(err, context.DeadlineExceeded):
		w.WriteHeader(499) // nobody reads it; it is for the log
	default:
		h.Logger.Error("a request failed", "method", r.Method, "path", clip(r.URL.Path), "error", err)
		h.failed(w, r, err)
	}
	return true
}

// failed answers for a failure of what stands behind the server, and says what a write may have done.
func (h *Handler) failed(w http.ResponseWriter, r *http.Request, err error) {
	d := details{Status: http.StatusServiceUnavailable, Detail: "the database cannot be reached"}
	if errors.Is(err, context.DeadlineExceeded) {
		d.Status = http.StatusGatewayTimeout
		d.Detail = fmt.Sprintf("the database did not answer within %v", h.Timeout)
	}
	switch {
	case !isWrite(r):
	case errors.Is(err, nearcache.ErrNotCommitted):
		d.Outcome = notCommitted
		d.Detail += "; nothing was written, and the request can be repeated"
	default:
		d.Outcome = unknown
		d.Detail += "; the write may have been done, or be done yet: read the product with " + headerFresh +
			": ?1, or repeat the request with the If-Match of what you last read"
	}
	if d.Outcome != unknown {
		w.Header().Set("Retry-After", "1")
	}
	send(w, d)
}

// clip bounds what a client can write to the log.
func clip(s string) string { return s[:min(len(s), 200)] }
