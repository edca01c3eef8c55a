// Package natstest runs a NATS server inside a test. It is apart from package servicestest so that only the tests that
// need a NATS server link one.
package natstest

import (
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
)

// Start starts a NATS server with JetStream on a free port of this machine, and ends it with the test. It writes no
// log. Set in opts only what the test needs beyond that, such as users.
func Start(t testing.TB, opts natsserver.Options) *natsserver.Server {
	t.Helper()
	opts.Host, opts.Port = "127.0.0.1", natsserver.RANDOM_PORT
	opts.JetStream, opts.StoreDir = true, t.TempDir()
	opts.NoSigs, opts.NoLog = true, true
	srv, err := natsserver.NewServer(&opts)
	if err != nil {
		t.Fatal(err)
	}
	go srv.Start()
	t.Cleanup(func() { srv.Shutdown(); srv.WaitForShutdown() })
	if !srv.ReadyForConnections(30 * time.Second) {
		t.Fatal("the NATS server does not start")
	}
	return srv
}
