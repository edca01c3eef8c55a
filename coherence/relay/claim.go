package relay

import (
	"context"
	"errors"
	"fmt"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/l2"
)

// claim makes the prefix of Redis belong to the relay's system, or returns an error that names the owner. The relays of
// two systems on one prefix would take each other's watermarks for those of a restored database, and reset them for
// ever. A source that has no name of its own cannot be told from others.
//
// The prefix must also have as many buckets as the relay is configured for. Otherwise the caches would read other keys
// than those that the relay changes.
func (a *applier) claim(ctx context.Context) error {
	if err := a.l2.ClaimBuckets(ctx); err != nil {
		var other *l2.BucketsError
		if errors.As(err, &other) {
			return refused(other)
		}
		return err
	}
	if a.System == "" {
		identifier := coherence.AbilitiesOf(a.Source).Identifier
		if identifier == nil {
			return nil
		}
		name, err := identifier.Identity(ctx)
		if err != nil {
			return err
		}
		a.System = name
	}
	err := a.l2.Claim(ctx, a.System)
	var owned *l2.OwnedError
	if errors.As(err, &owned) {
		return refused(owned)
	}
	return err
}

func refused(why error) error {
	return fmt.Errorf("coherence: relay: nothing is applied: %w: %w", coherence.ErrMisconfigured, why)
}
