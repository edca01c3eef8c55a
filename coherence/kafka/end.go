package kafka

import (
	"context"
	"fmt"
	"io"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"

	"github.com/nearcache/nearcache-go/internal/ablate"
)

// endsWithEpoch is the version of ListOffsets in which a leader says which one it is, and gives no answer while it may
// know of an end too low (Kafka 2.2).
const endsWithEpoch = 5

// end asks the leader of a topic's one partition for its end, behind transactions that are open, too: what it answers
// must be at or behind everything that it has acknowledged.
func (c *cluster) end(ctx context.Context, topic string) (end, error) {
	leader, err := c.leader(ctx, topic, 0)
	if err != nil {
		return end{}, fmt.Errorf("kafka: end of %s: %w", topic, err)
	}
	m, err := c.transport.RoundTrip(ctx, c.addr, &endRequest{topic: topic, leader: leader})
	if err == nil && m.(*endAnswer).code != 0 {
		err = kafkago.Error(m.(*endAnswer).code)
	}
	if err != nil {
		c.forgetLeaders(topic)
		return end{}, fmt.Errorf("kafka: end of %s: %w", topic, err)
	}
	return m.(*endAnswer).end, nil
}

// endRequest is a ListOffsets request. kafka-go's own does not tell of the leader's epoch.
type endRequest struct {
	topic   string
	leader  int32
	version int16 // that kafka-go has agreed on with the broker
}

type endAnswer struct {
	code int16
	end  end
}

func (*endRequest) ApiKey() protocol.ApiKey                 { return protocol.ListOffsets }
func (*endAnswer) ApiKey() protocol.ApiKey                  { return protocol.ListOffsets }
func (*endRequest) Required(map[protocol.ApiKey]int16) bool { return true }
func (r *endRequest) Prepare(version int16)                 { r.version = version }

// Broker is the partition's leader.
func (r *endRequest) Broker(c protocol.Cluster) (protocol.Broker, error) {
	b, ok := c.Brokers[r.leader]
	if !ok {
		return protocol.Broker{ID: -1}, kafkago.LeaderNotAvailable
	}
	return b, nil
}

// isolation has the leader answer the high watermark: what is committed may end before what it has acknowledged.
func isolation() int8 {
	if ablate.Out(ablate.MarkWhole) {
		return 1
	}
	return 0
}

// RawExchange implements protocol.RawExchanger.
func (r *endRequest) RawExchange(rw io.ReadWriter) (protocol.Message, error) {
	if r.version < endsWithEpoch {
		return nil, errNoEpochs
	}
	q := newRequest(int16(protocol.ListOffsets), endsWithEpoch, false)
	q.int32(-1) // no replica
	q.int8(isolation())
	q.array(1)
	q.string(r.topic)
	q.array(1)
	q.int32(0)  // the partition
	q.int32(-1) // whatever the leader's epoch
	q.int64(kafkago.LastOffset)
	a, err := q.exchange(rw)
	if err != nil {
		return nil, err
	}
	a.int32() // throttled for
	if a.length() == 0 {
		return nil, errShort
	}
	a.skipString()
	if a.length() == 0 {
		return nil, errShort
	}
	a.int32()
	res := &endAnswer{code: a.int16()}
	a.int64() // a time
	res.end.offset, res.end.epoch = a.int64(), a.int32()
	if a.err == nil && res.code == 0 && res.end.epoch < 0 {
		return nil, errNoEpochs
	}
	return res, a.err
}
