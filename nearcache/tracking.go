package nearcache

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/nearcache/nearcache-go/internal/l2"
)

// TrackingMode says whether Redis itself tells L1 of changes.
type TrackingMode int32

// The modes of tracking.
const (
	// TrackingOn: Redis pushes the changes of the keys that this process has read (CLIENT TRACKING, RESP3).
	TrackingOn TrackingMode = iota
	// TrackingOff: Redis pushes nothing, because the server or a proxy before it cannot. One connection of RESP2 is
	// enough. L1 hears of changes by Config.Events alone, and each read of L2 is a script. Readers that wait for another
	// process's load ask again and again, every 5 to 50 milliseconds at first.
	TrackingOff
)

// String is the mode's name in logs and in the debug pages.
func (m TrackingMode) String() string {
	switch m {
	case TrackingOn:
		return "on"
	case TrackingOff:
		return "off"
	}
	return "unknown"
}

// checkTracking refuses what cannot work without tracking, and sets what it needs of the connection.
//
// The relay's rounds count only within one session of a connection. Through a proxy there is none: two readings may be
// of two servers. So the position must come from the source.
func (cfg *Config) checkTracking() error {
	switch cfg.Tracking {
	case TrackingOn:
		return nil
	case TrackingOff:
		cfg.Redis.AlwaysRESP2 = true
		if cfg.Relayed && cfg.Source == nil {
			return errors.New("Config.Tracking is off, Relayed is set and Source nil: without tracking the relay's rounds " +
				"in Redis prove nothing; set Source")
		}
		return nil
	}
	return fmt.Errorf("Config.Tracking is %d: there is no such mode", cfg.Tracking)
}

// tracker is what hears of Redis's pushes; nil: nothing does.
func (c *Client) tracker() l2.Tracker {
	if c.untracked {
		return nil
	}
	return tracker{c}
}

// vouched reports whether a channel can ever vouch for an entry of L1, whatever its age.
func (c *Client) vouched() bool { return !c.untracked || c.relayed && c.m.events }

// checkUntracked refuses a cache of which L1, or the tags, would serve what nothing keeps right.
func (o *Options[K, V]) checkUntracked(c *Client, refuse func(format string, args ...any)) {
	if !c.untracked {
		return
	}
	if o.L1Bytes >= 0 && o.MaxStaleness == 0 && !c.vouched() {
		refuse("Config.Tracking is off, and nothing else tells L1 of changes: set Config.Events and Config.Source; or " +
			"MaxStaleness, with a Source; or L1Bytes to -1, to cache in Redis alone")
	}
	if o.Clearable && c.tagsUntold(o.MaxStaleness) {
		refuse("Clearable is set and Config.Tracking off: set Config.Events, and a Config.Source that tells versions " +
			"(coherence.Versioner)")
	}
}

// tagsUntold reports whether nothing would tell this process that a tag has changed. Without a source that tells
// versions a tag's version is in Redis alone, and no event speaks of it.
func (c *Client) tagsUntold(bound time.Duration) bool {
	return c.untracked && (c.versions == nil || bound == 0 && !c.vouched())
}

// beatUntracked is the heartbeat at a node where Redis pushes nothing. It shows whether the node answers; what L2 has
// applied each read finds out for itself.
func (c *Client) beatUntracked(ctx context.Context, part l2.NodeBuckets, begun time.Time) error {
	err := c.l2.Beat(ctx, part.Buckets)
	return c.beaten(part, err, begun)
}

// Bounds of how long a flight waits before it asks again for another process's fill, which nobody announces to it.
const (
	pollFirst = 5 * time.Millisecond
	pollMost  = 50 * time.Millisecond // or a 32nd of LeaseWait, if that is more: maxRounds must suffice
)

// fillsNothing reports whether no fill of a bucket can come, because its node takes no writes. A primary that was
// demoted goes on to say that a lease is held: its holder can neither fill nor give it back. With tracking a new
// session ends such waits.
func (c *Client) fillsNothing(bucket int) bool { return c.untracked && !c.l2.Fills(bucket) }

// patience is how long a flight waits before it asks again, if the lease in the way still runs for so long: until that
// is over, for a fill is pushed. Without tracking it asks earlier, at growing intervals with jitter, so that those who
// wait for one key do not ask all at once.
func (w *fillWait[K, V]) patience(f *flight[K, V]) time.Duration {
	left := max(f.grant.Left, time.Millisecond)
	if !w.c.client.untracked {
		return left
	}
	most := max(pollMost, w.c.opt.LeaseWait/32)
	d := min(pollFirst<<min(max(f.rounds-1, 0), 16), most)
	return min(left, d/2+rand.N(d))
}

// tracking is Config.Tracking.
func (c *Client) tracking() TrackingMode {
	if c.untracked {
		return TrackingOff
	}
	return TrackingOn
}

// provedByRelay is how old, at most, what a relay proves is: by its rounds in Redis or, without tracking, by its
// barriers among the events.
func (c *Client) provedByRelay(b Bound) time.Duration {
	if c.untracked {
		return b.Events
	}
	return b.Redis
}
