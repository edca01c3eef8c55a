package kafka

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"

	"github.com/nearcache/nearcache-go/coherence"
)

// cluster is a Kafka cluster as Publisher, Tail and Worker ask it.
type cluster struct {
	transport *kafkago.Transport
	own       bool // the transport is ours to close
	client    *kafkago.Client
	addr      net.Addr

	fetches  *gatherer[*fetchRequest, *fetched]
	produces *gatherer[*produceRequest, produced]
	asking   chan struct{} // bounds lookups: each has a connection, and a follower of each partition asks
	looking  chan struct{} // a turn to look for leaders, or for what the brokers know
	turn     atomic.Int64  // which broker is asked

	mu      sync.Mutex
	asked   bool // the brokers' versions
	ids     bool // they know topic ids
	leaders map[string]leaders
}

const lookupsUnderWay = 2

func (b Broker) connect() *cluster {
	t, own := b.transport()
	c := &cluster{transport: t, own: own, client: b.client(t), addr: addr(b.Brokers),
		asking: make(chan struct{}, lookupsUnderWay), looking: make(chan struct{}, 1)}
	c.fetches, c.produces = newFetcher(c), newProducer(c)
	return c
}

func (c *cluster) close() {
	c.fetches.close()
	c.produces.close()
	if c.own {
		c.transport.CloseIdleConnections()
	}
}

// topic is what the cluster says of a topic now.
type topic struct {
	id         topicID
	partitions int
}

// topic asks. A topic that is not there is UnknownTopicOrPartition.
func (c *cluster) topic(ctx context.Context, name string) (t topic, err error) {
	if t.partitions, err = partitions(ctx, c.client, name); err != nil {
		return t, err
	}
	known, err := c.knowIDs(ctx)
	if err != nil || !known {
		return t, err
	}
	done, err := c.lookup(ctx)
	if err != nil {
		return t, err
	}
	defer done()
	res, err := c.metadata(ctx, name)
	if err != nil {
		return t, fmt.Errorf("kafka: metadata of %s: %w", name, err)
	}
	if res.err != nil {
		return t, fmt.Errorf("kafka: metadata of %s: %w", name, res.err)
	}
	t.id = res.id
	return t, nil
}

