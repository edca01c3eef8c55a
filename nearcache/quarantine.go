package nearcache

import (
	"context"

	"github.com/nearcache/nearcache-go/internal/l2"
)

// renew starts a bucket of L2 again where it stands, under a new incarnation. That makes every record in it a miss on
// every instance. If another process has done so since we looked, nothing is left to do.
func (c *Client) renew(ctx context.Context, bucket int) error {
	all, _, err := c.l2.WatermarksOf(ctx, l2.SetOf(bucket))
	if err != nil {
		return err
	}
	seen := all[bucket]
	for {
		now, err := c.l2.ResetWatermark(ctx, bucket, seen, seen.Position)
		if err != nil {
			return err
		}
		if now.Incarnation != seen.Incarnation {
			return nil
		}
		seen = now // the relay has moved it meanwhile
	}
}

// quarantine makes the fence believe nothing that L2 has of a bucket.
func (c *Client) quarantine(bucket int) {
	c.fence.Quarantine(bucket)
	c.log.Warn("too many invalidations failed: a bucket is read at the source until Redis has started it again",
		"bucket", bucket)
}

// release makes the fence believe a bucket again.
func (c *Client) release(bucket int) {
	c.fence.Release(bucket)
	c.log.Info("a bucket was started again, and is believed again", "bucket", bucket)
}
