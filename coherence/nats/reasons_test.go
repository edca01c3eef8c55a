package nats_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/nats"
	"github.com/nearcache/nearcache-go/internal/testkit"
)

// reasons is a sink that keeps why nothing is followed.
type reasons struct {
	mu   sync.Mutex
	errs []error
}

func (r *reasons) Session(int)                                             {}
func (r *reasons) Lost(int)                                                {}
func (r *reasons) Resumed(int)                                             {}
func (r *reasons) Partitions(int)                                          {}
func (r *reasons) Malformed(int, error)                                    {}
func (r *reasons) Deliver(context.Context, int, []coherence.Message) error { return nil }
func (r *reasons) Failed(_ int, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.errs = append(r.errs, err)
}

// says is the last reason.
func (r *reasons) says() (n int, last error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.errs) == 0 {
		return 0, nil
	}
	return len(r.errs), r.errs[len(r.errs)-1]
}

// TestTail_SaysWhyItDoesNotFollow: each reason is told, and logged once, however long it lasts.
func TestTail_SaysWhyItDoesNotFollow(t *testing.T) {
	srv := start(t, "EVENTS")
	js := admin(t, srv)
	for _, c := range []jetstream.StreamConfig{
		{Name: "QUEUE", Retention: jetstream.WorkQueuePolicy, Subjects: []string{"QUEUE.events", "QUEUE.barriers"}},
		{Name: "FEW", Subjects: []string{"FEW.>"}},
	} {
		if _, err := js.CreateStream(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	stream := func(user, name string, opts ...natsgo.Option) nats.Server {
		s := as(srv, user, opts...)
		s.Stream, s.Timeout = name, 500*time.Millisecond
		return s
	}
	for name, c := range map[string]struct {
		server        nats.Server
		says          string
		misconfigured bool
	}{
		"a wrong password":         {stream("instance", "EVENTS", natsgo.UserInfo("instance", "wrong")), "credentials", true},
		"no right to read":         {stream("deaf", "EVENTS"), "lacks a right", true},
		"a stream that is a queue": {stream("admin", "QUEUE"), "retention", true},
		"a stream of everything":   {stream("admin", "FEW"), "stores the subject FEW.positions", true},
		"a missing stream":         {stream("admin", "MISSING"), "stream not found", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			log := &testkit.Output{}
			tail := nats.Tail{Server: c.server, Silence: time.Second,
				Logger: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelWarn}))}
			r := &reasons{}
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan struct{})
			go func() { defer close(done); _ = tail.Run(ctx, r) }()
			defer func() { cancel(); <-done }()
			testkit.Eventually(t, "it is told again and again", func() bool { n, _ := r.says(); return n >= 3 })
			_, err := r.says()
			if !strings.Contains(err.Error(), c.says) || errors.Is(err, coherence.ErrMisconfigured) != c.misconfigured {
				t.Errorf("told: %v", err)
			}
			if n := log.Count("is not followed"); n != 1 {
				t.Errorf("logged %d times", n)
			}
			ping, end := context.WithTimeout(t.Context(), 10*time.Second)
			defer end()
			if err := tail.Ping(ping); errors.Is(err, coherence.ErrMisconfigured) != c.misconfigured {
				t.Errorf("Ping: %v", err)
			}
		})
	}
}

// TestPublisher_WhatCannotBePublished: an event that is too large is left out and named, and no barrier passes it.
func TestPublisher_WhatCannotBePublished(t *testing.T) {
	srv := start(t, "EVENTS")
	admin(t, srv)
	p := publisher(t, as(srv, "relay"))
	event := func(key string) coherence.PartitionMessage {
		e := coherence.Event{Namespace: "n", Key: key, Seq: 1}
		return coherence.PartitionMessage{Message: coherence.Message{Event: e}}
	}
	var left *coherence.UnpublishedError
	err := p.Publish(t.Context(), []coherence.PartitionMessage{event("small"), event(strings.Repeat("k", 2<<20)),
		event("small too")})
	if !errors.As(err, &left) || len(left.Messages) != 1 || left.Messages[1] == nil {
		t.Errorf("got %v, want that message 1 was left out", err)
	}
	if err := p.Publish(t.Context(), []coherence.PartitionMessage{{Partition: 1}}); err == nil {
		t.Error("a message for partition 1 is published, and the stream has one")
	}
	srv.Shutdown()
	if err := p.Publish(t.Context(), []coherence.PartitionMessage{event("late")}); err == nil || errors.As(err, &left) {
		t.Errorf("without a server: %v", err)
	}
}
