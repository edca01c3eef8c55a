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
	for len(records) > 0 {
		n, size, limit := 0, batchHeader, p.maxBytes(ctx)
		for n < len(records) && n < maxRecords && (n == 0 || size+records[n].size() <= limit) {
			size += records[n].size()
			n++
		}
		err := p.produce(ctx, part, records[:n])
		switch {
		case err == nil:
		case errors.Is(err, kafkago.MessageSizeTooLarge) && n == 1:
			tooLarge = append(tooLarge, records[0].index)
		case errors.Is(err, kafkago.MessageSizeTooLarge), errors.Is(err, kafkago.RecordListTooLarge):
			p.refused(size)
			n /= 2
			less, err := p.send(ctx, part, records[:n])
			if tooLarge = append(tooLarge, less...); err != nil {
				return tooLarge, err
			}
		default:
			return tooLarge, fmt.Errorf("kafka: publishing to %s/%d: %w", p.topic, part, err)
		}
		records = records[n:]
	}
	return tooLarge, nil
}

func (p *producer) produce(ctx context.Context, part int, records []out) error {
	ctx, cancel := context.WithTimeout(ctx, p.c.client.Timeout)
	defer cancel()
	leader, err := p.c.leader(ctx, p.topic, part)
	if err != nil {
		return err
	}
	failed, err := p.c.produces.do(ctx, leader, &produceRequest{p.topic, part, records})
	if err == nil {
		err = failed
	}
	if err != nil {
		p.c.forgetLeaders(p.topic)
	}
	return err
}

// produceRequest is a batch for one partition.
type produceRequest struct {
	topic     string
	partition int
	records   []out
}

func (r *produceRequest) name() partitionName { return partitionName{r.topic, r.partition} }
func (r *produceRequest) kind() bool          { return true }
func (r *produceRequest) bytes() int {
	n := batchHeader
	for i := range r.records {
		n += r.records[i].size()
	}
	return n
}

// newProducer gathers batches. Two requests for a leader may be under way, so that the next one is made while a broker
// works on the last; a partition has one batch under way, which keeps its order.
func newProducer(c *cluster) *gatherer[*produceRequest, error] {
	return &gatherer[*produceRequest, error]{underWay: 2, wait: 500 * time.Microsecond, maxBytes: 16 << 20,
		exchange: func(ctx context.Context, leader int32, parts []*produceRequest) ([]error, error) {
			return c.produce(ctx, parts)
		}}
}

// produce sends batches, and returns each one's error.
func (c *cluster) produce(ctx context.Context, parts []*produceRequest) ([]error, error) {
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
	failed := make([]error, len(parts))
	for i := range failed {
		failed[i] = errShort // until the answer says otherwise
	}
	for _, t := range m.(*produceAPI.Response).Topics {
		for _, p := range t.Partitions {
			i, ok := at[partitionName{t.Topic, int(p.Partition)}]
			switch {
			case !ok:
			case p.ErrorCode == 0:
				failed[i] = nil
			case p.ErrorMessage != "":
				failed[i] = fmt.Errorf("%w: %s", kafkago.Error(p.ErrorCode), p.ErrorMessage)
			default:
				failed[i] = kafkago.Error(p.ErrorCode)
			}
		}
	}
	return failed, nil
}
