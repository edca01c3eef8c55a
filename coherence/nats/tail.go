package nats

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/internal/tailing"
)

// Tail follows a stream from its present end: each instance has a consumer of its own, which ends with it. It is a
// coherence.EventSource; Run may be called once at a time.
//
// Whoever may publish to the subject of the events may invalidate, and nothing else.
type Tail struct {
	Server
	// Codec decodes messages. A Record's Topic is the subject, its Offset the sequence number in the stream, and it has
	// no Key. Defaults to JSON.
	Codec coherence.EventCodec
	// Silence is how long the stream may go without any answer before it counts as lost. Defaults to 2 seconds; at least
	// 1 second.
	Silence time.Duration
	// Logger hears of sessions and losses, and at Warn why nothing is followed, once for each reason. Defaults to
	// discarding it.
	Logger *slog.Logger
}

// Run delivers until ctx ends. See coherence.EventSource.
func (t Tail) Run(ctx context.Context, sink coherence.Sink) error {
	if err := t.prepare(); err != nil {
		return err
	}
	l, err := t.connect("nearcache instance")
	if err != nil {
		return fmt.Errorf("nats: tail: %w: %w", err, coherence.ErrMisconfigured)
	}
	defer l.nc.Close()
	r := &tailRun{Tail: t, sink: sink, link: l}
	if s, ok := sink.(coherence.PositionSink); ok {
		s.AskPositions(r.position)
	}
	sink.Partitions(1)
	r.answered = time.Now()
	for ctx.Err() == nil {
		err := r.follow(ctx)
		if ctx.Err() != nil {
			break
		}
		r.trouble(err)
		tailing.Pause(ctx, retryAfter)
	}
	return ctx.Err()
}

// retryAfter is between two attempts to follow.
const retryAfter = 100 * time.Millisecond

func (t *Tail) prepare() error {
	if err := t.Server.prepare(); err != nil {
		return fmt.Errorf("nats: tail: %w", err)
	}
	if t.Silence == 0 {
		t.Silence = 2 * time.Second
	}
	if t.Silence < time.Second {
		return fmt.Errorf("nats: tail: Silence is %v; it is at least a second: %w", t.Silence,
			coherence.ErrMisconfigured)
	}
	if t.Logger == nil {
		t.Logger = slog.New(slog.DiscardHandler)
	}
	t.Codec = t.Codec.WithDefaults()
	return nil
}

// Ping implements coherence.Pinger: it finds out whether a server lets us in, and lets us read the stream, and whether
// the stream suits. A stream that is not there may be made later, and a server that does not answer may do so yet.
func (t Tail) Ping(ctx context.Context) error {
	if err := t.prepare(); err != nil {
		return err
	}
	if deadline, ok := ctx.Deadline(); ok {
		t.Timeout = min(t.Timeout, max(time.Until(deadline)*3/4, time.Millisecond))
	}
	l, err := t.connect("nearcache instance")
	if err != nil {
		return fmt.Errorf("nats: tail: %w: %w", err, coherence.ErrMisconfigured)
	}
	defer l.nc.Close()
	for !l.nc.IsConnected() && ctx.Err() == nil {
		if err := l.why(natsgo.ErrDisconnected); errors.Is(err, coherence.ErrMisconfigured) {
			return err
		}
		tailing.Pause(ctx, 10*time.Millisecond)
	}
	r := &tailRun{Tail: t, link: l}
	c, err := r.open(ctx)
	if err == nil {
		r.close(c)
	}
	if err = l.why(err); errors.Is(err, coherence.ErrMisconfigured) {
		return err
	}
	return nil
}

// tailRun is one Run of a Tail. Only Run's goroutine uses it, but for position.
type tailRun struct {
	Tail
	sink coherence.Sink
	link *link

	session  bool      // one has been announced, and stands
	lost     bool      // Lost was the last that the sink heard
	answered time.Time // when the stream last answered
	reason   string    // why nothing is followed, as it was logged last
	numbers  tailing.Numbers
	quiet    tailing.Throttle

	made time.Time // when the stream of the session was made
	last mark      // the last message that was delivered; the zero mark: there was none in the stream
}

// mark is a message of the stream. No two have the same number and the same time, unless the stream was restored from a
// copy of itself.
type mark struct {
	seq  uint64
	time time.Time
}

// trouble notes why the stream is not followed: after Silence it is lost.
func (r *tailRun) trouble(err error) {
	err = r.link.why(err)
	if !errors.Is(err, coherence.ErrMisconfigured) && time.Since(r.answered) < r.Silence {
		return
	}
	if !r.lost {
		r.lost = true
		r.sink.Lost(0)
	}
	r.sink.Failed(0, err)
	if reason := reasonOf(err); reason != r.reason {
		r.reason = reason
		r.Logger.Warn("the stream of events is not followed", "stream", r.Stream, "error", err)
	}
}

// reasonOf is an error without what differs from one attempt to the next: a right that is refused names the consumer.
func reasonOf(err error) string {
	if errors.Is(err, natsgo.ErrPermissionViolation) {
		return "a right is missing"
	}
	return err.Error()
}

