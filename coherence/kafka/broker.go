package kafka

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/nearcache/nearcache-go/coherence"
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

// CheckTopic says why no topic can have a name, nil if one can. The error reads after the name, as in `"a b" has a
// character besides letters, digits, dots, dashes and underscores`.
func CheckTopic(name string) error {
	const longest = 249
	switch {
	case name == "" || name == "." || name == "..":
		return errors.New("is no name of a topic")
	case len(name) > longest:
		return fmt.Errorf("is longer than %d characters", longest)
	}
	for _, c := range name {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '.' && c != '-' && c != '_' {
			return errors.New("has a character besides letters, digits, dots, dashes and underscores")
		}
	}
	return nil
}

// checkTopics names the first of several that cannot be; none is too.
func checkTopics(names ...string) error {
	for _, name := range names {
		if err := CheckTopic(name); err != nil {
			return fmt.Errorf("topic %q %w: %w", name, err, coherence.ErrMisconfigured)
		}
	}
	return nil
}

// check refuses what can never work.
func (b Broker) check() error {
	if b.Timeout < 0 {
		return fmt.Errorf("the Timeout is negative: %v", b.Timeout)
	}
	return nil
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
	if timeout == 0 {
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
