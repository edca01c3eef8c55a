package app

import (
	"context"
	"log"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// A storm of failures must not fill the disk: of one message sampleBurst lines are written in sampleWindow, the rest is
// counted, and one line says how many there were.
const (
	sampleBurst  = 10
	sampleWindow = 10 * time.Second
)

// sampler is a slog.Handler that samples warnings and errors by their message.
type sampler struct {
	slog.Handler
	shared *samples
}

type samples struct {
	root slog.Handler // writes the lines that count

	mu      sync.Mutex
	windows map[string]*window
}

// window counts the lines of one message.
type window struct{ written, suppressed int }

func newSampler(h slog.Handler) slog.Handler {
	return &sampler{Handler: h, shared: &samples{root: h, windows: make(map[string]*window)}}
}

// Handle writes a record, or counts it.
func (s *sampler) Handle(ctx context.Context, r slog.Record) error {
	if r.Level >= slog.LevelWarn && !s.shared.admit(r.Message) {
		return nil
	}
	return s.Handler.Handle(ctx, r)
}

// WithAttrs and WithGroup keep the counts: they are per message, whoever logs it.
func (s *sampler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &sampler{Handler: s.Handler.WithAttrs(attrs), shared: s.shared}
}

// WithGroup begins a group.
func (s *sampler) WithGroup(name string) slog.Handler {
	return &sampler{Handler: s.Handler.WithGroup(name), shared: s.shared}
}

// admit says whether a line is to be written. The first one of a window ends it with a timer.
func (s *samples) admit(message string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.windows[message]
	if w == nil {
		w = &window{}
		s.windows[message] = w
		time.AfterFunc(sampleWindow, func() { s.end(message) })
	}
	if w.written < sampleBurst {
		w.written++
		return true
	}
	w.suppressed++
	return false
}

// end ends a window, and says how many lines it has swallowed.
func (s *samples) end(message string) {
	s.mu.Lock()
	w := s.windows[message]
	delete(s.windows, message)
	s.mu.Unlock()
	if w == nil || w.suppressed == 0 {
		return
	}
	r := slog.NewRecord(time.Now(), slog.LevelWarn, "lines suppressed", 0)
	r.AddAttrs(slog.String("message", message), slog.Int("count", w.suppressed), slog.Duration("within", sampleWindow))
	_ = s.root.Handle(context.Background(), r)
}

// serverLog is where net/http writes to. Its lines differ in addresses and ports, so they are all one message.
func serverLog(l *slog.Logger) *log.Logger { return log.New(serverLines{l}, "", 0) }

type serverLines struct{ log *slog.Logger }

// Write writes one line.
func (s serverLines) Write(b []byte) (int, error) {
	line := strings.TrimSpace(string(b))
	s.log.Warn("the HTTP server complains", "error", line[:min(len(line), 500)])
	return len(b), nil
}
