package nats

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/internal/tailing"
)

// Publisher sends the relay's events and barriers to a stream, in order, each acknowledged by the stream; and answers
// instances that ask for the source's position. It is a coherence.Publisher and safe for concurrent use, though order
// is only that of one caller. Close it.
type Publisher struct {
	cfg       PublisherConfig
	questions questions

	mu   sync.Mutex
	link *link
	asks *natsgo.Subscription // nil: no round was published yet
}

// PublisherConfig configures a Publisher.
type PublisherConfig struct {
	Server
	// Codec encodes events. Defaults to JSON.
	Codec coherence.EventCodec
	// MaxBytes bounds a message. Defaults to what the server takes. An event larger than that, or than
	// coherence.MaxMessageBytes, is sent without its Time and Fields, and is a coherence.UnpublishedError if it still is.
	MaxBytes int
}

// NewPublisher returns a Publisher. It does not connect yet.
func NewPublisher(cfg PublisherConfig) (*Publisher, error) {
	if err := cfg.prepare(); err != nil {
		return nil, fmt.Errorf("nats: publisher: %w", err)
	}
	const least = 1024
	if cfg.MaxBytes != 0 && cfg.MaxBytes < least {
		return nil, fmt.Errorf("nats: publisher: MaxBytes is %d: less than %d hold no event", cfg.MaxBytes, least)
	}
	cfg.Codec = cfg.Codec.WithDefaults()
	return &Publisher{cfg: cfg}, nil
}

// Close closes the connection.
func (p *Publisher) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.link != nil {
		p.link.nc.Close()
		p.link, p.asks = nil, nil
	}
}

func (p *Publisher) connected() (*link, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.link == nil {
		l, err := p.cfg.connect("nearcache relay")
		if err != nil {
			return nil, explain(err)
		}
		p.link = l
	}
	return p.link, nil
}

// CreateStream makes the stream unless it is there: kept in files, with that many replicas, and for that long. A
// follower that was away for longer begins a session.
func (p *Publisher) CreateStream(ctx context.Context, replicas int, keep time.Duration) error {
	l, err := p.connected()
	if err != nil {
		return err
	}
	_, err = l.js.CreateStream(ctx, jetstream.StreamConfig{Name: p.cfg.Stream, Replicas: replicas, MaxAge: keep,
		Subjects:  []string{EventSubject(p.cfg.Subject), BarrierSubject(p.cfg.Subject)},
		Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardOld, Storage: jetstream.FileStorage})
	if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
		_, err = p.cfg.look(ctx, l)
	}
	return l.why(err)
}

// Partitions is 1. It is an error while the stream is missing, or does not suit.
func (p *Publisher) Partitions(ctx context.Context) (int, error) {
	l, err := p.connected()
	if err != nil {
		return 0, err
	}
	if _, err := p.cfg.look(ctx, l); err != nil {
		return 0, l.why(err)
	}
	return 1, nil
}

// Publish sends a batch: the events first, and once they are stored what its barriers say. After an error any message
// may have been stored, or may still be: their sequence numbers make a second time harmless. A
// coherence.UnpublishedError names events that were left out; barriers of such a batch are not sent.
func (p *Publisher) Publish(ctx context.Context, batch []coherence.PartitionMessage) error {
	l, err := p.connected()
	if err != nil {
		return err
	}
	for _, m := range batch {
		if m.Partition != 0 {
			return fmt.Errorf("nats: a message for partition %d: the stream has one partition", m.Partition)
		}
	}
	messages, bad := p.encode(l, batch)
	if err := p.send(ctx, l, messages, bad); err != nil {
		return l.why(err)
	}
	if len(bad) > 0 {
		return &coherence.UnpublishedError{Messages: bad}
	}
	for _, m := range batch {
		if m.Barrier != nil {
			if err := p.barrier(ctx, l, m.Barrier); err != nil {
				return l.why(err)
			}
		}
	}
	return nil
}

