package l2_test

import (
	"context"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/l2"
	"github.com/nearcache/nearcache-go/internal/services/local"
	"github.com/nearcache/nearcache-go/internal/services/servicestest"
	"github.com/nearcache/nearcache-go/internal/testkit"
)

// newClusterBench is a bench on a Cluster of its own.
//
// Its user has the rights that the documents name for a Cluster.
func newClusterBench(t *testing.T, masters int) (*bench, []*servicestest.RedisProcess) {
	t.Helper()
	nodes := servicestest.StartCluster(t, masters)
	for _, node := range nodes {
		node.Do(leastRights(l2.Use{Cluster: true})...)
	}
	return newBench(t, rueidis.ClientOption{InitAddress: []string{nodes[0].Addr}, Username: "app", Password: "pw"},
		nodes[0].Do), nodes
}

// beat reads every watermark on the tracking connections.
func (b *bench) beat() {
	b.t.Helper()
	if _, err := b.Heartbeat(ctx(), l2.AllBuckets(l2.DefaultBuckets)); err != nil {
		b.t.Fatal(err)
	}
}

// moveOn gives the slot of an empty bucket to the next node.
func moveOn(t *testing.T, nodes []*servicestest.RedisProcess, key string) {
	t.Helper()
	slot, err := strconv.Atoi(nodes[0].Do("CLUSTER", "KEYSLOT", key))
	if err != nil {
		t.Fatal(err)
	}
	from := slot * len(nodes) / 16384 // the nodes share the slots evenly
	to := nodes[(from+1)%len(nodes)]
	id := to.Do("CLUSTER", "MYID")
	for _, node := range []*servicestest.RedisProcess{to, nodes[from]} {
		node.Do("CLUSTER", "SETSLOT", strconv.Itoa(slot), "NODE", id)
	}
}

// TestCluster_SlotThatMovesIsASession: the client has connections to both nodes, so it dials nobody, and node A, which
// tracks the key, has nothing to tell.
func TestCluster_SlotThatMovesIsASession(t *testing.T) { // C1
	b, nodes := newClusterBench(t, 2)
	b.beat()
	b.beat()
	before := b.ear.sessionCount()
	b.beat()
	if n := b.ear.sessionCount() - before; n != 0 {
		t.Fatalf("%d sessions while nothing moves", n)
	}
	servers, err := b.Servers(ctx())
	if err != nil || len(servers) != 2 {
		t.Fatalf("got the servers %b and error %v, want two", servers, err)
	}
	if got := b.together(0); got != servers[0] {
		t.Errorf("got the buckets %b together, want those of the server, %b", got, servers[0])
	}
	moveOn(t, nodes, b.Keyspace().Watermark(0))
	testkit.Eventually(t, "a session", func() bool { b.beat(); return b.ear.sessionCount() > before })
	if got := b.together(0); got != servers[1].Union(l2.SetOf(0)) {
		t.Errorf("got the buckets %b together, want bucket 0 with those of the other server, %b", got, servers[1])
	}
	if moved, err := b.Servers(ctx()); err != nil || moved[0] != servers[1].Union(l2.SetOf(0)) {
		t.Errorf("got the servers %b and error %v, want bucket 0 with %b", moved, err, servers[1])
	}
}

// together are the buckets that go to the connection of a bucket.
func (b *bench) together(bucket int) l2.BucketSet {
	all := b.Keyspace().All()
	return b.Together(bucket, &all)
}

