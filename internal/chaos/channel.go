//go:build unix

package chaos

import (
	"context"
	"net"
	"time"

	natsgo "github.com/nats-io/nats.go"
	kafkago "github.com/segmentio/kafka-go"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/kafka"
	"github.com/nearcache/nearcache-go/coherence/nats"
)

// What can carry events from the relay to the instances.
const (
	kafkaEvents = "kafka"
	natsEvents  = "nats"
)

// channelSilence is how long an instance waits for an answer of the channel until it counts as lost.
const channelSilence = time.Second

// broker reaches Kafka through the proxy, whatever address it advertises.
func (c *child) broker() kafka.Broker {
	var d net.Dialer
	return kafka.Broker{Brokers: c.Brokers, Timeout: 2 * time.Second, Transport: &kafkago.Transport{
		DialTimeout: time.Second, MetadataTTL: time.Second, ClientID: c.Role,
		Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return d.DialContext(ctx, network, c.Kafka)
		},
	}}
}

// stream reaches NATS through the proxy alone.
func (c *child) stream() nats.Server {
	return nats.Server{URL: "nats://" + c.NATS, Stream: stream, Timeout: 2 * time.Second,
		Options: []natsgo.Option{natsgo.IgnoreDiscoveredServers()}}
}

// events is what an instance follows.
func (c *child) events() coherence.EventSource {
	if c.NATS != "" {
		return nats.Tail{Server: c.stream(), Silence: channelSilence, Logger: c.log}
	}
	return kafka.Tail{Broker: c.broker(), Topic: c.Topic, MaxWait: 100 * time.Millisecond, Silence: channelSilence,
		Refresh: time.Second, Logger: c.log}
}

// publisher is where a relay publishes. The function closes it.
func (c *child) publisher() (coherence.Publisher, func(), error) {
	if c.NATS != "" {
		p, err := nats.NewPublisher(nats.PublisherConfig{Server: c.stream()})
		if err != nil {
			return nil, nil, err
		}
		return p, p.Close, nil
	}
	p, err := kafka.NewPublisher(kafka.PublisherConfig{Broker: c.broker(), Topic: c.Topic})
	if err != nil {
		return nil, nil, err
	}
	return p, p.Close, nil
}
