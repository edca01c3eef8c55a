// Package apptest runs the product server inside a test.
package apptest

import (
	"context"
	"log/slog"
	"strings"
	"testing"

	"github.com/nearcache/nearcache-go/internal/product/app"
)

// Server is a product server that serves.
type Server struct {
	URLs []string // of the instances

	t         testing.TB
	out       strings.Builder
	interrupt context.CancelFunc
	ended     chan error
	stopped   bool
}

// Start starts a product server with an environment and a command line, and returns once all of its instances serve.
// The end of the test stops it.
func Start(t testing.TB, env func(string) string, args ...string) *Server {
	t.Helper()
	c, err := app.Parse(app.ProductServer, args, env)
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{t: t, ended: make(chan error, 1)}
	urls := make(chan []string, 1)
	run := app.Server{Config: c, Logger: slog.New(slog.DiscardHandler), Out: &s.out,
		Started: func(u []string) { urls <- u }}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context())) // t.Context ends before the clean-up
	s.interrupt = cancel
	go func() { s.ended <- run.Run(ctx) }()
	select {
	case s.URLs = <-urls:
	case err := <-s.ended:
		cancel()
		t.Fatalf("the server ended before it served: %v", err)
	}
	t.Cleanup(func() { s.Stop() })
	return s
}

// Interrupt tells the server to stop, as Ctrl-C does, and does not wait until it has.
func (s *Server) Interrupt() { s.interrupt() }

// Stop stops the server, fails the test if that is an error, and returns what the server has printed. A second call
// returns the same. Only the test's own goroutine may call it.
func (s *Server) Stop() (printed string) {
	s.t.Helper()
	s.interrupt()
	if !s.stopped {
		s.stopped = true
		if err := <-s.ended; err != nil {
			s.t.Errorf("the server ended with %v, want no error", err)
		}
	}
	return s.out.String()
}

// Unset is an environment without any variable: the server starts the services it needs inside itself.
func Unset(string) string { return "" }
