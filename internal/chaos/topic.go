//go:build unix

package chaos

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	kafkago "github.com/segmentio/kafka-go"
)

// createTopic makes the topic and waits until every partition can be written and read.
func (b *cluster) createTopic(ctx context.Context) error {
	err := until(ctx, 30*time.Second, "the topic is created", func() bool {
		res, err := b.admin.CreateTopics(ctx, &kafkago.CreateTopicsRequest{Topics: []kafkago.TopicConfig{
			{Topic: topic, NumPartitions: partitions, ReplicationFactor: 1}}})
		return err == nil && (res.Errors[topic] == nil || errors.Is(res.Errors[topic], kafkago.TopicAlreadyExists))
	})
	if err != nil {
		return err
	}
	return until(ctx, 30*time.Second, "the topic has leaders", func() bool {
		ends, err := b.ends(ctx)
		return err == nil && len(ends) >= partitions
	})
}

// insist repeats what a broker refuses that was started a moment ago.
func insist(ctx context.Context, f func() error) error {
	var err error
	if late := until(ctx, 15*time.Second, "Kafka does as it is told",
		func() bool { err = f(); return err == nil }); late != nil {
		return fmt.Errorf("%w: %w", late, err)
	}
	return nil
}

// ends are the offsets after the last message of each partition.
func (b *cluster) ends(ctx context.Context) (map[int]int64, error) {
	meta, err := b.admin.Metadata(ctx, &kafkago.MetadataRequest{Topics: []string{topic}})
	if err != nil {
		return nil, fmt.Errorf("chaos: %w", err)
	}
	var ask []kafkago.OffsetRequest
	for _, t := range meta.Topics {
		for _, p := range t.Partitions {
			ask = append(ask, kafkago.LastOffsetOf(p.ID))
		}
	}
	got, err := b.admin.ListOffsets(ctx,
		&kafkago.ListOffsetsRequest{Topics: map[string][]kafkago.OffsetRequest{topic: ask}})
	if err != nil {
		return nil, fmt.Errorf("chaos: %w", err)
	}
	out := map[int]int64{}
	for _, p := range got.Topics[topic] {
		if p.Error != nil {
			return nil, fmt.Errorf("chaos: %w", p.Error)
		}
		out[p.Partition] = p.LastOffset
	}
	return out, nil
}

// deleteTopic deletes it, and waits until it is gone.
func (b *cluster) deleteTopic(ctx context.Context) error {
	return insist(ctx, func() error {
		res, err := b.admin.DeleteTopics(ctx, &kafkago.DeleteTopicsRequest{Topics: []string{topic}})
		if err == nil {
			err = res.Errors[topic]
		}
		if err != nil && !errors.Is(err, kafkago.UnknownTopicOrPartition) {
			return fmt.Errorf("chaos: delete the topic: %w", err)
		}
		return nil
	})
}

// growTopic adds partitions.
func (b *cluster) growTopic(ctx context.Context, by int) error {
	return insist(ctx, func() error {
		ends, err := b.ends(ctx)
		if err != nil {
			return err
		}
		res, err := b.admin.CreatePartitions(ctx,
			&kafkago.CreatePartitionsRequest{Topics: []kafkago.TopicPartitionsConfig{{Name: topic,
				Count: int32(len(ends) + by)}}})
		if err == nil {
			err = res.Errors[topic]
		}
		if err != nil {
			return fmt.Errorf("chaos: add partitions: %w", err)
		}
		return nil
	})
}

// trimTopic deletes every record that there is, as retention would, in the version 0 of Kafka's DeleteRecords, which
// kafka-go does not speak.
func (b *cluster) trimTopic(ctx context.Context) error {
	return insist(ctx, func() error {
		ends, err := b.ends(ctx)
		if err != nil {
			return err
		}
		return deleteRecords(ctx, b.kafka.Addr, topic, ends)
	})
}

func split(addr string) (host, port string) {
	host, port, _ = net.SplitHostPort(addr)
	return host, port
}

func contains(s, part string) bool { return strings.Contains(s, part) }

// number is what follows a prefix.
func number(name, prefix string) (int, bool) {
	rest, ok := strings.CutPrefix(name, prefix)
	if !ok {
		return 0, false
	}
	n, err := strconv.Atoi(rest)
	return n, err == nil
}
