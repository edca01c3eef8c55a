package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/kafka"
	"github.com/nearcache/nearcache-go/coherence/nats"
	"github.com/nearcache/nearcache-go/internal/product"
)

// The event channel is Kafka, NATS, or none.

// nats is the server that is configured, without a URL if none is.
func (c *Config) nats() (nats.Server, error) {
	opts, err := c.NATS.Options()
	if err != nil {
		return nats.Server{}, err
	}
	return nats.Server{URL: c.NATS.URL, Options: opts, Stream: c.NATSStream}, nil
}

// checkChannel looks at the settings of the channels, and at whether they go together.
func (c *Config) checkChannel() (errs []error) {
	if _, err := c.brokers(); err != nil {
		errs = append(errs, err)
	}
	switch _, err := c.nats(); {
	case err != nil:
		errs = append(errs, err)
	case c.NATS.URL == "":
	case c.Brokers != "":
		errs = append(errs, errors.New("NATS_URL and KAFKA_BOOTSTRAP_SERVERS are both set: events go by one of them"))
	case strings.ContainsAny(c.NATSStream, ". \t\r\n*>/\\") || c.NATSStream == "":
		errs = append(errs, fmt.Errorf("NATS_STREAM is %.40q: a name without dots, spaces, slashes and wildcards",
			c.NATSStream))
	case c.AlsoUpdated:
		errs = append(errs, errors.New("KAFKA_ALSO_UPDATED has no effect with NATS_URL"))
	}
	if c.NATSReplicas < 1 || c.NATSReplicas > 5 {
		errs = append(errs, fmt.Errorf("NATS_REPLICAS is %d: 1 to 5", c.NATSReplicas))
	}
	return errs
}

// events is what an instance follows, nil without an event channel.
func (b *backend) events(c *Config, log *slog.Logger) coherence.EventSource {
	switch {
	case len(b.brokers.Brokers) > 0:
		return kafka.Tail{Broker: b.brokers, Topic: c.Topic, BarrierTopic: c.barrierTopic(),
			Codec: product.EventCodec(), Logger: log}
	case b.nats.URL != "":
		return nats.Tail{Server: b.nats, Codec: product.EventCodec(), Logger: log}
	}
	return nil
}

// publisher is the relay's end of the event channel.
type publisher struct {
	coherence.Publisher
	place  string // where the events go, in words
	create func(context.Context) error
	close  func()
}

// publisher is nil without an event channel.
func (b *backend) publisher(c *Config) (*publisher, error) {
	switch {
	case len(b.brokers.Brokers) > 0:
		cfg := kafka.PublisherConfig{Broker: b.brokers, Topic: c.Topic, BarrierTopic: c.barrierTopic(),
			Codec: product.EventCodec()}
		if c.AlsoUpdated {
			cfg.Also = product.AlsoUpdated
		}
		p, err := kafka.NewPublisher(cfg)
		if err != nil {
			return nil, err
		}
		return &publisher{p, fmt.Sprintf("the topic %q of Kafka", c.Topic),
			func(ctx context.Context) error { return p.CreateTopic(ctx, 4, -1) }, p.Close}, nil
	case b.nats.URL != "":
		p, err := nats.NewPublisher(nats.PublisherConfig{Server: b.nats, Codec: product.EventCodec()})
		if err != nil {
			return nil, err
		}
		create := func(ctx context.Context) error {
			if _, err := p.Partitions(ctx); err == nil { // a relay need not have the right to make it
				return nil
			}
			return p.CreateStream(ctx, c.NATSReplicas, time.Hour)
		}
		return &publisher{p, fmt.Sprintf("the stream %q of NATS", c.NATSStream), create, p.Close}, nil
	}
	return nil, nil
}
