package operator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/postgres"
	"github.com/nearcache/nearcache-go/internal/l2"
)

// relayChange is what skip and reset print.
type relayChange struct {
	Relay   string   `json:"relay"`
	DryRun  bool     `json:"dry_run"`
	Dangers []string `json:"dangers"`
	Before  string   `json:"position_before,omitempty"`
	After   string   `json:"position_after,omitempty"`
	Lost    int64    `json:"unpublished_changes"` // that will never be published
	Buckets int      `json:"buckets_reset"`
}

func (r *relayChange) print(w io.Writer) {
	fmt.Fprintf(w, "relay\t%s\n", r.Relay)
	for _, d := range r.Dangers {
		fmt.Fprintf(w, "DANGER\t%s\n", d)
	}
	would := ""
	if r.DryRun {
		would = "would be "
	}
	if r.Before != r.After {
		fmt.Fprintf(w, "events\tthe cursor %smoved from %s to %s; %s %sleft out\n", would, r.Before, r.After,
			counted(r.Lost), would)
	} else if r.After != "" {
		fmt.Fprintf(w, "events\tone number %sleft out in each partition, and no change\n", would)
	}
	if r.Buckets > 0 {
		fmt.Fprintf(w, "redis\t%d buckets %sbegun again\n", r.Buckets, would)
	}
	if r.DryRun {
		fmt.Fprintln(w, "nothing was done: --yes does it")
	}
}

func (t *tool) relaySkipCommand() *cobra.Command {
	return t.relayChangeCommand("skip", "Leave out the events that wait to be published, and go on from now",
		`Skip moves a relay's cursor for the events to the database's present position. It is for a relay that has
fallen behind by more than anybody wants to wait for, or that stands still at a change which cannot be published.

DANGER: the changes in between are never published. Instances see a gap in the numbers, and the events vouch for
nothing that they loaded before. But an instance that hears of changes by the events alone (its Redis is away) does
not hear of these, and other consumers of the topic or stream never get them. Redis is not touched: the relay's
other cursor brings every change there.

The relay must be stopped: skip takes its leadership, and waits for it for --timeout.`, t.skip)
}

func (t *tool) relayResetCommand() *cobra.Command {
	return t.relayChangeCommand("reset", "Make every cache drop everything, and begin at the database's present position",
		`Reset begins a new incarnation of all buckets of Redis, and leaves out a number in each partition of the events.
So every record in Redis becomes a miss, and every instance drops what it holds, whatever vouches for it. It is
for a database that was restored behind the caches' back, and for caches whose contents nobody trusts.

DANGER: all that is read is loaded from the database again, by every key at once; leases let one instance load
each. Check that the database can bear that (Options.MaxLoads bounds each instance).

The relay must be stopped: reset takes its leadership, and waits for it for --timeout. Start it again afterwards:
only a relay makes the instances notice the gap.`, t.reset)
}

// led does something as the leader of a relay.
type led func(ctx context.Context, src *postgres.Source, pool *pgxpool.Pool, cursor coherence.Cursor,
	r *relayChange) error

func (t *tool) relayChangeCommand(use, short, long string, do led) *cobra.Command {
	var name string
	var yes bool
	cmd := &cobra.Command{Use: use, Short: short, Long: long, Args: exactly(0)}
	cmd.Flags().StringVar(&name, "name", "", "name of the relay (default the topic of the events)")
	cmd.Flags().BoolVar(&yes, "yes", false, "do it, instead of printing what would be done")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx, cancel := t.limit(cmd)
		defer cancel()
		if name == "" {
			name = t.topicOf()
		}
		r := &relayChange{Relay: name, DryRun: !yes, Dangers: []string{}}
		if err := t.changeRelay(ctx, r, do); err != nil {
			return err
		}
		return t.show(cmd, r, r.print)
	}
	return cmd
}

func (t *tool) changeRelay(ctx context.Context, r *relayChange, do led) error {
	src, pool, closeIt, err := t.openSource(ctx)
	if err != nil {
		return err
	}
	defer closeIt()
	if !r.DryRun {
		release, err := t.lead(ctx, src, pool, r.Relay)
		if err != nil {
			return err
		}
		defer release()
	}
	cursor, err := src.LoadCursor(ctx, r.Relay)
	if err != nil {
		return err
	}
	return do(ctx, src, pool, cursor, r)
}

