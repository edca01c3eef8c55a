package operator

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"

	"github.com/nearcache/nearcache-go/coherence"
)

func (t *tool) relayCommand() *cobra.Command {
	return group("relay", "Show how far the relay is, skip what it cannot publish, or begin again",
		"The relay has two cursors: one in the database for Kafka or NATS, and one in each bucket of Redis, the watermark.",
		t.relayStatusCommand(), t.relaySkipCommand(), t.relayResetCommand())
}

// relayStatus is what relay status prints.
type relayStatus struct {
	Source string        `json:"source_position,omitempty"`
	Outbox *outboxStatus `json:"outbox,omitempty"`
	Redis  *bucketStatus `json:"redis,omitempty"`
	Events []relayCursor `json:"events"`
}

type outboxStatus struct {
	Rows   int64   `json:"rows"` // up to 100,000 are counted
	Oldest float64 `json:"oldest_seconds"`
}

// bucketStatus is how far Redis is.
type bucketStatus struct {
	Watermarks int     `json:"watermarks"`     // buckets that have one
	Least      string  `json:"least_position"` // of all buckets
	Behind     int64   `json:"behind_rows"`    // changes after that
	Oldest     float64 `json:"oldest_seconds"` // age of the first of them
	Timelines  int     `json:"timelines"`      // more than one: buckets are being reset
	Problem    string  `json:"problem,omitempty"`

	buckets int
	least   coherence.Position
}

func (t *tool) relayStatusCommand() *cobra.Command {
	var names []string
	cmd := &cobra.Command{Use: "status",
		Short: "Show how far the relay has come to Redis and to the event channel, and who leads",
		Args:  exactly(0)}
	cmd.Flags().StringSliceVar(&names, "name", nil,
		"names of relays that have no cursor, whose leader is to be looked for (default the topic, and \"relay\")")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx, cancel := t.limit(cmd)
		defer cancel()
		if !t.hasDatabase() && !t.hasRedis() {
			return usage("--database or DATABASE_URL is needed, --redis or REDIS_URL, or both")
		}
		s, err := t.relayStatus(ctx, names)
		if err != nil {
			return err
		}
		return t.show(cmd, s, s.print)
	}
	return cmd
}

func (t *tool) relayStatus(ctx context.Context, names []string) (*relayStatus, error) {
	s := &relayStatus{Events: []relayCursor{}}
	if !t.hasDatabase() {
		return s, t.bucketStatus(ctx, s)
	}
	src, pool, closeIt, err := t.openSource(ctx)
	if err != nil {
		return nil, err
	}
	defer closeIt()
	if t.hasRedis() {
		if err := t.bucketStatus(ctx, s); err != nil {
			return nil, err
		}
	}
	at, err := src.Position(ctx)
	if err != nil {
		return nil, err
	}
	s.Source = at.String()
	rows, oldest, err := t.outboxAfter(ctx, pool, 0)
	if err != nil {
		return nil, err
	}
	s.Outbox = &outboxStatus{rows, oldest.Seconds()}
	if s.Redis != nil && s.Redis.Watermarks == s.Redis.buckets {
		if err := t.behind(ctx, pool, s.Redis, at); err != nil {
			return nil, err
		}
	}
	if s.Events, err = t.relayCursors(ctx, src, pool); err != nil {
		return nil, err
	}
	return s, t.completeCursors(ctx, pool, s, names, at)
}

// bucketStatus reads the watermarks.
func (t *tool) bucketStatus(ctx context.Context, s *relayStatus) error {
	engine, closeIt, err := t.openEngine(ctx)
	if err != nil {
		return err
	}
	defer closeIt()
	all, err := engine.Reached(ctx)
	if err != nil {
		return err
	}
	b := &bucketStatus{buckets: len(all)}
	timelines := map[uint64]bool{}
	var least coherence.Position
	for _, w := range all {
		if w.Position.IsZero() {
			continue
		}
		b.Watermarks++
		timelines[w.Position.Timeline] = true
		if least.IsZero() || least.Covers(w.Position) {
			least = w.Position
		}
	}
	b.Timelines = len(timelines)
	switch {
	case b.Watermarks == 0:
		b.Problem = "no relay has applied anything"
	case b.Watermarks < b.buckets:
		b.Problem = "buckets have no watermark: a running relay begins them again"
	case b.Timelines > 1:
		b.Problem = "buckets are of several timelines: a running relay begins them again"
	}
	if !least.IsZero() {
		b.Least = least.String()
	}
	b.least = least
	s.Redis = b
	return nil
}

