package nearcache_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/nearcache/nearcache-go/internal/l2"
	"github.com/nearcache/nearcache-go/internal/services/local"
	"github.com/nearcache/nearcache-go/internal/services/servicestest"
	"github.com/nearcache/nearcache-go/internal/testkit"
	"github.com/nearcache/nearcache-go/nearcache"
)

// TestCluster_MovesSlotsAtomically has Valkey 9 move a third of the slots, with their keys, in one step, while two
// instances read and write them. No instance serves an old value of its own write at any moment, nor of the other's
// write once it has noticed the move.
func TestCluster_MovesSlotsAtomically(t *testing.T) { // C1
	nodes := servicestest.StartCluster(t, 3)
	if _, err := local.RedisDo(t.Context(), nodes[0].Addr, "CLUSTER", "GETSLOTMIGRATIONS"); err != nil {
		t.Skipf("the server moves no slots atomically: %v", err)
	}
	opt := testkit.Least(l2.Use{Alone: true, Cluster: true}, nodes...)
	src := newSource()
	writer, reader := open(t, opt, src), open(t, opt, src)
	var ks []string
	for i := range 300 {
		k := fmt.Sprint(i)
		src.put(k, "old")
		ks = append(ks, k)
	}
	for _, c := range []*nearcache.Cache[string, string]{writer, reader} {
		for _, k := range ks {
			resident(t, c, k)
		}
	}
	round := 0
	rewrite := func() {
		round++
		for i := range ks {
			k, v := ks[i], fmt.Sprint("round ", round)
			_, err := writer.Write(t.Context(), k, func(context.Context) (nearcache.Version, error) {
				return src.put(k, v), nil
			})
			if err != nil {
				t.Fatalf("round %d, key %s: %v", round, k, err)
			}
			if r := get(t, writer, k); r.Value != v {
				t.Errorf("round %d: the writer reads %q of key %s", round, r.Value, k)
			}
			get(t, reader, k)
		}
	}
	to := nodes[1].Do("CLUSTER", "MYID")
	nodes[0].Do("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", "0", strconv.Itoa(16384/3-1), "NODE", to)
	testkit.Eventually(t, "the slots have moved", func() bool {
		rewrite()
		return !strings.Contains(nodes[0].Do("CLUSTER", "NODES"), "0-5460") &&
			strings.Contains(nodes[0].Do("CLUSTER", "GETSLOTMIGRATIONS"), "success")
	})
	t.Logf("the slots moved within %d rounds of %d writes", round, len(ks))
	rewrite()
	want := fmt.Sprint("round ", round)
	for _, k := range ks {
		testkit.Eventually(t, "the reader has the last value", func() bool { return get(t, reader, k).Value == want })
		resident(t, reader, k)
	}
}
