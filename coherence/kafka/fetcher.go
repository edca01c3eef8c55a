package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	kafkago "github.com/segmentio/kafka-go"
)

// newFetcher gathers fetches, which are polls. Events have the id of their topic, and are never in one request with
// barriers: each barrier would wake what follows the events. Three requests for a leader suffice, since nearly always
// all partitions are in one.
func newFetcher(c *cluster) *gatherer[*fetchRequest, *fetched] {
	return &gatherer[*fetchRequest, *fetched]{underWay: 3, maxBytes: 1 << 20,
		polls: &polls[*fetched]{tells: (*fetched).tells},
		exchange: func(ctx context.Context, leader int32, parts []*fetchRequest, hold time.Duration) ([]*fetched, error) {
			m, err := c.transport.RoundTrip(ctx, c.addr, newMultiFetch(leader, parts, hold))
			if err != nil {
				return nil, err
			}
			return m.(multiFetched), nil
		}}
}

func (f *fetchRequest) name() partitionName    { return partitionName{f.topic, f.partition} }
func (f *fetchRequest) kind() bool             { return f.id == topicID{} }
func (f *fetchRequest) bytes() int             { return 64 }
func (f *fetchRequest) longest() time.Duration { return f.wait }

// tells reports whether the answer has records or an error. nil is an answer that did not come.
func (f *fetched) tells() bool { return f == nil || f.err != nil || len(f.records) > 0 }

// fetch asks once. An error of the partition is in the answer, and returned too.
func (c *cluster) fetch(ctx context.Context, f *fetchRequest) (*fetched, error) {
	leader, err := c.leader(ctx, f.topic, f.partition)
	if err != nil {
		return nil, fmt.Errorf("kafka: fetching %s/%d: %w", f.topic, f.partition, err)
	}
	ctx, stop := c.whileLed(ctx, f.topic, f.partition, leader, f.wait)
	defer stop()
	res, err := c.fetches.do(ctx, leader, f)
	if err == nil && res == nil {
		err = errShort
	}
	if err != nil {
		c.forgetLeaders(f.topic) // the broker may be gone
		return nil, fmt.Errorf("kafka: fetching %s/%d: %w", f.topic, f.partition, err)
	}
	if ledElsewhere(res.err) {
		c.forgetLeaders(f.topic)
	}
	if errors.Is(res.err, kafkago.UnknownTopicOrPartition) || errors.Is(res.err, errUnknownID) {
		c.forgetLeaders(f.topic)
	}
	return res, res.err
}
