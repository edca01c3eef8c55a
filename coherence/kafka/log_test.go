package kafka_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/kafka"
	"github.com/nearcache/nearcache-go/internal/services/servicestest"
	"github.com/nearcache/nearcache-go/internal/testkit"
)

func TestLog_ReadsWhatItIsAskedFor(t *testing.T) {
	onBoth(t, func(t *testing.T, brokers []string) {
		topic := servicestest.Topic(t, brokers, t.Name(), 2)
		log, err := kafka.OpenLog(kafka.Broker{Brokers: brokers}, topic)
		if err != nil {
			t.Fatal(err)
		}
		defer log.Close()
		for i := range 5 {
			if err := log.Send(t.Context(), 1, []byte("k"), fmt.Append(nil, i), coherence.Header{Key: "n",
				Value: []byte("h")}); err != nil {
				t.Fatal(err)
			}
		}
		ranges, err := log.Partitions(t.Context())
		if want := []kafka.PartitionRange{{}, {Stable: 5, High: 5}}; err != nil || !slices.Equal(ranges, want) {
			t.Errorf("got the ranges %+v and %v, want %+v", ranges, err, want)
		}
		var got []string
		var second time.Time
		read := func(r kafka.LogRecord) error {
			if len(r.Headers) != 1 || r.Headers[0].Key != "n" || string(r.Headers[0].Value) != "h" || r.Size != 1 ||
				string(r.Key) != "k" || r.Partition != 1 {
				t.Errorf("got the record %+v", r)
			}
			if r.Offset == 2 {
				second = r.Time
			}
			got = append(got, fmt.Sprintf("%d:%s", r.Offset, r.Value))
			return nil
		}
		if next, err := log.Read(t.Context(), 1, 1, 4, read); next != 4 || err != nil {
			t.Errorf("got %d and %v, want 4", next, err)
		}
		if want := []string{"1:1", "2:2", "3:3"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		at, err := log.OffsetAt(t.Context(), 1, second)
		if err != nil || at < 0 || at > 2 {
			t.Errorf("got the offset %d of the moment of record 2, and %v", at, err)
		}
		if at, err := log.OffsetAt(t.Context(), 1, time.Now().Add(time.Hour)); err != nil || at != 5 {
			t.Errorf("got the offset %d of the future, and %v; want the end, 5", at, err)
		}
		stop := errors.New("stop")
		if _, err := log.Read(t.Context(), 1, 0, 5, func(kafka.LogRecord) error { return stop }); !errors.Is(err, stop) {
			t.Errorf("got error %v, want the reader's own", err)
		}
	})
}

func TestLog_SettingsAndBarriers(t *testing.T) {
	onBoth(t, func(t *testing.T, brokers []string) {
		topic := servicestest.Topic(t, brokers, t.Name(), 1)
		p, err := kafka.NewPublisher(kafka.PublisherConfig{Broker: kafka.Broker{Brokers: brokers}, Topic: topic})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		if err := p.CreateTopic(t.Context(), 1, 1); err != nil {
			t.Fatal(err)
		}
		log, err := kafka.OpenLog(kafka.Broker{Brokers: brokers}, kafka.BarrierTopic(topic))
		if err != nil {
			t.Fatal(err)
		}
		defer log.Close()
		if _, _, ok, err := log.LastBarrier(t.Context()); ok || err != nil {
			t.Errorf("got a barrier %v before any was sent, and %v", ok, err)
		}
		want := coherence.Position{Timeline: 7, N: 9}
		b := &coherence.Barrier{Position: want, Partitions: 1}
		testkit.Eventually(t, "the barrier is sent", func() bool {
			return p.Publish(t.Context(), []coherence.PartitionMessage{{Message: coherence.Message{Barrier: b}}}) == nil
		})
		if at, written, ok, err := log.LastBarrier(t.Context()); !ok || err != nil || at != want || written.IsZero() {
			t.Errorf("got %v, %v, %v, %v; want %v", at, written, ok, err, want)
		}
		settings, err := log.Settings(t.Context())
		if err != nil || settings["retention.ms"] != "3600000" || settings["cleanup.policy"] != "delete" {
			t.Errorf("got the settings %v and %v, want a retention of an hour", settings, err)
		}
	})
}

func TestLog_SaysWhatIsWrong(t *testing.T) {
	if _, err := kafka.OpenLog(kafka.Broker{}, "t"); err == nil {
		t.Error("a Log without brokers was opened")
	}
	onBoth(t, func(t *testing.T, brokers []string) {
		log, err := kafka.OpenLog(kafka.Broker{Brokers: brokers}, "nosuch")
		if err != nil {
			t.Fatal(err)
		}
		defer log.Close()
		if _, err := log.Partitions(t.Context()); err == nil {
			t.Error("a topic that does not exist has partitions")
		}
	})
}
