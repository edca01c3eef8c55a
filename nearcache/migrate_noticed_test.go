package nearcache_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nearcache/nearcache-go/internal/l2"
	"github.com/nearcache/nearcache-go/internal/services/local"
	"github.com/nearcache/nearcache-go/internal/services/servicestest"
	"github.com/nearcache/nearcache-go/internal/testkit"
	"github.com/nearcache/nearcache-go/nearcache"
)

// TestCluster_AReaderNoticesSlotsThatMoveAtomically: a reader serves everything from L1, so it sends no command that
// could be redirected, and its heartbeat is too rare to help. The old owner deletes the keys that it gave away, and
// pushes an invalidation for each. So the reader notices the move, and then the new owner's writes.
func TestCluster_AReaderNoticesSlotsThatMoveAtomically(t *testing.T) { // C1
	nodes := servicestest.StartCluster(t, 3)
	if _, err := local.RedisDo(t.Context(), nodes[0].Addr, "CLUSTER", "GETSLOTMIGRATIONS"); err != nil {
		t.Skipf("the server moves no slots atomically: %v", err)
	}
	opt := testkit.Least(l2.Use{Alone: true, Cluster: true}, nodes...)
	src := newSource()
	writer := open(t, opt, src)
	c := newClient(t, nearcache.Config{Redis: opt, Heartbeat: 10 * time.Minute})
	if err := c.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	reader := newCache(t, c, nearcache.Options[string, string]{Load: src.load})
	var ks []string
	for i := range 300 {
		k := fmt.Sprint(i)
		src.put(k, "old")
		resident(t, reader, k)
		ks = append(ks, k)
	}
	to := nodes[1].Do("CLUSTER", "MYID")
	// The node keeps some slots. One that gives its last slot away becomes a replica, and deletes no key on its own.
	nodes[0].Do("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", "0", "4095", "NODE", to)
	testkit.Eventually(t, "the slots have moved", func() bool {
		return strings.Contains(nodes[0].Do("CLUSTER", "GETSLOTMIGRATIONS"), "success")
	})
	for _, k := range ks {
		if _, err := writer.Write(t.Context(), k, func(context.Context) (nearcache.Version, error) {
			return src.put(k, "new"), nil
		}); err != nil {
			t.Fatalf("key %s: %v", k, err)
		}
	}
	for _, k := range ks {
		testkit.Eventually(t, "the reader has the new value of "+k, func() bool {
			return get(t, reader, k).Value == "new"
		})
	}
}
