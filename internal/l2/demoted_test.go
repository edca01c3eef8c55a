package l2_test

import (
	"context"
	"crypto/tls"
	"net"
	"sync/atomic"
	"testing"

	"github.com/redis/rueidis"

	"github.com/nearcache/nearcache-go/internal/l2"
	"github.com/nearcache/nearcache-go/internal/services/servicestest"
	"github.com/nearcache/nearcache-go/internal/testkit"
)

// TestDemoted_BehindOneAddress: the primary becomes a replica, and the address leads to the new one from then on. The
// connections stand, so nothing but the replica's answers tells of it.
func TestDemoted_BehindOneAddress(t *testing.T) {
	a, b := servicestest.StartRedis(t), servicestest.StartRedis(t)
	var primary atomic.Pointer[string]
	primary.Store(&a.Addr)
	e := &ear{}
	store, err := l2.Open(l2.Config{Tracker: e, Redis: rueidis.ClientOption{InitAddress: []string{"redis:6379"},
		DialCtxFn: func(ctx context.Context, _ string, d *net.Dialer, _ *tls.Config) (net.Conn, error) {
			return d.DialContext(ctx, "tcp", *primary.Load())
		}}})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	k := store.Keyspace().Key("n", "k")
	works := func() bool {
		_, err := store.Heartbeat(ctx(), l2.AllBuckets(l2.DefaultBuckets))
		return err == nil && store.Apply(ctx(), k, 1) == nil
	}
	if !works() {
		t.Fatal("the primary does not work")
	}
	sessions := e.sessionCount()
	host, port, err := net.SplitHostPort(b.Addr)
	if err != nil {
		t.Fatal(err)
	}
	a.Do("REPLICAOF", host, port)
	primary.Store(&b.Addr)
	if _, err := store.Heartbeat(ctx(), l2.AllBuckets(l2.DefaultBuckets)); err == nil || e.sessionCount() == sessions {
		t.Errorf("got error %v and %d sessions, want a refusal, and the sessions ended by it", err,
			e.sessionCount()-sessions)
	}
	testkit.Eventually(t, "the new primary is found", works)
	if n := b.Do("CLIENT", "LIST", "TYPE", "normal"); n == "" || len(store.Faults()) > 0 {
		t.Errorf("clients of the new primary: %q, faults %v", n, codes(store))
	}
}
