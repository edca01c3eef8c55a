package kafka_test

import (
	"context"
	"errors"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/eventstest"
	"github.com/nearcache/nearcache-go/coherence/kafka"
	"github.com/nearcache/nearcache-go/internal/services/servicestest"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
)

// conforming is the Harness of a topic that is followed over a line.
func conforming(t *testing.T, brokers []string, partitions int, line *eventstest.Line) eventstest.Harness {
	topic := servicestest.Unique("conforms")
	p := publisher(t, brokers, topic, partitions)
	others, err := kafka.OpenLog(kafka.Broker{Brokers: brokers}, topic)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(others.Close)
	client := &kafkago.Client{Addr: kafkago.TCP(brokers...), Timeout: 5 * time.Second}
	return eventstest.Harness{
		Events: func() coherence.EventSource {
			tr := &kafkago.Transport{Dial: line.DialContext, DialTimeout: time.Second, MetadataTTL: 500 * time.Millisecond}
			t.Cleanup(tr.CloseIdleConnections)
			return kafka.Tail{Broker: kafka.Broker{Brokers: brokers, Transport: tr}, Topic: topic,
				MaxWait: 50 * time.Millisecond, Silence: 300 * time.Millisecond, Refresh: 50 * time.Millisecond}
		},
		Publisher: p,
		Write: func(ctx context.Context, partition int, value []byte) error {
			return others.Send(ctx, partition, []byte("k"), value)
		},
		Forged: []string{`{"topic":"` + topic + `","position":{"timeline":"1","n":1099511627776},"ends":[0],"seqs":[9]}`},
		Line:   line,
		Lose:   func(ctx context.Context) error { return removeRecords(ctx, brokers, topic, partitions) },
		Recreate: func(ctx context.Context) error {
			if _, err := client.DeleteTopics(ctx, &kafkago.DeleteTopicsRequest{Topics: []string{topic}}); err != nil {
				return err
			}
			eventually(t, "the topic is there again", func() bool {
				if p.CreateTopic(ctx, partitions, 1) != nil {
					return false
				}
				n, err := p.Partitions(ctx)
				return err == nil && n == partitions
			})
			return nil
		},
		Misconfigured: func() coherence.EventSource {
			return kafka.Tail{Broker: kafka.Broker{Brokers: brokers}, Topic: "no topic"}
		},
	}
}

// removeRecords removes all records of a topic, as retention does.
func removeRecords(ctx context.Context, brokers []string, topic string, partitions int) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		return err
	}
	defer client.Close()
	const all = -1
	of := kmsg.DeleteRecordsRequestTopic{Topic: topic}
	for p := range partitions {
		of.Partitions = append(of.Partitions, kmsg.DeleteRecordsRequestTopicPartition{Partition: int32(p), Offset: all})
	}
	_, err = (&kmsg.DeleteRecordsRequest{Topics: []kmsg.DeleteRecordsRequestTopic{of},
		TimeoutMillis: 5000}).RequestWith(ctx, client)
	return err
}

func TestTail_Conforms(t *testing.T) {
	onBoth(t, func(t *testing.T, brokers []string) {
		eventstest.Run(t, func(t *testing.T) eventstest.Harness {
			t.Parallel() // most of the time it waits
			return conforming(t, brokers, 2, &eventstest.Line{})
		})
	})
}

// joined publishes to the partitions of several channels as if they were of one.
type joined struct {
	of   []coherence.Publisher
	each int // partitions of each
}

func (j joined) Partitions(context.Context) (int, error) { return j.each * len(j.of), nil }

func (j joined) Publish(ctx context.Context, batch []coherence.PartitionMessage) error {
	for i, p := range j.of {
		var own []coherence.PartitionMessage
		for _, m := range batch {
			if m.Partition/j.each != i {
				continue
			}
			if m.Partition %= j.each; m.Barrier != nil {
				b := *m.Barrier
				b.Partitions = j.each
				m.Barrier = &b
			}
			own = append(own, m)
		}
		if err := p.Publish(ctx, own); err != nil {
			return err
		}
	}
	return nil
}

// TestJoinEvents_Conforms joins the topics of two sources.
func TestJoinEvents_Conforms(t *testing.T) {
	brokers := nearcachetest.NewKafka(t, 1).Brokers()
	eventstest.Run(t, func(t *testing.T) eventstest.Harness {
		t.Parallel()
		line := &eventstest.Line{}
		h, other := conforming(t, brokers, 1, line), conforming(t, brokers, 1, line)
		first := h
		h.NoBarriers = true
		h.Publisher = joined{[]coherence.Publisher{first.Publisher, other.Publisher}, 1}
		h.Events = func() coherence.EventSource { return coherence.JoinEvents(first.Events(), other.Events()) }
		h.Lose = func(ctx context.Context) error { return errors.Join(first.Lose(ctx), other.Lose(ctx)) }
		h.Recreate = func(ctx context.Context) error { return errors.Join(first.Recreate(ctx), other.Recreate(ctx)) }
		h.Misconfigured = func() coherence.EventSource {
			return coherence.JoinEvents(first.Events(), other.Misconfigured())
		}
		return h
	})
}
