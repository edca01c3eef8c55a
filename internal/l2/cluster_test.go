package l2_test

import (
	"net"
	"strings"
	"testing"

	"github.com/redis/rueidis"

	"github.com/nearcache/nearcache-go/internal/services/servicestest"
	"github.com/nearcache/nearcache-go/internal/testkit"
)

// TestCluster_SlotThatMovesIsASession: the client has connections to both nodes, so it dials nobody, and node A, which
// tracks the key, has nothing to tell.
func TestCluster_SlotThatMovesIsASession(t *testing.T) { // C1
	a, b := servicestest.StartRedis(t, "--cluster-enabled", "yes"), servicestest.StartRedis(t, "--cluster-enabled", "yes")
	host, port, err := net.SplitHostPort(b.Addr)
	if err != nil {
		t.Fatal(err)
	}
	a.Do("CLUSTER", "ADDSLOTSRANGE", "0", "16000")
	b.Do("CLUSTER", "ADDSLOTSRANGE", "16001", "16383")
	a.Do("CLUSTER", "MEET", host, port)
	testkit.Eventually(t, "the nodes have met", func() bool {
		return strings.Contains(a.Do("CLUSTER", "INFO"), "cluster_state:ok") &&
			strings.Contains(b.Do("CLUSTER", "INFO"), "cluster_state:ok")
	})
	bench := newBench(t, rueidis.ClientOption{InitAddress: []string{a.Addr, b.Addr}}, a.Do)
	beat := func() {
		t.Helper()
		if _, err := bench.Heartbeat(ctx()); err != nil {
			t.Fatal(err)
		}
	}
	beat()
	beat()
	before := bench.ear.sessionCount()
	beat()
	if n := bench.ear.sessionCount() - before; n != 0 {
		t.Fatalf("%d sessions while nothing moves", n)
	}
	id, slot := b.Do("CLUSTER", "MYID"), a.Do("CLUSTER", "KEYSLOT", bench.Keyspace().Watermark(0))
	for _, node := range []*servicestest.RedisProcess{b, a} {
		node.Do("CLUSTER", "SETSLOT", slot, "NODE", id)
	}
	testkit.Eventually(t, "a session", func() bool { beat(); return bench.ear.sessionCount() > before })
}
