package kafka_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/kafka"
	"github.com/nearcache/nearcache-go/internal/services/servicestest"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
)

// onBoth runs a test on the in-process Kafka and on a real one.
func onBoth(t *testing.T, test func(t *testing.T, brokers []string)) {
	t.Helper()
	t.Run("embedded", func(t *testing.T) { test(t, nearcachetest.NewKafka(t, 1).Brokers()) })
	t.Run("real", func(t *testing.T) { test(t, servicestest.Kafka(t)) })
}

// recorder is a sink that writes down what it is told, by partition.
type recorder struct {
	mu    sync.Mutex
	parts int
	log   map[int][]string
}

func (r *recorder) note(p int, format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.log == nil {
		r.log = map[int][]string{}
	}
	r.log[p] = append(r.log[p], fmt.Sprintf(format, args...))
}

func (r *recorder) Session(p int)            { r.note(p, "session") }
func (r *recorder) Lost(p int)               { r.note(p, "lost") }
func (r *recorder) Resumed(p int)            { r.note(p, "resumed") }
func (r *recorder) Failed(p int, err error)  { r.note(-2, "failed %d: %v", p, err) }
func (r *recorder) Malformed(p int, _ error) { r.note(p, "malformed") }
func (r *recorder) Partitions(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.parts = n
}

func (r *recorder) Deliver(_ context.Context, p int, batch []coherence.Message) error {
	for _, m := range batch {
		if m.Barrier != nil {
			r.note(p, "barrier at %d", m.Barrier.Position.N)
		} else {
			r.note(p, "%s v%d", m.Event.Key, m.Event.Version)
		}
	}
	return nil
}

func (r *recorder) of(p int) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.log[p])
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(40 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not in 40 seconds: %s", what)
		}
		<-tick.C
	}
}

func publisher(t *testing.T, brokers []string, topic string, partitions int) *kafka.Publisher {
	t.Helper()
	p, err := kafka.NewPublisher(kafka.PublisherConfig{Broker: kafka.Broker{Brokers: brokers}, Topic: topic})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	for range 2 {
		if err := p.CreateTopic(t.Context(), partitions, 1); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the topic is there", func() bool {
		n, err := p.Partitions(t.Context())
		return err == nil &&
			n == partitions
	})
	eventually(t, "the topic takes messages", func() bool {
		for part := range partitions {
			if p.Publish(t.Context(), []coherence.PartitionMessage{{Partition: part, Message: event("warm up", 1,
				0)}}) != nil {
				return false
			}
		}
		return true
	})
	return p
}

func event(key string, v coherence.Version, seq uint64) coherence.Message {
	return coherence.Message{Event: coherence.Event{Namespace: "n", Key: key, Version: v, Seq: seq}}
}

// follow runs a tail until the test ends.
func follow(t *testing.T, tail kafka.Tail) *recorder {
	t.Helper()
	r := &recorder{}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = tail.Run(ctx, r) }()
	t.Cleanup(func() { cancel(); <-done })
	return r
}
