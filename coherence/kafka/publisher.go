package kafka

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/internal/tailing"
)

// Publisher sends the relay's events to a topic, each to the partition it is bound for, in order, acknowledged by all
// replicas in sync; and its barriers to a topic of their own (see BarrierTopic). It is a coherence.Publisher and safe
// for concurrent use, though order is only that of one caller. Close it.
type Publisher struct {
	cfg      PublisherConfig
	c        *cluster
	events   *producer
	barriers *producer

	mu  sync.Mutex
	id  topicID // the topic's when the last barrier was sent
	end int64   // behind the last barrier that was acknowledged; 0: there is none
}

// PublisherConfig configures a Publisher.
type PublisherConfig struct {
	Broker
	// Topic takes the events. Required. It may be shared, and compacted: every event has a record key, which is
	// "namespace:key", or a hash of that where it is long.
	Topic string
	// BarrierTopic takes the barriers. Defaults to BarrierTopic(Topic). Nobody but the relay should have the right to
	// write it. It has one partition, and is made if it is missing.
	BarrierTopic string
	// Codec encodes events. Defaults to JSON.
	Codec coherence.EventCodec
	// Also encodes a second message to follow an event's own, for others who read the topic; nil: none. It must not
	// have a sequence number. Defaults to none at all.
	Also func(coherence.Event) ([]byte, error)
	// MaxBytes bounds a batch. Defaults to the topic's max.message.bytes, where that may be asked for, and else to
	// 1,048,588, Kafka's own default. An event larger than that, or than coherence.MaxMessageBytes, is sent without
	// its Time and Fields, and is a coherence.UnpublishedError if it still is.
	MaxBytes int
}

// NewPublisher returns a Publisher. It does not connect yet.
func NewPublisher(cfg PublisherConfig) (*Publisher, error) {
	if len(cfg.Brokers) == 0 || cfg.Topic == "" {
		return nil, errors.New("kafka: publisher: Brokers and Topic are required")
	}
	if cfg.BarrierTopic == "" {
		cfg.BarrierTopic = BarrierTopic(cfg.Topic)
	}
	if cfg.BarrierTopic == cfg.Topic {
		return nil, errors.New("kafka: publisher: BarrierTopic is the topic of the events: whoever writes those could " +
			"forge proofs")
	}
	if err := checkTopics(cfg.Topic, cfg.BarrierTopic); err != nil {
		return nil, fmt.Errorf("kafka: publisher: %w", err)
	}
	if err := cfg.Broker.check(); err != nil {
		return nil, fmt.Errorf("kafka: publisher: %w", err)
	}
	const least = 1024
	if cfg.MaxBytes != 0 && cfg.MaxBytes < least {
		return nil, fmt.Errorf("kafka: publisher: MaxBytes is %d: less than %d hold no event", cfg.MaxBytes, least)
	}
	cfg.Codec = cfg.Codec.WithDefaults()
	c := cfg.connect()
	return &Publisher{cfg: cfg, c: c, events: &producer{c: c, topic: cfg.Topic, limit: cfg.MaxBytes},
		barriers: &producer{c: c, topic: cfg.BarrierTopic}}, nil
}

// Close closes idle connections.
func (p *Publisher) Close() { p.c.close() }

// CreateTopic makes the topic, and that of the barriers, unless they are there.
func (p *Publisher) CreateTopic(ctx context.Context, partitions, replication int) error {
	if err := createTopic(ctx, p.c.client, p.cfg.Topic, partitions, replication); err != nil {
		return err
	}
	return p.createBarriers(ctx, replication)
}

// createBarriers makes the barriers' topic. Only its last record is ever needed.
func (p *Publisher) createBarriers(ctx context.Context, replication int) error {
	return createTopic(ctx, p.c.client, p.cfg.BarrierTopic, 1, replication,
		kafkago.ConfigEntry{ConfigName: "retention.ms", ConfigValue: strconv.Itoa(int(time.Hour.Milliseconds()))},
		kafkago.ConfigEntry{ConfigName: "segment.bytes", ConfigValue: strconv.Itoa(16 << 20)},
		kafkago.ConfigEntry{ConfigName: "cleanup.policy", ConfigValue: "delete"})
}

// Partitions is the number of the topic's partitions.
func (p *Publisher) Partitions(ctx context.Context) (int, error) {
	return partitions(ctx, p.c.client, p.cfg.Topic)
}

