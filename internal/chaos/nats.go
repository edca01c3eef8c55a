//go:build unix

package chaos

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/nearcache/nearcache-go/coherence/nats"
)

const (
	stream     = "EVENTS"
	streamKeep = time.Hour
)

// natsServer is a nats-server in a process of its own, which can be killed and stopped.
type natsServer struct {
	spec spec
	log  string
	p    *process
	// stream is the controller's own way to it.
	stream *nats.Publisher
	conn   *natsgo.Conn
	js     jetstream.JetStream
}

// startNATS starts the server and makes the stream.
func startNATS(ctx context.Context, dir string) (*natsServer, error) {
	addr, err := freeAddress()
	if err != nil {
		return nil, err
	}
	n := &natsServer{spec: spec{Role: natsEvents, NATS: addr, Dir: dir}, log: filepath.Join(dir, "nats.log")}
	if err := n.start(ctx); err != nil {
		return n, err
	}
	return n, n.connect(ctx)
}

// start starts the process, for the first time or again, on the same port and data.
func (n *natsServer) start(ctx context.Context) (err error) {
	if n.p, err = start(natsEvents, n.spec, n.log); err != nil {
		return err
	}
	return until(ctx, 20*time.Second, "NATS serves", func() bool { return n.p.status().Ready || !n.p.alive() })
}

// connect opens the controller's connections.
func (n *natsServer) connect(ctx context.Context) (err error) {
	url := "nats://" + n.spec.NATS
	if n.stream, err = nats.NewPublisher(nats.PublisherConfig{Server: nats.Server{URL: url, Stream: stream}}); err != nil {
		return err
	}
	if n.conn, err = natsgo.Connect(url, natsgo.MaxReconnects(-1), natsgo.ReconnectWait(50*time.Millisecond)); err != nil {
		return fmt.Errorf("chaos: %w", err)
	}
	if n.js, err = jetstream.New(n.conn); err != nil {
		return fmt.Errorf("chaos: %w", err)
	}
	return n.createStream(ctx)
}

// createStream makes the stream. A server that has just started, or a delete that has just ended, may take a moment.
func (n *natsServer) createStream(ctx context.Context) error {
	var err error
	if late := until(ctx, 15*time.Second, "the stream is created", func() bool {
		err = n.stream.CreateStream(ctx, 1, streamKeep)
		return err == nil
	}); late != nil {
		return fmt.Errorf("%w: %w", late, err)
	}
	return nil
}

// purge deletes every message, as limits of the stream would.
func (n *natsServer) purge(ctx context.Context) error {
	s, err := n.js.Stream(ctx, stream)
	if err != nil {
		return fmt.Errorf("chaos: %w", err)
	}
	return s.Purge(ctx)
}

func (n *natsServer) close() {
	if n.stream != nil {
		n.stream.Close()
	}
	if n.conn != nil {
		n.conn.Close()
	}
	if n.p != nil && n.p.alive() {
		_ = n.p.signal(syscall.SIGCONT)
		n.p.stop(5 * time.Second)
	}
}

// nats is the process of a nats-server. It runs until ctx ends.
func (c *child) nats(ctx context.Context) error {
	host, port, err := net.SplitHostPort(c.NATS)
	if err != nil {
		return err
	}
	n, err := net.LookupPort("tcp", port)
	if err != nil {
		return err
	}
	store := filepath.Join(c.Dir, "jetstream")
	if err := os.MkdirAll(store, 0o755); err != nil {
		return err
	}
	srv, err := natsserver.NewServer(&natsserver.Options{Host: host, Port: n, JetStream: true, StoreDir: store,
		NoSigs: true, LogFile: filepath.Join(c.Dir, "server.log"), Logtime: true})
	if err != nil {
		return err
	}
	srv.ConfigureLogger()
	go srv.Start()
	defer func() { srv.Shutdown(); srv.WaitForShutdown() }()
	if !srv.ReadyForConnections(20 * time.Second) {
		return errors.New("the NATS server does not start")
	}
	c.report(status{Ready: true})
	<-ctx.Done()
	return nil
}

// natsFaults are what can happen to the event channel if it is NATS.
func natsFaults() []fault {
	return []fault{
		{"nats: kill -9", func(_ context.Context, in *injection) error {
			in.nats.p.kill()
			in.heal(func(ctx context.Context) error { return in.nats.start(ctx) })
			return nil
		}, 100 * time.Millisecond, time.Second},
		{"nats: stopped", func(_ context.Context, in *injection) error {
			in.heal(func(context.Context) error { return in.nats.p.signal(syscall.SIGCONT) })
			return in.nats.p.signal(syscall.SIGSTOP)
		}, 500 * time.Millisecond, 3 * time.Second},
		{"nats: messages purged", func(ctx context.Context, in *injection) error {
			// Somebody must have fallen behind to miss them.
			if err := in.addToxics(in.anInstance(), natsService, blackhole, []string{"downstream"}); err != nil {
				return err
			}
			pause(ctx, 500*time.Millisecond)
			return in.nats.purge(ctx)
		}, 300 * time.Millisecond, time.Second},
		{"nats: stream created again", func(ctx context.Context, in *injection) error {
			in.heal(func(ctx context.Context) error { return in.nats.createStream(ctx) })
			return in.nats.js.DeleteStream(ctx, stream)
		}, 100 * time.Millisecond, time.Second},
	}
}
