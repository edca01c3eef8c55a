package kafka

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/nearcache/nearcache-go/coherence"
)

// Broker says how to reach a Kafka cluster.
type Broker struct {
	// Brokers are the bootstrap servers, host:port. Required.
	Brokers []string
	// Transport carries TLS and SASL, and pools connections. Defaults to kafka-go's own with a dial timeout of a second.
	Transport *kafkago.Transport
	// Timeout bounds each request. Defaults to 5 seconds.
	Timeout time.Duration
}

// transport is the broker's own, or a fresh one that the caller must close.
func (b Broker) transport() (t *kafkago.Transport, own bool) {
	if b.Transport != nil {
		return b.Transport, false
	}
	return &kafkago.Transport{DialTimeout: time.Second, MetadataTTL: 2 * time.Second, ClientID: "nearcache"}, true
}

func (b Broker) client(t *kafkago.Transport) *kafkago.Client {
	timeout := b.Timeout
	if timeout <= 0 {
		timeout = 5 * time.Second
	}
	return &kafkago.Client{Addr: addr(b.Brokers), Transport: t, Timeout: timeout}
}

func addr(brokers []string) net.Addr { return kafkago.TCP(brokers...) }

// Publisher sends the relay's messages to a topic: each to the partition it is bound for, in order, acknowledged by all
// replicas in sync. It is a coherence.Publisher and safe for concurrent use, though order is only that of one caller.
// Close it.
type Publisher struct {
	topic  string
	codec  coherence.EventCodec
	client *kafkago.Client
	own    *kafkago.Transport
}

// PublisherConfig configures a Publisher.
type PublisherConfig struct {
	Broker
	Topic string               // required
	Codec coherence.EventCodec // defaults to JSON
}

// NewPublisher returns a Publisher. It does not connect yet.
func NewPublisher(cfg PublisherConfig) (*Publisher, error) {
	if len(cfg.Brokers) == 0 || cfg.Topic == "" {
		return nil, errors.New("kafka: publisher: Brokers and Topic are required")
	}
	t, own := cfg.transport()
	p := &Publisher{topic: cfg.Topic, codec: cfg.Codec.WithDefaults(), client: cfg.client(t)}
	if own {
		p.own = t
	}
	return p, nil
}

// Close closes idle connections.
func (p *Publisher) Close() {
	if p.own != nil {
		p.own.CloseIdleConnections()
	}
}

// CreateTopic makes the topic unless it is there.
func (p *Publisher) CreateTopic(ctx context.Context, partitions, replication int) error {
	return createTopic(ctx, p.client, p.topic, partitions, replication)
}

func createTopic(ctx context.Context, c *kafkago.Client, topic string, partitions, replication int) error {
	res, err := c.CreateTopics(ctx, &kafkago.CreateTopicsRequest{Topics: []kafkago.TopicConfig{
		{Topic: topic, NumPartitions: partitions, ReplicationFactor: replication}}})
	if err == nil {
		err = res.Errors[topic]
	}
	if err != nil && !errors.Is(err, kafkago.TopicAlreadyExists) {
		return fmt.Errorf("kafka: creating topic %s: %w", topic, err)
	}
	return nil
}

// Partitions is the number of the topic's partitions.
func (p *Publisher) Partitions(ctx context.Context) (int, error) {
	return partitions(ctx, p.client, p.topic)
}

func partitions(ctx context.Context, c *kafkago.Client, topic string) (int, error) {
	res, err := c.Metadata(ctx, &kafkago.MetadataRequest{Topics: []string{topic}})
	if err != nil {
		return 0, fmt.Errorf("kafka: metadata of %s: %w", topic, err)
	}
	for _, t := range res.Topics {
		if t.Name == topic {
			if t.Error != nil {
				return 0, fmt.Errorf("kafka: metadata of %s: %w", topic, t.Error)
			}
			return len(t.Partitions), nil
		}
	}
	return 0, fmt.Errorf("kafka: metadata of %s: %w", topic, kafkago.UnknownTopicOrPartition)
}

// Publish sends a batch, a request for each partition side by side. After an error any message may have been delivered,
// or may still be: their sequence numbers make a second time harmless.
func (p *Publisher) Publish(ctx context.Context, batch []coherence.PartitionMessage) error {
	byPart := make(map[int][]kafkago.Record)
	for _, o := range batch {
		b, err := p.codec.Encode(o.Message)
		if err != nil {
			return fmt.Errorf("kafka: encoding %s %q: %w", o.Event.Namespace, o.Event.Key, err)
		}
		r := kafkago.Record{Value: kafkago.NewBytes(b), Time: time.Now()}
		if o.Barrier == nil {
			r.Key = kafkago.NewBytes([]byte(o.Event.Key))
		}
		byPart[o.Partition] = append(byPart[o.Partition], r)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	for part, records := range byPart {
		wg.Go(func() {
			if err := p.produce(ctx, part, records); err != nil {
				mu.Lock()
				errs = append(errs, fmt.Errorf("kafka: publishing to %s/%d: %w", p.topic, part, err))
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (p *Publisher) produce(ctx context.Context, part int, records []kafkago.Record) error {
	for chunk := range slices.Chunk(records, 1000) {
		res, err := p.client.Produce(ctx, &kafkago.ProduceRequest{Topic: p.topic, Partition: part,
			RequiredAcks: kafkago.RequireAll, Records: kafkago.NewRecordReader(chunk...)})
		if err == nil {
			err = res.Error
		}
		if err != nil {
			return err
		}
	}
	return nil
}
