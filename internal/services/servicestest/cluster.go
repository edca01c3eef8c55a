package servicestest

import (
	"context"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nearcache/nearcache-go/internal/services/local"
)

// slots is how many slots a Redis Cluster has.
const slots = 16384

// StartCluster starts the masters of a Redis Cluster for this test alone. They share the slots evenly, in their order,
// and each knows that it has them when StartCluster returns.
func StartCluster(t testing.TB, masters int, args ...string) []*RedisProcess {
	t.Helper()
	nodes, bus := make([]*RedisProcess, masters), make([]string, masters)
	for i := range nodes {
		nodes[i], bus[i] = startNode(t, args...)
		first, last := i*slots/masters, (i+1)*slots/masters-1
		all := []string{"CLUSTER", "ADDSLOTS"} // before Redis 7 there is no ADDSLOTSRANGE
		for slot := first; slot <= last; slot++ {
			all = append(all, strconv.Itoa(slot))
		}
		nodes[i].Do(all...)
	}
	for i, node := range nodes[1:] {
		host, port, err := net.SplitHostPort(node.Addr)
		if err != nil {
			t.Fatal(err)
		}
		nodes[0].Do("CLUSTER", "MEET", host, port, bus[i+1])
	}
	for deadline := time.Now().Add(30 * time.Second); !allOK(nodes); {
		if time.Now().After(deadline) {
			t.Fatalf("servicestest: the Cluster is not ready: %s", nodes[0].Do("CLUSTER", "INFO"))
		}
	}
	return nodes
}

// startNode starts one node, and returns the port of its bus. A Redis before 7 has it 10,000 above its own port, which
// may be taken; later ones are told a free one.
func startNode(t testing.TB, args ...string) (node *RedisProcess, bus string) {
	t.Helper()
	args = append([]string{"--cluster-enabled", "yes"}, args...)
	if major := local.RedisMajor(context.Background()); major == 0 || major >= 7 {
		bus = freePort(t)
		return StartRedis(t, append(args, "--cluster-port", bus)...), bus
	}
	node = StartRedis(t, args...)
	_, port, _ := net.SplitHostPort(node.Addr)
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	return node, strconv.Itoa(n + 10_000)
}

// allOK reports whether every node sees every slot, and as many nodes as there are.
func allOK(nodes []*RedisProcess) bool {
	for _, node := range nodes {
		info := node.Do("CLUSTER", "INFO")
		if !strings.Contains(info, "cluster_state:ok") ||
			!strings.Contains(info, "cluster_known_nodes:"+strconv.Itoa(len(nodes))) {
			return false
		}
	}
	return true
}

// freePort is a port that nothing listens on.
func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}
