package nats

import (
	"context"
	"errors"
	"fmt"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/internal/tailing"
)

// What is asked for, and handed over, at a time.
const (
	pullMessages = 500
	handMessages = 500
)

func random() string { return nuid.Next() }

// follow makes a consumer, and delivers what it brings, until ctx ends or something fails.
func (r *tailRun) follow(ctx context.Context) error {
	c, err := r.open(ctx)
	if err != nil {
		return err
	}
	defer r.close(c)
	d := &delivery{tailRun: r, consumer: c, anchored: !c.anchor}
	if d.anchored { // there is nothing to begin with, so an answer must show that the consumer may be read
		if err := r.answers(ctx, c); err != nil {
			return err
		}
		d.begun()
	}
	in := &items{messages: make(chan jetstream.Msg, handMessages), errs: make(chan error, 1), end: make(chan struct{})}
	// The server says that it is there twice in each Silence.
	consuming, err := c.Consume(in.take, jetstream.PullMaxMessages(pullMessages), jetstream.PullExpiry(10*r.Silence),
		jetstream.PullHeartbeat(min(r.Silence/2, 30*time.Second)), jetstream.ConsumeErrHandler(in.failed))
	if err != nil {
		return err
	}
	defer func() {
		close(in.end)
		consuming.Stop()
		<-consuming.Closed()
	}()
	return d.run(ctx, in)
}

// items are what a consumer has delivered, or why it does not.
type items struct {
	messages chan jetstream.Msg
	errs     chan error
	end      chan struct{} // closed when nobody takes them any more
}

// take is called for each message, one at a time. It waits for room.
func (in *items) take(m jetstream.Msg) {
	select {
	case in.messages <- m:
	case <-in.end:
	}
}

func (in *items) failed(_ jetstream.ConsumeContext, err error) {
	if errors.Is(err, jetstream.ErrConsumerLeadershipChanged) {
		return // it asks again
	}
	select {
	case in.errs <- err:
	default:
	}
}

// answers asks a consumer that has nothing to deliver, to see whether it may be read.
func (r *tailRun) answers(ctx context.Context, c *consumer) error {
	ask, cancel := context.WithTimeout(ctx, r.Silence)
	defer cancel()
	m, err := r.link.nc.RequestMsgWithContext(ask, &natsgo.Msg{
		Subject: "$JS.API.CONSUMER.MSG.NEXT." + r.Stream + "." + c.name, Data: []byte(`{"batch":1,"no_wait":true}`)})
	if err != nil {
		return err
	}
	const nothing = "404"
	if status := m.Header.Get("Status"); status != nothing {
		return fmt.Errorf("a message came meanwhile, or the status %q", status)
	}
	return nil
}

// delivery is what came of a consumer.
type delivery struct {
	*tailRun
	*consumer
	anchored bool   // the message that it begins with has come, or there was none
	got      uint64 // the number of the last message, as the consumer counts
}

// tick is how often the connection is looked at.
const tick = 50 * time.Millisecond

func (d *delivery) run(ctx context.Context, in *items) error {
	look := time.NewTicker(tick)
	defer look.Stop()
	late := time.Now().Add(d.Silence)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-in.errs:
			if errors.Is(err, jetstream.ErrNoHeartbeat) {
				d.answered = time.Now().Add(-d.Silence) // that is how long nothing has come
			}
			return err
		case m := <-in.messages:
			if err := d.hand(ctx, gather(m, in.messages)); err != nil {
				return err
			}
			d.answered = time.Now()
		case now := <-look.C:
			switch {
			case d.link.losses() != d.losses:
				return errors.New("the connection was lost")
			case !d.anchored && now.After(late):
				return errNothing
			case d.anchored:
				d.answered = now // or else there is an error
			}
		}
	}
}

// gather is a message with those that are there behind it.
func gather(first jetstream.Msg, more <-chan jetstream.Msg) []jetstream.Msg {
	batch := []jetstream.Msg{first}
	for len(batch) < handMessages {
		select {
		case m := <-more:
			batch = append(batch, m)
		default:
			return batch
		}
	}
	return batch
}

// begun says that the consumer follows: a session begins, or the one before goes on.
func (d *delivery) begun() {
	d.anchored, d.answered = true, time.Now()
	if !d.session {
		d.numbers, d.last = tailing.Numbers{}, mark{seq: d.from - 1}
		d.tailRun.begin()
	}
	d.caughtUp()
}

// caughtUp says that a lost stream is followed again, once everything was delivered that came meanwhile.
func (d *delivery) caughtUp() {
	if d.lost && d.last.seq >= d.info.State.LastSeq {
		d.resume()
	}
}

// hand hands over messages, in order. It is an error if one is not the next: then the consumer is given up, and the
// session too if a message is missing in the stream.
func (d *delivery) hand(ctx context.Context, messages []jetstream.Msg) error {
	b := &handing{delivery: d, ctx: ctx}
	for _, m := range messages {
		if err := b.take(m); err != nil {
			return errors.Join(err, b.flush())
		}
	}
	if err := b.flush(); err != nil {
		return err
	}
	d.caughtUp()
	return nil
}

