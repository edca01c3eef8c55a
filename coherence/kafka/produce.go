package kafka

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	kafkago "github.com/segmentio/kafka-go"

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
	rs := make([]kafkago.Record, len(records))
	for i, o := range records {
		rs[i] = kafkago.Record{Key: kafkago.NewBytes(o.key), Value: kafkago.NewBytes(o.value), Headers: o.headers,
			Time: time.Now()}
	}
	res, err := p.c.client.Produce(ctx, &kafkago.ProduceRequest{Topic: p.topic, Partition: part,
		RequiredAcks: kafkago.RequireAll, Records: kafkago.NewRecordReader(rs...)})
	if err == nil {
		err = res.Error
	}
	return err
}
