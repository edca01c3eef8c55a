package kafka

import (
	"context"
	"errors"
	"slices"
	"time"

	kafkago "github.com/segmentio/kafka-go"
)

// leaders are the brokers that lead a topic's partitions, as they were found out.
type leaders struct {
	byPartition []int32 // -1: none
	at          time.Time
}

// leadersFor is how long they are believed while nothing fails.
const leadersFor = 5 * time.Second

// leader is the broker that leads a partition.
func (c *cluster) leader(ctx context.Context, topic string, partition int) (int32, error) {
	known, ok := c.knownLeaders(topic, partition)
	if !ok {
		var err error
		if known, err = c.findLeaders(ctx, topic, partition); err != nil {
			return -1, err
		}
	}
	if partition < 0 || partition >= len(known) {
		return -1, kafkago.UnknownTopicOrPartition
	}
	if known[partition] < 0 {
		c.forgetLeaders(topic)
		return -1, kafkago.LeaderNotAvailable
	}
	return known[partition], nil
}

func (c *cluster) knownLeaders(topic string, partition int) (known []int32, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := c.leaders[topic]
	return l.byPartition, partition < len(l.byPartition) && time.Since(l.at) <= leadersFor
}

// findLeaders asks, for all who want to know at once.
func (c *cluster) findLeaders(ctx context.Context, topic string, partition int) ([]int32, error) {
	if _, err := c.knowIDs(ctx); err != nil {
		return nil, err
	}
	select {
	case c.looking <- struct{}{}:
		defer func() { <-c.looking }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if known, ok := c.knownLeaders(topic, partition); ok {
		return known, nil
	}
	found, err := c.askLeaders(ctx, topic)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.leaders == nil {
		c.leaders = make(map[string]leaders)
	}
	c.leaders[topic] = leaders{found, time.Now()}
	return found, nil
}

// forgetLeaders has them looked up again.
func (c *cluster) forgetLeaders(topic string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.leaders, topic)
}

// askLeaders asks a broker where that is possible: what kafka-go remembers may be seconds old, and right after a leader
// is lost that is the wrong answer.
func (c *cluster) askLeaders(ctx context.Context, topic string) ([]int32, error) {
	if known, err := c.knowIDs(ctx); err == nil && known {
		m, err := c.metadata(ctx, topic)
		if err != nil {
			return nil, err
		}
		return m.leaders, m.err
	}
	res, err := c.client.Metadata(ctx, &kafkago.MetadataRequest{Topics: []string{topic}})
	if err != nil {
		return nil, err
	}
	for _, t := range res.Topics {
		if t.Name != topic {
			continue
		}
		found := slices.Repeat([]int32{-1}, len(t.Partitions))
		for _, p := range t.Partitions {
			if p.ID < len(found) && p.Error == nil {
				found[p.ID] = int32(p.Leader.ID)
			}
		}
		return found, t.Error
	}
	return nil, kafkago.UnknownTopicOrPartition
}

// ledElsewhere reports whether an error says that another broker may lead the partition.
func ledElsewhere(err error) bool {
	const (
		fencedLeaderEpoch  = kafkago.Error(74)
		unknownLeaderEpoch = kafkago.Error(75)
	)
	return errors.Is(err, kafkago.NotLeaderForPartition) || errors.Is(err, kafkago.LeaderNotAvailable) ||
		errors.Is(err, kafkago.ReplicaNotAvailable) || errors.Is(err, kafkago.KafkaStorageError) ||
		errors.Is(err, fencedLeaderEpoch) || errors.Is(err, unknownLeaderEpoch)
}

// lateAfter is how long a request may wait for its answer before its broker is doubted.
const lateAfter = 500 * time.Millisecond

// whileLed ends a request to the leader of a partition once another broker leads it: one that is stopped, or cut off,
// holds requests for as long as they may take. The broker may hold the request for a while anyway. stop must be called.
func (c *cluster) whileLed(ctx context.Context, topic string, partition int, leader int32, hold time.Duration) (
	context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	var doubt func()
	next := make(chan *time.Timer, 1)
	doubt = func() {
		t := <-next
		if ctx.Err() == nil && c.ledByAnother(ctx, topic, partition, leader) {
			cancel()
		}
		if ctx.Err() == nil {
			t.Reset(lateAfter)
		}
		next <- t
	}
	t := time.AfterFunc(hold+lateAfter, doubt)
	next <- t
	return ctx, func() { cancel(); t.Stop() }
}

func (c *cluster) ledByAnother(ctx context.Context, topic string, partition int, leader int32) bool {
	c.mu.Lock()
	if l := c.leaders[topic]; time.Since(l.at) > lateAfter/2 {
		delete(c.leaders, topic)
	}
	c.mu.Unlock()
	now, err := c.leader(ctx, topic, partition)
	return err == nil && now != leader
}
