package kafka

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/nearcache/nearcache-go/coherence"
)

// Tail follows every partition of a topic from its present end: each instance has one of its own, and none commits
// offsets. It is a coherence.EventSource; Run may be called once at a time.
type Tail struct {
	Broker
	// Topic is what is followed. Required. While it does not exist Run waits for it.
	Topic string
	// Codec decodes messages. Defaults to JSON.
	Codec coherence.EventCodec
	// MaxWait is how long the broker may hold back an answer when there is nothing new. Defaults to 250ms.
	MaxWait time.Duration
	// Silence is how long a partition may go without any answer before it counts as lost. Defaults to 2 seconds.
	Silence time.Duration
	// Refresh is how often the number of partitions is looked up. Defaults to 5 seconds.
	Refresh time.Duration
	// Logger hears of sessions and losses. Defaults to discarding it.
	Logger *slog.Logger
}

// Run delivers until ctx ends. See coherence.EventSource.
func (t Tail) Run(ctx context.Context, sink coherence.Sink) error {
	if len(t.Brokers) == 0 || t.Topic == "" {
		return errors.New("kafka: tail: Brokers and Topic are required")
	}
	for _, d := range []struct {
		v   *time.Duration
		def time.Duration
	}{{&t.MaxWait, 250 * time.Millisecond}, {&t.Silence, 2 * time.Second}, {&t.Refresh, 5 * time.Second}} {
		if *d.v <= 0 {
			*d.v = d.def
		}
	}
	if t.Logger == nil {
		t.Logger = slog.New(slog.DiscardHandler)
	}
	t.Codec = t.Codec.WithDefaults()
	tr, own := t.transport()
	if own {
		defer tr.CloseIdleConnections()
	}
	r := &tailRun{Tail: t, sink: sink, client: t.client(tr)}
	for ctx.Err() == nil {
		r.follow(ctx)
	}
	return ctx.Err()
}

// tailRun is one Run of a Tail.
type tailRun struct {
	Tail
	sink   coherence.Sink
	client *kafkago.Client
}

// follow follows all partitions until ctx ends, or until the topic has fewer than it had: partitions are never taken
// away, so that is another topic of the name.
func (r *tailRun) follow(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	for following := 0; ctx.Err() == nil; {
		n, err := r.count(ctx)
		wait := r.Refresh
		switch {
		case err != nil:
			wait = min(wait, 500*time.Millisecond)
		case n < following:
			r.sink.Partitions(0) // nothing is followed until the new ones are
			return
		case n > following:
			r.sink.Partitions(n)
			for p := following; p < n; p++ {
				f := &follower{tailRun: r, part: p, start: kafkago.LastOffset, session: true}
				if following > 0 { // it appeared while we looked on: read it from its beginning
					f.start = kafkago.FirstOffset
				}
				wg.Go(func() { f.run(ctx) })
			}
			following = n
		}
		pause(ctx, wait)
	}
}

func (r *tailRun) count(ctx context.Context) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, r.Silence)
	defer cancel()
	return partitions(ctx, r.client, r.Topic)
}

// follower follows one partition.
type follower struct {
	*tailRun
	part    int
	start   int64 // FirstOffset or LastOffset: where a session begins
	session bool  // the next offset must be resolved, and a session begun
	next    int64
	lost    bool
	heard   time.Time // the last answer
}

func (f *follower) run(ctx context.Context) {
	f.heard = time.Now()
	for ctx.Err() == nil {
		err := f.step(ctx)
		if err == nil {
			f.heard = time.Now()
			continue
		}
		if ctx.Err() != nil {
			return
		}
		if !f.lost && time.Since(f.heard) > f.Silence {
			f.lost = true
			f.sink.Lost(f.part)
			f.Logger.Warn("Kafka does not answer", "topic", f.Topic, "partition", f.part, "error", err)
		}
		pause(ctx, 100*time.Millisecond)
	}
}

