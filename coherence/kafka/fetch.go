package kafka

import (
	"errors"
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
	wait      time.Duration // for records, at most; see holds
	maxBytes  int32
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

// multiFetch asks one broker for the records of several partitions, as one request. All or none of the parts name their
// topic by its id.
type multiFetch struct {
	leader  int32
	parts   []*fetchRequest
	hold    time.Duration // how long the broker may wait for records
	byTopic [][]int       // indexes of parts
	version int16         // that kafka-go has agreed on with the broker, if there are no ids
}

// multiFetched has the answers by the index of their part; nil: the broker did not answer for it.
type multiFetched []*fetched

func newMultiFetch(leader int32, parts []*fetchRequest, hold time.Duration) *multiFetch {
	m := &multiFetch{leader: leader, parts: parts, hold: hold}
	type name struct {
		topic string
		id    topicID
	}
	at := make(map[name]int)
	for i, p := range parts {
		n, ok := at[name{p.topic, p.id}]
		if !ok {
			n = len(m.byTopic)
			at[name{p.topic, p.id}] = n
			m.byTopic = append(m.byTopic, nil)
		}
		m.byTopic[n] = append(m.byTopic[n], i)
	}
	return m
}

func (*multiFetch) ApiKey() protocol.ApiKey                 { return protocol.Fetch }
func (multiFetched) ApiKey() protocol.ApiKey                { return protocol.Fetch }
func (*multiFetch) Required(map[protocol.ApiKey]int16) bool { return true }
func (m *multiFetch) Prepare(version int16)                 { m.version = version }

// Broker is the partitions' leader.
func (m *multiFetch) Broker(c protocol.Cluster) (protocol.Broker, error) {
	b, ok := c.Brokers[m.leader]
	if !ok {
		return protocol.Broker{ID: -1}, kafkago.LeaderNotAvailable
	}
	return b, nil
}

// RawExchange implements protocol.RawExchanger.
func (m *multiFetch) RawExchange(rw io.ReadWriter) (protocol.Message, error) {
	v := min(m.version, 11)
	if m.parts[0].id != (topicID{}) {
		v = fetchWithID
	}
	if v < 4 {
		return nil, errors.New("kafka: the broker is older than 0.11: it knows no transactions")
	}
	a, err := m.encode(v).exchange(rw)
	if err != nil {
		return nil, err
	}
	return m.decode(v, a)
}

// answerBytes bounds an answer for several partitions. The broker sends one batch whole even so.
const answerBytes = 16 << 20

func (m *multiFetch) encode(v int16) *request {
	most := int64(0)
	for _, p := range m.parts {
		most += int64(p.maxBytes)
	}
	q := newRequest(int16(protocol.Fetch), v, v >= 12)
	q.int32(-1) // no replica
	q.int32(int32(m.hold.Milliseconds()))
	q.int32(1)
	q.int32(int32(min(most, answerBytes)))
	q.int8(1) // read committed
	if v >= 7 {
		q.int32(0)  // no session
		q.int32(-1) // of no epoch
	}
	q.array(len(m.byTopic))
	for _, indexes := range m.byTopic {
		first := m.parts[indexes[0]]
		if v >= fetchWithID {
			q.b = append(q.b, first.id[:]...)
		} else {
			q.string(first.topic)
		}
		q.array(len(indexes))
		for _, i := range indexes {
			m.parts[i].encode(q, v)
		}
		q.tags()
	}
	if v >= 7 {
		q.array(0)
	}
	if v >= 11 {
		q.string("")
	}
	q.tags()
	return q
}

func (f *fetchRequest) encode(q *request, v int16) {
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
}

func (m *multiFetch) decode(v int16, a *answer) (multiFetched, error) {
	out := make(multiFetched, len(m.parts))
	a.int32() // throttled for
	if v >= 7 {
		if code := a.int16(); code != 0 {
			return nil, kafkago.Error(code)
		}
		a.int32()
	}
	for topics := a.length(); topics > 0 && a.err == nil; topics-- {
		var id topicID
		var name string
		if v >= fetchWithID {
			id = a.id()
		} else {
			name = a.string()
		}
		for n := a.length(); n > 0 && a.err == nil; n-- {
			partition, res := decodeFetched(v, a)
			for i, p := range m.parts {
				if p.partition == partition && (v >= fetchWithID && p.id == id || v < fetchWithID && p.topic == name) {
					out[i] = res
				}
			}
		}
		a.tags()
	}
	return out, a.err
}

func decodeFetched(v int16, a *answer) (partition int, res *fetched) {
	partition, res = int(a.int32()), &fetched{}
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
	a.tags()
	return partition, res
}
