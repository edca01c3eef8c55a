package operator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/spf13/cobra"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/kafka"
)

// deadLetter is a record of the dead-letter topic.
type deadLetter struct {
	ID        string    `json:"id"` // PARTITION:OFFSET in the dead-letter topic
	Time      time.Time `json:"time"`
	Reason    string    `json:"reason"`
	Topic     string    `json:"topic"` // that it was copied from
	Partition int       `json:"partition"`
	Offset    int64     `json:"offset"`
	Key       string    `json:"key"`
	Bytes     int64     `json:"bytes"`
	Cut       bool      `json:"cut"` // the topic did not take all of it
	SHA256    string    `json:"sha256,omitempty"`
	// Now says why it cannot be decoded still; empty: it can.
	Now string `json:"still_malformed,omitempty"`

	Value   *string           `json:"value,omitempty"` // of show
	Base64  []byte            `json:"value_base64,omitempty"`
	Headers map[string]string `json:"headers,omitempty"`

	at  int   // its partition in the dead-letter topic
	own int64 // and its offset
	rec kafka.LogRecord
}

const ourHeaders = "nearcache-"

func newDeadLetter(rec kafka.LogRecord) *deadLetter {
	d := &deadLetter{ID: fmt.Sprintf("%d:%d", rec.Partition, rec.Offset), Time: rec.Time.UTC(),
		Key: strings.ToValidUTF8(string(rec.Key), "?"), Bytes: rec.Size, Partition: -1, Offset: -1,
		Headers: map[string]string{}, at: rec.Partition, own: rec.Offset, rec: rec}
	d.Cut = rec.Size > int64(len(rec.Value))
	for _, h := range rec.Headers {
		v := string(h.Value)
		switch h.Key {
		case "nearcache-reason":
			d.Reason = v
		case "nearcache-topic":
			d.Topic = v
		case "nearcache-partition":
			if n, err := strconv.Atoi(v); err == nil {
				d.Partition = n
			}
		case "nearcache-offset":
			if n, err := strconv.ParseInt(v, 10, 64); err == nil {
				d.Offset = n
			}
		case "nearcache-bytes":
			if n, err := strconv.ParseInt(v, 10, 64); err == nil {
				d.Bytes, d.Cut = n, true
			}
		case "nearcache-sha256":
			d.SHA256 = v
		default:
			d.Headers[h.Key] = strings.ToValidUTF8(v, "?")
		}
	}
	if _, err := decodeRecord(rec.Record); err != nil {
		d.Now = err.Error()
	}
	return d
}

// withValue is the letter with what it says.
func (d *deadLetter) withValue() *deadLetter {
	if v := d.rec.Value; utf8.Valid(v) {
		s := string(v)
		d.Value = &s
	} else {
		d.Base64 = v
	}
	return d
}

// dlq reads the dead-letter topic.
type dlq struct {
	*tool
	topic string
}

func (t *tool) dlqCommand() *cobra.Command {
	d := &dlq{tool: t}
	cmd := group("dlq", "List, show and send again what a worker could not decode",
		`A worker copies a message that it cannot decode to the dead-letter topic, with the reason and with where it
was, and goes on. Such a message may have meant a change: until the key's TTL, or its next change, caches may show
the old value.`,
		d.listCommand(), d.showCommand(), d.replayCommand())
	cmd.PersistentFlags().StringVar(&d.topic, "dlq-topic", "",
		"the dead-letter topic (default the topic of the events and .dlq)")
	return cmd
}

func (d *dlq) topicName() string {
	if d.topic != "" {
		return d.topic
	}
	return d.topicOf() + ".dlq"
}