// lead becomes the relay's leader. A relay that runs keeps its numbers in memory, and would give one out twice.
func (t *tool) lead(ctx context.Context, src *postgres.Source, pool *pgxpool.Pool, name string) (func(), error) {
	_, release, err := src.Lead(ctx, name)
	if err == nil {
		return release, nil
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		return nil, err
	}
	look, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if l, lookErr := t.leaderOf(look, pool, name); lookErr == nil && l != nil {
		return nil, fmt.Errorf("the relay %q is running: %s leads; stop it, run this again, and start it", name, l)
	}
	return nil, fmt.Errorf("the leadership of the relay %q could not be taken: %w", name, err)
}

// leaveOut is a cursor whose next numbers show followers a gap.
func leaveOut(c coherence.Cursor) coherence.Cursor {
	c.Seqs = slices.Clone(c.Seqs)
	for i := range c.Seqs {
		c.Seqs[i]++
	}
	return c
}

// head is the position up to which every change is settled.
func head(ctx context.Context, src *postgres.Source) (coherence.Position, error) {
	_, at, err := src.Changes(ctx, coherence.Position{}, 0)
	return at, err
}

func (t *tool) skip(ctx context.Context, src *postgres.Source, pool *pgxpool.Pool, cursor coherence.Cursor,
	r *relayChange) error {
	if len(cursor.Seqs) == 0 {
		return fmt.Errorf("the relay %q has published nothing, so there is nothing to skip; --name names another one",
			r.Relay)
	}
	now, err := head(ctx, src)
	if err != nil {
		return err
	}
	if now.Timeline == cursor.Position.Timeline || cursor.Position.IsZero() {
		if r.Lost, _, err = t.outboxAfter(ctx, pool, cursor.Position.N); err != nil {
			return err
		}
	}
	r.Before, r.After = cursor.Position.String(), now.String()
	r.Dangers = append(r.Dangers,
		fmt.Sprintf("%s will never be published; other consumers of the topic or stream do not get them", counted(r.Lost)),
		"an instance whose Redis is away does not hear of them")
	if r.DryRun {
		return nil
	}
	next := leaveOut(cursor)
	next.Position = now
	return src.SaveCursor(ctx, r.Relay, next)
}

func (t *tool) reset(ctx context.Context, src *postgres.Source, _ *pgxpool.Pool, cursor coherence.Cursor,
	r *relayChange) error {
	if !t.hasRedis() {
		return usage("--redis or REDIS_URL is needed")
	}
	engine, closeIt, err := t.openEngine(ctx)
	if err != nil {
		return err
	}
	defer closeIt()
	now, err := head(ctx, src)
	if err != nil {
		return err
	}
	r.Dangers = append(r.Dangers, "every value that is read is loaded from the database again",
		"instances drop what the events vouch for when a relay runs again, and not before")
	r.Buckets = engine.Keyspace().Buckets()
	if len(cursor.Seqs) > 0 {
		r.Before, r.After = cursor.Position.String(), cursor.Position.String()
	}
	if r.DryRun {
		return nil
	}
	if len(cursor.Seqs) > 0 {
		if err := src.SaveCursor(ctx, r.Relay, leaveOut(cursor)); err != nil {
			return err
		}
	}
	watermarks, err := engine.Watermarks(ctx)
	if err != nil {
		return err
	}
	for b := range watermarks {
		if err := resetBucket(ctx, engine, b, watermarks[b], now); err != nil {
			return fmt.Errorf("%w: %d of %d buckets are begun again: %w", errUnreached, b, len(watermarks), err)
		}
	}
	return nil
}

// resetBucket begins a new incarnation, also if another program has moved the watermark meanwhile.
func resetBucket(ctx context.Context, engine *l2.L2, b int, seen l2.Watermark, to coherence.Position) error {
	for was := seen.Incarnation; ; {
		now, err := engine.ResetWatermark(ctx, b, seen, to)
		if err != nil || now.Incarnation != was {
			return err
		}
		seen = now
	}
}
