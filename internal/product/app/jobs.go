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

// relay is the outbox relay to Redis, and to the event channel if there is one.
func (b *backend) relay(c *Config, l2 *tier.L2, log *slog.Logger) (*publisher, *relay.Relay, error) {
	r := &relay.Relay{Source: b.source, L2: l2, Name: c.Topic, Interval: c.Heartbeat, Logger: log,
		Tracer: b.telemetry.Tracer()}
	p, err := b.publisher(c)
	if err != nil {
		return nil, nil, err
	}
	if p != nil {
		r.Publisher = p.Publisher
	}
	return p, r, nil
}

// runRelay runs the relay, and has the topic or the stream made beside it: Redis need not wait for a Kafka that is
// down.
func (b *backend) runRelay(ctx context.Context, p *publisher, r *relay.Relay, log *slog.Logger) error {
	if p != nil {
		var creating sync.WaitGroup
		creating.Go(func() { b.insist(ctx, log, p.place+" is not ready; trying on", p.create) })
		defer p.close()
		defer creating.Wait()
	}
	return r.Run(ctx)
}

func (b *backend) worker(c *Config, l2 *tier.L2, log *slog.Logger) *kafka.Worker {
	return &kafka.Worker{Broker: b.brokers, Topic: c.Topic, GroupID: c.GroupID, Codec: product.EventCodec(), L2: l2,
		Logger: log, Tracer: b.telemetry.Tracer()}
}