// read hands over the letters of the topic: the last so many of each partition, or all.
func (d *dlq) read(ctx context.Context, last int64, each func(*deadLetter) error) error {
	log, err := d.openLog(d.topicName())
	if err != nil {
		return err
	}
	defer log.Close()
	ranges, err := log.Partitions(ctx)
	if errors.Is(err, kafkago.UnknownTopicOrPartition) {
		return nil // a worker makes it with the first message that it cannot decode
	}
	if err != nil {
		return err
	}
	for p, r := range ranges {
		from := r.First
		if last > 0 {
			from = max(from, r.Stable-last)
		}
		_, err := log.Read(ctx, p, from, r.Stable, func(rec kafka.LogRecord) error {
			if rec.Unread != nil {
				return nil
			}
			return each(newDeadLetter(rec))
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (d *dlq) listCommand() *cobra.Command {
	var last int64
	cmd := &cobra.Command{Use: "list", Short: "List the dead letters, the oldest first", Args: exactly(0)}
	cmd.Flags().Int64Var(&last, "last", 50, "how many of each partition, the newest; 0: all")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx, cancel := d.limit(cmd)
		defer cancel()
		letters := []*deadLetter{}
		if err := d.read(ctx, last, func(l *deadLetter) error { letters = append(letters, l); return nil }); err != nil {
			return err
		}
		return d.show(cmd, map[string]any{"topic": d.topicName(), "letters": letters}, func(w io.Writer) {
			if len(letters) == 0 {
				fmt.Fprintf(w, "%s holds no dead letters\n", d.topicName())
				return
			}
			fmt.Fprintln(w, "ID\tWHEN\tFROM\tBYTES\tKEY\tREASON")
			for _, l := range letters {
				fmt.Fprintf(w, "%s\t%s\t%s/%d@%d\t%d\t%s\t%s\n", l.ID, ago(l.Time), cut(l.Topic, 40), l.Partition, l.Offset,
					l.Bytes,
					cut(l.Key, 40), cut(l.Reason, 80))
			}
		})
	}
	return cmd
}

// find is one letter.
func (d *dlq) find(ctx context.Context, id string) (*deadLetter, error) {
	p, offset, err := parseOffset(id)
	if err != nil {
		return nil, usage("%w", err)
	}
	log, err := d.openLog(d.topicName())
	if err != nil {
		return nil, err
	}
	defer log.Close()
	ranges, err := log.Partitions(ctx)
	if err != nil {
		return nil, err
	}
	if p >= len(ranges) || offset < ranges[p].First || offset >= ranges[p].Stable {
		return nil, fmt.Errorf("%s has no record %d:%d", d.topicName(), p, offset)
	}
	var found *deadLetter
	_, err = log.Read(ctx, p, offset, offset+1, func(rec kafka.LogRecord) error {
		found = newDeadLetter(rec)
		return nil
	})
	if err == nil && found == nil {
		err = fmt.Errorf("%s has no record %d:%d", d.topicName(), p, offset)
	}
	return found, err
}

func (d *dlq) showCommand() *cobra.Command {
	return &cobra.Command{Use: "show ID", Short: "Show one dead letter whole", Args: exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, cancel := d.limit(cmd)
			defer cancel()
			l, err := d.find(ctx, args[0])
			if err != nil {
				return err
			}
			return d.show(cmd, l.withValue(), l.print)
		}}
}

func (d *deadLetter) print(w io.Writer) {
	fmt.Fprintf(w, "id\t%s\ncopied\t%s (%s)\nfrom\t%s, partition %d, offset %d\nkey\t%s\nreason\t%s\n", d.ID,
		d.Time.Format(time.RFC3339Nano), ago(d.Time), plain(d.Topic), d.Partition, d.Offset, plain(d.Key), plain(d.Reason))
	if d.Now == "" {
		fmt.Fprintln(w, "now\tit can be decoded: nearcache dlq replay sends it again")
	} else {
		fmt.Fprintf(w, "now\tit still cannot be decoded: %s\n", plain(d.Now))
	}
	for name, v := range d.Headers {
		fmt.Fprintf(w, "header\t%s: %s\n", plain(name), plain(v))
	}
	whole := ""
	if d.Cut {
		whole = fmt.Sprintf(", of which %d are here; sha256 of the whole %s", len(d.rec.Value), plain(d.SHA256))
	}
	fmt.Fprintf(w, "value\t%d bytes%s\n\t%s\n", d.Bytes, whole, cut(fmt.Sprintf("%q", d.rec.Value), 2000))
}

// dlqReplay is what dlq replay prints.
type dlqReplay struct {
	DryRun bool         `json:"dry_run"`
	Sent   int          `json:"sent"` // or to be sent
	Kept   int          `json:"kept"` // that are not sent
	Each   []dlqOutcome `json:"letters"`
}

type dlqOutcome struct {
	ID   string `json:"id"`
	Sent bool   `json:"sent"`
	Text string `json:"text"`
}

func (d *dlq) replayCommand() *cobra.Command {
	var all, yes, anyway bool
	cmd := &cobra.Command{Use: "replay [ID...]", Short: "Send dead letters to the topic that they came from again",
		Long: `Replay sends dead letters to the topic and the partition that they came from, for workers and instances
that can decode them now. One that still cannot be decoded is kept, and so is one that was cut. The dead-letter
topic stays as it is: a letter that is sent twice invalidates twice, and harms nothing.

Without --yes it prints what it would send, and sends nothing.`, Args: between(0, 1000)}
	cmd.Flags().BoolVar(&all, "all", false, "all of them, instead of those that are named")
	cmd.Flags().BoolVar(&yes, "yes", false, "send them, instead of printing what would be sent")
	cmd.Flags().BoolVar(&anyway, "malformed", false, "send also what this tool cannot decode: for a codec of your own")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if all == (len(args) > 0) {
			return usage("either IDs are needed, or --all")
		}
		ctx, cancel := d.limitIfAsked(cmd)
		defer cancel()
		letters, err := d.choose(ctx, args)
		if err != nil {
			return err
		}
		r := &dlqReplay{DryRun: !yes, Each: []dlqOutcome{}}
		note := d.progress(cmd, "sent")
		for i, l := range letters {
			if err := d.send(ctx, l, r, anyway); err != nil {
				return errors.Join(d.show(cmd, r, r.print), fmt.Errorf("%w: %s: %w", errUnreached, l.ID, err))
			}
			note.at(int64(i+1), int64(len(letters)))
		}
		return d.show(cmd, r, r.print)
	}
	return cmd
}

func (d *dlq) choose(ctx context.Context, ids []string) (letters []*deadLetter, err error) {
	if len(ids) == 0 {
		err := d.read(ctx, 0, func(l *deadLetter) error { letters = append(letters, l); return nil })
		return letters, err
	}
	for _, id := range ids {
		l, err := d.find(ctx, id)
		if err != nil {
			return nil, err
		}
		letters = append(letters, l)
	}
	return letters, nil
}

// send sends one letter, or says why it does not.
func (d *dlq) send(ctx context.Context, l *deadLetter, r *dlqReplay, anyway bool) error {
	keep := func(why string) { r.Kept++; r.Each = append(r.Each, dlqOutcome{l.ID, false, why}) }
	switch {
	case l.Cut:
		keep("it was cut: only its producer has the whole")
		return nil
	case l.Topic == "" || l.Partition < 0:
		keep("it does not say where it came from")
		return nil
	case l.Now != "" && !anyway:
		keep("it still cannot be decoded: " + l.Now)
		return nil
	}
	to := fmt.Sprintf("%s/%d", l.Topic, l.Partition)
	if !r.DryRun {
		log, err := d.openLog(l.Topic)
		if err != nil {
			return err
		}
		defer log.Close()
		var headers []coherence.Header
		for _, h := range l.rec.Headers {
			if !strings.HasPrefix(h.Key, ourHeaders) {
				headers = append(headers, h)
			}
		}
		if err := log.Send(ctx, l.Partition, l.rec.Key, l.rec.Value, headers...); err != nil {
			return err
		}
	}
	r.Sent++
	r.Each = append(r.Each, dlqOutcome{l.ID, true, "to " + to})
	return nil
}

func (r *dlqReplay) print(w io.Writer) {
	sent := "sent"
	if r.DryRun {
		sent = "would be sent"
	}
	for _, o := range r.Each {
		if o.Sent {
			fmt.Fprintf(w, "%s\t%s %s\n", o.ID, sent, plain(o.Text))
		} else {
			fmt.Fprintf(w, "%s\tkept: %s\n", o.ID, plain(o.Text))
		}
	}
	fmt.Fprintf(w, "%d %s, %d kept\n", r.Sent, sent, r.Kept)
	if r.DryRun {
		fmt.Fprintln(w, "nothing was done: --yes does it")
	}
}
