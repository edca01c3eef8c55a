package kafka

import (
	"context"
	"errors"
	"fmt"
	"io"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"

	"github.com/nearcache/nearcache-go/internal/ablate"
)

// endsWithEpoch is the version of ListOffsets in which a leader says which one it is, and gives no answer while it may
// know of an end too low (Kafka 2.2).
const endsWithEpoch = 5

// What a leader's answer counts.
const (
	uncommitted = 0 // all that it has acknowledged
	committed   = 1 // what readers of committed records see
)

// end asks the leader of a topic's one partition for its end, behind transactions that are open, too: what it answers
// must be at or behind everything that it has acknowledged.
func (c *cluster) end(ctx context.Context, topic string) (end, error) {
	leader, err := c.leader(ctx, topic, 0)
	if err != nil {
		return end{}, fmt.Errorf("kafka: end of %s: %w", topic, err)
	}
	ends, err := c.askOffsets(ctx, &offsetsRequest{topic: topic, leader: leader, partitions: []int{0},
		which: kafkago.LastOffset, isolation: isolation()})
	if err == nil && ends[0].epoch < 0 {
		err = errNoEpochs
	}
	if err != nil {
		return end{}, fmt.Errorf("kafka: end of %s: %w", topic, err)
	}
	return ends[0], nil
}

// isolation has the leader answer the high watermark: what is committed may end before what it has acknowledged.
func isolation() int8 {
	if ablate.Out(ablate.MarkWhole) {
		return committed
	}
	return uncommitted
}

// ends are those of partitions 0 to n-1, behind transactions that are open, too. Each leader is asked once.
func (c *cluster) ends(ctx context.Context, topic string, n int) (map[int]end, error) {
	byLeader := make(map[int32][]int)
	for part := range n {
		leader, err := c.leader(ctx, topic, part)
		if err != nil {
			return nil, err
		}
		byLeader[leader] = append(byLeader[leader], part)
	}
	type outcome struct {
		ends map[int]end
		err  error
	}
	out := make(chan outcome, len(byLeader))
	for leader, parts := range byLeader {
		go func() {
			ends, err := c.askOffsets(ctx, &offsetsRequest{topic: topic, leader: leader, partitions: parts,
				which: kafkago.LastOffset, isolation: uncommitted})
			out <- outcome{ends, err}
		}()
	}
	all := make(map[int]end, n)
	var errs []error
	for range byLeader {
		o := <-out
		errs = append(errs, o.err)
		for part, e := range o.ends {
			all[part] = e
		}
	}
	return all, errors.Join(errs...)
}

// askOffsets asks a leader for an offset of each of its partitions.
func (c *cluster) askOffsets(ctx context.Context, q *offsetsRequest) (map[int]end, error) {
	ctx, stop := c.whileLed(ctx, q.topic, q.partitions[0], q.leader, 0)
	defer stop()
	m, err := c.transport.RoundTrip(ctx, c.addr, q)
	if err != nil {
		c.forgetLeaders(q.topic)
		return nil, err
	}
	res := m.(*offsetsAnswer)
	if res.code != 0 {
		c.forgetLeaders(q.topic)
		return nil, kafkago.Error(res.code)
	}
	for _, part := range q.partitions {
		if _, ok := res.ends[part]; !ok {
			return nil, errShort
		}
	}
	return res.ends, nil
}

// offsetsRequest is a ListOffsets request. kafka-go's own does not tell of the leader's epoch, and goes to a leader
// that kafka-go may have known seconds ago.
type offsetsRequest struct {
	topic      string
	leader     int32
	partitions []int
	which      int64
	isolation  int8
	version    int16 // that kafka-go has agreed on with the broker
}

type offsetsAnswer struct {
	code int16 // of a partition that failed
	ends map[int]end
}

func (*offsetsRequest) ApiKey() protocol.ApiKey                 { return protocol.ListOffsets }
func (*offsetsAnswer) ApiKey() protocol.ApiKey                  { return protocol.ListOffsets }
func (*offsetsRequest) Required(map[protocol.ApiKey]int16) bool { return true }
func (r *offsetsRequest) Prepare(version int16)                 { r.version = version }

// Broker is the partitions' leader.
func (r *offsetsRequest) Broker(c protocol.Cluster) (protocol.Broker, error) {
	b, ok := c.Brokers[r.leader]
	if !ok {
		return protocol.Broker{ID: -1}, kafkago.LeaderNotAvailable
	}
	return b, nil
}

// RawExchange implements protocol.RawExchanger. Before version 5 no epoch is told: an older leader may know of an end
// too low.
func (r *offsetsRequest) RawExchange(rw io.ReadWriter) (protocol.Message, error) {
	v := min(r.version, endsWithEpoch)
	if v < 2 {
		return nil, errors.New("kafka: the broker is older than 0.11: it knows no transactions")
	}
	q := newRequest(int16(protocol.ListOffsets), v, false)
	q.int32(-1) // no replica
	q.int8(r.isolation)
	q.array(1)
	q.string(r.topic)
	q.array(len(r.partitions))
	for _, part := range r.partitions {
		q.int32(int32(part))
		if v >= 4 {
			q.int32(-1) // whatever the leader's epoch
		}
		q.int64(r.which)
	}
	a, err := q.exchange(rw)
	if err != nil {
		return nil, err
	}
	a.int32() // throttled for
	res := &offsetsAnswer{ends: make(map[int]end, len(r.partitions))}
	for topics := a.length(); topics > 0 && a.err == nil; topics-- {
		a.skipString()
		for n := a.length(); n > 0 && a.err == nil; n-- {
			part := int(a.int32())
			if code := a.int16(); code != 0 {
				res.code = code
			}
			a.int64() // a time
			e := end{offset: a.int64(), epoch: -1}
			if v >= 4 {
				e.epoch = a.int32()
			}
			if v < endsWithEpoch {
				e.epoch = -1
			}
			res.ends[part] = e
		}
	}
	return res, a.err
}
