package kafka

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
)

// The near cache's own Fetch and Metadata. kafka-go's Client takes answers apart before anybody sees them: it
// inflates batches without a bound, passes on the records of aborted transactions, and does not say where a batch
// ends, so a reader behind a control record asks for it again and again. Its Transport lets a request do its own
// exchange on a connection; so connections, TLS, SASL and routing are kafka-go's.

// topicID tells a topic from another of the same name, made after the first one was deleted. Zero: the broker knows
// none.
type topicID [16]byte

// versions of the protocol with topic ids: Kafka 3.1 has both.
const (
	metadataWithID = 10
	fetchWithID    = 13
)

// errUnknownID is Kafka's UNKNOWN_TOPIC_ID: the topic was deleted, and perhaps made anew.
const errUnknownID = kafkago.Error(100)

// fetchRequest asks for one partition's records.
type fetchRequest struct {
	topic     string
	id        topicID // not zero: this very topic
	partition int
	offset    int64
	wait      time.Duration
	maxBytes  int32
	version   int16 // that kafka-go has agreed on with the broker, if id is zero
}

// fetched is the answer.
type fetched struct {
	err           error
	highWatermark int64
	logStart      int64
	aborted       []abortedTxn
	records       []byte
}

// abortedTxn is a transaction that was aborted, and whose records from first on are to be left out.
type abortedTxn struct{ producer, first int64 }

func (*fetchRequest) ApiKey() protocol.ApiKey                 { return protocol.Fetch }
func (*fetched) ApiKey() protocol.ApiKey                      { return protocol.Fetch }
func (*fetchRequest) Required(map[protocol.ApiKey]int16) bool { return true }
func (f *fetchRequest) Prepare(version int16)                 { f.version = version }

// Broker is the partition's leader.
func (f *fetchRequest) Broker(c protocol.Cluster) (protocol.Broker, error) {
	p, ok := c.Topics[f.topic].Partitions[int32(f.partition)]
	if !ok {
		return protocol.Broker{ID: -1}, kafkago.UnknownTopicOrPartition
	}
	b, ok := c.Brokers[p.Leader]
	if !ok {
		return protocol.Broker{ID: -1}, kafkago.LeaderNotAvailable
	}
	return b, nil
}

// RawExchange implements protocol.RawExchanger.
func (f *fetchRequest) RawExchange(rw io.ReadWriter) (protocol.Message, error) {
	v := min(f.version, 11)
	if f.id != (topicID{}) {
		v = fetchWithID
	}
	if v < 4 {
		return nil, errors.New("kafka: the broker is older than 0.11: it knows no transactions")
	}
	a, err := f.encode(v).exchange(rw)
	if err != nil {
		return nil, err
	}
	return f.decode(v, a)
}

func (f *fetchRequest) encode(v int16) *request {
	q := newRequest(int16(protocol.Fetch), v, v >= 12)
	q.int32(-1) // no replica
	q.int32(int32(f.wait.Milliseconds()))
	q.int32(1)
	q.int32(f.maxBytes)
	q.int8(1) // read committed
	if v >= 7 {
		q.int32(0)  // no session
		q.int32(-1) // of no epoch
	}
	q.array(1)
	if v >= fetchWithID {
		q.b = append(q.b, f.id[:]...)
	} else {
		q.string(f.topic)
	}
	q.array(1)
	q.int32(int32(f.partition))
	if v >= 9 {
		q.int32(-1) // whatever the leader's epoch
	}
	q.int64(f.offset)
	if v >= 12 {
		q.int32(-1) // no epoch of what was fetched before
	}
	if v >= 5 {
		q.int64(-1)
	}
	q.int32(f.maxBytes)
	q.tags()
	q.tags()
	if v >= 7 {
		q.array(0)
	}
	if v >= 11 {
		q.string("")
	}
	q.tags()
	return q
}

func (f *fetchRequest) decode(v int16, a *answer) (*fetched, error) {
	a.int32() // throttled for
	if v >= 7 {
		if code := a.int16(); code != 0 {
			return &fetched{err: kafkago.Error(code)}, nil
		}
		a.int32()
	}
	if a.length() == 0 {
		return nil, errShort
	}
	if v >= fetchWithID {
		a.id()
	} else {
		a.skipString()
	}
	if a.length() == 0 {
		return nil, errShort
	}
	a.int32()
	res := &fetched{}
	if code := a.int16(); code != 0 {
		res.err = kafkago.Error(code)
	}
	res.highWatermark = a.int64()
	a.int64() // the last stable offset
	if v >= 5 {
		res.logStart = a.int64()
	}
	for n := a.length(); n > 0 && a.err == nil; n-- {
		res.aborted = append(res.aborted, abortedTxn{a.int64(), a.int64()})
		a.tags()
	}
	if v >= 11 {
		a.int32()
	}
	res.records = a.bytes()
	return res, a.err
}

// fetch asks once. An error of the partition is in the answer, and returned too.
func (c *cluster) fetch(ctx context.Context, f *fetchRequest) (*fetched, error) {
	m, err := c.transport.RoundTrip(ctx, c.addr, f)
	if err != nil {
		return nil, fmt.Errorf("kafka: fetching %s/%d: %w", f.topic, f.partition, err)
	}
	res := m.(*fetched)
	return res, res.err
}
