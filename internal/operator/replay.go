package operator

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/kafka"
	"github.com/nearcache/nearcache-go/tier"
)

// replayResult is what replay prints.
type replayResult struct {
	Topic       string            `json:"topic"`
	DryRun      bool              `json:"dry_run"`
	Events      int64             `json:"events"` // applied, or to be
	Unversioned int64             `json:"unversioned_events"`
	Malformed   int64             `json:"malformed"`
	Partitions  []replayPartition `json:"partitions"`
}

type replayPartition struct {
	Partition int   `json:"partition"`
	From      int64 `json:"from"`
	To        int64 `json:"to"` // the end when replay began
}

// replayer replays one topic.
type replayer struct {
	*tool
	log       *kafka.Log
	store     *tier.L2 // nil: a dry run
	namespace string
	batch     []coherence.Event
	note      *progress
	done, all int64 // offsets
	result    replayResult
}

func (t *tool) replayCommand() *cobra.Command {
	var from, namespace string
	var yes bool
	cmd := &cobra.Command{Use: "replay --from WHERE", Short: "Apply the events of the topic to Redis again",
		Long: `Replay reads the topic of the events from an offset or a time up to its present end, and applies the
events to Redis, as a worker does. Redis drops what is older than an event says, and tells the instances that it
tracks. It is for a Redis that came back with old data where no relay feeds it, and for a worker that was stopped
for longer than its group keeps offsets.

Versions decide, so events may be applied again and in any order. An event without a version drops whatever there
is; each costs a load. Events of one --namespace can be chosen.

Without --yes it reads and counts, and applies nothing.`, Args: exactly(0)}
	cmd.Flags().StringVar(&from, "from", "", "where to begin: earliest, a time such as 2026-11-24T09:30:00Z, how long ago"+
		" such as 15m, or PARTITION:OFFSET, several of them separated by commas; required")
	cmd.Flags().StringVar(&namespace, "namespace", "", "apply events of this namespace alone")
	cmd.Flags().BoolVar(&yes, "yes", false, "apply the events, instead of counting them")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if from == "" {
			return usage("--from is needed")
		}
		at, err := parseStart(from, time.Now())
		if err != nil {
			return err
		}
		ctx, cancel := t.limitIfAsked(cmd)
		defer cancel()
		r := &replayer{tool: t, namespace: namespace, note: t.progress(cmd, "replayed"),
			result: replayResult{Topic: t.topicOf(), DryRun: !yes, Partitions: []replayPartition{}}}
		if err := r.run(ctx, at, yes); err != nil {
			return err
		}
		return t.show(cmd, &r.result, r.result.print)
	}
	return cmd
}

func (r *replayer) run(ctx context.Context, at start, yes bool) (err error) {
	if r.log, err = r.openLog(r.topicOf()); err != nil {
		return err
	}
	defer r.log.Close()
	if yes {
		if r.store, err = r.openTier(ctx); err != nil {
			return err
		}
		defer r.store.Close()
	}
	if err := r.find(ctx, at); err != nil {
		return err
	}
	for _, p := range r.result.Partitions {
		begun := r.done
		_, err := r.log.Read(ctx, p.Partition, p.From, p.To, func(rec kafka.LogRecord) error {
			r.done = begun + rec.Offset - p.From + 1
			return r.take(ctx, rec)
		})
		if err == nil {
			err = r.apply(ctx)
		}
		if err != nil {
			return fmt.Errorf("%w: %d events of %s were applied: %w", errUnreached, r.result.Events, r.result.Topic, err)
		}
		r.done = begun + p.To - p.From
	}
	return nil
}

// find says where to begin in each partition.
func (r *replayer) find(ctx context.Context, at start) error {
	look, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	ranges, err := r.log.Partitions(look)
	if err != nil {
		return err
	}
	for p := range at.offsets {
		if p >= len(ranges) {
			return usage("--from names partition %d, and %s has %d", p, r.result.Topic, len(ranges))
		}
	}
	for p, have := range ranges {
		from := have.First
		switch offset, named := at.offsets[p]; {
		case at.offsets != nil && !named:
			continue
		case named && offset < have.First:
			return fmt.Errorf("partition %d: retention has removed the records before %d", p, have.First)
		case named:
			from = offset
		case !at.earliest:
			if from, err = r.log.OffsetAt(look, p, at.moment); err != nil {
				return err
			}
		}
		to := max(from, have.Stable)
		r.result.Partitions = append(r.result.Partitions, replayPartition{p, from, to})
		r.all += to - from
	}
	return nil
}

// take takes one record.
func (r *replayer) take(ctx context.Context, rec kafka.LogRecord) error {
	r.note.at(r.done, r.all)
	events, err := decodeRecord(rec.Record)
	if rec.Unread != nil || rec.Size > int64(len(rec.Value)) {
		err = coherence.ErrMalformed
	}
	if err != nil {
		r.result.Malformed++
		return nil
	}
	for _, e := range events {
		if r.namespace != "" && e.Namespace != r.namespace {
			continue
		}
		if e.Version == 0 {
			r.result.Unversioned++
		}
		r.batch = append(r.batch, e)
	}
	if len(r.batch) < purgeBatch {
		return nil
	}
	return r.apply(ctx)
}

func (r *replayer) apply(ctx context.Context) error {
	if len(r.batch) == 0 {
		return nil
	}
	if r.store != nil {
		if err := r.store.Apply(ctx, r.batch...); err != nil {
			return err
		}
	}
	r.result.Events += int64(len(r.batch))
	r.batch = r.batch[:0]
	return nil
}

func (r *replayResult) print(w io.Writer) {
	fmt.Fprintf(w, "topic\t%s\n", r.Topic)
	for _, p := range r.Partitions {
		fmt.Fprintf(w, "partition %d\toffsets %d to %d\n", p.Partition, p.From, p.To)
	}
	did := "applied to Redis"
	if r.DryRun {
		did = "would be applied to Redis"
	}
	fmt.Fprintf(w, "events\t%d %s; %d of them have no version, and drop whatever there is\n", r.Events, did, r.Unversioned)
	if r.Malformed > 0 {
		fmt.Fprintf(w, "malformed\t%d messages cannot be decoded, and are left out (nearcache dlq list)\n", r.Malformed)
	}
	if r.DryRun {
		fmt.Fprintln(w, "nothing was done: --yes does it")
	}
}
