package nats_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/nats"
)

// TestSettings_NegativeIsRefused, and not taken for the default: by New too, which asks a Tail whether it can work.
func TestSettings_NegativeIsRefused(t *testing.T) {
	server := nats.Server{URL: "nats://127.0.0.1:1", Stream: "EVENTS"}
	early := server
	early.Timeout = -1
	for want, tail := range map[string]nats.Tail{
		"Silence is -1s":      {Server: server, Silence: -time.Second},
		"Silence is 1ms":      {Server: server, Silence: time.Millisecond},
		"Timeout is negative": {Server: early},
	} {
		if err := tail.Ping(t.Context()); !errors.Is(err, coherence.ErrMisconfigured) ||
			!strings.Contains(err.Error(), want) {
			t.Errorf("Ping: %v, want a misconfiguration with %q", err, want)
		}
	}
	for want, cfg := range map[string]nats.PublisherConfig{
		"MaxBytes is -1":      {Server: server, MaxBytes: -1},
		"MaxBytes is 100":     {Server: server, MaxBytes: 100},
		"Timeout is negative": {Server: early},
	} {
		if _, err := nats.NewPublisher(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("NewPublisher: %v, want an error with %q", err, want)
		}
	}
}