// encode makes the events' messages, by their index in the batch.
func (p *Publisher) encode(l *link, batch []coherence.PartitionMessage) (messages []*natsgo.Msg, bad map[int]error) {
	most := coherence.MaxMessageBytes
	if n := int(l.nc.MaxPayload()) - maxHeaders; n > 0 {
		most = min(most, n)
	}
	if p.cfg.MaxBytes > 0 {
		most = min(most, p.cfg.MaxBytes)
	}
	messages = make([]*natsgo.Msg, len(batch))
	bad = tailing.Each(len(batch), func(i int) error {
		if batch[i].Barrier != nil {
			return nil
		}
		e := batch[i].Event
		value, err := p.fit(e, most)
		if err != nil {
			return err
		}
		m := natsgo.NewMsg(EventSubject(p.cfg.Subject))
		if m.Data = value; e.Trace != "" {
			m.Header.Set(tailing.TraceHeader, e.Trace)
		}
		messages[i] = m
		return nil
	})
	return messages, bad
}

// maxHeaders is what the headers of a message take at most: the trace, and the name of the stream that is expected.
const maxHeaders = 512

// fit encodes an event in at most so many bytes, if need be without what is informative.
func (p *Publisher) fit(e coherence.Event, most int) ([]byte, error) {
	b, err := p.cfg.Codec.Encode(e)
	if err != nil || len(b) <= most {
		return b, err
	}
	e.Time, e.Fields = time.Time{}, nil
	if b, err = p.cfg.Codec.Encode(e); err == nil && len(b) > most {
		err = fmt.Errorf("nats: an event of %d bytes, where %d fit: its key has %d", len(b), most, len(e.Key))
	}
	return b, err
}

// send sends messages, and waits until the stream has stored each. Those that it can never store are noted in bad.
func (p *Publisher) send(ctx context.Context, l *link, messages []*natsgo.Msg, bad map[int]error) error {
	if !l.nc.IsConnected() {
		return natsgo.ErrDisconnected
	}
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Timeout)
	defer cancel()
	acks := make(map[int]jetstream.PubAckFuture, len(messages))
	for i, m := range messages {
		if m == nil {
			continue
		}
		ack, err := l.js.PublishMsgAsync(m, jetstream.WithExpectStream(p.cfg.Stream))
		if errors.Is(err, natsgo.ErrMaxPayload) {
			bad[i] = err
			continue
		}
		if err != nil {
			return err
		}
		acks[i] = ack
	}
	for i, ack := range acks {
		select {
		case <-ack.Ok():
		case err := <-ack.Err():
			if errors.Is(err, jetstream.ErrStreamMessageExceedsMaximum) {
				bad[i] = err
				continue
			}
			return p.refused(err)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// refused explains why a message was not stored.
func (p *Publisher) refused(err error) error {
	const wrongStream = 10060
	var api *jetstream.APIError
	switch {
	case errors.As(err, &api) && api.ErrorCode == wrongStream:
		return fmt.Errorf("another stream than %s takes the subjects of %s: %w: %w", p.cfg.Stream, p.cfg.Subject, err,
			coherence.ErrMisconfigured)
	case errors.Is(err, jetstream.ErrNoStreamResponse), errors.Is(err, natsgo.ErrNoResponders):
		return fmt.Errorf("no stream takes the subjects of %s: %w", p.cfg.Subject, err)
	}
	return err
}

// barrier answers the questions that the round's head answers, and sends its barrier.
func (p *Publisher) barrier(ctx context.Context, l *link, b *coherence.Barrier) error {
	if b.Term != 0 {
		if err := p.listen(l); err != nil {
			return err
		}
		if !b.Head.IsZero() {
			p.answer(l, b)
		}
	}
	value, err := encodeBarrier(b)
	if err != nil {
		return err
	}
	m := natsgo.NewMsg(BarrierSubject(p.cfg.Subject))
	m.Data = value
	tooLarge := make(map[int]error)
	if err := p.send(ctx, l, []*natsgo.Msg{m}, tooLarge); err != nil {
		return err
	}
	if err := tooLarge[0]; err != nil {
		return err
	}
	p.questions.published(b)
	return nil
}

// listen takes questions, from the first round on: a relay that does not lead answers none.
func (p *Publisher) listen(l *link) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.asks != nil || p.link != l {
		return nil
	}
	sub, err := l.nc.Subscribe(PositionSubject(p.cfg.Subject), func(m *natsgo.Msg) {
		if m.Reply != "" {
			p.questions.came(m.Reply)
		}
	})
	if err == nil {
		p.asks = sub
	}
	return err
}

func (p *Publisher) answer(l *link, b *coherence.Barrier) {
	value, err := encodeAnswer(b.Head)
	if err != nil {
		return
	}
	for _, reply := range p.questions.answered(b) {
		_ = l.nc.Publish(reply, value) // who is not answered asks again
	}
}
