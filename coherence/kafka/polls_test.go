package kafka_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/kafka"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
)

// slowSink takes a while for each batch, and notes when each event came.
type slowSink struct {
	recorder
	takes time.Duration

	mu   sync.Mutex
	came map[string]time.Time
}

func (s *slowSink) Deliver(ctx context.Context, p int, batch []coherence.Message) error {
	s.mu.Lock()
	for _, m := range batch {
		if m.Barrier == nil {
			s.came[m.Event.Key] = time.Now()
		}
	}
	s.mu.Unlock()
	<-time.After(s.takes)
	return s.recorder.Deliver(ctx, p, batch)
}

// TestTail_AnEventWaitsForNoPoll: the broker holds a request for the partitions that have no records. Events of one
// partition after the other, while the sink is still busy with those before, come at once all the same.
//
// Each partition that had an event asked again after it was delivered, and so in a request of its own. Three of those
// may wait at the broker, and the next partition had to wait until one of them ended.
func TestTail_AnEventWaitsForNoPoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const partitions, most = 6, 25 * time.Millisecond
		fake, err := nearcachetest.StartKafkaOnPipes(partitions, "events")
		if err != nil {
			t.Fatal(err)
		}
		defer fake.Close()
		client := func() kafka.Broker {
			transport := &kafkago.Transport{Dial: fake.Dial}
			t.Cleanup(transport.CloseIdleConnections)
			return kafka.Broker{Brokers: fake.Brokers(), Transport: transport}
		}
		p, err := kafka.NewPublisher(kafka.PublisherConfig{Broker: client(), Topic: "events"})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		if err := p.CreateTopic(t.Context(), partitions, 1); err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		defer wg.Wait()
		defer stop()
		sink := &slowSink{takes: 5 * time.Millisecond, came: make(map[string]time.Time)}
		wg.Go(func() { _ = kafka.Tail{Broker: client(), Topic: "events", MaxWait: 20 * time.Second}.Run(ctx, sink) })
		time.Sleep(time.Minute) // all partitions are in one request

		sent := make(map[string]time.Time)
		for i := range 20 * partitions {
			key := fmt.Sprint(i)
			sent[key] = time.Now()
			part := i / 2 % partitions // twice the same, so that the second finds it asking again
			one := []coherence.PartitionMessage{{Partition: part, Message: event(key, 1, 0)}}
			if err := p.Publish(t.Context(), one); err != nil {
				t.Fatal(err)
			}
			time.Sleep([]time.Duration{3, 30, 300}[i%3] * time.Millisecond)
		}
		time.Sleep(time.Second)
		sink.mu.Lock()
		defer sink.mu.Unlock()
		var delays []time.Duration
		for key, at := range sent {
			delays = append(delays, sink.came[key].Sub(at))
		}
		slices.Sort(delays)
		if len(sink.came) != len(sent) || delays[len(delays)-1] > most {
			t.Errorf("%d of %d events came, after %v at p50 and %v at most; want all within %v", len(sink.came), len(sent),
				delays[len(delays)/2], delays[len(delays)-1], most)
		}
	})
}
