package kafka_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/kafka"
	"github.com/nearcache/nearcache-go/tier"
)

// TestSettings_NegativeIsRefused, and not taken for the default: by New too, which asks a Tail whether it can work.
func TestSettings_NegativeIsRefused(t *testing.T) {
	b, early := kafka.Broker{Brokers: []string{"127.0.0.1:1"}}, kafka.Broker{Brokers: []string{"127.0.0.1:1"}, Timeout: -1}
	for want, tail := range map[string]kafka.Tail{
		"MaxWait is negative": {Broker: b, MaxWait: -1},
		"Silence is negative": {Broker: b, Silence: -1},
		"Refresh is negative": {Broker: b, Refresh: -1},
		"Timeout is negative": {Broker: early},
		"forge proofs":        {Broker: b, BarrierTopic: "events"},
	} {
		tail.Topic = "events"
		if err := tail.Ping(t.Context()); !errors.Is(err, coherence.ErrMisconfigured) ||
			!strings.Contains(err.Error(), want) {
			t.Errorf("Ping: %v, want a misconfiguration with %q", err, want)
		}
		if err := tail.Run(t.Context(), nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Run: %v, want an error with %q", err, want)
		}
	}
	for want, w := range map[string]*kafka.Worker{
		"Batch is -1":         {Broker: b, Batch: -1},
		"MaxBehind -1s":       {Broker: b, MaxBehind: -time.Second},
		"Timeout is negative": {Broker: early},
	} {
		w.Topic, w.GroupID, w.L2 = "events", "group", new(tier.L2)
		if err := w.Run(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Worker: %v, want an error with %q", err, want)
		}
	}
	if _, err := kafka.NewPublisher(kafka.PublisherConfig{Broker: early, Topic: "events"}); err == nil ||
		!strings.Contains(err.Error(), "Timeout is negative") {
		t.Errorf("NewPublisher: %v", err)
	}
	if _, err := kafka.OpenLog(early, "events"); err == nil || !strings.Contains(err.Error(), "Timeout is negative") {
		t.Errorf("OpenLog: %v", err)
	}
}
