package nearcache

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/l2"
)

// claimEvery is how often a client repeats its claim to the prefix: Redis may have been away when the client started,
// and may evict the owner's name.
const claimEvery = 10 * time.Second

// learnSystem asks the source for the system's name, if the configuration gives none. It reports whether it is known.
func (c *Client) learnSystem(ctx context.Context) bool {
	if p := c.system.Load(); p != nil {
		return true
	}
	identifier := coherence.AbilitiesOf(c.source).Identifier
	if identifier == nil {
		return false
	}
	name, err := singly(ctx, &c.identifying, func() (string, error) { return identifier.Identity(ctx) })
	if err != nil || name == "" {
		return false
	}
	c.system.Store(&name)
	return true
}

// claim makes the prefix of Redis belong to this client's system. If it belongs to another one, the caches are off from
// then on: what L2 holds are the other system's values. Redis being away is no error.
func (c *Client) claim() error {
	ctx, stop := context.WithTimeout(c.life, time.Second)
	defer stop()
	if !c.learnSystem(ctx) {
		return nil
	}
	err := c.l2.Claim(ctx, *c.system.Load())
	var owned *l2.OwnedError
	if errors.As(err, &owned) {
		c.health.owned.Store(owned)
		c.mode.CompareAndSwap(int32(ModeOn), int32(ModeOff))
		c.mode.CompareAndSwap(int32(ModeShadow), int32(ModeOff))
		return owned
	}
	if err == nil {
		c.health.owned.Store(nil)
	}
	return nil
}

// mayServe reports whether the mode may be other than ModeOff.
func (c *Client) mayServe() error {
	if owned := c.health.owned.Load(); owned != nil {
		return fmt.Errorf("nearcache: %w", owned)
	}
	return nil
}