// step resolves the offset, or fetches once.
func (f *follower) step(ctx context.Context) error {
	if f.session {
		return f.begin(ctx)
	}
	ask, cancel := context.WithTimeout(ctx, f.MaxWait+f.Silence)
	defer cancel()
	res, err := f.client.Fetch(ask, &kafkago.FetchRequest{Topic: f.Topic, Partition: f.part, Offset: f.next,
		MinBytes: 1, MaxBytes: 4 << 20, MaxWait: f.MaxWait})
	if err == nil {
		err = res.Error
	}
	if errors.Is(err, kafkago.OffsetOutOfRange) || errors.Is(err, kafkago.UnknownTopicOrPartition) {
		// Retention has passed us, or the topic was deleted and perhaps made anew: either way something may be missing.
		f.session = true
	}
	if err != nil {
		return err
	}
	if err := f.deliver(ctx, res); err != nil {
		return err
	}
	if f.lost && !f.session && f.next >= res.HighWatermark {
		f.lost = false
		f.sink.Resumed(f.part)
		f.Logger.Info("Kafka answers again", "topic", f.Topic, "partition", f.part)
	}
	return nil
}

// begin resolves where the session starts and only then declares it, so that whatever is published afterwards lies at or
// past that offset.
func (f *follower) begin(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, f.Silence)
	defer cancel()
	res, err := f.client.ListOffsets(ctx, &kafkago.ListOffsetsRequest{Topics: map[string][]kafkago.OffsetRequest{
		f.Topic: {{Partition: f.part, Timestamp: f.start}}}})
	if err != nil {
		return err
	}
	for _, p := range res.Topics[f.Topic] {
		if p.Partition != f.part {
			continue
		}
		if p.Error != nil {
			return p.Error
		}
		f.next = p.LastOffset
		if f.start == kafkago.FirstOffset {
			f.next = p.FirstOffset
		}
		f.start, f.session, f.lost = kafkago.LastOffset, false, false
		f.sink.Session(f.part)
		f.Logger.Info("following", "topic", f.Topic, "partition", f.part, "offset", f.next)
		return nil
	}
	return fmt.Errorf("kafka: no offset of %s/%d", f.Topic, f.part)
}

// deliver hands over the records of an answer. An offset that is skipped means that retention has removed messages before
// we saw them: the session ends, and another begins at the record that is there.
func (f *follower) deliver(ctx context.Context, res *kafkago.FetchResponse) error {
	var batch []coherence.Message
	flush := func() error {
		if len(batch) == 0 {
			return nil
		}
		err := f.sink.Deliver(ctx, f.part, batch)
		batch = nil
		f.session = f.session || err != nil // they count as missed
		return err
	}
	for {
		rec, err := res.Records.ReadRecord()
		if errors.Is(err, io.EOF) {
			return flush()
		}
		if err != nil {
			// The answer broke off. What came before counts; the rest is fetched again.
			return errors.Join(flush(), err)
		}
		if rec.Offset < f.next { // a batch is sent whole, from its beginning
			continue
		}
		value, err := read(rec.Value)
		if err != nil {
			return errors.Join(flush(), err)
		}
		if rec.Offset > f.next {
			if err := flush(); err != nil {
				return err
			}
			f.sink.Session(f.part)
			f.Logger.Warn("messages are missing", "topic", f.Topic, "partition", f.part, "from", f.next, "to", rec.Offset)
		}
		f.next = rec.Offset + 1
		m, err := f.Codec.Decode(value)
		if err != nil {
			f.sink.Malformed(f.part, err)
			f.Logger.Warn("a malformed message is skipped", "topic", f.Topic, "partition", f.part, "offset", rec.Offset, "error", err)
			continue
		}
		batch = append(batch, m)
	}
}

func read(b kafkago.Bytes) ([]byte, error) {
	if b == nil {
		return nil, nil
	}
	return kafkago.ReadAll(b)
}

// pause waits for d or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
