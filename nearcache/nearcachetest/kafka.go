package nearcachetest

import (
	"context"
	"fmt"
	"net"

	"github.com/twmb/franz-go/pkg/kfake"
)

// Kafka is an in-process Kafka cluster of one broker.
type Kafka struct {
	c    *kfake.Cluster
	pipe kfake.VirtualNetwork // unused by one that listens
}

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
	return (&Kafka{}).start(partitions, topics)
}

// StartKafkaOnPipes starts a Kafka that only Dial reaches: so it can be started inside a testing/synctest bubble, whose
// time does not pass while a goroutine waits for the network. Close it.
func StartKafkaOnPipes(partitions int, topics ...string) (*Kafka, error) {
	k := &Kafka{}
	return k.start(partitions, topics, kfake.ListenFn(k.pipe.Listen), kfake.Ports(9092))
}

func (k *Kafka) start(partitions int, topics []string, opts ...kfake.Opt) (*Kafka, error) {
	opts = append(opts, kfake.NumBrokers(1), kfake.DefaultNumPartitions(partitions))
	if len(topics) > 0 {
		opts = append(opts, kfake.SeedTopics(int32(partitions), topics...))
	}
	c, err := kfake.NewCluster(opts...)
	if err != nil {
		return nil, fmt.Errorf("nearcachetest: kafka: %w", err)
	}
	k.c = c
	return k, nil
}

// Brokers are its bootstrap servers.
func (k *Kafka) Brokers() []string { return k.c.ListenAddrs() }

// Dial connects to one that was started on pipes; it has the form of kafka-go's Transport.Dial.
func (k *Kafka) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	return k.pipe.DialContext(ctx, network, address)
}

// Close ends it.
func (k *Kafka) Close() { k.c.Close() }
