package demo

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"slices"
	"time"

	"github.com/nearcache/nearcache-go/internal/product/page"
)

//go:embed page
var pageFiles embed.FS

// errInput is a request that cannot be done; its text says why.
type errInput string

func (e errInput) Error() string { return string(e) }

// Routes adds the page and what it asks for to an instance's mux.
func (d *Demo) Routes(mux *http.ServeMux) {
	mux.Handle("GET /demo", http.RedirectHandler("/demo/", http.StatusFound))
	mux.HandleFunc("GET /demo/{file...}", serveFile)
	mux.HandleFunc("GET /demo/events", d.serveEvents)
	same := http.NewCrossOriginProtection()
	for pattern, f := range map[string]func(*http.Request, request) (any, error){
		"POST /demo/api/act":   d.act,
		"POST /demo/api/write": d.writeOne,
		"POST /demo/api/tour":  d.tour,
	} {
		mux.Handle(pattern, same.Handler(answering(f)))
	}
}

// request is the body of every POST.
type request struct {
	Do       string `json:"do"`       // the name of a button
	Instance *int   `json:"instance"` // from 0
	ID       string `json:"id"`
	Step     int    `json:"step"` // from 1
}

// answering reads a request's body and sends what comes of it.
func answering(f func(*http.Request, request) (any, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var in request
		dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, 4096))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&in); err != nil {
			refuse(w, http.StatusBadRequest, "the body is no such JSON object: "+err.Error())
			return
		}
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(2 * stepTimeout)) // a step of the tour takes a while
		out, err := f(r, in)
		var bad errInput
		switch {
		case errors.Is(err, errBusy):
			refuse(w, http.StatusConflict, err.Error())
		case errors.As(err, &bad):
			refuse(w, http.StatusBadRequest, err.Error())
		case err != nil:
			refuse(w, http.StatusServiceUnavailable, err.Error())
		default:
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Cache-Control", "no-store")
			_ = json.NewEncoder(w).Encode(out)
		}
	})
}

// refuse answers with a problem (RFC 9457).
func refuse(w http.ResponseWriter, status int, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"type": "about:blank", "title": http.StatusText(status),
		"status": status, "detail": detail})
}

// act is a button.
func (d *Demo) act(r *http.Request, in request) (any, error) {
	do, ok := actions[in.Do]
	if !ok {
		return nil, errInput(fmt.Sprintf("do: %.40q is no action", in.Do))
	}
	i := -1
	if in.Instance != nil {
		i = *in.Instance
	}
	s, err := do(r.Context(), d, i)
	if err == nil {
		d.note(s)
	}
	return s, err
}

// writeOne is the button of a write: the answer comes when the write has been followed to every instance.
func (d *Demo) writeOne(r *http.Request, in request) (any, error) {
	switch {
	case in.Instance == nil || *in.Instance < 0 || *in.Instance >= Instances:
		return nil, errInput("instance: 0, 1 or 2 is needed")
	case !slices.Contains(watchedIDs, in.ID):
		return nil, errInput(fmt.Sprintf("id: one of %v is needed", watchedIDs))
	case d.members[*in.Instance].awake.isShut():
		return nil, errInput(d.members[*in.Instance].name + " is paused and takes no write; write on another instance")
	}
	w, err := d.write(context.WithoutCancel(r.Context()), *in.Instance, in.ID)
	if err != nil {
		return nil, err
	}
	d.note(w.told(d))
	return w, nil
}

// told is a journey in a sentence.
func (w *journey) told(d *Demo) said {
	text := fmt.Sprintf("%s wrote version %s of %s: committed after %s.", d.members[w.From-1].name, w.Version, w.Name,
		took(w, stageDatabase))
	for i, m := range d.members {
		switch t, ok := w.time(stage{Instance: i + 1, By: "read"}); {
		case ok:
			text += fmt.Sprintf(" %s served it after %.1f ms.", m.name, millis(t))
		case m.awake.isShut():
			text += fmt.Sprintf(" %s sleeps.", m.name)
		default:
			text += fmt.Sprintf(" %s has not served it within %v.", m.name, followFor)
		}
	}
	return said{text, "C2"}
}

func took(w *journey, s stage) string {
	t, ok := w.time(s)
	if !ok {
		return "an unknown time"
	}
	return fmt.Sprintf("%.1f ms", millis(t))
}

// serveFile serves the page's files from the binary.
func serveFile(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("file")
	if name == "" {
		name = "index.html"
	}
	b, err := fs.ReadFile(pageFiles, path.Join("page", name))
	if err != nil {
		refuse(w, http.StatusNotFound, "the demo has no such file")
		return
	}
	page.Serve(w, r, name, b)
}
