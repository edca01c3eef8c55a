package kafka_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/kafka"
)

// network is between clients and the brokers of a cluster. One broker can be taken away: killed, so that its
// connections end and its port is closed, or stopped, so that it accepts connections and answers nothing.
type network struct {
	pipes kfake.VirtualNetwork

	mu      sync.Mutex
	gone    string // the address of the broker that is taken away
	stopped bool
	end     chan struct{}
	conns   []*passage
}

// passage is a connection of a client to a broker.
type passage struct {
	to             string
	client, broker net.Conn
	held           chan struct{} // closed once nothing passes any more
}

func (n *network) Dial(ctx context.Context, netw, addr string) (net.Conn, error) {
	n.mu.Lock()
	killed := addr == n.gone && !n.stopped
	n.mu.Unlock()
	if killed {
		return nil, syscall.ECONNREFUSED
	}
	broker, err := n.pipes.DialContext(ctx, netw, addr)
	if err != nil {
		return nil, err
	}
	near, far := net.Pipe()
	p := &passage{to: addr, client: far, broker: broker, held: make(chan struct{})}
	n.mu.Lock()
	if addr == n.gone {
		close(p.held)
	}
	n.conns = append(n.conns, p)
	n.mu.Unlock()
	go p.pass(broker, far, n.end)
	go p.pass(far, broker, n.end)
	return near, nil
}

// pass carries bytes until either end is closed, and holds them back once the broker is stopped.
func (p *passage) pass(to io.WriteCloser, from io.ReadCloser, end <-chan struct{}) {
	defer to.Close()
	b := make([]byte, 64<<10)
	for {
		k, err := from.Read(b)
		select {
		case <-p.held:
			<-end
			return
		default:
		}
		if err != nil {
			return
		}
		if _, err := to.Write(b[:k]); err != nil {
			return
		}
	}
}

func (n *network) take(addr string, stopped bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.gone, n.stopped = addr, stopped
	for _, p := range n.conns {
		switch {
		case p.to != addr:
		case stopped:
			close(p.held)
		default:
			_ = p.client.Close()
			_ = p.broker.Close()
		}
	}
}

func (n *network) close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	close(n.end)
	for _, p := range n.conns {
		_ = p.client.Close()
		_ = p.broker.Close()
	}
}

// TestTail_ALostBroker: proofs are back within five seconds of a new leader, whether the broker before was killed or is
// stopped. Connections that a stopped broker holds answered nothing for as long as a request may take, one by one.
func TestTail_ALostBroker(t *testing.T) {
	for _, stopped := range []bool{false, true} {
		for run := range 5 {
			t.Run(fmt.Sprint("stopped ", stopped, " ", run), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { lostBroker(t, stopped) })
			})
		}
	}
}

func lostBroker(t *testing.T, stopped bool) {
	const partitions, topic = 4, "events"
	n := &network{end: make(chan struct{})}
	c, err := kfake.NewCluster(kfake.NumBrokers(3), kfake.Ports(9092, 9093, 9094), kfake.ListenFn(n.pipes.Listen),
		kfake.SeedTopics(partitions, topic), kfake.SeedTopics(1, kafka.BarrierTopic(topic)))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	defer n.close()
	synctest.Wait() // the brokers listen
	lost := c.LeaderFor(topic, 0)
	if err := c.MoveTopicPartition(kafka.BarrierTopic(topic), 0, lost); err != nil {
		t.Fatal(err)
	}
	client := func() kafka.Broker {
		tr := &kafkago.Transport{Dial: n.Dial, DialTimeout: time.Second, MetadataTTL: 2 * time.Second}
		t.Cleanup(tr.CloseIdleConnections)
		return kafka.Broker{Brokers: c.ListenAddrs(), Transport: tr}
	}
	p, err := kafka.NewPublisher(kafka.PublisherConfig{Broker: client(), Topic: topic})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	r := &recorder{}
	wg.Go(func() { _ = kafka.Tail{Broker: client(), Topic: topic}.Run(ctx, r) })
	wg.Go(func() { // the relay
		for at := uint64(1); ctx.Err() == nil; at++ {
			batch := make([]coherence.PartitionMessage, 0, partitions)
			for part := range partitions {
				b := &coherence.Barrier{Position: coherence.Position{Timeline: 1, N: at}, Partitions: partitions}
				batch = append(batch, coherence.PartitionMessage{Partition: part, Message: coherence.Message{Barrier: b}})
			}
			round, cancel := context.WithTimeout(ctx, 5*time.Second)
			_ = p.Publish(round, batch)
			cancel()
			time.Sleep(100 * time.Millisecond)
		}
	})
	proofs := func() (all int) {
		for part := range partitions {
			all += len(r.of(part))
		}
		return all
	}
	time.Sleep(5 * time.Second)
	if proofs() < 20*partitions {
		t.Fatalf("%d proofs in five seconds", proofs())
	}
	n.take(address(c, lost), stopped)
	time.Sleep(time.Second)
	t.Log(c.ListenAddrs(), lost)
	last := proofs()
	time.Sleep(8 * time.Second)
	if more := proofs() - last; more > partitions {
		t.Fatalf("%d proofs while the broker of the barriers is away: this shows nothing", more)
	}
	if err := c.RemoveNode(lost); err != nil {
		t.Fatal(err)
	}
	elected := time.Now()
	before := make([]int, partitions)
	for part := range partitions {
		before[part] = len(r.of(part))
	}
	for {
		back := true
		for part := range partitions {
			l := r.of(part)
			back = back && len(l) > before[part]+1 && len(l[len(l)-1]) > 7 && l[len(l)-1][:7] == "barrier"
		}
		if back {
			break
		}
		if time.Since(elected) > time.Minute {
			t.Fatal("no proofs within a minute of a new leader")
		}
		time.Sleep(10 * time.Millisecond)
	}
	took := time.Since(elected)
	t.Logf("proofs are back %v after the election", took)
	if took > 5*time.Second {
		t.Errorf("proofs are back after %v, want five seconds", took)
	}
}

// address is where a broker listens.
func address(c *kfake.Cluster, node int32) string { return c.ListenAddrs()[node] }
