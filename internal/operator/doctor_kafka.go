package operator

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/kafka"
)

// kafka looks at the topics of the events and of the barriers.
func (c *checkup) kafka(ctx context.Context) error {
	events, err := c.openLog(c.topicOf())
	if err != nil {
		return err
	}
	defer events.Close()
	barriers, err := c.openLog(c.barrierTopicOf())
	if err != nil {
		return err
	}
	defer barriers.Close()
	look, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	n, ok := c.topicPartitions(look, events, c.topicOf(), "it is made by the relay, or by you; check KAFKA_PRODUCT_TOPIC")
	if !ok {
		return nil
	}
	c.ok("events", "the topic %s has %d partitions", c.topicOf(), n)
	c.settings(look, events, c.topicOf())
	m, ok := c.topicPartitions(look, barriers, c.barrierTopicOf(),
		"the relay makes it if it may; without it events invalidate, and prove nothing")
	if !ok {
		return nil
	}
	if m != 1 {
		c.wrong("barriers", "delete the topic: the relay makes it again", "the topic %s has %d partitions, and 1 is needed",
			c.barrierTopicOf(), m)
	}
	c.lastBarrier(look, barriers)
	c.barrierSettings(look, barriers)
	if c.hasDatabase() {
		c.cursorPartitions(look, n)
	}
	return nil
}

// topicPartitions is how many there are. It also finds transactions that hold readers back.
func (c *checkup) topicPartitions(ctx context.Context, log *kafka.Log, topic, do string) (int, bool) {
	ranges, err := log.Partitions(ctx)
	if err != nil {
		var network *net.OpError
		switch {
		case errors.Is(err, coherence.ErrMisconfigured):
			do = "correct what it says"
		case errors.As(err, &network) || errors.Is(err, context.DeadlineExceeded):
			do = "start the brokers, or correct their addresses (--kafka)"
		}
		c.wrong("topic "+topic, do, "%v", err)
		return 0, false
	}
	var held []string
	for p, r := range ranges {
		if r.Stable < r.High {
			held = append(held, fmt.Sprintf("partition %d, %d records", p, r.High-r.Stable))
		}
	}
	if len(held) > 0 {
		c.warn("transactions",
			"end the transaction, or lower transaction.timeout.ms of its producer: invalidations behind it "+
				"are delayed", "open transactions hold back %s of %s", strings.Join(held, "; "), topic)
	} else {
		c.ok("transactions", "none is open on %s", topic)
	}
	return len(ranges), true
}

const (
	leastRetention = time.Hour   // of events: a worker or an instance that is away for longer misses some
	oldBarrier     = time.Minute // a relay writes one every second
)

func (c *checkup) settings(ctx context.Context, log *kafka.Log, topic string) {
	s, err := log.Settings(ctx)
	if err != nil {
		c.skip("retention", "the settings of %s may not be read (DescribeConfigs): %v", topic, err)
		return
	}
	c.retention(s["retention.ms"], topic)
	policy := s["cleanup.policy"]
	if strings.Contains(policy, "compact") {
		c.ok("compaction", "%s is compacted: every event has a record key, so the last one of each key is kept", topic)
	} else {
		c.ok("compaction", "%s is not compacted (cleanup.policy %s)", topic, policy)
	}
	if n, err := strconv.Atoi(s["min.insync.replicas"]); err == nil && n < 2 {
		c.warn("replicas", "min.insync.replicas 2 with three replicas: a broker that is lost takes acknowledged events along",
			"min.insync.replicas of %s is %d", topic, n)
	}
}

func (c *checkup) retention(value, topic string) {
	ms, err := strconv.ParseInt(value, 10, 64)
	switch kept := time.Duration(ms) * time.Millisecond; {
	case err != nil:
		c.skip("retention", "retention.ms of %s is %q", topic, value)
	case ms < 0:
		c.ok("retention", "%s keeps its records for ever", topic)
	case kept < leastRetention:
		c.warn("retention", "raise retention.ms: a worker that is away for longer misses events",
			"%s keeps its records for %v", topic, kept)
	default:
		c.ok("retention", "%s keeps its records for %s", topic, short(kept))
	}
}

func (c *checkup) barrierSettings(ctx context.Context, log *kafka.Log) {
	s, err := log.Settings(ctx)
	if err != nil {
		c.skip("barriers", "the settings of %s may not be read (DescribeConfigs): %v", c.barrierTopicOf(), err)
		return
	}
	if policy := s["cleanup.policy"]; strings.Contains(policy, "compact") {
		c.ok("barriers", "%s is compacted: a barrier's key is the topic of its events, so the last one is kept",
			c.barrierTopicOf())
	}
}

// lastBarrier says when the relay has last said how far it is.
func (c *checkup) lastBarrier(ctx context.Context, log *kafka.Log) {
	at, written, ok, err := log.LastBarrier(ctx)
	age := time.Since(written)
	const do = "start the relay, or look at its log; without barriers Kafka proves nothing"
	switch {
	case err != nil:
		c.skip("barriers", "%v", err)
	case !ok:
		c.wrong("barriers", do, "%s has none", c.barrierTopicOf())
	case age > oldBarrier:
		c.wrong("barriers", do, "the last one is of %s ago, at %v", short(age), at)
	case age < -skewed:
		c.clock(written, time.Now(), time.Now())
	default:
		c.ok("barriers", "the last one is of %s ago, at %v", short(max(age, 0)), at)
	}
}

// cursorPartitions compares the partitions with those that the relay publishes to.
func (c *checkup) cursorPartitions(ctx context.Context, n int) {
	src, pool, closeIt, err := c.openSource(ctx)
	if err != nil {
		c.skip("partitions", "%v", err)
		return
	}
	defer closeIt()
	cursors, err := c.relayCursors(ctx, src, pool)
	if err != nil {
		c.skip("partitions", "%v", err)
		return
	}
	for _, cur := range cursors {
		if cur.Name != c.topicOf() {
			continue
		}
		if len(cur.Seqs) != n {
			c.wrong("partitions", "start the relay, or look at its log: instances believe no barrier meanwhile",
				"the topic has %d partitions, and the relay publishes to %d", n, len(cur.Seqs))
			return
		}
		c.ok("partitions", "the relay publishes to all %d", n)
	}
}