// lookup waits for its turn to ask.
func (c *cluster) lookup(ctx context.Context) (done func(), err error) {
	select {
	case c.asking <- struct{}{}:
		return func() { <-c.asking }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// count is the number of a topic's partitions. kafka-go does not tell a topic that is not there from one that we may
// not see; the broker does, if it is asked by name.
func (c *cluster) count(ctx context.Context, name string) (int, error) {
	n, err := partitions(ctx, c.client, name)
	if missing(err) {
		if known, _ := c.knowIDs(ctx); known {
			m, why := c.metadata(ctx, name)
			if why == nil && m.err != nil {
				err = fmt.Errorf("kafka: metadata of %s: %w", name, m.err)
			}
		}
	}
	return n, explain(err)
}

// explain wraps coherence.ErrMisconfigured around an error that does not pass by waiting.
func explain(err error) error {
	if err == nil || errors.Is(err, coherence.ErrMisconfigured) {
		return err
	}
	var certificate *tls.CertificateVerificationError
	if errors.As(err, &certificate) {
		return fmt.Errorf("%w: %w; see Broker.Transport's TLS", coherence.ErrMisconfigured, err)
	}
	for code, todo := range map[kafkago.Error]string{
		kafkago.SASLAuthenticationFailed:           "check the user and the password in Broker.Transport's SASL",
		kafkago.UnsupportedSASLMechanism:           "the broker offers another SASL mechanism",
		kafkago.IllegalSASLState:                   "the broker wants SASL; set Broker.Transport's",
		kafkago.TopicAuthorizationFailed:           "the user needs the rights Describe and Read (or Write) on the topic",
		kafkago.GroupAuthorizationFailed:           "the user needs the right Read on the group",
		kafkago.ClusterAuthorizationFailed:         "the user lacks a right on the cluster",
		kafkago.TransactionalIDAuthorizationFailed: "the user lacks a right on the transaction",
	} {
		if errors.Is(err, code) {
			return fmt.Errorf("%w: %w: %s", coherence.ErrMisconfigured, err, todo)
		}
	}
	return err
}

// knowIDs reports whether the brokers know topic ids. One of them is asked, once: the versions of a cluster differ
// only while it is upgraded.
func (c *cluster) knowIDs(ctx context.Context) (bool, error) {
	if known, ids := c.knownIDs(); known {
		return ids, nil
	}
	select {
	case c.looking <- struct{}{}:
		defer func() { <-c.looking }()
	case <-ctx.Done():
		return false, ctx.Err()
	}
	if known, ids := c.knownIDs(); known {
		return ids, nil
	}
	res, err := c.client.ApiVersions(ctx, &kafkago.ApiVersionsRequest{})
	if err == nil {
		err = res.Error
	}
	if err != nil {
		return false, fmt.Errorf("kafka: versions: %w", err)
	}
	found := 0
	for _, k := range res.ApiKeys {
		if k.ApiKey == int(protocol.Metadata) && k.MaxVersion >= metadataWithID || k.ApiKey == int(protocol.Fetch) &&
			k.MaxVersion >= fetchWithID {
			found++
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked, c.ids = true, found == 2
	return c.ids, nil
}

func (c *cluster) knownIDs() (known, ids bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.asked, c.ids
}

// lookupPatience is how long a broker may take to answer what another one could answer too.
const lookupPatience = time.Second

// metadata asks for a topic's id and leaders. After a broker that does not answer the next one is asked: one that is
// stopped still accepts connections.
func (c *cluster) metadata(ctx context.Context, topic string) (res *metadataAnswer, err error) {
	for range 3 {
		try, cancel := context.WithTimeout(ctx, lookupPatience)
		var m protocol.Message
		m, err = c.transport.RoundTrip(try, c.addr, &metadataRequest{topic: topic, turn: c.turn.Load()})
		cancel()
		if err == nil {
			return m.(*metadataAnswer), nil
		}
		c.turn.Add(1)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	return nil, err
}

// metadataRequest asks for a topic's id and for the leaders of its partitions.
type metadataRequest struct {
	topic string
	turn  int64 // which of the brokers answers
}

type metadataAnswer struct {
	err     error
	id      topicID
	leaders []int32 // by partition; -1: none
}

func (*metadataRequest) ApiKey() protocol.ApiKey { return protocol.Metadata }
func (*metadataAnswer) ApiKey() protocol.ApiKey  { return protocol.Metadata }

// Broker is the one whose turn it is; before any is known, one of those that are configured.
func (m *metadataRequest) Broker(c protocol.Cluster) (protocol.Broker, error) {
	ids := slices.Sorted(maps.Keys(c.Brokers))
	if len(ids) == 0 {
		return protocol.Broker{ID: -1}, nil
	}
	return c.Brokers[ids[m.turn%int64(len(ids))]], nil
}

func (*metadataRequest) Required(map[protocol.ApiKey]int16) bool { return true }

// RawExchange implements protocol.RawExchanger.
func (m *metadataRequest) RawExchange(rw io.ReadWriter) (protocol.Message, error) {
	q := newRequest(int16(protocol.Metadata), metadataWithID, true)
	q.array(1)
	q.b = append(q.b, make([]byte, len(topicID{}))...) // by name
	q.string(m.topic)
	q.tags()
	q.b = append(q.b, 0, 0, 0) // make no topic, and list no rights
	q.tags()
	a, err := q.exchange(rw)
	if err != nil {
		return nil, err
	}
	a.int32() // throttled for
	for n := a.length(); n > 0 && a.err == nil; n-- {
		a.int32()
		a.skipString()
		a.int32()
		a.skipString() // the rack
		a.tags()
	}
	a.skipString() // the cluster
	a.int32()
	if a.length() == 0 {
		return nil, errShort
	}
	res := &metadataAnswer{}
	if code := a.int16(); code != 0 {
		res.err = kafkago.Error(code)
	}
	a.skipString()
	res.id = a.id()
	a.take(1) // internal
	partitions := a.length()
	res.leaders = slices.Repeat([]int32{-1}, partitions)
	for range partitions {
		failed := a.int16() != 0
		partition, leader := int(a.int32()), a.int32()
		a.int32()     // the leader's epoch
		for range 3 { // the replicas: all of them, those in sync, those that are gone
			for n := a.length(); n > 0 && a.err == nil; n-- {
				a.int32()
			}
		}
		a.tags()
		if a.err == nil && !failed && partition >= 0 && partition < partitions {
			res.leaders[partition] = leader
		}
	}
	return res, a.err
}

// offset is the first or the last offset of a partition, for a reader of committed records.
func (c *cluster) offset(ctx context.Context, name string, partition int, which int64) (int64, error) {
	done, err := c.lookup(ctx)
	if err != nil {
		return 0, err
	}
	defer done()
	leader, err := c.leader(ctx, name, partition)
	if err != nil {
		return 0, fmt.Errorf("kafka: offsets of %s/%d: %w", name, partition, err)
	}
	q := &offsetsRequest{topic: name, leader: leader, partitions: []int{partition}, which: which, isolation: committed}
	ends, err := c.askOffsets(ctx, q)
	if err != nil {
		return 0, fmt.Errorf("kafka: offsets of %s/%d: %w", name, partition, err)
	}
	return ends[partition].offset, nil
}

// gone reports whether an error says that records may be missing: retention has passed the offset, or the topic is
// another one.
func gone(err error) bool {
	return errors.Is(err, kafkago.OffsetOutOfRange) || errors.Is(err, errUnknownID) || missing(err)
}

// missing reports whether an error says that there is no such topic, by the broker or by what kafka-go knows of it.
func missing(err error) bool {
	return errors.Is(err, kafkago.UnknownTopicOrPartition) || errors.Is(err, protocol.ErrNoTopic) || errors.Is(err,
		protocol.ErrNoPartition)
}
