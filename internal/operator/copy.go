package operator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/copier"
	"github.com/nearcache/nearcache-go/internal/l2"
	"github.com/nearcache/nearcache-go/internal/product/app/endpoint"
)

// copyResult is what copy prints.
type copyResult struct {
	From    copyPlace               `json:"from"`
	To      copyPlace               `json:"to"`
	DryRun  bool                    `json:"dry_run"`
	Records int64                   `json:"records"` // that the scan has found
	Copied  int64                   `json:"copied"`
	Skipped map[copier.Reason]int64 `json:"skipped"`
	Failed  map[copier.Reason]int64 `json:"failed"`
}

type copyPlace struct {
	Prefix  string `json:"prefix"`
	Buckets int    `json:"buckets"`
}

// copyTarget are the flags of the new place.
type copyTarget struct{ redis, prefix, buckets string }

func (t *tool) copyCommand() *cobra.Command {
	var to copyTarget
	var rate int
	var yes bool
	cmd := &cobra.Command{Use: "copy", Short: "Copy the records of a prefix to another prefix or another Redis",
		Long: `Copy reads every record of --prefix with --buckets, and stores it under --to-prefix with --to-buckets, in the
same Redis or in that of --to-redis. So the number of buckets of a prefix changes, or a system moves to a Redis
Cluster, and the new L2 is warm before the first instance uses it.

Each place needs a relay of its own, which must run all the time; without one nothing is copied. Instances of both
places may go on meanwhile: a record that changes during the copy is left out or dropped. Records keep their versions,
tags and TTLs. A key that the new place has already stays as it is there. So the command can be stopped at any time
and run again.

Without --yes it checks both places, counts the records, and copies nothing.`, Args: exactly(0)}
	cmd.Flags().StringVar(&to.redis, "to-redis", "", "Redis of the new place, as --redis (default that of --redis)")
	cmd.Flags().StringVar(&to.prefix, "to-prefix", "", "prefix of the new place (default that of --prefix)")
	cmd.Flags().StringVar(&to.buckets, "to-buckets", "", "number of buckets of the new place (default that of --buckets)")
	cmd.Flags().IntVar(&rate, "rate", 5000, "how many keys a second are copied at most; 0: as fast as it goes")
	cmd.Flags().BoolVar(&yes, "yes", false, "copy, instead of counting")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if rate < 0 {
			return usage("--rate is %d, and must not be negative", rate)
		}
		cfg, err := t.copyConfig(to)
		if err != nil {
			return err
		}
		cfg.Rate = rate
		ctx, cancel := t.limitIfAsked(cmd)
		defer cancel()
		result := &copyResult{From: placeOf(cfg.From), To: placeOf(cfg.To), DryRun: !yes}
		if err = t.copyRecords(ctx, cmd, cfg, result); err == nil || result.Records > 0 {
			err = errors.Join(err, t.show(cmd, result, result.print))
		}
		return err
	}
	return cmd
}

func placeOf(cfg l2.Config) copyPlace { return copyPlace{cfg.Prefix, cfg.Buckets} }

// copyConfig are the two places. A flag of the new one that is left out has the old one's value.
func (t *tool) copyConfig(to copyTarget) (cfg copier.Config, err error) {
	if cfg.From.Redis, err = t.redisOption(); err != nil {
		return cfg, err
	}
	if cfg.From.Prefix, err = t.prefixOf(); err != nil {
		return cfg, err
	}
	if cfg.From.Buckets, err = t.bucketsOf(); err != nil {
		return cfg, err
	}
	cfg.To = cfg.From
	if to.redis != "" {
		if cfg.To.Redis, err = endpoint.Redis(to.redis); err != nil {
			return cfg, usage("--to-redis: %w", err)
		}
	}
	if to.prefix != "" {
		if err := coherence.CheckName(to.prefix); err != nil {
			return cfg, usage("the prefix %.40q %w", to.prefix, err)
		}
		cfg.To.Prefix = to.prefix
	}
	if to.buckets != "" {
		if cfg.To.Buckets, err = strconv.Atoi(to.buckets); err == nil {
			cfg.To.Buckets, err = l2.CheckBuckets(cfg.To.Buckets)
		}
		if err != nil {
			return cfg, usage("--to-buckets is %.40q: %w", to.buckets, l2.ErrBuckets)
		}
	}
	if cfg.To.Prefix == cfg.From.Prefix && to.redis == "" {
		return cfg, usage("copy: --to-prefix or --to-redis is needed: a prefix of one Redis has one number of buckets")
	}
	return cfg, nil
}

