package nearcache_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/rueidis"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/testkit"
	"github.com/nearcache/nearcache-go/nearcache"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
)

// slow is a network on which a test can meddle with what the client sends as commands, and hold back what Redis sends
// on the tracking connection.
type slow struct {
	onScript func()        // runs before the next script goes out
	gate     chan struct{} // while not nil and open, the tracking connection hears nothing

	mu sync.Mutex
}

func (s *slow) take() (f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, s.onScript = s.onScript, nil
	return f
}

func (s *slow) set(onScript func(), gate chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.onScript, s.gate = onScript, gate
}

func (s *slow) closed() chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.gate
}

func (s *slow) option(o rueidis.ClientOption) rueidis.ClientOption {
	o.DialCtxFn = func(ctx context.Context, addr string, d *net.Dialer, _ *tls.Config) (net.Conn, error) {
		c, err := d.DialContext(ctx, "tcp", addr)
		return &slowConn{Conn: c, s: s}, err
	}
	return o
}

type slowConn struct {
	net.Conn
	s      *slow
	tracks atomic.Bool
}

func (c *slowConn) Write(b []byte) (int, error) {
	switch {
	case bytes.Contains(b, []byte("TRACKING")):
		c.tracks.Store(true)
	case bytes.Contains(b, []byte("EVALSHA")):
		if f := c.s.take(); f != nil {
			f()
		}
	}
	return c.Conn.Write(b)
}

func (c *slowConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if gate := c.s.closed(); gate != nil && c.tracks.Load() {
		<-gate
	}
	return n, err
}

// events is an EventSource of one partition that the test feeds.
type events struct{ sink chan coherence.Sink }

func (e events) Run(ctx context.Context, sink coherence.Sink) error {
	sink.Partitions(1)
	sink.Session(0)
	e.sink <- sink
	<-ctx.Done()
	return ctx.Err()
}

// TestUnversioned_BumpsAfterL2 is the race of a change without a version, for which no min version is a net:
//
//	change: bumps the slot                                  x reads: takes its token, GETs the old value, admits it
//	change: deletes record and lease in L2; the push is slow
//	change: is over                                         x reads: must not be served the old value
//
// So the slot is bumped again once L2 is told.
func TestUnversioned_BumpsAfterL2(t *testing.T) {
	event := coherence.Event{Namespace: "t", Key: "a"}
	for name, change := range map[string]func(*nearcache.Client, *nearcache.Cache[string, string], coherence.Sink) error{
		"Invalidate": func(_ *nearcache.Client, c *nearcache.Cache[string, string], _ coherence.Sink) error {
			return c.Invalidate(context.Background(), "a", 0)
		},
		"InvalidateMany": func(_ *nearcache.Client, c *nearcache.Cache[string, string], _ coherence.Sink) error {
			return c.InvalidateMany(context.Background(), map[string]nearcache.Version{"a": 0})
		},
		"SetMany": func(_ *nearcache.Client, c *nearcache.Cache[string, string], _ coherence.Sink) error {
			return c.SetMany(context.Background(), map[string]nearcache.Entry[string]{"a": {Value: "new"}})
		},
		"Apply": func(client *nearcache.Client, _ *nearcache.Cache[string, string], _ coherence.Sink) error {
			return client.Apply(context.Background(), event)
		},
		"an event": func(_ *nearcache.Client, _ *nearcache.Cache[string, string], sink coherence.Sink) error {
			return sink.Deliver(context.Background(), 0, []coherence.Message{{Event: event}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			src := newSource()
			src.put("a", "old")
			wire, stream, reg := &slow{}, events{make(chan coherence.Sink, 1)}, prometheus.NewRegistry()
			client := newClient(t, nearcache.Config{Redis: wire.option(nearcachetest.NewRedis(t).ClientOption()),
				Events: stream, Registerer: reg,
				Heartbeat: time.Hour})
			if err := client.Ready(t.Context()); err != nil {
				t.Fatal(err)
			}
			c := newCache(t, client, nearcache.Options[string, string]{Load: src.load})
			resident(t, c, "a")
			gate := make(chan struct{})
			open := sync.OnceFunc(func() { close(gate) })
			defer open()
			wire.set(func() { // between the first bump and what L2 is told
				for range 1000 { // not resident: this is no goroutine of the test's
					if r, err := c.Read(context.Background(), "a", nearcache.ReadOptions{}); err == nil && r.Tier == nearcache.TierL1 {
						break
					}
				}
				wire.set(nil, gate)
			}, nil)
			src.mu.Lock()
			src.values["a"] = "new" // the source has no versions
			src.mu.Unlock()
			if err := change(client, c, <-stream.sink); err != nil {
				t.Fatal(err)
			}
			seen := func() float64 {
				return testkit.Metric(t, reg, "nearcache_hits_total", "l1") + testkit.Metric(t, reg, "nearcache_misses_total", "l1")
			}
			before := seen()
			answer := make(chan string, 1)
			go func() { v, _ := c.Get(context.Background(), "a"); answer <- v }()
			testkit.Eventually(t, "L1 has been asked", func() bool { return seen() > before })
			open() // the push comes
			if v := <-answer; v != "new" {
				t.Errorf("after the change was over: %q", v)
			}
		})
	}
}
