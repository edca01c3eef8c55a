// Package page is the product server's page for people: a list, a search, a product to edit, and where each answer came
// from.
package page

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"io"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"time"
)

//go:embed files
var files embed.FS

// policy lets a page load files of this server alone, and run no script that is in the page itself.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"

// State is what the page says of its instance.
type State struct {
	Ready           bool    `json:"ready"`
	Demo            bool    `json:"demo"` // the live page of the demo is served beside it
	Redis           bool    `json:"redis_connected"`
	ProvedStaleness float64 `json:"proved_staleness"` // in seconds; 0: no bound is proved now
	ProvedBy        string  `json:"proved_by"`
}

// Routes adds the page to a mux.
func Routes(mux *http.ServeMux, state func() State) {
	mux.HandleFunc("GET /page/state", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		_ = json.NewEncoder(w).Encode(state()) // the client may be gone
	})
	for pattern, name := range map[string]string{
		"GET /{$}":         "index.html",
		"GET /page.css":    "page.css",
		"GET /page.js":     "page.js",
		"GET /favicon.ico": "icon.svg",
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			b, err := fs.ReadFile(files, path.Join("files", name))
			if err != nil {
				panic("page: " + name + " is not embedded: " + err.Error())
			}
			Serve(w, r, name, b)
		})
	}
}

// Serve serves one file of a page, with the headers that keep everything foreign out. A browser asks each time whether
// the file has changed.
func Serve(w http.ResponseWriter, r *http.Request, name string, b []byte) {
	sum := sha256.Sum256(b)
	h := w.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cache-Control", "no-cache")
	h.Set("ETag", `"`+hex.EncodeToString(sum[:8])+`"`)
	h.Set("Content-Type", mime.TypeByExtension(path.Ext(name)))
	http.ServeContent(w, r, name, time.Time{}, io.NewSectionReader(bytes.NewReader(b), 0, int64(len(b))))
}
