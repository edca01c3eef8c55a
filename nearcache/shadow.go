package nearcache

import (
	"bytes"
	"context"

	"github.com/nearcache/nearcache-go/internal/l2"
)

// shadow answers from the source, and counts what the cache would have answered. The cache is read first and works as
// ever, so that it is as warm as it would be in use.
//
// A write between the two reads makes the cache look older than the source although it was right; compare the rate of
// "older" with the rate of writes. "newer" can only be a Loader that reads a replica.
func (c *Cache[K, V]) shadow(ctx context.Context, k K, key l2.Key, ro ReadOptions) (Result[V], error) {
	cached, cachedErr := c.shadowed(ctx, k, key)
	r, err := c.bypass(ctx, k, ro)
	result := "match"
	switch absent := err != nil && r.Tier == TierSource; {
	case err != nil && !absent:
		result = "source_error"
	case cachedErr != nil:
		result = "cache_error"
	case cached.tier == TierSource:
		result = "miss"
	case cached.version < r.Version:
		result = "older"
	case cached.version > r.Version:
		result = "newer"
	case cached.absent != absent:
		result = "absence"
	case !absent && !c.same(cached.value, r.Value):
		result = "value"
	}
	c.m.shadow(result).Inc()
	return r, err
}

// shadowed is what the cache would have answered.
func (c *Cache[K, V]) shadowed(ctx context.Context, k K, key l2.Key) (loaded[V], error) {
	if e, _ := c.hit(k, c.opt.MaxStaleness, false); e != nil {
		return loaded[V]{value: e.value, version: e.version, absent: e.absent(), tier: TierL1}, nil
	}
	d, err := c.demanded(ReadOptions{})
	if err != nil {
		return loaded[V]{}, err
	}
	d.below(c.client.now())
	return c.descend(ctx, k, key, d)
}

// same compares values as L2 would see them.
func (c *Cache[K, V]) same(a, b V) bool {
	x, errX := c.encoded(a)
	y, errY := c.encoded(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}