// Publish sends a batch: the events first, a request for each partition side by side, and then what its barriers say,
// in one record. After an error any message may have been delivered, or may still be: their sequence numbers make a
// second time harmless. A coherence.UnpublishedError names events that were left out; barriers of such a batch are
// not sent.
func (p *Publisher) Publish(ctx context.Context, batch []coherence.PartitionMessage) error {
	byPart, bad := p.encode(ctx, batch)
	var wg sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	for part, records := range byPart {
		wg.Go(func() {
			tooLarge, err := p.events.send(ctx, part, records)
			mu.Lock()
			defer mu.Unlock()
			for _, i := range tooLarge {
				if i >= 0 {
					bad[i] = kafkago.MessageSizeTooLarge
				}
			}
			if err != nil {
				errs = append(errs, err)
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if len(bad) > 0 {
		return &coherence.UnpublishedError{Messages: bad}
	}
	return p.publishBarriers(ctx, batch)
}

// encode makes the events' records, by partition.
func (p *Publisher) encode(ctx context.Context, batch []coherence.PartitionMessage) (byPart map[int][]out,
	bad map[int]error) {
	encoded, also := make([][]byte, len(batch)), make([][]byte, len(batch))
	most := 0
	bad = tailing.Each(len(batch), func(i int) (err error) {
		if batch[i].Barrier != nil {
			return nil
		}
		if most == 0 {
			most = p.events.most(ctx)
		}
		encoded[i], err = p.fit(batch[i].Event, most)
		return err
	})
	byPart = make(map[int][]out)
	if p.cfg.Also != nil {
		tailing.Each(len(batch), func(i int) (err error) {
			if batch[i].Barrier == nil {
				also[i], err = p.cfg.Also(batch[i].Event)
			}
			return err
		})
	}
	for i, m := range batch {
		if m.Barrier != nil || bad[i] != nil {
			continue
		}
		key := recordKey(m.Event)
		o := out{index: i, key: key, value: encoded[i]}
		if m.Event.Trace != "" && o.size()+traceBytes <= most {
			o.headers = []kafkago.Header{{Key: tailing.TraceHeader, Value: []byte(m.Event.Trace)}}
		}
		byPart[m.Partition] = append(byPart[m.Partition], o)
		if also[i] != nil && len(also[i]) <= most {
			byPart[m.Partition] = append(byPart[m.Partition], out{index: -1, key: key, value: also[i]})
		}
	}
	return byPart, bad
}

// fit encodes an event in at most so many bytes, if need be without what is informative.
func (p *Publisher) fit(e coherence.Event, most int) ([]byte, error) {
	room := most - len(recordKey(e)) - 40
	b, err := p.cfg.Codec.Encode(e)
	if err != nil || len(b) <= room {
		return b, err
	}
	e.Time, e.Fields = time.Time{}, nil
	if b, err = p.cfg.Codec.Encode(e); err == nil && len(b) > room {
		err = fmt.Errorf("kafka: an event of %d bytes, where %d fit: its key has %d", len(b), room, len(e.Key))
	}
	return b, err
}

// traceBytes is what the header with the traceparent of the write takes at most.
const traceBytes = 100

// recordKey names what changed, for a compacted topic, which keeps the last record of a name. The event has the key
// already, so a long one goes as a hash.
func recordKey(e coherence.Event) []byte {
	const long = 256
	if n := len(e.Namespace) + 1 + len(e.Key); n <= long {
		return []byte(e.Namespace + ":" + e.Key)
	}
	sum := sha256.Sum256([]byte(e.Namespace + ":" + e.Key))
	return fmt.Appendf(nil, "sha256:%x", sum)
}

// publishBarriers sends what the barriers of a batch say, if it has one for each partition.
func (p *Publisher) publishBarriers(ctx context.Context, batch []coherence.PartitionMessage) error {
	var b *barrier
	var round *coherence.Barrier
	for _, m := range batch {
		if m.Barrier == nil {
			continue
		}
		if b == nil {
			round = m.Barrier
			b = &barrier{topic: p.cfg.Topic, at: round.Position, seqs: make([]uint64, round.Partitions), term: round.Term,
				round: round.Round}
			b.head, b.begun = round.Head, p.begun()
		}
		if m.Barrier.Position != b.at || m.Partition < 0 || m.Partition >= len(b.seqs) {
			return errors.New("kafka: a batch's barriers do not belong together")
		}
		b.seqs[m.Partition] = m.Barrier.Seq
	}
	if b == nil {
		return nil
	}
	if err := p.locate(ctx, b); err != nil {
		return err
	}
	value, err := b.encode()
	if err != nil {
		return err
	}
	_, offset, err := p.barriers.sendTo(ctx, 0, []out{{key: []byte(p.cfg.Topic), value: value}})
	if err == nil {
		p.sent(offset)
	}
	if missing(err) {
		return errors.Join(err, p.createBarriers(ctx, -1))
	}
	return err
}

// begun is the offset behind the last barrier that was acknowledged. The relay asked for the head of the next one after
// that, if the two are of successive rounds of one term. If they are not, followers see that.
func (p *Publisher) begun() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.end
}

func (p *Publisher) sent(offset int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.end = offset + 1
}

// locate says where in which topic everything published so far ends.
//
// The ends are asked for each time: a relay of another process may have published what this one's cursor says is
// published. They are asked for after the events were acknowledged, so they cover them. The topic's id is read after
// that, and if it is the one that was read last time, then the ends are of that topic.
func (p *Publisher) locate(ctx context.Context, b *barrier) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	b.ends = make([]int64, len(b.seqs))
	for range 3 {
		ends, err := p.c.ends(ctx, p.cfg.Topic, len(b.ends))
		if err != nil {
			return fmt.Errorf("kafka: offsets of %s: %w", p.cfg.Topic, err)
		}
		for part, e := range ends {
			b.ends[part] = e.offset
		}
		t, err := p.c.topic(ctx, p.cfg.Topic)
		if err != nil {
			return err
		}
		b.id = t.id
		if p.id == t.id {
			return nil
		}
		p.id = t.id
	}
	return fmt.Errorf("kafka: the topic %s is being made anew", p.cfg.Topic)
}
