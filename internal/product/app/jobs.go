package app

import (
	"context"
	"log/slog"
	"sync"

	"github.com/nearcache/nearcache-go/coherence/kafka"
	"github.com/nearcache/nearcache-go/coherence/relay"
	"github.com/nearcache/nearcache-go/internal/product"
	"github.com/nearcache/nearcache-go/tier"
)

// relay is the outbox relay to whatever there is: Kafka, Redis, or both.
func (b *backend) relay(c *Config, l2 *tier.L2, log *slog.Logger) (*kafka.Publisher, *relay.Relay, error) {
	r := &relay.Relay{Source: b.source, L2: l2, Name: c.Topic, Interval: c.Heartbeat, Logger: log,
		Tracer: b.telemetry.Tracer()}
	if len(b.brokers.Brokers) == 0 {
		return nil, r, nil
	}
	cfg := kafka.PublisherConfig{Broker: b.brokers, Topic: c.Topic, BarrierTopic: c.barrierTopic(),
		Codec: product.EventCodec()}
	if c.AlsoUpdated {
		cfg.Also = product.AlsoUpdated
	}
	p, err := kafka.NewPublisher(cfg)
	if err != nil {
		return nil, nil, err
	}
	r.Publisher = p
	return p, r, nil
}

// runRelay runs the relay, and has the topic made beside it: Redis need not wait for a Kafka that is down.
func (b *backend) runRelay(ctx context.Context, p *kafka.Publisher, r *relay.Relay, log *slog.Logger) error {
	if p != nil {
		var topic sync.WaitGroup
		topic.Go(func() { b.topic(ctx, p, log) })
		defer p.Close()
		defer topic.Wait()
	}
	return r.Run(ctx)
}

func (b *backend) worker(c *Config, l2 *tier.L2, log *slog.Logger) *kafka.Worker {
	return &kafka.Worker{Broker: b.brokers, Topic: c.Topic, GroupID: c.GroupID, Codec: product.EventCodec(), L2: l2,
		Logger: log, Tracer: b.telemetry.Tracer()}
}
