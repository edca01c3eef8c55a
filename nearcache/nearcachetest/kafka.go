package nearcachetest

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kfake"
)

// Kafka is an in-process Kafka cluster of one broker.
type Kafka struct{ c *kfake.Cluster }

// NewKafka starts a Kafka that ends with the test, with topics of n partitions each.
func NewKafka(tb TB, partitions int, topics ...string) *Kafka {
	tb.Helper()
	k, err := StartKafka(partitions, topics...)
	if err != nil {
		tb.Fatalf("nearcachetest: %v", err)
	}
	tb.Cleanup(k.Close)
	return k
}

// StartKafka starts a Kafka on a free port of the loopback interface. Close it.
func StartKafka(partitions int, topics ...string) (*Kafka, error) {
	opts := []kfake.Opt{kfake.NumBrokers(1), kfake.DefaultNumPartitions(partitions)}
	if len(topics) > 0 {
		opts = append(opts, kfake.SeedTopics(int32(partitions), topics...))
	}
	c, err := kfake.NewCluster(opts...)
	if err != nil {
		return nil, fmt.Errorf("nearcachetest: kafka: %w", err)
	}
	return &Kafka{c}, nil
}

// Brokers are its bootstrap servers.
func (k *Kafka) Brokers() []string { return k.c.ListenAddrs() }

// Close ends it.
func (k *Kafka) Close() { k.c.Close() }
