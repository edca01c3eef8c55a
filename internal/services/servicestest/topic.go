package servicestest

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
)

// Topic creates a topic on the brokers, its name prefix and something unique, and returns the name once every
// partition can be written and read. The broker acknowledges the creation some milliseconds before that, and an early
// write fails with "not leader". It is deleted when the test ends.
func Topic(t testing.TB, brokers []string, prefix string, partitions int) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	client := &kafka.Client{Addr: kafka.TCP(brokers...), Timeout: 10 * time.Second, Transport: &kafka.Transport{
		// An idle connection would outlive the test.
		IdleTimeout: time.Second,
		Dial:        (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
	}}
	topic := Unique(strings.ReplaceAll(prefix, "/", "-"))
	made, err := client.CreateTopics(ctx, &kafka.CreateTopicsRequest{
		Topics: []kafka.TopicConfig{{Topic: topic, NumPartitions: partitions, ReplicationFactor: 1}}})
	if err == nil {
		err = made.Errors[topic]
	}
	if err != nil {
		t.Fatalf("servicestest: create topic %s: %v", topic, err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_, err := client.DeleteTopics(ctx, &kafka.DeleteTopicsRequest{Topics: []string{topic}})
		if err != nil {
			t.Logf("servicestest: delete topic %s: %v", topic, err) // its broker was killed, for one
		}
		client.Transport.(*kafka.Transport).CloseIdleConnections()
	})
	for err = led(ctx, client, topic, partitions); err != nil; err = led(ctx, client, topic, partitions) {
		select {
		case <-ctx.Done():
			t.Fatalf("servicestest: create topic %s: %v", topic, err)
		case <-time.After(10 * time.Millisecond):
		}
	}
	return topic
}

// led is nil once the leader of every partition knows that it leads: it says where the partition ends.
func led(ctx context.Context, client *kafka.Client, topic string, partitions int) error {
	var ask []kafka.OffsetRequest
	for p := range partitions {
		ask = append(ask, kafka.LastOffsetOf(p))
	}
	got, err := client.ListOffsets(ctx, &kafka.ListOffsetsRequest{Topics: map[string][]kafka.OffsetRequest{topic: ask}})
	if err != nil {
		return err
	}
	if n := len(got.Topics[topic]); n != partitions {
		return fmt.Errorf("%d of %d partitions known", n, partitions)
	}
	for _, p := range got.Topics[topic] {
		if p.Error != nil {
			return p.Error
		}
	}
	return nil
}