// Each server has a round of its own, which stands for its buckets of whatever slot, and claims none of another's.
//
// The user has the right to MGET, as a relay's should. It reads no keys of several slots, and Valkey refuses what a
// script does after one that was refused.
func TestCluster_RoundsOfServers(t *testing.T) {
	b, nodes := newClusterBench(t, 3)
	for _, n := range nodes {
		n.Do("ACL", "SETUSER", "app", "+mget")
	}
	servers, err := b.Servers(ctx())
	if err != nil || len(servers) != 3 || servers[0].Union(servers[1]).Union(servers[2]) != b.Keyspace().All() {
		t.Fatalf("got the servers %b and error %v, want three that have all buckets", servers, err)
	}
	var ps []l2.Publication
	var elsewhere l2.BucketSet
	for i, set := range servers {
		p := l2.Publication{Next: l2.Round{Number: 1, Upto: at(7), Buckets: set}, Needed: map[int]l2.Watermark{}}
		var incarnations []l2.Incarnation
		for bucket := range set.All() {
			w, err := b.ResetWatermark(ctx(), bucket, l2.Watermark{}, at(5))
			if err != nil {
				t.Fatal(err)
			}
			if len(p.Needed) == 0 {
				p.Leader = bucket
			}
			p.Needed[bucket], incarnations = w, append(incarnations, w.Incarnation)
		}
		if p.Next.Incarnations = l2.DigestOf(incarnations); i > 0 {
			elsewhere.Add(p.Leader)
		}
		ps = append(ps, p)
	}
	ps[0].Next.Elsewhere = elsewhere
	if done, err := b.PublishRounds(ctx(), ps); err != nil || !done[0] || !done[1] || !done[2] {
		t.Fatalf("published %v with error %v, want all", done, err)
	}
	b.beat()
	replies, err := b.Rounds(ctx(), l2.AllBuckets(l2.DefaultBuckets))
	if err != nil || len(replies) != 3 {
		t.Fatalf("got %d replies and error %v, want those of three servers", len(replies), err)
	}
	for i, r := range replies {
		if !r.OK || r.Leader != ps[i].Leader || r.Round != ps[i].Next || b.together(r.Leader) != servers[i] {
			t.Errorf("server %d: got %+v, together %b, want %+v", i, r, b.together(r.Leader), ps[i].Next)
		}
	}
	reached, err := b.Reached(ctx())
	for bucket, w := range reached {
		if err != nil || w.Position != at(7) {
			t.Fatalf("bucket %d: got %v and error %v, want what its server's round came to", bucket, w.Position, err)
		}
	}
	b.publishes(t, "a bucket that is behind", ps[1], at(6), false, false)
	elsewhereNeeded := ps[1]
	elsewhereNeeded.Needed = map[int]l2.Watermark{ps[2].Leader: ps[2].Needed[ps[2].Leader]}
	b.publishes(t, "a bucket of another server", elsewhereNeeded, coherence.Position{}, false, true)
}

// publishes tries a publication after p, which needs its buckets to be at least at a position.
func (b *bench) publishes(t *testing.T, what string, p l2.Publication, least coherence.Position, want, fails bool) {
	t.Helper()
	needed := map[int]l2.Watermark{}
	for bucket, w := range p.Needed {
		if !least.IsZero() {
			w.Position = least
		}
		needed[bucket] = w
	}
	p.Seen, p.Needed = p.Next, needed
	p.Next.Number++
	done, err := b.PublishRounds(ctx(), []l2.Publication{p})
	if done[0] != want || (err != nil) != fails || fails && !l2.Answered(err) {
		t.Errorf("%s: published %v with error %v, want %v, and an error for an answer: %v", what, done[0], err, want,
			fails)
	}
}

// TestCluster_AChangeWaitsForItsSlot: half of a bucket's keys are on the way to another node, so its script is to come
// again. It does, and arrives when the move is over. A lease does not wait.
func TestCluster_AChangeWaitsForItsSlot(t *testing.T) {
	if local.RedisMajor(t.Context()) < 7 {
		t.Skip("before Redis 7 the source of a slot says ASK and its target TRYAGAIN, until the command's time is over")
	}
	b, nodes := newClusterBench(t, 2)
	ctx, stop := context.WithTimeout(ctx(), 10*time.Second)
	defer stop()
	b.beat()
	b.fillMany(1)
	b.k = b.Keyspace().Key("n", "0")
	slot := nodes[0].Do("CLUSTER", "KEYSLOT", b.k.Record)
	n, err := strconv.Atoi(slot)
	if err != nil {
		t.Fatal(err)
	}
	from := n * len(nodes) / 16384
	source, target := nodes[from], nodes[1-from]
	target.Do("CLUSTER", "SETSLOT", slot, "IMPORTING", source.Do("CLUSTER", "MYID"))
	source.Do("CLUSTER", "SETSLOT", slot, "MIGRATING", target.Do("CLUSTER", "MYID"))
	if _, err := b.Acquire(ctx, b.k, l2.NewLeaseID(), time.Second, l2.AcquireOptions{}); !l2.Migrating(err) {
		t.Fatalf("a lease: got error %v, want TRYAGAIN at once", err)
	}
	done := make(chan error, 2)
	go func() { done <- b.Apply(ctx, b.k, 2) }()
	go func() { done <- b.ApplyMany(ctx, []l2.Change{{Key: b.k, Version: 3}}) }()
	testkit.Eventually(t, "the changes are refused", func() bool {
		return strings.Contains(source.Do("INFO", "errorstats"), "errorstat_TRYAGAIN:count=3")
	})
	host, port, err := net.SplitHostPort(target.Addr)
	if err != nil {
		t.Fatal(err)
	}
	source.Do("MIGRATE", host, port, b.k.Record, "0", "1000")
	for _, node := range []*servicestest.RedisProcess{target, source} {
		node.Do("CLUSTER", "SETSLOT", slot, "NODE", target.Do("CLUSTER", "MYID"))
	}
	for range 2 {
		if err := <-done; err != nil {
			t.Errorf("a change: %v", err)
		}
	}
	testkit.Eventually(t, "the old record has gone", func() bool {
		raw, _, err := b.Get(ctx, b.k, l2.ReadOptions{Watermark: true})
		return err == nil && raw == nil
	})
}
