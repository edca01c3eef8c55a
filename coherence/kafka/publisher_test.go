package kafka_test

import (
	"errors"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/kafka"
	"github.com/nearcache/nearcache-go/internal/services/servicestest"
)

// topicWith makes a topic with settings.
func topicWith(t *testing.T, brokers []string, settings ...kafkago.ConfigEntry) string {
	t.Helper()
	topic := servicestest.Unique("with")
	client := &kafkago.Client{Addr: kafkago.TCP(brokers...)}
	res, err := client.CreateTopics(t.Context(), &kafkago.CreateTopicsRequest{Topics: []kafkago.TopicConfig{
		{Topic: topic, NumPartitions: 1, ReplicationFactor: 1, ConfigEntries: settings}}})
	if err == nil {
		err = res.Errors[topic]
	}
	if err != nil {
		t.Fatal(err)
	}
	return topic
}

func toPartition0(ms ...coherence.Message) (batch []coherence.PartitionMessage) {
	for _, m := range ms {
		batch = append(batch, coherence.PartitionMessage{Message: m})
	}
	return batch
}

func barrierAt(n, seq uint64) coherence.Message {
	return coherence.Message{Barrier: &coherence.Barrier{Position: coherence.Position{Timeline: 1, N: n}, Seq: seq,
		Partitions: 1}}
}

// TestPublisher_BatchesFitTheBroker: 500 changes with keys of 1.2 KB, a topic with a small limit, or one key of 600
// KB stopped the relay for good.
func TestPublisher_BatchesFitTheBroker(t *testing.T) {
	onBoth(t, func(t *testing.T, brokers []string) {
		for name, c := range map[string]struct {
			settings []kafkago.ConfigEntry
			max      int
			events   int
			key      int
		}{
			"many long keys": {events: 900, key: 1200},
			"one huge key":   {events: 1, key: 600 << 10},
			"a small limit": {settings: []kafkago.ConfigEntry{{ConfigName: "max.message.bytes",
				ConfigValue: "20000"}}, events: 500, key: 100},
			"a limit that is not said": {settings: []kafkago.ConfigEntry{{ConfigName: "max.message.bytes",
				ConfigValue: "20000"}}, max: 1 << 20, events: 500, key: 100},
		} {
			topic := topicWith(t, brokers, c.settings...)
			p := publisher(t, brokers, topic, 1)
			if c.max > 0 {
				var err error
				if p, err = kafka.NewPublisher(kafka.PublisherConfig{Broker: kafka.Broker{Brokers: brokers},
					Topic: topic, MaxBytes: c.max}); err != nil {
					t.Fatal(err)
				}
				defer p.Close()
			}
			r := follow(t, kafka.Tail{Broker: kafka.Broker{Brokers: brokers}, Topic: topic,
				MaxWait: 50 * time.Millisecond})
			eventually(t, "a session", func() bool { return len(r.of(0)) == 1 })
			var batch []coherence.Message
			for i := range c.events {
				m := event(strings.Repeat("k", c.key), coherence.Version(i+1), uint64(i+1))
				m.Event.Fields = map[string]string{"more": strings.Repeat("f", c.key)}
				batch = append(batch, m)
			}
			if err := p.Publish(t.Context(), toPartition0(batch...)); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			eventually(t, name, func() bool { return len(r.of(0)) == 1+c.events })
		}
	})
}

// TestPublisher_WhatCannotBePublished is named, and does not stop the rest: the relay leaves out its number.
func TestPublisher_WhatCannotBePublished(t *testing.T) {
	onBoth(t, func(t *testing.T, brokers []string) {
		topic := servicestest.Unique("huge")
		publisher(t, brokers, topic, 1)
		p, err := kafka.NewPublisher(kafka.PublisherConfig{Broker: kafka.Broker{Brokers: brokers}, Topic: topic,
			Codec: coherence.EventCodec{
				Encode: func(e coherence.Event) ([]byte, error) {
					switch e.Key {
					case "panics":
						panic("codec")
					case "exits":
						runtime.Goexit()
					case "fails":
						return nil, errors.New("no")
					}
					return coherence.EncodeJSON(e, nil)
				}}})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		r := follow(t, kafka.Tail{Broker: kafka.Broker{Brokers: brokers}, Topic: topic, MaxWait: 50 * time.Millisecond})
		eventually(t, "a session", func() bool { return len(r.of(0)) == 1 })
		err = p.Publish(t.Context(), toPartition0(event("a", 1, 1), event(strings.Repeat("h", 2<<20), 1, 2),
			event("panics", 1, 3),
			event("exits", 1, 4), event("fails", 1, 5), event("b", 1, 6)))
		var left *coherence.UnpublishedError
		if !errors.As(err, &left) || len(left.Messages) != 4 || left.Messages[0] != nil || left.Messages[5] != nil {
			t.Fatalf("%v", err)
		}
		eventually(t, "the rest is there", func() bool {
			return slices.Equal(r.of(0)[1:], []string{"a v1",
				"b v1"})
		})
	})
}

