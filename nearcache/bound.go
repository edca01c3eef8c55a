package nearcache

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/nearcache/nearcache-go/internal/fence"
	"github.com/nearcache/nearcache-go/internal/l2"
)

// demand is what one read asks of a value, whatever tier it comes from.
type demand struct {
	atLeast Version
	bound   time.Duration // of L1, by the clock after the entry was read; 0: none
	fresh   bool
	since   int64 // of what is below L1: the value must be proved to be no older than the source was then
}

// demanded works a read's options out.
func (c *Cache[K, V]) demanded(ro ReadOptions) (demand, error) {
	d := demand{atLeast: ro.AtLeast, bound: c.opt.MaxStaleness, fresh: ro.Fresh, since: math.MinInt64}
	switch {
	case ro.MaxStaleness < 0:
		d.bound = 0
	case ro.MaxStaleness > 0 && c.client.source == nil:
		return d, fmt.Errorf("%w: ReadOptions.MaxStaleness needs Config.Source", ErrUnsupported)
	case ro.MaxStaleness > 0:
		d.bound = ro.MaxStaleness
	}
	return d, nil
}

// below sets what the tiers below L1 must prove, once L1 has nothing: a read that hits need not know when it began. The
// bound counts from here, so that a load which is slow, but began after the read did, always meets it.
func (d *demand) below(now int64) {
	switch {
	case d.fresh:
		d.since = now
	case d.bound > 0:
		d.since = now - int64(d.bound)
	}
}

// meets reports whether a load's result will do. A client younger than the bound has a since before its clock's zero, and
// 0 says that nothing is proved, not that the beginning is:
//
//	client: is one second old, and its bound a minute; since is -59s
//	L2:     has a value of last week, from before its watermark was lost; proved is 0, and later than that
func (d *demand) meets(version Version, proved int64) bool {
	return version >= d.atLeast && (d.since == math.MinInt64 || proved != 0 && proved >= d.since)
}

// unmet says why what the source has just answered will not do, nil if it will: there is nothing further down to ask.
func (d *demand) unmet(version Version, stale bool) error {
	switch {
	case version < d.atLeast:
		return fmt.Errorf("%w: %d asked for, the source has %d", ErrNotReady, d.atLeast, version)
	case stale && d.bound > 0:
		return fmt.Errorf("%w: the Loader returned version %d, and this instance has seen a newer one", ErrNotReady, version)
	}
	return nil
}

// revalidate asks the source for the key's version alone. If L1 still holds that version, whether or not it may be served,
// it is the state of the key, and the value need not be read again, unless its TTL is over.
//
// That two versions are equal says so only within one history of the source, so its epoch is asked for too, and after:
//
//	L1: has version 7               the source fails over, loses 7, and commits another 7
//	probe: has not noticed yet      reader: asks the version; it is 7
func (c *Cache[K, V]) revalidate(ctx context.Context, k K, key l2.Key, tok *fence.Token) (loaded[V], bool) {
	old := c.peek(k)
	if c.client.versions == nil || old == nil || old.version == 0 || len(old.tags()) > 0 || old.deadline <= c.client.now() {
		return loaded[V]{}, false
	}
	v, err := within(ctx, func() (Version, error) { return c.client.versions.Version(ctx, key.Namespace, key.Name) })
	if err != nil || v != old.version || !c.sameHistory(ctx, old) {
		return loaded[V]{}, false
	}
	var payload []byte
	if !old.absent() {
		if payload, err = c.encoded(old.value); err != nil {
			return loaded[V]{}, false
		}
	}
	e := newEntry[K, V](k, v, old.absent())
	e.value, e.deadline = old.value, old.deadline
	outcome, admit := c.client.fence.FromSource(tok, v, &e.stamp)
	if outcome != fence.Serve {
		return loaded[V]{}, false
	}
	c.m.loads("validated").Inc()
	if admit {
		c.admit(e, len(payload)+l2.HeaderSize)
	}
	return loaded[V]{value: e.value, version: v, absent: e.absent(), tier: TierL1, proved: e.stamp.Probe()}, true
}
