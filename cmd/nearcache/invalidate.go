package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/postgres"
	"github.com/nearcache/nearcache-go/tier"
)

// errUnreached says that an invalidation has not reached everything.
var errUnreached = errors.New("not everything was reached")

func (t *tool) invalidate() *cobra.Command {
	var relay string
	cmd := &cobra.Command{
		Use: "invalidate NAMESPACE NAME [VERSION]", Short: "Make every instance drop what it holds of a key",
		Long: `With a database, invalidate counts a new version of the key there, applies it to Redis, and waits until the
relay has brought it to Redis too. From the relay it goes to Kafka. So an instance whose memory Kafka vouches for drops
the key, even if Redis has forgotten who has read it. With --relay it waits until the relay has published it there.

Without a database it applies to Redis alone: what is older than VERSION, or whatever there is, goes. That reaches the
instances that Redis tracks. It fails if a relay feeds this Redis, since then Kafka may vouch for what instances hold.`,
		Args: exactly(2, 3),
	}
	cmd.Flags().StringVar(&relay, "relay", "",
		"name of the relay, to wait until it has published to Kafka: the topic's name in the demo")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx, cancel := t.limit(cmd.Context())
		defer cancel()
		names, err := tier.NamesOf(t.or(t.prefix, "REDIS_PREFIX"), args[0], args[1])
		if err != nil {
			return fmt.Errorf("%w: %w", errUsage, err)
		}
		e := coherence.Event{Namespace: args[0], Key: args[1], Op: coherence.OpUpdated}
		if len(args) == 3 {
			n, err := strconv.ParseUint(args[2], 10, 63)
			if err != nil {
				return fmt.Errorf("%w: %.40q is no version", errUsage, args[2])
			}
			e.Version = coherence.Version(n)
		}
		if t.or(t.database, "DATABASE_URL") == "" {
			return t.applyToRedis(ctx, cmd.OutOrStdout(), e, names.Bucket)
		}
		if e.Version != 0 {
			return fmt.Errorf("%w: with a database no VERSION is given: the database counts it", errUsage)
		}
		return t.countInSource(ctx, cmd.OutOrStdout(), e, names.Bucket, relay)
	}
	return cmd
}

// applyToRedis is an invalidation without a source.
func (t *tool) applyToRedis(ctx context.Context, out io.Writer, e coherence.Event, bucket int) error {
	l2, err := t.open(ctx)
	if err != nil {
		return err
	}
	defer l2.Close()
	if err := l2.Apply(ctx, e); err != nil {
		return err
	}
	fmt.Fprintln(out, "redis     applied; the instances that Redis tracks have been told")
	w, err := watermarkOf(ctx, l2, bucket)
	if err != nil {
		return fmt.Errorf("%w: whether a relay feeds this Redis is not known: %w", errUnreached, err)
	}
	if !w.IsZero() {
		fmt.Fprintln(out, "database  not reached: none is given")
		fmt.Fprintln(out, "kafka     not reached: instances may serve on what it vouches for")
		return fmt.Errorf("%w: a relay feeds this Redis, so the key must be invalidated in the source: "+
			"give --database or DATABASE_URL", errUnreached)
	}
	return nil
}

// countInSource is an invalidation by the source, from which every channel gets it.
func (t *tool) countInSource(ctx context.Context, out io.Writer, e coherence.Event, bucket int, relay string) error {
	src, pool, err := t.source(ctx)
	if err != nil {
		return err
	}
	defer pool.Close()
	defer src.Close()
	if e.Version, err = src.BumpKey(ctx, e.Namespace, e.Key); err != nil {
		return fmt.Errorf("%w: nothing was invalidated, since the database was not reached: %w", errUnreached, err)
	}
	fmt.Fprintf(out, "database  version %s is counted; whatever is older will be dropped\n", e.Version)
	p, err := src.Position(ctx)
	if err != nil {
		return fmt.Errorf("%w: the version is counted, but its position is not known: %w", errUnreached, err)
	}
	err = t.awaitRedis(ctx, out, e, bucket, p)
	if relay == "" {
		fmt.Fprintln(out, "kafka     not looked at: give --relay to wait until the relay has published")
		return err
	}
	return errors.Join(err, awaitKafka(ctx, out, src, relay, p))
}

// awaitRedis applies the event, and waits for the relay to bring it as well.
func (t *tool) awaitRedis(ctx context.Context, out io.Writer, e coherence.Event, bucket int,
	p coherence.Position) error {
	l2, err := t.open(ctx)
	if err != nil {
		fmt.Fprintln(out, "redis     not reached; a relay that reaches it applies the version")
		return fmt.Errorf("%w: %w", errUnreached, err)
	}
	defer l2.Close()
	if err := l2.Apply(ctx, e); err != nil {
		fmt.Fprintln(out, "redis     not reached; a relay that reaches it applies the version")
		return fmt.Errorf("%w: %w", errUnreached, err)
	}
	fmt.Fprintln(out, "redis     applied; the instances that Redis tracks have been told")
	err = await(ctx, func() (bool, error) {
		w, err := watermarkOf(ctx, l2, bucket)
		return w.Covers(p), err
	})
	if err != nil {
		fmt.Fprintln(out, "relay     not reached: it has not brought the version to Redis")
		return fmt.Errorf("%w: is a relay running, and is no transaction open? %w", errUnreached, err)
	}
	fmt.Fprintln(out, "relay     has brought the version to Redis")
	return nil
}

// awaitKafka waits until the relay's cursor for Kafka has passed a position.
func awaitKafka(ctx context.Context, out io.Writer, src *postgres.Source, relay string, p coherence.Position) error {
	err := await(ctx, func() (bool, error) {
		c, err := src.LoadCursor(ctx, relay)
		return c.Position.Covers(p), err
	})
	if err != nil {
		fmt.Fprintf(out, "kafka     not reached: the relay %q has not published the version\n", relay)
		return fmt.Errorf("%w: Kafka: %w", errUnreached, err)
	}
	fmt.Fprintln(out, "kafka     the relay has published the version")
	return nil
}

// await asks until it is so, or ctx ends.
func await(ctx context.Context, ok func() (bool, error)) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		done, err := ok()
		if done || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// watermarkOf is how far the source's changes have been applied to a bucket; zero if no relay has applied any.
func watermarkOf(ctx context.Context, l2 *tier.L2, bucket int) (coherence.Position, error) {
	all, err := l2.Watermarks(ctx)
	if err != nil {
		return coherence.Position{}, err
	}
	for _, w := range all {
		if w.Bucket == bucket {
			return w.Position, nil
		}
	}
	return coherence.Position{}, nil
}
