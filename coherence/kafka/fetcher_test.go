package kafka_test

import (
	"context"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/kafka"
	"github.com/nearcache/nearcache-go/internal/services/servicestest"
)

// connections counts those that are open.
type connections struct {
	mu         sync.Mutex
	open, most int
}

type countedConn struct {
	net.Conn
	closed func()
}

func (c *countedConn) Close() error {
	c.closed()
	return c.Conn.Close()
}

// transport is a Transport whose connections are counted.
func (c *connections) transport(t *testing.T) *kafkago.Transport {
	tr := &kafkago.Transport{MetadataTTL: time.Second,
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			c.add(1)
			return &countedConn{conn, sync.OnceFunc(func() { c.add(-1) })}, nil
		}}
	t.Cleanup(tr.CloseIdleConnections)
	return tr
}

func (c *connections) add(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open += n
	c.most = max(c.most, c.open)
}

// TestTail_PartitionsShareConnections: each partition had a connection of its own.
func TestTail_PartitionsShareConnections(t *testing.T) {
	onBoth(t, func(t *testing.T, brokers []string) {
		const partitions, most = 100, 16 // some 10: fetches, and what is looked up beside them
		topic := servicestest.Topic(t, brokers, t.Name(), partitions)
		count := &connections{}
		r := follow(t, kafka.Tail{Broker: kafka.Broker{Brokers: brokers, Transport: count.transport(t)}, Topic: topic,
			MaxWait: 100 * time.Millisecond})
		eventually(t, "every partition is followed", func() bool {
			for p := range partitions {
				if len(r.of(p)) == 0 {
					return false
				}
			}
			return true
		})
		p, err := kafka.NewPublisher(kafka.PublisherConfig{Broker: kafka.Broker{Brokers: brokers}, Topic: topic})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		for round := range 3 {
			var batch []coherence.PartitionMessage
			for part := range partitions {
				batch = append(batch, coherence.PartitionMessage{Partition: part, Message: coherence.Message{
					Event: coherence.Event{Namespace: "n", Key: fmt.Sprint(part), Version: coherence.Version(round + 1)}}})
			}
			if err := p.Publish(t.Context(), batch); err != nil {
				t.Fatal(err)
			}
		}
		eventually(t, "each has its own events, in order", func() bool {
			for p := range partitions {
				if got := fmt.Sprint(r.of(p)); got != fmt.Sprintf("[session %d v1 %d v2 %d v3]", p, p, p) {
					return false
				}
			}
			return true
		})
		count.mu.Lock()
		defer count.mu.Unlock()
		if count.most > most {
			t.Errorf("got %d connections for %d partitions, want %d at most", count.most, partitions, most)
		}
	})
}
