package kafka_test

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/kafka"
	"github.com/nearcache/nearcache-go/internal/testkit"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
)

// TestTail_LogsALineForEachTrouble: not one for each partition or attempt, and none for a relay that starts a little
// later than those who follow it.
func TestTail_LogsALineForEachTrouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake, err := nearcachetest.StartKafkaOnPipes(4, "events")
		if err != nil {
			t.Fatal(err)
		}
		defer fake.Close()
		transport := &kafkago.Transport{Dial: fake.Dial}
		defer transport.CloseIdleConnections()
		broker := kafka.Broker{Brokers: fake.Brokers(), Transport: transport}
		var log testkit.Output
		ctx, stop := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		defer wg.Wait()
		defer stop()
		r := &recorder{}
		wg.Go(func() {
			_ = kafka.Tail{Broker: broker, Topic: "events", Logger: slog.New(slog.NewTextHandler(&log, nil))}.Run(ctx, r)
		})
		lines := func(after time.Duration, text string, want int) {
			t.Helper()
			time.Sleep(after)
			if n := log.Count(text); n != want {
				t.Errorf("%d lines have %q, want %d:\n%s", n, text, want, log.String())
			}
		}
		lines(9*time.Second, "barriers are not followed", 0)
		lines(time.Minute, "barriers are not followed", 1)
		p, err := kafka.NewPublisher(kafka.PublisherConfig{Broker: broker, Topic: "events"})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		if err := p.CreateTopic(t.Context(), 4, 1); err != nil {
			t.Fatal(err)
		}
		barrier := func(n, seq uint64) {
			t.Helper()
			var batch []coherence.PartitionMessage
			for part := range 4 {
				b := &coherence.Barrier{Position: coherence.Position{Timeline: 1, N: n}, Seq: seq, Partitions: 4}
				batch = append(batch, coherence.PartitionMessage{Partition: part, Message: coherence.Message{Barrier: b}})
			}
			if err := p.Publish(t.Context(), batch); err != nil {
				t.Fatal(err)
			}
		}
		barrier(1, 0)
		lines(10*time.Second, "barriers are followed again", 1)
		lines(0, "events are missing", 0)
		for i := range uint64(3) {
			barrier(2+i, 5*(1+i)) // five events of each partition never came
			lines(10*time.Second, "events are missing", int(1+i))
		}
		for part := range 4 {
			if n := len(r.of(part)); n < 7 {
				t.Errorf("partition %d heard %q, want a session and a barrier for each gap", part, r.of(part))
			}
		}
		lines(time.Minute, "barriers are not followed", 1)
	})
}