// TestPublisher_CompactedTopic: barriers had no key, so a compacted topic refused them, of events or of barriers.
func TestPublisher_CompactedTopic(t *testing.T) {
	onBoth(t, func(t *testing.T, brokers []string) {
		compact := kafkago.ConfigEntry{ConfigName: "cleanup.policy", ConfigValue: "compact"}
		topic, marks := topicWith(t, brokers, compact), topicWith(t, brokers, compact)
		broker := kafka.Broker{Brokers: brokers}
		p, err := kafka.NewPublisher(kafka.PublisherConfig{Broker: broker, Topic: topic, BarrierTopic: marks})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		eventually(t, "they take messages", func() bool {
			return p.Publish(t.Context(), toPartition0(event("warm up", 1, 0))) == nil &&
				p.Publish(t.Context(), toPartition0(barrierAt(1, 0))) == nil
		})
		r := follow(t, kafka.Tail{Broker: broker, Topic: topic, BarrierTopic: marks, MaxWait: 50 * time.Millisecond})
		eventually(t, "a session", func() bool { return len(r.of(0)) == 2 })
		if err := p.Publish(t.Context(), toPartition0(event("a", 1, 1))); err != nil {
			t.Fatal(err)
		}
		if err := p.Publish(t.Context(), toPartition0(barrierAt(2, 1))); err != nil {
			t.Fatal(err)
		}
		eventually(t, "both come, in order", func() bool {
			return slices.Equal(r.of(0), []string{"session", "barrier at 1", "a v1", "barrier at 2"})
		})
	})
}

func TestPublisher_Also(t *testing.T) {
	onBoth(t, func(t *testing.T, brokers []string) {
		topic := servicestest.Unique("also")
		publisher(t, brokers, topic, 1)
		p, err := kafka.NewPublisher(kafka.PublisherConfig{Broker: kafka.Broker{Brokers: brokers}, Topic: topic,
			Also: func(e coherence.Event) ([]byte, error) {
				if e.Key == "panics" {
					panic("codec")
				}
				e.Key, e.Seq = "also "+e.Key, 0
				return coherence.EncodeJSON(e, nil)
			}})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		r := follow(t, kafka.Tail{Broker: kafka.Broker{Brokers: brokers}, Topic: topic, MaxWait: 50 * time.Millisecond})
		eventually(t, "a session", func() bool { return len(r.of(0)) == 1 })
		if err := p.Publish(t.Context(), toPartition0(event("a", 1, 1), event("panics", 1, 2))); err != nil {
			t.Fatal(err)
		}
		eventually(t, "both come", func() bool {
			return slices.Equal(r.of(0)[1:], []string{"a v1", "also a v1",
				"panics v1"})
		})
	})
}

func TestPublisher_RefusesTheEventsTopicForBarriers(t *testing.T) {
	b := kafka.Broker{Brokers: []string{"localhost:1"}}
	if _, err := kafka.NewPublisher(kafka.PublisherConfig{Broker: b, Topic: "t", BarrierTopic: "t"}); err == nil {
		t.Error("NewPublisher takes it")
	}
	if err := (kafka.Tail{Broker: b, Topic: "t", BarrierTopic: "t"}).Run(t.Context(), &recorder{}); err == nil {
		t.Error("Tail takes it")
	}
}

// TestTopics_ThatCannotBe: the broker refuses such a name each time, and nothing said so but the log.
func TestTopics_ThatCannotBe(t *testing.T) {
	b := kafka.Broker{Brokers: []string{"localhost:1"}}
	for _, name := range []string{".", "..", "a b", "a/b", "é", "a\x00", strings.Repeat("x", 250)} {
		if kafka.CheckTopic(name) == nil {
			t.Errorf("CheckTopic(%q) is nil", name)
		}
		_, publisher := kafka.NewPublisher(kafka.PublisherConfig{Broker: b, Topic: name})
		_, barriers := kafka.NewPublisher(kafka.PublisherConfig{Broker: b, Topic: "t", BarrierTopic: name})
		tail := kafka.Tail{Broker: b, Topic: name}
		for what, err := range map[string]error{"NewPublisher": publisher, "with BarrierTopic": barriers,
			"Tail.Ping": tail.Ping(t.Context()), "Tail.Run": tail.Run(t.Context(), &recorder{}),
			"Worker.Run": (&kafka.Worker{Broker: b, Topic: name, GroupID: "g", L2: &applier{}}).Run(t.Context())} {
			if !errors.Is(err, coherence.ErrMisconfigured) || !strings.Contains(err.Error(), "topic") {
				t.Errorf("%s of %q: %v, want ErrMisconfigured", what, name, err)
			}
		}
	}
	for _, name := range []string{"a", "A.b-c_9", strings.Repeat("x", 249)} {
		if err := kafka.CheckTopic(name); err != nil {
			t.Errorf("CheckTopic(%q): %v", name, err)
		}
	}
	w := kafka.Worker{Broker: b, Topic: "t", DeadLetterTopic: "t", GroupID: "g", L2: &applier{}}
	if err := w.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "DeadLetterTopic") {
		t.Errorf("a worker that reads its own dead letters: %v, want an error", err)
	}
}