// copyRecords copies, or counts.
func (t *tool) copyRecords(ctx context.Context, cmd *cobra.Command, cfg copier.Config, result *copyResult) error {
	cfg.Progress = t.copyProgress(cmd)
	reach, stop := context.WithTimeout(ctx, t.timeout)
	defer stop()
	c, err := copier.Open(reach, cfg)
	if err != nil {
		return fmt.Errorf("cannot reach Redis: %w", err)
	}
	defer c.Close()
	if err := c.Check(ctx); err != nil {
		return fmt.Errorf("nothing is copied: %w", err)
	}
	do := c.Run
	if result.DryRun {
		do = c.Count
	}
	sum, err := do(ctx)
	result.Records, result.Copied, result.Skipped, result.Failed = sum.Seen, sum.Copied, sum.Skipped, sum.Failed
	switch {
	case err != nil:
		return fmt.Errorf("%w: %d records were copied: %w", errUnreached, sum.Copied, err)
	case !sum.Complete():
		return fmt.Errorf("%w: some records were not copied; the same command copies those that are left", errUnreached)
	}
	return nil
}

// copyProgress says on standard error, once a second at most, how many of the records that were found are copied.
func (t *tool) copyProgress(cmd *cobra.Command) func(copier.Summary) {
	p := t.progress(cmd, "copied")
	return func(s copier.Summary) { p.at(s.Copied, s.Seen) }
}

func (r *copyResult) print(w io.Writer) {
	fmt.Fprintf(w, "from\t%s, %d buckets\n", r.From.Prefix, r.From.Buckets)
	fmt.Fprintf(w, "to\t%s, %d buckets\n", r.To.Prefix, r.To.Buckets)
	fmt.Fprintf(w, "records\t%d were found\n", r.Records)
	if !r.DryRun {
		fmt.Fprintf(w, "copied\t%d\n", r.Copied)
	}
	for _, why := range slices.Sorted(maps.Keys(r.Skipped)) {
		fmt.Fprintf(w, "left out\t%d %s\n", r.Skipped[why], copyReasons[why])
	}
	for _, why := range slices.Sorted(maps.Keys(r.Failed)) {
		fmt.Fprintf(w, "failed\t%d %s\n", r.Failed[why], copyReasons[why])
	}
	if r.DryRun {
		fmt.Fprintln(w, "nothing was done: --yes does it")
	}
}

// copyReasons say why a record is not copied.
var copyReasons = map[copier.Reason]string{
	copier.Present:     "are in the new place already",
	copier.Loading:     "are being loaded by an instance there",
	copier.Writing:     "are being written",
	copier.Gone:        "were dropped or expired meanwhile",
	copier.Expired:     "are past their TTL",
	copier.Unbelieved:  "no reader would be served: unconfirmed, or of another incarnation",
	copier.Corrupt:     "are no records of their keys",
	copier.NewerFormat: "are of a newer format: use a newer nearcache",
	copier.Foreign:     "have names that this number of buckets does not give",
	copier.Changed:     "changed during the copy",
	copier.Unproved:    "were not shown to be up to date in time: does the old prefix's relay run?",
	copier.NoWatermark: "have a bucket that the new prefix's relay has not come to",
	copier.Unreachable: "could not be read or stored",
}
