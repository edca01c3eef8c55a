package nearcache

import "context"

// renew starts a bucket of L2 anew where it stands: under another incarnation, which makes every record that it has a miss on
// every instance. Somebody else who has done so since we looked has done it for us.
func (c *Client) renew(ctx context.Context, bucket int) error {
	all, err := c.l2.Watermarks(ctx)
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

// doubt makes the fence believe nothing that L2 has of a bucket, or believe it again.
func (c *Client) doubt(bucket int, lost bool) {
	if lost {
		c.fence.Quarantine(bucket)
		c.log.Warn("too many invalidations failed: a bucket is read at the source until Redis has started it anew", "bucket", bucket)
		return
	}
	c.fence.Release(bucket)
	c.log.Info("a bucket was started anew, and is believed again", "bucket", bucket)
}
