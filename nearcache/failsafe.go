package nearcache

import (
	"context"
	"hash/maphash"
	"math"
	"time"

	"github.com/nearcache/nearcache-go/internal/fence"
	"github.com/nearcache/nearcache-go/internal/l2"
)

// maxStaleAge is how old a value may be that this read gets in place of an error, 0: none may.
func (c *Cache[K, V]) maxStaleAge(ro ReadOptions) time.Duration {
	if ro.ServeStale != 0 {
		return max(0, ro.ServeStale)
	}
	return c.opt.FailSafe.MaxAge
}

// staleRecord is a record of L2 that is past its TTL, or unconfirmed. Its age is by two wall clocks, and so a label,
// and no part of any bound.
type staleRecord[V any] struct {
	value       V
	version     Version
	absent      bool
	unconfirmed bool
	written     time.Time
	key         l2.Key
	tags        []l2.Tag
	judged      fence.Outcome // what the fence says of its version
}

// serveStale answers a read whose load has failed, or was too slow: from L1, or else from the record that L2 keeps for
// that. What has expired may be served, and so may what a write of unknown outcome may have replaced. What this
// instance knows to be removed or replaced may not: by a version, an invalidation, a tag or Clear; see FailSafe.
func (c *Cache[K, V]) serveStale(ctx context.Context, k K, old *staleRecord[V], atLeast Version,
	most time.Duration) (Result[V], bool, error) {
	r, found, err := c.staleFromL1(k, atLeast, most)
	if found == staleServed {
		return r, true, err
	}
	if old != nil && old.version >= atLeast && time.Since(old.written) <= most {
		gone := c.recordGone(ctx, old)
		if !gone || c.opt.FailSafe.Invalidated {
			r, err := c.staleFromL2(old, gone)
			return r, true, err
		}
		found = staleRefused
	}
	if found == staleRefused {
		c.m.staleRefused.Inc()
	}
	return Result[V]{}, false, nil
}

// staleFromL2 is a record of L2 as the caller gets it in place of an error.
func (c *Cache[K, V]) staleFromL2(old *staleRecord[V], gone bool) (Result[V], error) {
	c.m.servedStale(staleReason(gone, old.unconfirmed)).Inc()
	r := Result[V]{Version: old.version, Tier: TierL2, Age: max(0, time.Since(old.written)), Stale: true,
		Unconfirmed: old.unconfirmed}
	if old.absent {
		return r, ErrNotFound
	}
	return c.withValue(r, old.value)
}

// staleReason is why a value is labelled, as metrics have it.
func staleReason(gone, unconfirmed bool) string {
	switch {
	case gone:
		return "invalidated"
	case unconfirmed:
		return "unconfirmed"
	}
	return "expired"
}

// staleFound is what a tier has for a read in place of an error.
type staleFound uint8

const (
	staleNone    staleFound = iota
	staleServed             // a value that may be served
	staleRefused            // one that is known to be removed or replaced
)

// staleFromL1 is what L1 holds of a key, whether or not it may be served, if it is old at most so much.
func (c *Cache[K, V]) staleFromL1(k K, atLeast Version, most time.Duration) (Result[V], staleFound, error) {
	e := c.peek(k)
	if e == nil || e.version < atLeast {
		return Result[V]{}, staleNone, nil
	}
	asOf := e.stamp.AsOf(c.client.fence)
	gone := c.entryGone(e)
	if gone {
		asOf = e.stamp.LoadedAsOf() // what the channels prove holds only of what they have not invalidated
	}
	since := e.stamp.Began()
	if asOf > 0 {
		since = asOf
	}
	if c.client.now()-since > int64(most) {
		return Result[V]{}, staleNone, nil
	}
	if gone && !c.opt.FailSafe.Invalidated {
		return Result[V]{}, staleRefused, nil
	}
	c.m.servedStale(staleReason(gone, e.unconfirmed())).Inc()
	r, err := c.fromL1(e, asOf)
	r.Stale, r.Unconfirmed = true, e.unconfirmed()
	return r, staleServed, err
}

// entryGone reports whether an entry of L1 is known to be removed or replaced: its key was invalidated, or a tag of it
// was. If so much was invalidated since that the fence cannot decide, it counts as gone.
func (c *Cache[K, V]) entryGone(e *entry[K, V]) bool {
	if v := e.stamp.Check(c.client.fence); v == fence.Invalidated || v == fence.Collided {
		return true
	}
	v, _ := e.tags().check(c.client.fence, math.MinInt64, 0) // a tag that has expired has not changed
	return v == fence.Invalidated
}

// recordGone is entryGone for a record of L2. One that L2 may hold only because it could not be reached counts as gone;
// a tag whose version cannot be read does not.
func (c *Cache[K, V]) recordGone(ctx context.Context, old *staleRecord[V]) bool {
	if old.judged != fence.Serve || c.client.retry.hasCertain(old.key) {
		return true
	}
	if len(old.tags) == 0 {
		return false
	}
	t, err := c.client.openTags()
	if err != nil {
		return false
	}
	for _, tag := range old.tags {
		if e, _, err := t.settle(ctx, tag.Name, 0); err == nil && e.value != uint64(tag.Version) {
			return true
		}
	}
	return false
}

// unconfirm notes in this process a write of k whose outcome is not known. Loads and entries of the key end. What L1
// held is kept for fail-safe alone: as an entry that has expired.
//
// Redis pushes the change of the record to this instance too, which ends the kept entry: then L2 has it. While Redis is
// away, L1 alone does.
func (c *Cache[K, V]) unconfirm(k K, key l2.Key) {
	old := c.peek(k)
	if old == nil {
		c.client.fence.Written(key, 0)
		return
	}
	kept := newEntryWithExtras[K, V](k, old.version)
	if !c.client.fence.Unconfirmed(key, &old.stamp, &kept.stamp) {
		return
	}
	kept.value = old.value
	x := kept.extras()
	x.absent, x.unconfirmed = old.absent(), true
	if was := old.extras(); was != nil {
		x.tags, x.sum = was.tags, was.sum
	}
	payload := []byte(nil)
	if c.opt.Size == nil && !kept.absent() {
		var err error
		if payload, err = c.encoded(kept.value); err != nil {
			return
		}
	}
	if cost, err := c.cost(kept, len(payload)+l2.HeaderSize); err == nil {
		c.l1.Set(maphash.Comparable(c.seed, k), kept, cost)
	}
}
