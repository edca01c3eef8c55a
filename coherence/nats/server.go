package nats

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/nearcache/nearcache-go/coherence"
)

// Server says how to reach NATS, and which stream.
type Server struct {
	// URL is that of the servers, as nats.go takes it: "nats://one:4222,nats://two:4222". Required.
	URL string
	// Options carry TLS, credentials and the like. A connection is tried again for ever, whatever they say.
	Options []natsgo.Option
	// Stream is the name of the stream. Required.
	Stream string
	// Subject is the beginning of the three subjects; see EventSubject. Defaults to the name of the stream.
	Subject string
	// Timeout bounds each request. Defaults to 5 seconds.
	Timeout time.Duration
}

// EventSubject is where the relay publishes events, and others who may invalidate.
func EventSubject(subject string) string { return subject + ".events" }

// BarrierSubject is where the relay says how far it has come. Only the relay should have the right to publish there:
// barriers prove that nothing was missed. A message is JSON:
//
//	{"position":{"timeline":"5f3a","n":7741},"seq":981,"term":"9c41","round":37}
//
// Every change at or before the position has been published before it, and seq is the number of the last event.
func BarrierSubject(subject string) string { return subject + ".barriers" }

// PositionSubject is where instances ask the relay for the source's position, as a request of NATS. It must not be a
// subject of a stream. The relay answers with the head of its next round but one, as JSON:
//
//	{"position":{"timeline":"5f3a","n":7742}}
func PositionSubject(subject string) string { return subject + ".positions" }

// prepare sets the defaults, and refuses what can never work.
func (s *Server) prepare() error {
	if s.URL == "" || s.Stream == "" {
		return fmt.Errorf("URL and Stream are required: %w", coherence.ErrMisconfigured)
	}
	if strings.ContainsAny(s.Stream, ". \t\r\n*>/\\") {
		return fmt.Errorf("the name of the stream %q has a dot, a space, a slash or a wildcard: %w", s.Stream,
			coherence.ErrMisconfigured)
	}
	if s.Subject == "" {
		s.Subject = s.Stream
	}
	if strings.ContainsAny(s.Subject, " \t\r\n*>") || strings.Contains("."+s.Subject+".", "..") {
		return fmt.Errorf("the subject %q has a space, a wildcard or an empty part: %w", s.Subject,
			coherence.ErrMisconfigured)
	}
	if s.Timeout < 0 {
		return fmt.Errorf("the Timeout is negative: %v: %w", s.Timeout, coherence.ErrMisconfigured)
	}
	if s.Timeout == 0 {
		s.Timeout = 5 * time.Second
	}
	return nil
}

// link is a connection, with what its callbacks last said.
type link struct {
	nc *natsgo.Conn
	js jetstream.JetStream

	mu     sync.Mutex
	err    error // why it is not connected, or what the server refused
	denied error // the last right that was refused since the connection began
	slow   bool  // messages were dropped because they were not taken in time
	lost   int   // how often the connection was lost
}

// connect connects, or goes on trying to: only options that make no sense are an error.
func (s *Server) connect(name string) (*link, error) {
	l := &link{}
	opts := s.options(name, l)
	var err error
	if l.nc, err = opts.Connect(); err != nil {
		return nil, err
	}
	l.js, err = jetstream.New(l.nc, jetstream.WithDefaultTimeout(s.Timeout))
	if err != nil {
		l.nc.Close()
		return nil, err
	}
	return l, nil
}

// options are the user's, and what makes the connection last. The user's own callbacks are called too.
func (s *Server) options(name string, l *link) natsgo.Options {
	opts := natsgo.GetDefaultOptions()
	opts.Name = name
	opts.PingInterval, opts.MaxPingsOut = 2*time.Second, 2
	opts.ReconnectWait, opts.ReconnectJitter, opts.ReconnectJitterTLS = 200*time.Millisecond, 200*time.Millisecond,
		400*time.Millisecond
	opts.Url, opts.Timeout = s.URL, min(s.Timeout, 2*time.Second)
	for _, o := range s.Options {
		if err := o(&opts); err != nil {
			l.note(err)
		}
	}
	opts.MaxReconnect, opts.RetryOnFailedConnect, opts.IgnoreAuthErrorAbort = -1, true, true
	opts.AllowReconnect, opts.NoCallbacksAfterClientClose = true, true
	opts.ReconnectBufSize = -1 // nothing is sent late
	async, reconnectErr, disconnected := opts.AsyncErrorCB, opts.ReconnectErrCB, opts.DisconnectedErrCB
	opts.AsyncErrorCB = func(nc *natsgo.Conn, sub *natsgo.Subscription, err error) {
		l.note(err)
		if async != nil {
			async(nc, sub, err)
		}
	}
	opts.ReconnectErrCB = func(nc *natsgo.Conn, err error) {
		l.note(err)
		if reconnectErr != nil {
			reconnectErr(nc, err)
		}
	}
	opts.DisconnectedErrCB = func(nc *natsgo.Conn, err error) {
		l.disconnected(err)
		if disconnected != nil {
			disconnected(nc, err)
		}
	}
	connected, reconnected := opts.ConnectedCB, opts.ReconnectedCB
	opts.ConnectedCB = func(nc *natsgo.Conn) { l.connected(); call(connected, nc) }
	opts.ReconnectedCB = func(nc *natsgo.Conn) { l.connected(); call(reconnected, nc) }
	return opts
}

