package operator

import (
	"context"
	"fmt"
	"io"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/kafka"
	"github.com/nearcache/nearcache-go/internal/l2"
)

// sighting is a line of watch.
type sighting struct {
	Time    time.Time `json:"time"`
	Channel string    `json:"channel"` // redis, kafka, or proof
	What    string    `json:"what"`    // record, lease, event, session, lost, resumed, malformed, failed, proof
	*cacheKey
	Version   coherence.Version `json:"version,omitempty"`
	State     string            `json:"state,omitempty"` // of a record: none, value, absence, corrupt
	Op        coherence.Op      `json:"op,omitempty"`
	Partition *int              `json:"partition,omitempty"`
	// Lag is from the commit, by the database's clock, to this moment by ours; RedisLag to Redis's push of the key.
	Lag      *float64 `json:"lag_seconds,omitempty"`
	RedisLag *float64 `json:"redis_lag_seconds,omitempty"`
	// RedisProved and KafkaProved are how old, at most, what each channel vouches for is.
	RedisProved *float64 `json:"redis_proved_seconds,omitempty"`
	KafkaProved *float64 `json:"kafka_proved_seconds,omitempty"`
	Text        string   `json:"text,omitempty"`
}

// watcher prints what both channels say.
type watcher struct {
	*tool
	out    io.Writer
	only   cacheKey // a namespace, or a key of it; zero: everything
	engine *l2.L2   // nil: Redis is not watched
	record *regexp.Regexp

	mu     sync.Mutex
	pushed map[cacheKey]time.Time // when Redis pushed a record last
	proofs proofs
}

func (t *tool) watchCommand() *cobra.Command {
	var span, every time.Duration
	cmd := &cobra.Command{Use: "watch [KEY|NAMESPACE]", Short: "Print what Redis and Kafka say, as it comes, with its lag",
		Long: `Watch prints each change of a record or a lease that Redis pushes, and each event of Kafka, until it is
interrupted. It uses whichever of the two is configured, changes nothing, and belongs to no consumer group.

lag is the time from the commit, by the database's clock, to the event's arrival here, by this machine's: clocks
that differ show in it (nearcache doctor). "redis N" is the same for Redis's push of that key. With a database, a
line says every --every how old, at most, what each channel vouches for is; that needs no second clock.`,
		Args: between(0, 1)}
	cmd.Flags().DurationVar(&span, "for", 0, "end after this time (default when it is interrupted)")
	cmd.Flags().DurationVar(&every, "every", 5*time.Second, "how often the proofs are printed; 0: never")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		w := &watcher{tool: t, out: cmd.OutOrStdout(), pushed: map[cacheKey]time.Time{}}
		if len(args) == 1 {
			if err := w.choose(args[0]); err != nil {
				return err
			}
		}
		ctx, cancel := context.WithCancel(cmd.Context())
		if span > 0 {
			ctx, cancel = context.WithTimeout(cmd.Context(), span)
		}
		defer cancel()
		return w.run(ctx, every)
	}
	return cmd
}

func (w *watcher) choose(arg string) (err error) {
	if strings.Contains(arg, ":") {
		w.only, err = w.parseKey(arg)
		return err
	}
	if err := coherence.CheckName(arg); err != nil {
		return usage("the namespace %.60q %w", arg, err)
	}
	w.only.Namespace = arg
	return nil
}

func (w *watcher) wants(k cacheKey) bool {
	return w.only == cacheKey{} || w.only == k || w.only.Name == "" && w.only.Namespace == k.Namespace
}

