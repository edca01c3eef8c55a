package l2

import (
	"context"
	"time"
)

// Set is SetMany of one key; replaced tells whether there was an older value.
func (l *L2) Set(ctx context.Context, k Key, rec Record, ttl time.Duration) (replaced bool, err error) {
	c, err := l.set(k, rec, ttl)
	if err != nil {
		return false, err
	}
	n, err := l.run(ctx, c).int()
	return c.s == l.scripts.set && n == 1, err
}

// Encode is the watermark as it is in Redis.
func (w Watermark) Encode() string { return w.encode() }

// OnYield sets what stands for a turn of the other goroutines when a read leads a batch.
func (l *L2) OnYield(f func()) { l.onYield = f }

// JoinedReads is how many reads went in the pipeline of another.
func (l *L2) JoinedReads() uint64 { return l.joined.Load() }