func call(f natsgo.ConnHandler, nc *natsgo.Conn) {
	if f != nil {
		f(nc)
	}
}

func (l *link) note(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case errors.Is(err, natsgo.ErrSlowConsumer):
		l.slow = true
	case errors.Is(err, natsgo.ErrPermissionViolation):
		l.denied = err
	case err != nil:
		l.err = err
	}
}

func (l *link) disconnected(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lost++
	if err != nil {
		l.err = err
	}
}

func (l *link) connected() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err, l.denied = nil, nil
}

// losses is how often the connection was lost, or has dropped messages.
func (l *link) losses() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.slow {
		l.slow = false
		l.lost++
	}
	return l.lost
}

// why is an error with what the server said of it: a request that is not allowed gets no answer.
func (l *link) why(err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case err == nil:
		return nil
	case l.denied != nil && silent(err):
		return explain(l.denied)
	case l.err != nil && !l.nc.IsConnected():
		return explain(l.err)
	}
	return explain(err)
}

// silent reports whether an error says only that no answer came.
func silent(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, natsgo.ErrTimeout) ||
		errors.Is(err, jetstream.ErrNoHeartbeat) || errors.Is(err, errNothing)
}

// errNothing says that a consumer delivered nothing where something must be.
var errNothing = errors.New("nats: the server delivers nothing")

// explain says what to do about an error that waiting does not end.
func explain(err error) error {
	switch {
	case err == nil, errors.Is(err, coherence.ErrMisconfigured):
		return err
	case errors.Is(err, natsgo.ErrAuthorization), errors.Is(err, natsgo.ErrAuthExpired),
		errors.Is(err, natsgo.ErrAuthRevoked), errors.Is(err, natsgo.ErrAccountAuthExpired):
		return fmt.Errorf("nats: the server refuses the user, its password or its credentials: %w: %w", err,
			coherence.ErrMisconfigured)
	case errors.Is(err, natsgo.ErrPermissionViolation):
		return fmt.Errorf("nats: the user lacks a right; the guide to NATS lists those that are needed: %w: %w", err,
			coherence.ErrMisconfigured)
	case errors.Is(err, jetstream.ErrJetStreamNotEnabled), errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount):
		return fmt.Errorf("nats: JetStream is not enabled for this account: %w: %w", err, coherence.ErrMisconfigured)
	case errors.Is(err, natsgo.ErrSecureConnRequired), errors.Is(err, natsgo.ErrSecureConnWanted):
		return fmt.Errorf("nats: one side wants TLS, and the other has none: %w: %w", err, coherence.ErrMisconfigured)
	}
	return fmt.Errorf("nats: %w", err)
}

// look asks for the stream, and refuses one whose settings lose messages that nobody has read.
func (s *Server) look(ctx context.Context, l *link) (*jetstream.StreamInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	if !l.nc.IsConnected() {
		return nil, natsgo.ErrDisconnected
	}
	stream, err := l.js.Stream(ctx, s.Stream)
	if err != nil {
		return nil, fmt.Errorf("stream %s: %w", s.Stream, err)
	}
	info := stream.CachedInfo()
	if err := s.suits(&info.Config); err != nil {
		return nil, err
	}
	return info, nil
}

// suits reports why a stream does not carry events, nil if it does.
func (s *Server) suits(c *jetstream.StreamConfig) error {
	why := ""
	switch {
	case c.Retention != jetstream.LimitsPolicy:
		why = "retention is not by limits, so messages go before all instances have read them"
	case c.MaxMsgsPerSubject > 0:
		why = "max_msgs_per_subject is set: all events are of one subject"
	case c.NoAck:
		why = "no_ack is set: nothing shows the relay that a message is stored"
	case c.Mirror == nil && !takes(c.Subjects, EventSubject(s.Subject)):
		why = "it does not take the subject " + EventSubject(s.Subject)
	case c.Mirror == nil && !takes(c.Subjects, BarrierSubject(s.Subject)):
		why = "it does not take the subject " + BarrierSubject(s.Subject)
	case takes(c.Subjects, PositionSubject(s.Subject)):
		why = "it stores the subject " + PositionSubject(s.Subject) + ", which the relay answers"
	default:
		return nil
	}
	return fmt.Errorf("nats: the stream %s does not carry events: %s: %w", s.Stream, why, coherence.ErrMisconfigured)
}

// takes reports whether a subject matches one of several patterns.
func takes(patterns []string, subject string) bool {
	for _, pattern := range patterns {
		ps, ss := strings.Split(pattern, "."), strings.Split(subject, ".")
		for i, p := range ps {
			if p == ">" && len(ss) > i {
				return true
			}
			if i >= len(ss) || p != "*" && p != ss[i] {
				break
			}
			if i == len(ps)-1 && len(ps) == len(ss) {
				return true
			}
		}
	}
	return false
}
