//go:build unix

package chaos

import (
	"context"
	"time"

	"github.com/nearcache/nearcache-go/coherence/kafka"
	"github.com/nearcache/nearcache-go/coherence/relay"
)

// relayKeep is so short that what a long outage missed has been trimmed from the outbox.
const relayKeep = 20 * time.Second

// relay runs until ctx ends.
func (c *child) relay(ctx context.Context) error {
	st, err := openStore(ctx, c.Source, c.Address, 6)
	if err != nil {
		return err
	}
	defer st.close()
	l2, err := c.l2()
	if err != nil {
		return err
	}
	defer l2.Close()
	pub, closePublisher, err := c.publisher()
	if err != nil {
		return err
	}
	defer closePublisher()
	return c.run(ctx, relay.Relay{Source: st.truth(), Publisher: pub, L2: l2, Interval: heartbeat, Keep: relayKeep,
		Logger: c.log}.Run)
}

// worker runs until ctx ends.
func (c *child) worker(ctx context.Context) error {
	l2, err := c.l2()
	if err != nil {
		return err
	}
	defer l2.Close()
	return c.run(ctx, (&kafka.Worker{Broker: c.broker(), Topic: c.Topic, GroupID: c.Group, L2: l2, Logger: c.log}).Run)
}

// run says that it is there and works. These take no commands.
func (c *child) run(ctx context.Context, f func(context.Context) error) error {
	c.report(status{Ready: true})
	return f(ctx)
}
