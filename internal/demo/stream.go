package demo

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// event is something that a viewer must not miss: a sentence, or a step of the tour.
type event struct {
	n    int
	kind string
	data []byte
}

// hub has what the viewers get: the latest frame, and the latest events. It is safe for concurrent use.
type hub struct {
	// epoch tells this run of the server from another one: the numbers of events begin again with it.
	epoch string
	ended chan struct{}
	once  sync.Once

	mu     sync.Mutex
	n      int
	events []event // the latest, in order
	frame  []byte
	shown  int           // number of the frame
	moved  chan struct{} // closed when there is something new
}

// kept is how many events a viewer can catch up with.
const kept = 200

func newHub() *hub {
	return &hub{epoch: rand.Text()[:8], ended: make(chan struct{}), moved: make(chan struct{})}
}

func (h *hub) close() { h.once.Do(func() { close(h.ended) }) }

func (h *hub) show(f *frame) {
	b, err := json.Marshal(f)
	if err != nil { // numbers and texts always have a JSON form
		panic("demo: " + err.Error())
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.frame = b
	h.shown++
	h.wake()
}

// wake has the viewers look again. h.mu is held.
func (h *hub) wake() {
	close(h.moved)
	h.moved = make(chan struct{})
}

func (h *hub) tell(kind string, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		panic("demo: " + err.Error())
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.n++
	h.events = append(h.events, event{h.n, kind, b})
	if len(h.events) > kept {
		h.events = append(h.events[:0], h.events[len(h.events)-kept:]...)
	}
	h.wake()
}

// since returns the events after a number, the frame if it is another one than the viewer has, and what is closed when
// there is something new.
func (h *hub) since(n, shown int) (events []event, frame []byte, now int, moved <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, e := range h.events {
		if e.n > n {
			events = append(events, h.events[i:]...)
			break
		}
	}
	if h.shown != shown {
		frame = h.frame
	}
	return events, frame, h.shown, h.moved
}

// note tells every viewer a sentence.
func (d *Demo) note(s said) {
	d.hub.tell("note", struct {
		Time int64 `json:"t"`
		said
	}{time.Now().UnixMilli(), s})
}

// viewer is one stream.
type viewer struct{ rate int }

const (
	defaultRate = 10 // frames a second
	mostRate    = 60
	// idleFor is how long the background goes on after the last viewer has gone: one whose connection broke comes back.
	idleFor = 5 * time.Second
	// streamTimeout is how long one write to a viewer may take.
	streamTimeout = 5 * time.Second
	mostViewers   = 64
)

// arrive begins the background for the first viewer. It reports whether there is room for one more.
func (d *Demo) arrive(v *viewer) bool {
	d.viewers.Lock()
	defer d.viewers.Unlock()
	if len(d.viewers.all) >= mostViewers {
		return false
	}
	d.viewers.all[v] = struct{}{}
	if d.viewers.idle != nil {
		d.viewers.idle.Stop()
	}
	d.watch.start(d.base)
	return true
}

func (d *Demo) leave(v *viewer) {
	d.viewers.Lock()
	defer d.viewers.Unlock()
	delete(d.viewers.all, v)
	if len(d.viewers.all) > 0 {
		return
	}
	d.viewers.idle = time.AfterFunc(idleFor, func() {
		d.viewers.Lock()
		defer d.viewers.Unlock()
		if len(d.viewers.all) == 0 {
			d.watch.end()
		}
	})
}

// rate is the highest that a viewer asks for.
func (d *Demo) rate() int {
	d.viewers.Lock()
	defer d.viewers.Unlock()
	most := 1
	for v := range d.viewers.all {
		most = max(most, v.rate)
	}
	return most
}

// serveEvents streams frames and events. A viewer that comes back with Last-Event-ID gets the events that it missed;
// after a restart of the server it gets all that there are.
func (d *Demo) serveEvents(w http.ResponseWriter, r *http.Request) {
	rate := defaultRate
	if s := r.URL.Query().Get("rate"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || n > mostRate {
			refuse(w, http.StatusBadRequest, fmt.Sprintf("rate: a number from 1 to %d is needed", mostRate))
			return
		}
		rate = n
	}
	v := &viewer{rate}
	if !d.arrive(v) {
		refuse(w, http.StatusServiceUnavailable, fmt.Sprintf("%d pages are open already", mostViewers))
		return
	}
	defer d.leave(v)
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no")
	s := &sender{w: w, c: http.NewResponseController(w)}
	s.event("", "hello", d.hello())
	last := r.Header.Get("Last-Event-ID")
	if last == "" {
		last = r.URL.Query().Get("after") // of a page that had to make a fresh EventSource
	}
	d.stream(r.Context(), s, seen(last, d.hub.epoch), rate)
}

// seen is the number of the last event that a viewer has of this epoch.
func seen(id, epoch string) int {
	of, number, _ := strings.Cut(id, ".")
	n, err := strconv.Atoi(number)
	if of != epoch || err != nil {
		return 0
	}
	return n
}

// stream sends events at once, and frames at the viewer's rate. A frame that comes too early is left out: the next one
// has all that it had.
func (d *Demo) stream(ctx context.Context, s *sender, last, rate int) {
	const early = 0.8 // of the time between two frames: timers are not exact
	least := time.Duration(early * float64(time.Second) / float64(rate))
	shown, sent := 0, time.Time{}
	for s.err == nil {
		events, frame, now, moved := d.hub.since(last, shown)
		for _, e := range events {
			last = e.n
			s.event(d.hub.epoch+"."+strconv.Itoa(e.n), e.kind, e.data)
		}
		if frame != nil && time.Since(sent) >= least {
			s.event("", "frame", frame)
			shown, sent = now, time.Now()
		}
		s.flush()
		select {
		case <-moved:
		case <-ctx.Done():
			return
		case <-d.hub.ended:
			return
		}
	}
}

// sender writes events to one viewer. After the first error it writes nothing.
type sender struct {
	w   http.ResponseWriter
	c   *http.ResponseController
	err error
}

func (s *sender) event(id, kind string, data []byte) {
	if s.err != nil {
		return
	}
	_ = s.c.SetWriteDeadline(time.Now().Add(streamTimeout)) // a connection without deadlines blocks
	if id != "" {
		id = "id: " + id + "\n"
	}
	_, s.err = fmt.Fprintf(s.w, "%sevent: %s\ndata: %s\n\n", id, kind, data)
}

func (s *sender) flush() {
	if s.err == nil {
		s.err = s.c.Flush()
	}
}

// hello says what does not change while the server runs.
func (d *Demo) hello() []byte {
	b, err := json.Marshal(map[string]any{"epoch": d.hub.epoch, "bound": millis(d.cfg.Bound),
		"rivalTTL": rivalTTL.Seconds(), "steps": steps, "retry": 1000})
	if err != nil {
		panic("demo: " + err.Error())
	}
	return b
}
