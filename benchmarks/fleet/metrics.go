package fleet

import (
	"context"
	"net"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	kafkago "github.com/segmentio/kafka-go"

	"github.com/nearcache/nearcache-go/coherence/kafka"
)

// sum returns the sums of a counter by the values of a label.
func sum(from prometheus.Gatherer, name, label string) map[string]float64 {
	families, err := from.Gather()
	if err != nil {
		panic(err) // a registry fails only if metrics contradict each other
	}
	by := map[string]float64{}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			value := ""
			for _, l := range m.GetLabel() {
				if l.GetName() == label {
					value = l.GetValue()
				}
			}
			by[value] += m.GetCounter().GetValue()
		}
	}
	return by
}

// kafkaTraffic counts the bytes on connections to Kafka.
type kafkaTraffic struct{ in, out atomic.Int64 }

// broker returns a Broker whose connections are counted.
func (t *kafkaTraffic) broker(address string) kafka.Broker {
	return kafka.Broker{Brokers: []string{address}, Transport: &kafkago.Transport{Dial: t.dial, DialTimeout: time.Second,
		MetadataTTL: 2 * time.Second, ClientID: "nearcache"}}
}

func (t *kafkaTraffic) dial(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &countedConn{Conn: c, traffic: t}, nil
}

type countedConn struct {
	net.Conn
	traffic *kafkaTraffic
}

func (c *countedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.traffic.in.Add(int64(n))
	return n, err
}

func (c *countedConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.traffic.out.Add(int64(n))
	return n, err
}

// tail is the event channel of an instance.
func tail(b kafka.Broker, topic string) kafka.Tail { return kafka.Tail{Broker: b, Topic: topic} }
