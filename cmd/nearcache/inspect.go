package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/nearcache/nearcache-go/tier"
)

func (t *tool) key() *cobra.Command {
	return &cobra.Command{Use: "key NAMESPACE NAME",
		Short: "Print the Redis keys of a cache key, and its bucket; connects to nothing",
		Args:  exactly(2, 2), RunE: func(cmd *cobra.Command, args []string) error {
			n, err := tier.NamesOf(t.or(t.prefix, "REDIS_PREFIX"), args[0], args[1])
			if err != nil {
				return fmt.Errorf("%w: %w", errUsage, err)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "bucket     %d\nrecord     %s\nlease      %s\nwatermark  %s\n",
				n.Bucket, n.Record, n.Lease, n.Watermark)
			return err
		}}
}

func (t *tool) get() *cobra.Command {
	return &cobra.Command{Use: "get NAMESPACE NAME", Short: "Print the record that Redis holds of a key", Args: exactly(2,
		2),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, cancel := t.limit(cmd.Context())
			defer cancel()
			l2, err := t.open(ctx)
			if err != nil {
				return err
			}
			defer l2.Close()
			r, ok, err := l2.Get(ctx, args[0], args[1])
			if err != nil {
				return err
			}
			if !ok {
				_, err := fmt.Fprintln(cmd.OutOrStdout(), "no record")
				return err
			}
			_, err = fmt.Fprint(cmd.OutOrStdout(), describe(r))
			return err
		}}
}

// describe is a record in words.
func describe(r tier.Record) string {
	kind, note := "value", ""
	if r.Absent {
		kind = "absence"
	}
	if !r.Readable {
		note = " (not that of the bucket: no cache reads this record)"
	}
	const form = "%s  version %s  schema %d\nincarnation %s%s\nwritten  %s\nexpires  %s\npayload  %d bytes: %.200q\n"
	return fmt.Sprintf(form, kind, r.Version,
		r.Schema, r.Incarnation, note, r.WrittenAt.Format(time.RFC3339Nano), r.ExpiresAt.Format(time.RFC3339Nano),
		len(r.Payload), r.Payload)
}

func (t *tool) watermarks() *cobra.Command {
	return &cobra.Command{Use: "watermarks", Short: "Print how far the source's changes have been applied to each bucket",
		Args: exactly(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := t.limit(cmd.Context())
			defer cancel()
			l2, err := t.open(ctx)
			if err != nil {
				return err
			}
			defer l2.Close()
			all, err := l2.Watermarks(ctx)
			if err != nil {
				return err
			}
			if len(all) == 0 {
				_, err := fmt.Fprintln(cmd.OutOrStdout(), "no watermarks: no relay has applied anything")
				return err
			}
			for _, w := range all {
				if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%2d  incarnation %s  position %s\n", w.Bucket, w.Incarnation,
					w.Position); err != nil {
					return err
				}
			}
			return nil
		}}
}
