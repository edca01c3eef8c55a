package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/nearcache/nearcache-go/coherence"
)

// Log reads a topic from where it is asked to, as an operator's tool needs it: to look at records, to apply events
// again, to send a dead letter once more. It reads committed records only, belongs to no group, and commits nothing. It
// is safe for concurrent use. Close it.
type Log struct {
	topic string
	c     *cluster
	out   *producer
}

// OpenLog returns the Log of a topic. It does not connect yet.
func OpenLog(b Broker, topic string) (*Log, error) {
	if len(b.Brokers) == 0 || topic == "" {
		return nil, errors.New("kafka: log: Brokers and the topic are required")
	}
	if err := b.check(); err != nil {
		return nil, fmt.Errorf("kafka: log: %w", err)
	}
	c := b.connect()
	return &Log{topic: topic, c: c, out: &producer{c: c, topic: topic}}, nil
}

// Close closes idle connections.
func (l *Log) Close() { l.c.close() }

// LogRecord is a record as a Log reads it.
type LogRecord struct {
	coherence.Record
	// Size is the length of the whole value. A value over coherence.MaxMessageBytes is cut, and then shorter.
	Size int64
	// Unread says that the record stands for the batch that begins here and cannot be read; nil for a record.
	Unread error
}

// PartitionRange is where a partition begins and ends.
type PartitionRange struct {
	First int64 // the first offset that is kept
	// Stable is the end for readers of committed records. It is below High while a transaction is open.
	Stable int64
	High   int64 // the end
}

// Partitions returns the range of each partition. An error that wraps coherence.ErrMisconfigured says what to do.
func (l *Log) Partitions(ctx context.Context) ([]PartitionRange, error) {
	n, err := l.c.count(ctx, l.topic)
	if err != nil {
		return nil, err
	}
	out := make([]PartitionRange, n)
	for p := range out {
		r := &out[p]
		if r.First, err = l.c.offset(ctx, l.topic, p, kafkago.FirstOffset); err != nil {
			return nil, explain(err)
		}
		if r.Stable, err = l.c.offset(ctx, l.topic, p, kafkago.LastOffset); err != nil {
			return nil, explain(err)
		}
	}
	res, err := l.c.client.ListOffsets(ctx, &kafkago.ListOffsetsRequest{
		Topics: map[string][]kafkago.OffsetRequest{l.topic: lastOffsets(n)}})
	if err != nil {
		return nil, explain(fmt.Errorf("kafka: offsets of %s: %w", l.topic, err))
	}
	for _, o := range res.Topics[l.topic] {
		if o.Error == nil && o.Partition >= 0 && o.Partition < n {
			out[o.Partition].High = max(o.LastOffset, out[o.Partition].Stable)
		}
	}
	return out, nil
}

func lastOffsets(n int) []kafkago.OffsetRequest {
	ask := make([]kafkago.OffsetRequest, n)
	for p := range ask {
		ask[p] = kafkago.LastOffsetOf(p)
	}
	return ask
}

// OffsetAt is the first offset of a partition whose record is of a moment or later, by the records' own times. Without
// one it is the partition's end.
func (l *Log) OffsetAt(ctx context.Context, partition int, t time.Time) (int64, error) {
	res, err := l.c.client.ListOffsets(ctx, &kafkago.ListOffsetsRequest{IsolationLevel: kafkago.ReadCommitted,
		Topics: map[string][]kafkago.OffsetRequest{l.topic: {kafkago.TimeOffsetOf(partition, t)}}})
	if err != nil {
		return 0, explain(fmt.Errorf("kafka: offsets of %s/%d: %w", l.topic, partition, err))
	}
	for _, p := range res.Topics[l.topic] {
		if p.Partition != partition {
			continue
		}
		if p.Error != nil {
			return 0, explain(fmt.Errorf("kafka: offsets of %s/%d: %w", l.topic, partition, p.Error))
		}
		for offset := range p.Offsets {
			if offset >= 0 {
				return offset, nil
			}
		}
	}
	return l.c.offset(ctx, l.topic, partition, kafkago.LastOffset)
}

