package nats_test

import (
	"context"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/eventstest"
	"github.com/nearcache/nearcache-go/coherence/nats"
	"github.com/nearcache/nearcache-go/internal/services/natstest"
)

// rights are those that the guide to NATS lists, for a stream S whose subjects begin with S.
func rights(s string) map[string]*natsserver.Permissions {
	allow := func(subjects ...string) *natsserver.SubjectPermission {
		return &natsserver.SubjectPermission{Allow: subjects}
	}
	return map[string]*natsserver.Permissions{
		"admin": nil,
		"relay": {Publish: allow("$JS.API.STREAM.INFO."+s, s+".events", s+".barriers"), Subscribe: allow("_INBOX.>",
			s+".positions"), Response: &natsserver.ResponsePermission{MaxMsgs: 1, Expires: time.Minute}},
		"instance": {Publish: allow("$JS.API.STREAM.INFO."+s, "$JS.API.CONSUMER.CREATE."+s+".>",
			"$JS.API.CONSUMER.MSG.NEXT."+s+".>", "$JS.API.CONSUMER.DELETE."+s+".>", s+".positions"),
			Subscribe: allow("_INBOX.>")},
		"other": {Publish: allow(s + ".events"), Subscribe: allow("_INBOX.>")},
		"deaf":  {Publish: allow("$JS.API.STREAM.INFO." + s), Subscribe: allow("_INBOX.>")},
	}
}

// start starts a server whose users have those rights, and the password "right".
func start(t *testing.T, s string) *natsserver.Server {
	t.Helper()
	var opts natsserver.Options
	for name, p := range rights(s) {
		opts.Users = append(opts.Users, &natsserver.User{Username: name, Password: "right", Permissions: p})
	}
	return natstest.Start(t, opts)
}

// as is the server for a user.
func as(srv *natsserver.Server, user string, opts ...natsgo.Option) nats.Server {
	return nats.Server{URL: srv.ClientURL(), Stream: "EVENTS",
		Options: append([]natsgo.Option{natsgo.UserInfo(user, "right")}, opts...)}
}

// admin makes the stream, and returns an administrator's connection.
func admin(t *testing.T, srv *natsserver.Server) jetstream.JetStream {
	t.Helper()
	p := publisher(t, as(srv, "admin"))
	if err := p.CreateStream(t.Context(), 1, time.Hour); err != nil {
		t.Fatal(err)
	}
	nc, err := natsgo.Connect(srv.ClientURL(), natsgo.UserInfo("admin", "right"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

func publisher(t *testing.T, s nats.Server) *nats.Publisher {
	t.Helper()
	p, err := nats.NewPublisher(nats.PublisherConfig{Server: s})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// conforming is the Harness of a server with its stream. Each part has the least rights that it needs.
func conforming(t *testing.T) eventstest.Harness {
	srv := start(t, "EVENTS")
	js := admin(t, srv)
	line := &eventstest.Line{}
	others, err := natsgo.Connect(srv.ClientURL(), natsgo.UserInfo("other", "right"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(others.Close)
	otherStream, err := jetstream.New(others)
	if err != nil {
		t.Fatal(err)
	}
	return eventstest.Harness{
		Events: func() coherence.EventSource {
			return nats.Tail{Server: as(srv, "instance", natsgo.SetCustomDialer(line)), Silence: time.Second}
		},
		Publisher: publisher(t, as(srv, "relay")),
		Write: func(ctx context.Context, _ int, value []byte) error {
			_, err := otherStream.Publish(ctx, nats.EventSubject("EVENTS"), value)
			return err
		},
		Forged: []string{`{"position":{"timeline":"1","n":1099511627776},"seq":9}`},
		Line:   line,
		Lose: func(ctx context.Context) error {
			stream, err := js.Stream(ctx, "EVENTS")
			if err != nil {
				return err
			}
			return stream.Purge(ctx)
		},
		Recreate: func(ctx context.Context) error {
			if err := js.DeleteStream(ctx, "EVENTS"); err != nil {
				return err
			}
			return publisher(t, as(srv, "admin")).CreateStream(ctx, 1, time.Hour)
		},
		Misconfigured: func() coherence.EventSource {
			return nats.Tail{Server: as(srv, "instance", natsgo.UserInfo("instance", "wrong")), Silence: time.Second}
		},
	}
}

func TestTail_Conforms(t *testing.T) {
	eventstest.Run(t, func(t *testing.T) eventstest.Harness {
		t.Parallel() // most of the time it waits
		return conforming(t)
	})
}