func (w *watcher) run(ctx context.Context, every time.Duration) error {
	if !w.hasRedis() && !w.hasKafka() {
		return usage("--redis or REDIS_URL is needed, --kafka or KAFKA_BOOTSTRAP_SERVERS, or both")
	}
	if w.hasRedis() {
		stop, err := w.watchRedis(ctx)
		if err != nil {
			return err
		}
		defer stop()
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	if w.hasKafka() {
		b, err := w.broker()
		if err != nil {
			return err
		}
		tail := kafka.Tail{Broker: b, Topic: w.topicOf(), BarrierTopic: w.barrierTopicOf(),
			Codec: coherence.EventCodec{Decode: decodeRecord}}
		wg.Go(func() {
			if err := tail.Run(ctx, w); err != nil && ctx.Err() == nil {
				w.print(sighting{Channel: "kafka", What: "failed", Text: err.Error()})
			}
		})
	}
	if w.hasDatabase() && every > 0 {
		wg.Go(func() { w.prove(ctx, every) })
	}
	<-ctx.Done()
	return nil
}

// print prints a line.
func (w *watcher) print(s sighting) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if s.Time.IsZero() {
		s.Time = time.Now()
	}
	s.Time = s.Time.UTC()
	if w.json {
		_ = printJSON(w.out, s)
		return
	}
	fmt.Fprintln(w.out, plain(s.String()))
}

// String is the line for people.
func (s sighting) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %-5s  %-7s", s.Time.Format("15:04:05.000"), s.Channel, s.What)
	if s.Partition != nil {
		fmt.Fprintf(&b, "  partition %d", *s.Partition)
	}
	if s.cacheKey != nil {
		fmt.Fprintf(&b, "  %s", *s.cacheKey)
	}
	if s.Version != 0 {
		fmt.Fprintf(&b, "  version %s", s.Version)
	}
	if s.Op != "" {
		fmt.Fprintf(&b, "  %s", s.Op)
	}
	switch {
	case s.What == "record" && s.State == "none":
		b.WriteString("  gone")
	case s.State != "":
		fmt.Fprintf(&b, "  %s", s.State)
	}
	for _, l := range []struct {
		name string
		v    *float64
	}{{"lag", s.Lag}, {"redis", s.RedisLag}, {"redis no older than", s.RedisProved},
		{"kafka no older than", s.KafkaProved}} {
		if l.v != nil {
			fmt.Fprintf(&b, "  %s %s", l.name, seconds(*l.v))
		}
	}
	if s.Text != "" {
		fmt.Fprintf(&b, "  %s", s.Text)
	}
	return b.String()
}

// Deliver implements coherence.Sink.
func (w *watcher) Deliver(_ context.Context, p int, batch []coherence.Message) error {
	now := time.Now()
	for i := range batch {
		if b := batch[i].Barrier; b != nil {
			w.proofs.barrier(p, b.Position)
			continue
		}
		e := &batch[i].Event
		k := cacheKey{e.Namespace, e.Key}
		if !w.wants(k) {
			continue
		}
		s := sighting{Time: now, Channel: "kafka", What: "event", cacheKey: &k, Version: e.Version, Op: e.Op, Partition: &p}
		if !e.Time.IsZero() {
			lag := now.Sub(e.Time).Seconds()
			s.Lag = &lag
			w.mu.Lock()
			at, ok := w.pushed[k]
			w.mu.Unlock()
			if ok && at.After(e.Time) {
				lag := at.Sub(e.Time).Seconds()
				s.RedisLag = &lag
			}
		}
		w.print(s)
	}
	return nil
}

func (w *watcher) happened(p int, what, text string) {
	s := sighting{Channel: "kafka", What: what, Text: text}
	if p >= 0 {
		s.Partition = &p
	}
	w.print(s)
}

// Session implements coherence.Sink.
func (w *watcher) Session(p int) { w.happened(p, "session", "followed from now on") }

// Lost implements coherence.Sink.
func (w *watcher) Lost(p int) { w.happened(p, "lost", "not followed now") }

// Resumed implements coherence.Sink.
func (w *watcher) Resumed(p int) { w.happened(p, "resumed", "nothing was missed") }

// Partitions implements coherence.Sink.
func (w *watcher) Partitions(n int) { w.proofs.partitions(n) }

// Malformed implements coherence.Sink.
func (w *watcher) Malformed(p int, err error) { w.happened(p, "malformed", err.Error()) }

// Failed implements coherence.Sink.
func (w *watcher) Failed(p int, err error) { w.happened(p, "failed", err.Error()) }
