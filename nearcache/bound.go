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
	since   int64 // below L1: the value must be proved to be no older than the source was then
}

// demanded is what a read's options come to.
func (c *Cache[K, V]) demanded(ro ReadOptions) (demand, error) {
	d := demand{atLeast: ro.AtLeast, bound: c.opt.MaxStaleness, fresh: ro.Fresh, since: math.MinInt64}
	switch {
	case ro.MaxStaleness < 0:
		d.bound = 0
	case ro.MaxStaleness > 0 && c.client.source == nil:
		return d, fmt.Errorf("%w: ReadOptions.MaxStaleness needs Config.Source", ErrUnsupported)
	case ro.MaxStaleness > 0:
		d.bound = ro.MaxStaleness
		c.client.boundedRead()
	}
	return d, nil
}

// below sets what the tiers below L1 must prove, once L1 has nothing: a read that hits need not know when it began. The
// bound counts from here. So a slow load that began after the read always meets it.
func (d *demand) below(now int64) {
	switch {
	case d.fresh:
		d.since = now
	case d.bound > 0:
		d.since = now - int64(d.bound)
	}
}

// meets reports whether a flight's result will do. A client younger than the bound has a since before its clock's zero,
// and 0 means that nothing is proved, not that the clock's zero is:
//
//	client: is one second old, and its bound a minute; since is -59s
//	L2:     has a value of last week, from before its watermark was lost; asOf is 0, and later than that
func (d *demand) meets(version Version, asOf int64) bool {
	return version >= d.atLeast && (d.since == math.MinInt64 || asOf != 0 && asOf >= d.since)
}

// unmet is why what the source has just answered will not do, nil if it will: there is no tier further down.
func (d *demand) unmet(version Version, stale bool) error {
	switch {
	case version < d.atLeast:
		return fmt.Errorf("%w: %d asked for, the source has %d", ErrNotReady, d.atLeast, version)
	case stale && d.bound > 0:
		return fmt.Errorf("%w: the Loader returned version %d, and this instance has seen a newer one", ErrNotReady, version)
	}
	return nil
}

// sourceSince is the moment that a call of the Loader must have begun at or after, for a reader that L2's answer did
// not suffice. A version that is asked for, and is newer than that answer, was committed before now.
func (d *demand) sourceSince(version Version, now int64) int64 {
	if version < d.atLeast {
		return now
	}
	return d.since
}

// verdict is why what the source has just answered will not do, nil if it will.
func verdict[V any](d *demand, l loaded[V], err error) error {
	switch {
	case err != nil:
		return err
	case l.err != nil:
		return l.err
	}
	return d.unmet(l.version, l.stale)
}

// revalidate asks the source for the key's version alone, for a reader that Fresh or a bound sends to the source. If L1
// still holds that version, whether or not it may be served, it is the state of the key, and the value need not be read
// again, unless its TTL is over. It sets the flight's result and reports whether it did.
//
// Equal versions prove that only within one history of the source, so its timeline is asked for too, and after:
//
//	L1: has version 7               the source fails over, loses 7, and commits another 7
//	sample: has not noticed yet     reader: asks the version; it is 7
func (c *Cache[K, V]) revalidate(ctx context.Context, f *flight[K, V]) bool {
	if !f.validate || f.bypass || f.lease != nil || c.client.versions == nil {
		return false
	}
	old := c.peek(f.k)
	if old == nil || old.version == 0 || len(old.tags()) > 0 || old.stamp.Expired(c.client.now()) {
		return false
	}
	f.own = f.snap
	v, err := within(ctx, func() (Version, error) { return c.client.versions.Version(ctx, f.key.Namespace, f.key.Name) })
	if err != nil || v != old.version || !c.sameTimeline(ctx, old) {
		return false
	}
	var payload []byte
	if !old.absent() {
		if payload, err = c.encoded(old.value); err != nil {
			return false
		}
	}
	e := c.entryOf(f.k, v, old.absent(), 0)
	e.value = old.value
	outcome, admit := c.client.fence.FromSource(&f.own, v, &e.stamp)
	if outcome != fence.Serve {
		return false
	}
	e.stamp.SetDeadline(old.stamp.Deadline())
	c.m.loads("validated").Inc()
	if admit {
		c.admit(e, len(payload)+l2.HeaderSize)
	}
	f.res = loaded[V]{value: e.value, version: v, absent: e.absent(), tier: TierL1, asOf: e.stamp.LoadedAsOf()}
	return true
}