// Read hands over the records of a partition from an offset on, up to and without another one, in order. It returns the
// offset to go on from: upto, or less after an error. Offsets that hold nothing are passed over. What retention has
// removed is an error.
func (l *Log) Read(ctx context.Context, partition int, from, upto int64, each func(LogRecord) error) (int64, error) {
	for from < upto && ctx.Err() == nil {
		next, err := l.read(ctx, partition, from, upto, each)
		if err != nil {
			return next, explain(err)
		}
		from = next
	}
	return from, ctx.Err()
}

// errEnough ends the reading of an answer that goes on beyond what was asked for.
var errEnough = errors.New("kafka: enough")

func (l *Log) read(ctx context.Context, partition int, from, upto int64, each func(LogRecord) error) (int64, error) {
	ask, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	res, err := l.c.fetch(ask, &fetchRequest{topic: l.topic, partition: partition, offset: from,
		wait: 250 * time.Millisecond, maxBytes: fetchBytes})
	if err != nil {
		return from, err
	}
	if res.logStart > from {
		return from, fmt.Errorf("kafka: %s/%d: records up to %d have been removed", l.topic, partition, res.logStart)
	}
	rd := &reading{next: from, aborted: res.aborted}
	rd.record = func(rec *record) error {
		if rec.offset >= upto {
			return errEnough
		}
		return each(l.recordOf(partition, rec))
	}
	rd.lost = func(from, _ int64, err error) error {
		return each(LogRecord{Record: coherence.Record{Topic: l.topic, Partition: partition, Offset: from}, Unread: err})
	}
	err = rd.read(res.records)
	if errors.Is(err, errEnough) {
		return upto, nil
	}
	return min(rd.next, upto), err
}

func (l *Log) recordOf(partition int, rec *record) LogRecord {
	return LogRecord{Record: rec.public(l.topic, partition), Size: rec.value.size}
}

// Send appends a record to a partition, and returns when all replicas in sync have it.
func (l *Log) Send(ctx context.Context, partition int, key, value []byte, headers ...coherence.Header) error {
	o := out{key: key, value: value}
	for _, h := range headers {
		o.headers = append(o.headers, kafkago.Header{Key: h.Key, Value: h.Value})
	}
	tooLarge, err := l.out.send(ctx, partition, []out{o})
	if err == nil && len(tooLarge) > 0 {
		err = fmt.Errorf("kafka: %s takes no record of %d bytes", l.topic, o.size())
	}
	return explain(err)
}

// Settings are the topic's settings, such as "retention.ms", by name. The user needs the right DescribeConfigs.
func (l *Log) Settings(ctx context.Context) (map[string]string, error) {
	res, err := l.c.client.DescribeConfigs(ctx, &kafkago.DescribeConfigsRequest{
		Resources: []kafkago.DescribeConfigRequestResource{
			{ResourceType: kafkago.ResourceTypeTopic, ResourceName: l.topic}}})
	if err != nil {
		return nil, explain(fmt.Errorf("kafka: settings of %s: %w", l.topic, err))
	}
	settings := map[string]string{}
	for _, r := range res.Resources {
		if r.Error != nil {
			return nil, explain(fmt.Errorf("kafka: settings of %s: %w", l.topic, r.Error))
		}
		for _, e := range r.ConfigEntries {
			settings[e.ConfigName] = e.ConfigValue
		}
	}
	return settings, nil
}

// LastBarrier is the newest barrier of a barriers' topic, and when the relay wrote it. ok is false if there is none.
func (l *Log) LastBarrier(ctx context.Context) (at coherence.Position, written time.Time, ok bool, err error) {
	ranges, err := l.Partitions(ctx)
	if err != nil || len(ranges) == 0 {
		return at, written, false, err
	}
	_, err = l.Read(ctx, 0, max(ranges[0].First, ranges[0].Stable-100), ranges[0].Stable, func(r LogRecord) error {
		if b, err := decodeBarrier(r.Value); err == nil {
			at, written, ok = b.at, r.Time, true
		}
		return nil
	})
	return at, written, ok, err
}
