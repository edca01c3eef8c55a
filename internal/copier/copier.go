package copier

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nearcache/nearcache-go/internal/l2"
)

// Config says what is copied. The two places must be of one system, and each must have a relay of its own.
type Config struct {
	// From and To are the two places. Tracker, Alone and Answers are the copier's.
	From, To l2.Config
	// Rate is how many keys a second are looked at, at most; 0: no limit. The two servers go on serving instances.
	Rate int
	// Progress, if any, is called after each batch.
	Progress func(Summary)
}

// Summary is how far a copy has come.
type Summary struct {
	Seen    int64 // records that the scan has found in the old place
	Copied  int64
	Skipped map[Reason]int64
	Failed  map[Reason]int64
}

// Complete reports whether nothing has failed.
func (s *Summary) Complete() bool { return len(s.Failed) == 0 }

func (s *Summary) note(why Reason, n int64) {
	switch {
	case n == 0:
	case why == copied:
		s.Copied += n
	case why.failure():
		s.Failed[why] += n
	default:
		s.Skipped[why] += n
	}
}

// What makes a copy impossible.
var (
	// ErrNoRelay says that no relay publishes rounds in a place. Then nothing says how old its records are, and nothing
	// deletes what was copied there when it changes.
	ErrNoRelay = errors.New("no relay carries changes to it")
	// ErrOtherSystem says that the places belong to two systems.
	ErrOtherSystem = errors.New("the two prefixes belong to two systems")
)

// Copier copies records between two places. Its methods are for one goroutine.
type Copier struct {
	cfg  Config
	from *original
	to   *l2.L2
	sum  Summary
	size int // of a batch
}

// Open connects to both places. Close must be called.
func Open(ctx context.Context, cfg Config) (*Copier, error) {
	c := &Copier{cfg: cfg, size: batchSize, sum: Summary{Skipped: map[Reason]int64{}, Failed: map[Reason]int64{}}}
	from, err := openOriginal(cfg.From)
	if err != nil {
		return nil, fmt.Errorf("the old place: %w", err)
	}
	c.from = from
	if c.to, err = l2.Open(cfg.To); err != nil {
		c.Close()
		return nil, fmt.Errorf("the new place: %w", err)
	}
	if err = errors.Join(from.l2.Ready(ctx), c.to.Ready(ctx)); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// Close ends the connections.
func (c *Copier) Close() {
	c.from.l2.Close()
	if c.to != nil {
		c.to.Close()
	}
}

// Check returns why nothing can be copied: ErrNoRelay or ErrOtherSystem, or that Redis does not answer.
func (c *Copier) Check(ctx context.Context) error {
	a, err := c.from.l2.OwnedBy(ctx)
	if err != nil {
		return err
	}
	b, err := c.to.OwnedBy(ctx)
	if err != nil {
		return err
	}
	if a != b {
		return fmt.Errorf("%w: %q is of %q, and %q of %q", ErrOtherSystem, c.from.l2.Keyspace().Prefix(), a,
			c.to.Keyspace().Prefix(), b)
	}
	old, err := relayed(ctx, c.from.l2)
	if err != nil {
		return err
	}
	fresh, err := relayed(ctx, c.to)
	if err != nil {
		return err
	}
	if one, other := old.Upto.Timeline, fresh.Upto.Timeline; one != other {
		return fmt.Errorf("%w: their relays follow two timelines of a source, %x and %x", ErrOtherSystem, one, other)
	}
	return nil
}

// relayed waits until a relay publishes a round, if one ever has.
func relayed(ctx context.Context, place *l2.L2) (r l2.Round, err error) {
	wait, stop := context.WithTimeout(ctx, patience)
	defer stop()
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	var first l2.Round
	for {
		rounds, err := place.LastRounds(wait, l2.SetOf(l2.RoundBucket))
		switch r := rounds[l2.RoundBucket]; {
		case err != nil && wait.Err() == nil:
			return r, err
		case err == nil && r.IsZero():
			return r, noRelay(place)
		case first.IsZero():
			first = r
		case r.Number > first.Number:
			return r, nil
		}
		select {
		case <-tick.C:
		case <-wait.Done():
			if ctx.Err() != nil {
				return r, ctx.Err()
			}
			return r, noRelay(place)
		}
	}
}

func noRelay(place *l2.L2) error {
	return fmt.Errorf("prefix %q: %w, or it stands still", place.Keyspace().Prefix(), ErrNoRelay)
}

// Count counts the records that the old place holds.
func (c *Copier) Count(ctx context.Context) (Summary, error) {
	foreign, err := c.from.l2.Scan(ctx, "", func(keys []l2.Key) error {
		c.sum.Seen += int64(len(keys))
		return nil
	})
	c.sum.note(Foreign, int64(foreign))
	return c.sum, err
}

// stalls is how many batches in a row may find no bucket of the old place up to date.
const stalls = 3

// Run copies what the old place holds. It may be run again: what is there stays, and is not copied a second time.
//
// The error says why it ended early; what the summary counts is done.
func (c *Copier) Run(ctx context.Context) (Summary, error) {
	begun, stalled := time.Now(), 0
	var waiting []l2.Key
	copyBatch := func() error {
		b := c.newBatch(waiting)
		stalled++
		if b.run(ctx) {
			stalled = 0
		}
		c.sum.Seen += int64(len(waiting))
		for i := range b.items {
			c.sum.note(b.items[i].why, 1)
		}
		waiting = waiting[:0]
		if c.cfg.Progress != nil {
			c.cfg.Progress(c.sum)
		}
		if stalled == stalls && ctx.Err() == nil {
			return noRelay(c.from.l2)
		}
		return c.pace(ctx, begun)
	}
	foreign, err := c.from.l2.Scan(ctx, "", func(keys []l2.Key) error {
		for _, k := range keys {
			if waiting = append(waiting, k); len(waiting) == c.size {
				if err := copyBatch(); err != nil {
					return err
				}
			}
		}
		return nil
	})
	c.sum.note(Foreign, int64(foreign))
	if err == nil && len(waiting) > 0 {
		err = copyBatch()
	}
	return c.sum, err
}

// pace waits until so many keys may have been looked at.
func (c *Copier) pace(ctx context.Context, begun time.Time) error {
	if ctx.Err() != nil || c.cfg.Rate <= 0 {
		return ctx.Err()
	}
	due := begun.Add(time.Duration(float64(c.sum.Seen) / float64(c.cfg.Rate) * float64(time.Second)))
	t := time.NewTimer(time.Until(due))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