// begin announces a session. What was delivered before counts for nothing.
func (r *tailRun) begin() {
	r.session, r.lost, r.reason = true, false, ""
	r.sink.Session(0)
	r.Logger.Info("following", "stream", r.Stream, "sequence", r.last.seq)
}

// resume says that everything was delivered that came while the stream was lost.
func (r *tailRun) resume() {
	r.lost, r.reason = false, ""
	r.sink.Resumed(0)
	r.Logger.Info("NATS answers again", "stream", r.Stream)
}

// position is what the sink is given to ask. See coherence.PositionSink. It asks again while no relay answers.
func (r *tailRun) position(ctx context.Context) (coherence.Position, error) {
	inbox := r.link.nc.NewInbox()
	answers, err := r.link.nc.SubscribeSync(inbox)
	if err != nil {
		return coherence.Position{}, r.link.why(err)
	}
	defer func() { _ = answers.Unsubscribe() }()
	for {
		if r.link.nc.PublishRequest(PositionSubject(r.Subject), inbox, nil) == nil {
			if m, err := next(ctx, answers); err == nil {
				if at, err := decodeAnswer(m.Data); err == nil {
					return at, nil
				}
			}
		}
		if ctx.Err() != nil {
			return coherence.Position{}, fmt.Errorf("nats: no relay has answered on %s: %w", PositionSubject(r.Subject),
				ctx.Err())
		}
		tailing.Pause(ctx, retryAfter)
	}
}

// next is the next answer. A relay that was asked may be gone, and another one lead: who asks does so again.
func next(ctx context.Context, answers *natsgo.Subscription) (*natsgo.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, askAgain)
	defer cancel()
	return answers.NextMsgWithContext(ctx)
}

// askAgain is how long a question waits before it is asked again.
const askAgain = 2 * time.Second

// consumer is the consumer of one attempt to follow. The server keeps what it has sent, and sends it once.
type consumer struct {
	jetstream.Consumer
	name   string
	info   *jetstream.StreamInfo // read after the consumer was made
	from   uint64                // it begins here
	anchor bool                  // the message at from is known, and must come first
	losses int                   // of the connection, when it was made
}

// forgetAfter is when the server forgets a consumer that nobody asks for messages.
const forgetAfter = 30 * time.Second

// open makes a consumer that begins at the last message that was delivered, which shows that the stream is the same; or
// without a session at the last one that there is.
//
// The stream is looked at before and after. If both answers are of one stream then the consumer is too.
func (r *tailRun) open(ctx context.Context) (*consumer, error) {
	losses := r.link.losses()
	before, err := r.look(ctx, r.link)
	if err != nil {
		return nil, err
	}
	if r.session {
		r.compare(before)
	}
	c := &consumer{name: "nearcache-" + random(), from: r.last.seq, anchor: !r.last.time.IsZero(), losses: losses}
	if !r.session {
		c.from, c.anchor = before.State.LastSeq, before.State.Msgs > 0 && before.State.LastSeq >= before.State.FirstSeq
	}
	if !c.anchor {
		c.from++ // there is no message to begin with
	}
	ask, cancel := context.WithTimeout(ctx, r.Timeout)
	defer cancel()
	c.Consumer, err = r.link.js.CreateConsumer(ask, r.Stream, jetstream.ConsumerConfig{Name: c.name,
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: c.from, AckPolicy: jetstream.AckNonePolicy,
		ReplayPolicy: jetstream.ReplayInstantPolicy, InactiveThreshold: forgetAfter, Replicas: 1, MemoryStorage: true})
	if err != nil {
		return nil, fmt.Errorf("consumer of stream %s: %w", r.Stream, err)
	}
	if c.info, err = r.look(ctx, r.link); err != nil {
		return nil, err
	}
	if !c.info.Created.Equal(before.Created) {
		return nil, fmt.Errorf("stream %s was made again", r.Stream)
	}
	if !r.session {
		r.made = c.info.Created
	}
	return c, nil
}

// compare ends the session if the stream is another one, or has lost what was delivered and so perhaps what was not.
func (r *tailRun) compare(now *jetstream.StreamInfo) {
	why := ""
	switch {
	case !now.Created.Equal(r.made):
		why = "the stream was made again"
	case now.State.LastSeq < r.last.seq:
		why = "the stream has lost messages that were delivered"
	case now.State.FirstSeq > r.last.seq+1, now.State.FirstSeq > r.last.seq && !r.last.time.IsZero():
		why = "messages were removed, perhaps before they were read"
	default:
		return
	}
	r.over(why)
}

// over ends the session: another one is to begin.
func (r *tailRun) over(why string) {
	r.session = false
	r.Logger.Warn("events may be missing, so what was read before is not vouched for", "stream", r.Stream, "reason", why)
}

// close ends a consumer. The server would forget it by itself.
func (r *tailRun) close(c *consumer) {
	if !r.link.nc.IsConnected() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = r.link.js.DeleteConsumer(ctx, r.Stream, c.name)
}
