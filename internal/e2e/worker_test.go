package e2e

import (
	"testing"

	"github.com/nearcache/nearcache-go/internal/testkit"
)

// TestWorkerInsideAServer: its reasons are in the server's /status, and leave the server ready.
func TestWorkerInsideAServer(t *testing.T) {
	w := newWorld(t)
	s := w.start("product-server", "WORKER=true", "KAFKA_BOOTSTRAP_SERVERS=127.0.0.1:1")
	testkit.Eventually(t, "the worker says why it does nothing", func() bool {
		_, is := s.reasons()["worker_topic"]
		return is
	})
	testkit.Eventually(t, "the server is ready", s.ready)
}
