package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	kafkago "github.com/segmentio/kafka-go"
)

// newFetcher gathers fetches. A request with nothing to answer waits at the broker, and a partition that asks meanwhile
// must not wait for that, so each leader has a few requests under way at most, each for other partitions:
//
//	all partitions: one request, which waits      a record comes to partition 7: the request is answered
//	all but 7: ask again                          7: hands its record over, and asks again while the others are gathered
//	all partitions: one request
func newFetcher(c *cluster) *gatherer[*fetchRequest, *fetched] {
	const turns = 3
	holds := &holds{turns: turns}
	return &gatherer[*fetchRequest, *fetched]{underWay: turns, wait: 2 * time.Millisecond, maxBytes: 1 << 20,
		exchange: func(ctx context.Context, leader int32, parts []*fetchRequest) ([]*fetched, error) {
			hold, done := holds.begin(leader, parts)
			m, err := c.transport.RoundTrip(ctx, c.addr, newMultiFetch(leader, parts, hold))
			if err != nil {
				done(false)
				return nil, err
			}
			answers := m.(multiFetched)
			done(slices.ContainsFunc(answers, func(f *fetched) bool { return f != nil && len(f.records) > 0 }))
			return answers, nil
		}}
}

func (f *fetchRequest) name() partitionName { return partitionName{f.topic, f.partition} }
func (f *fetchRequest) kind() bool          { return f.id == topicID{} }
func (f *fetchRequest) bytes() int          { return 64 }

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
