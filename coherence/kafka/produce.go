package kafka

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	produceAPI "github.com/segmentio/kafka-go/protocol/produce"

	"github.com/nearcache/nearcache-go/coherence"
)

// defaultMaxBytes is Kafka's own default of max.message.bytes, which bounds a batch.
const defaultMaxBytes = 1048588

// out is a record to be sent.
type out struct {
	index      int // in the batch that the caller gave
	key, value []byte
	headers    []kafkago.Header
}

// size is what the record takes in a batch at most.
func (o *out) size() int {
	n := len(o.key) + len(o.value) + 40
	for _, h := range o.headers {
		n += len(h.Key) + len(h.Value) + 20
	}
	return n
}

// producer sends records to a topic in batches that the broker takes.
type producer struct {
	c     *cluster
	topic string
	limit int // configured; 0: the topic's own

	mu    sync.Mutex
	known int // bytes of a batch, as the topic's settings say, or as the broker has refused more
}

// maxBytes is what a batch may have. It is asked for once; without the right to ask, Kafka's default counts, and a
// broker that takes less says so.
func (p *producer) maxBytes(ctx context.Context) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.known > 0 {
		return p.known
	}
	if p.known = p.limit; p.known > 0 {
		return p.known
	}
	p.known = defaultMaxBytes
	res, err := p.c.client.DescribeConfigs(ctx,
		&kafkago.DescribeConfigsRequest{Resources: []kafkago.DescribeConfigRequestResource{
			{ResourceType: kafkago.ResourceTypeTopic, ResourceName: p.topic, ConfigNames: []string{"max.message.bytes"}}}})
	if err != nil {
		return p.known
	}
	for _, r := range res.Resources {
		for _, e := range r.ConfigEntries {
			if n, err := strconv.Atoi(e.ConfigValue); err == nil && e.ConfigName == "max.message.bytes" && n > 0 {
				p.known = n
			}
		}
	}
	return p.known
}

// most is what a single record may have.
func (p *producer) most(ctx context.Context) int {
	return min(p.maxBytes(ctx)-batchHeader-100, coherence.MaxMessageBytes)
}

func (p *producer) refused(size int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.known > size/2 && size > 1024 {
		p.known = size / 2
	}
}

// maxRecords is how many records a batch has at most.
const maxRecords = 1000

// send sends records to a partition, in order. tooLarge are the indexes of those that the broker takes in no batch;
// err is nil if all others are durable.
func (p *producer) send(ctx context.Context, part int, records []out) (tooLarge []int, err error) {
	tooLarge, _, err = p.sendTo(ctx, part, records)
	return tooLarge, err
}

// sendTo is send, and returns the offset of the first record of the last batch; -1: not known.
func (p *producer) sendTo(ctx context.Context, part int, records []out) (tooLarge []int, offset int64, err error) {
	offset = -1
	for len(records) > 0 {
		n, size, limit := 0, batchHeader, p.maxBytes(ctx)
		for n < len(records) && n < maxRecords && (n == 0 || size+records[n].size() <= limit) {
			size += records[n].size()
			n++
		}
		at, err := p.produce(ctx, part, records[:n])
		switch {
		case err == nil:
			offset = at
		case errors.Is(err, kafkago.MessageSizeTooLarge) && n == 1:
			tooLarge = append(tooLarge, records[0].index)
		case errors.Is(err, kafkago.MessageSizeTooLarge), errors.Is(err, kafkago.RecordListTooLarge):
			p.refused(size)
			n /= 2
			less, at, err := p.sendTo(ctx, part, records[:n])
			if tooLarge = append(tooLarge, less...); err != nil {
				return tooLarge, -1, err
			}
			offset = at
		default:
			return tooLarge, -1, fmt.Errorf("kafka: publishing to %s/%d: %w", p.topic, part, err)
		}
		records = records[n:]
	}
	return tooLarge, offset, nil
}

// produce sends a batch, and returns the offset of its first record.
func (p *producer) produce(ctx context.Context, part int, records []out) (offset int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, p.c.client.Timeout)
	defer cancel()
	leader, err := p.c.leader(ctx, p.topic, part)
	if err != nil {
		return -1, err
	}
	ctx, stop := p.c.whileLed(ctx, p.topic, part, leader, 0)
	defer stop()
	res, err := p.c.produces.do(ctx, leader, &produceRequest{p.topic, part, records})
	if err == nil {
		err = res.err
	}
	if err != nil {
		p.c.forgetLeaders(p.topic)
		return -1, err
	}
	return res.offset, nil
}

// produced is what a broker answers to a batch.
type produced struct {
	err    error
	offset int64 // of its first record
}

// produceRequest is a batch for one partition.
type produceRequest struct {
	topic     string
	partition int
	records   []out
}

func (r *produceRequest) name() partitionName  { return partitionName{r.topic, r.partition} }
func (r *produceRequest) kind() bool           { return true }
func (*produceRequest) longest() time.Duration { return 0 }
func (r *produceRequest) bytes() int {
	n := batchHeader
	for i := range r.records {
		n += r.records[i].size()
	}
	return n
}

// newProducer gathers batches. Two requests for a leader may be under way, so that the next one is made while a broker
// works on the last; a partition has one batch under way, which keeps its order.
func newProducer(c *cluster) *gatherer[*produceRequest, produced] {
	return &gatherer[*produceRequest, produced]{underWay: 2, wait: 500 * time.Microsecond, maxBytes: 16 << 20,
		exchange: func(ctx context.Context, _ int32, parts []*produceRequest, _ time.Duration) ([]produced, error) {
			return c.produce(ctx, parts)
		}}
}

// produce sends batches, and returns what came of each.
func (c *cluster) produce(ctx context.Context, parts []*produceRequest) ([]produced, error) {
	const allReplicas = -1
	now := time.Now()
	q := &produceAPI.Request{Acks: allReplicas, Timeout: int32(c.client.Timeout.Milliseconds())}
	at := make(map[partitionName]int, len(parts))
	topics := make(map[string]int)
	for i, part := range parts {
		rs := make([]kafkago.Record, len(part.records))
		for j, o := range part.records {
			rs[j] = kafkago.Record{Key: kafkago.NewBytes(o.key), Value: kafkago.NewBytes(o.value), Headers: o.headers,
				Time: now}
		}
		n, ok := topics[part.topic]
		if !ok {
			n = len(q.Topics)
			topics[part.topic] = n
			q.Topics = append(q.Topics, produceAPI.RequestTopic{Topic: part.topic})
		}
		q.Topics[n].Partitions = append(q.Topics[n].Partitions, produceAPI.RequestPartition{
			Partition: int32(part.partition), RecordSet: protocol.RecordSet{Records: kafkago.NewRecordReader(rs...)}})
		at[part.name()] = i
	}
	m, err := c.transport.RoundTrip(ctx, c.addr, q)
	if err != nil {
		return nil, err
	}
	done := make([]produced, len(parts))
	for i := range done {
		done[i] = produced{err: errShort, offset: -1} // until the answer says otherwise
	}
	for _, t := range m.(*produceAPI.Response).Topics {
		for _, p := range t.Partitions {
			i, ok := at[partitionName{t.Topic, int(p.Partition)}]
			switch {
			case !ok:
			case p.ErrorCode == 0:
				done[i] = produced{offset: p.BaseOffset}
			case p.ErrorMessage != "":
				done[i].err = fmt.Errorf("%w: %s", kafkago.Error(p.ErrorCode), p.ErrorMessage)
			default:
				done[i].err = kafkago.Error(p.ErrorCode)
			}
		}
	}
	return done, nil
}
