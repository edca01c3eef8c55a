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

// taken says why the client may not use the prefix of Redis.
type taken struct {
	reason string // in Status
	error
}

// claim makes the prefix of Redis belong to this client's system, and have its number of buckets. If it belongs to
// another system, or has another number, the caches are off from then on: what L2 holds are the other system's values,
// or nobody tells this client's keys what has changed. Redis being away is no error.
func (c *Client) claim() error {
	ctx, stop := context.WithTimeout(c.life, time.Second)
	defer stop()
	err := c.l2.ClaimBuckets(ctx)
	if err == nil && c.learnSystem(ctx) {
		err = c.l2.Claim(ctx, *c.system.Load())
	}
	var owned *l2.OwnedError
	var buckets *l2.BucketsError
	switch {
	case errors.As(err, &owned):
		c.health.taken.Store(&taken{reasonPrefix, owned})
	case errors.As(err, &buckets):
		c.health.taken.Store(&taken{reasonBuckets, buckets})
	case err == nil:
		c.health.taken.Store(nil)
		return nil
	default:
		return nil
	}
	c.mode.CompareAndSwap(int32(ModeOn), int32(ModeOff))
	c.mode.CompareAndSwap(int32(ModeShadow), int32(ModeOff))
	return err
}

// mayServe reports whether the mode may be other than ModeOff.
func (c *Client) mayServe() error {
	if t := c.health.taken.Load(); t != nil {
		return fmt.Errorf("nearcache: %w", t.error)
	}
	return nil
}