// behind counts what Redis has not got.
func (t *tool) behind(ctx context.Context, pool *pgxpool.Pool, b *bucketStatus, at coherence.Position) error {
	if b.least.Timeline != at.Timeline {
		b.Problem = "Redis is of another timeline than the database: a running relay begins all buckets again"
		return nil
	}
	rows, oldest, err := t.outboxAfter(ctx, pool, b.least.N)
	b.Behind, b.Oldest = rows, oldest.Seconds()
	return err
}

// completeCursors adds what each relay has still to publish, and the leaders.
func (t *tool) completeCursors(ctx context.Context, pool *pgxpool.Pool, s *relayStatus, names []string,
	at coherence.Position) error {
	if len(names) == 0 {
		names = []string{t.topicOf(), "relay"}
	}
	for i := range s.Events {
		c := &s.Events[i]
		if c.at.Timeline != at.Timeline && !c.at.IsZero() {
			c.Behind = -1
		} else {
			rows, oldest, err := t.outboxAfter(ctx, pool, c.at.N)
			if err != nil {
				return err
			}
			c.Behind, c.Oldest = rows, oldest.Seconds()
		}
		names = slices.DeleteFunc(names, func(n string) bool { return n == c.Name })
	}
	for _, name := range names {
		s.Events = append(s.Events, relayCursor{Name: name, Position: "none"})
	}
	var kept []relayCursor
	for _, c := range s.Events {
		var err error
		if c.Leader, err = t.leaderOf(ctx, pool, c.Name); err != nil {
			return err
		}
		if c.Leader != nil || c.Position != "none" {
			kept = append(kept, c)
		}
	}
	s.Events = append([]relayCursor{}, kept...)
	return nil
}

func (s *relayStatus) print(w io.Writer) {
	if s.Source != "" {
		fmt.Fprintf(w, "source\tat %s\n", s.Source)
	}
	if s.Outbox != nil {
		fmt.Fprintf(w, "outbox\t%s, the oldest of %s ago\n", counted(s.Outbox.Rows), seconds(s.Outbox.Oldest))
	}
	if r := s.Redis; r != nil {
		fmt.Fprintf(w, "redis\t%d of %d buckets have a watermark", r.Watermarks, r.buckets)
		if r.Least != "" {
			fmt.Fprintf(w, ", the least at %s", r.Least)
		}
		fmt.Fprintln(w)
		if r.Problem != "" {
			fmt.Fprintf(w, "\t%s\n", r.Problem)
		} else if s.Source != "" {
			fmt.Fprintf(w, "\t%s still to apply%s\n", counted(r.Behind), since(r.Oldest))
		}
	}
	for _, c := range s.Events {
		leads := "nobody leads: no relay of this name is running"
		if c.Leader != nil {
			leads = "led by " + c.Leader.String()
		}
		fmt.Fprintf(w, "relay %s\t%s\n", c.Name, leads)
		switch {
		case c.Position == "none":
			fmt.Fprintf(w, "\tit publishes no events\n")
		case c.Behind < 0:
			fmt.Fprintf(w, "\tpublished up to %s, of another timeline than the database\n", c.Position)
		default:
			fmt.Fprintf(w, "\tpublished up to %s; %s still to publish%s\n", c.Position, counted(c.Behind), since(c.Oldest))
		}
	}
	if s.Source == "" {
		fmt.Fprintln(w, "database\tnot looked at: --database is not given")
	}
}

func counted(rows int64) string {
	if rows >= mostCounted {
		return "100000 changes or more"
	}
	if rows == 1 {
		return "1 change"
	}
	return fmt.Sprintf("%d changes", rows)
}

func seconds(s float64) string { return short(time.Duration(s * float64(time.Second))) }

func since(oldest float64) string {
	if oldest == 0 {
		return ""
	}
	return ", the oldest of " + seconds(oldest) + " ago"
}
