package kafka

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	kafkago "github.com/segmentio/kafka-go"
)

// Broker says how to reach a Kafka cluster.
type Broker struct {
	// Brokers are the bootstrap servers, host:port. Required.
	Brokers []string
	// Transport carries TLS and SASL, and pools connections. Defaults to kafka-go's own with a dial timeout of a
	// second.
	Transport *kafkago.Transport
	// Timeout bounds each request. Defaults to 5 seconds.
	Timeout time.Duration
}

// transport is the broker's own, or a fresh one that the caller must close.
func (b Broker) transport() (t *kafkago.Transport, own bool) {
	if b.Transport != nil {
		return b.Transport, false
	}
	return &kafkago.Transport{DialTimeout: time.Second, MetadataTTL: 2 * time.Second, ClientID: clientID}, true
}

func (b Broker) client(t *kafkago.Transport) *kafkago.Client {
	timeout := b.Timeout
	if timeout <= 0 {
		timeout = 5 * time.Second
	}
	return &kafkago.Client{Addr: addr(b.Brokers), Transport: t, Timeout: timeout}
}

func addr(brokers []string) net.Addr { return kafkago.TCP(brokers...) }

func createTopic(ctx context.Context, c *kafkago.Client, topic string, partitions, replication int,
	settings ...kafkago.ConfigEntry) error {
	res, err := c.CreateTopics(ctx, &kafkago.CreateTopicsRequest{Topics: []kafkago.TopicConfig{
		{Topic: topic, NumPartitions: partitions, ReplicationFactor: replication, ConfigEntries: settings}}})
	if err == nil {
		err = res.Errors[topic]
	}
	if err != nil && !errors.Is(err, kafkago.TopicAlreadyExists) {
		return fmt.Errorf("kafka: creating topic %s: %w", topic, err)
	}
	return nil
}

// partitions is the number of partitions of a topic; one that is not there is UnknownTopicOrPartition.
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
