package kafka_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	kafkago "github.com/segmentio/kafka-go"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/kafka"
	"github.com/nearcache/nearcache-go/internal/services/servicestest"
)

func TestTail_SeesWhatIsPublishedAfterItsSession(t *testing.T) {
	onBoth(t, func(t *testing.T, brokers []string) {
		topic := servicestest.Unique("tail")
		p := publisher(t, brokers, topic, 2)
		r := follow(t, kafka.Tail{Broker: kafka.Broker{Brokers: brokers}, Topic: topic, MaxWait: 50 * time.Millisecond})
		eventually(t, "sessions", func() bool { return len(r.of(0)) == 1 && len(r.of(1)) == 1 })
		barrier := coherence.Message{Barrier: &coherence.Barrier{Position: coherence.Position{Timeline: 1, N: 1},
			Seq: 2, Partitions: 2}}
		if err := p.Publish(t.Context(), []coherence.PartitionMessage{{Partition: 0, Message: event("a", 1, 1)},
			{Partition: 1, Message: event("b", 1, 1)},
			{Partition: 0, Message: event("c", 2, 2)}, {Partition: 0, Message: barrier}, {Partition: 1,
				Message: barrier}}); err != nil {
			t.Fatal(err)
		}
		for part := range 2 {
			eventually(t, "the barrier is taken", func() bool { return slices.Contains(r.of(part), "barrier at 1") })
		}
		w := &kafkago.Writer{Addr: kafkago.TCP(brokers...), Topic: topic, RequiredAcks: kafkago.RequireAll,
			BatchTimeout: time.Millisecond,
			Compression:  kafkago.Snappy, Balancer: kafkago.BalancerFunc(func(kafkago.Message, ...int) int { return 1 })}
		defer w.Close()
		eventually(t, "the writer has heard of the topic", func() bool {
			return w.WriteMessages(t.Context(), kafkago.Message{Value: []byte("garbage")}, kafkago.Message{Value: nil},
				kafkago.Message{Value: []byte(`{"namespace":"n","key":"d"}`)}) == nil
		})
		want := [][]string{{"session", "a v1", "c v2", "barrier at 1"}, {"session", "b v1", "barrier at 1",
			"malformed", "malformed", "d v0"}}
		for part := range want {
			eventually(t, "all is delivered", func() bool { return len(r.of(part)) >= len(want[part]) })
			if diff := cmp.Diff(want[part], r.of(part)); diff != "" {
				t.Errorf("partition %d: %s", part, diff)
			}
		}
	})
}

func TestTail_FollowsNewPartitions(t *testing.T) { // R26
	onBoth(t, func(t *testing.T, brokers []string) {
		topic := servicestest.Unique("grow")
		p := publisher(t, brokers, topic, 1)
		r := follow(t, kafka.Tail{Broker: kafka.Broker{Brokers: brokers}, Topic: topic,
			Refresh: 50 * time.Millisecond, MaxWait: 50 * time.Millisecond})
		eventually(t, "a session", func() bool { return len(r.of(0)) == 1 })
		client := &kafkago.Client{Addr: kafkago.TCP(brokers...)}
		res, err := client.CreatePartitions(t.Context(),
			&kafkago.CreatePartitionsRequest{Topics: []kafkago.TopicPartitionsConfig{{Name: topic, Count: 2}}})
		if err == nil {
			err = res.Errors[topic]
		}
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, "the new partition takes messages", func() bool {
			return p.Publish(t.Context(), []coherence.PartitionMessage{{Partition: 1, Message: event("new", 1,
				1)}}) == nil
		})
		eventually(t, "and is read from its beginning", func() bool { return slices.Contains(r.of(1), "new v1") })
		if r.of(1)[0] != "session" || r.parts != 2 {
			t.Errorf("%v, of %d partitions", r.of(1), r.parts)
		}
	})
}

func TestTail_TopicMadeAnew(t *testing.T) {
	onBoth(t, func(t *testing.T, brokers []string) {
		topic := servicestest.Unique("anew")
		p := publisher(t, brokers, topic, 1)
		for i := range uint64(20) {
			if err := p.Publish(t.Context(), []coherence.PartitionMessage{{Message: event("x", 1, i)}}); err != nil {
				t.Fatal(err)
			}
		}
		r := follow(t, kafka.Tail{Broker: kafka.Broker{Brokers: brokers}, Topic: topic,
			Refresh: 50 * time.Millisecond, MaxWait: 50 * time.Millisecond})
		eventually(t, "a session", func() bool { return len(r.of(0)) == 1 })
		client := &kafkago.Client{Addr: kafkago.TCP(brokers...)}
		if _, err := client.DeleteTopics(t.Context(),
			&kafkago.DeleteTopicsRequest{Topics: []string{topic}}); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the topic is there again", func() bool { return p.CreateTopic(t.Context(), 1, 1) == nil })
		eventually(t, "another session", func() bool {
			_ = p.Publish(t.Context(), []coherence.PartitionMessage{{Message: event("fresh", 1, 1)}})
			n := 0
			for _, s := range r.of(0) {
				if s == "session" {
					n++
				}
			}
			return n >= 2 && r.of(0)[len(r.of(0))-1] == "fresh v1"
		})
	})
}

func TestTail_SilenceIsLossAndNoGap(t *testing.T) {
	p := servicestest.StartKafka(t)
	topic := servicestest.Unique("silence")
	pub := publisher(t, p.Brokers, topic, 1)
	r := follow(t, kafka.Tail{Broker: kafka.Broker{Brokers: p.Brokers}, Topic: topic, MaxWait: 50 * time.Millisecond,
		Silence: 300 * time.Millisecond})
	eventually(t, "a session", func() bool { return len(r.of(0)) == 1 })
	p.Pause() // a black hole: connections stay, nothing answers
	eventually(t, "the loss is noticed", func() bool { return slices.Contains(r.of(0), "lost") })
	p.Resume()
	eventually(t, "it goes on", func() bool {
		_ = pub.Publish(t.Context(), []coherence.PartitionMessage{{Message: event("after", 1, 1)}})
		return strings.HasPrefix(r.of(0)[len(r.of(0))-1], "after")
	})
	got := slices.Compact(slices.DeleteFunc(r.of(0), func(s string) bool { return strings.HasPrefix(s, "after") }))
	if diff := cmp.Diff([]string{"session", "lost", "resumed"}, got); diff != "" {
		t.Errorf("nothing was missed, so there is no new session: %s", diff)
	}
}
