package l2

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/redis/rueidis"
)

// BucketsError says that a program is configured for another number of buckets than its prefix has. Its keys would be
// others than those of the prefix's other programs: each would miss the changes that the others apply.
type BucketsError struct {
	Prefix     string
	Key        string // the Redis key that says how many buckets the prefix has
	Stored     string // what it says
	Configured int
}

func (e *BucketsError) Error() string {
	return fmt.Sprintf("prefix %q of this Redis has %.20q buckets, and this program is configured for %d: configure the "+
		"number that the prefix has, or choose another prefix", e.Prefix, e.Stored, e.Configured)
}

// ClaimBuckets has Redis remember the number of buckets, unless it remembers another one, which is a BucketsError.
// Redis may evict the number like any key: so programs repeat their claim.
func (l *L2) ClaimBuckets(ctx context.Context) error {
	c := l.clients.Load()
	if c == nil {
		return ErrUnavailable
	}
	stored, err := l.storedBuckets(ctx, c)
	if none := rueidis.IsRedisNil(err); err != nil && !none { // the heartbeats show which fault Redis has
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	} else if none {
		n := strconv.Itoa(l.keys.Buckets())
		stored, err = l.run(ctx, call{l.scripts.claim, []string{l.keys.Layout()}, []string{n}}).string()
		if err != nil {
			return err
		}
	}
	return l.sameBuckets(stored)
}

// storedBuckets is what Redis remembers; the error is that of a nil reply if it remembers nothing.
func (l *L2) storedBuckets(ctx context.Context, c *clients) (string, error) {
	stored, err := c.commands.Do(ctx, c.commands.B().Get().Key(l.keys.Layout()).Build()).ToString()
	if wrongType(err) {
		return "no number of", nil
	}
	return stored, err
}

func (l *L2) sameBuckets(stored string) error {
	if n := l.keys.Buckets(); stored != strconv.Itoa(n) {
		return &BucketsError{Prefix: l.keys.Prefix(), Key: l.keys.Layout(), Stored: stored, Configured: n}
	}
	return nil
}

// refusesBuckets compares the number of buckets before anything else is asked of a Redis that has been connected to.
// Only another number is an error: if the node does not answer, the others may.
func (l *L2) refusesBuckets(ctx context.Context, c *clients) error {
	ctx, stop := context.WithTimeout(ctx, firstConnect)
	defer stop()
	stored, err := l.storedBuckets(ctx, c)
	if err != nil {
		return nil
	}
	return l.sameBuckets(stored)
}

// bucketsFault is the fault of an error that is a BucketsError, nil of any other.
func bucketsFault(err error) *Fault {
	var other *BucketsError
	if !errors.As(err, &other) {
		return nil
	}
	return Fault{Code: "redis_buckets", Forever: true, Writes: true,
		Advice: "The prefix has another number of buckets than this program is configured for; correct Config.Buckets."}.
		with(err)
}