// handing gathers a batch for the sink.
type handing struct {
	*delivery
	ctx   context.Context
	batch []coherence.Message
	upto  mark // of the last message, once the batch is delivered
}

// errHole is of a message that the server has sent and that did not arrive. It is in the stream still.
var errHole = errors.New("a message got lost on its way")

func (h *handing) take(m jetstream.Msg) error {
	meta, err := m.Metadata()
	if err != nil {
		return err
	}
	if h.got++; meta.Sequence.Consumer != h.got {
		return errHole
	}
	now := mark{meta.Sequence.Stream, meta.Timestamp}
	if !h.anchored {
		return h.anchor(now, m)
	}
	last := h.last.seq
	if h.upto.seq > 0 {
		last = h.upto.seq
	}
	switch {
	case now.seq <= last: // the server that sends them is behind the one that told the end
		return errHole
	case now.seq != last+1:
		h.over("messages were removed before they were read")
		return fmt.Errorf("messages %d to %d were removed before they were read", last+1, now.seq-1)
	}
	h.upto = now
	return h.decode(m, now)
}

// anchor takes the message that a consumer begins with. In a session it must be the very message that was delivered
// last. Otherwise the session begins behind it; it may be a barrier, which proves as much as one that follows.
func (h *handing) anchor(now mark, m jetstream.Msg) error {
	if h.session {
		if now != h.last {
			h.over("the message that was read last is another one, or was removed")
			return fmt.Errorf("message %d is another one than was read", h.last.seq)
		}
		h.begun()
		return nil
	}
	if now.seq != h.from {
		return fmt.Errorf("the stream begins at message %d, and not at %d", now.seq, h.from)
	}
	h.begun()
	h.last, h.upto = now, now
	if m.Subject() == BarrierSubject(h.Subject) {
		return h.decode(m, now)
	}
	return nil
}

// decode adds a message to the batch. Anybody may have written an event: it invalidates, and does nothing else. Its
// number is compared with the relay's barriers alone.
func (h *handing) decode(m jetstream.Msg, at mark) error {
	switch m.Subject() {
	case BarrierSubject(h.Subject):
		return h.barrier(m, at)
	case EventSubject(h.Subject):
		return h.events(m, at)
	}
	return nil // the stream has other subjects too
}

func (h *handing) barrier(m jetstream.Msg, at mark) error {
	b, err := decodeBarrier(m.Data())
	if err != nil {
		h.Logger.Warn("a message of the barriers' subject is none", "stream", h.Stream, "sequence", at.seq, "error", err)
		return nil
	}
	if h.numbers.Barrier(b.Position.Timeline, b.Seq) {
		if err := h.flush(); err != nil {
			return err
		}
		h.Logger.Warn("events are missing, so what was read before is not vouched for", "stream", h.Stream, "position",
			b.Position)
		h.sink.Session(0)
	}
	b.Seq = 0 // the numbers are checked here
	h.batch = append(h.batch, coherence.Message{Barrier: b})
	return nil
}

func (h *handing) events(m jetstream.Msg, at mark) error {
	var events []coherence.Event
	err := tailing.Each(1, func(int) (err error) {
		events, err = h.decoded(m, at)
		return err
	})[0]
	if err != nil {
		h.numbers.Garbled()
		h.sink.Malformed(0, err)
		if h.quiet.Pass() {
			h.Logger.Warn("a malformed message is skipped; the metrics count all of them", "stream", h.Stream, "sequence",
				at.seq, "error", err)
		}
		return nil
	}
	for _, e := range events {
		if e.Seq > 0 {
			h.numbers.Event(tailing.Number{Timeline: e.Position.Timeline, Seq: e.Seq})
		}
		e.Seq = 0
		h.batch = append(h.batch, coherence.Message{Event: e})
	}
	return nil
}

// decoded are the events of a message.
func (h *handing) decoded(m jetstream.Msg, at mark) ([]coherence.Event, error) {
	record := coherence.Record{Topic: m.Subject(), Offset: int64(at.seq), Time: at.time, Value: m.Data()}
	for name, values := range m.Headers() {
		for _, v := range values {
			record.Headers = append(record.Headers, coherence.Header{Key: name, Value: []byte(v)})
		}
	}
	if record.Value == nil {
		record.Value = []byte{} // NATS has no other empty message
	}
	return tailing.Decode(h.Codec, record)
}

// flush delivers the batch. What the sink does not take counts as missed.
func (h *handing) flush() error {
	if len(h.batch) > 0 {
		batch := h.batch
		h.batch = nil
		if err := h.sink.Deliver(h.ctx, 0, batch); err != nil {
			if h.ctx.Err() == nil {
				h.over("the instance did not take an event")
			}
			h.session = false
			return err
		}
	}
	if h.upto.seq > 0 {
		h.last, h.upto = h.upto, mark{}
	}
	return nil
}
