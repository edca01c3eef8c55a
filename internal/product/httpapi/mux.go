package httpapi

import "net/http"

// WithProblems turns the mux's own answers, 404 and 405, into problems, and answers OPTIONS.
func WithProblems(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, pattern := mux.Handler(r); pattern != "" {
			mux.ServeHTTP(w, r)
			return
		}
		rec := &refusal{header: http.Header{}}
		mux.ServeHTTP(rec, r)
		allow := rec.header.Get("Allow")
		if allow != "" {
			w.Header().Set("Allow", allow+", OPTIONS")
		}
		if allow != "" && r.Method == http.MethodOptions {
			w.WriteHeader(http.StatusNoContent)
			return
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
