package nearcache_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/nearcache/nearcache-go/internal/l2"
	"github.com/nearcache/nearcache-go/internal/services/servicestest"
	"github.com/nearcache/nearcache-go/internal/testkit"
	"github.com/nearcache/nearcache-go/nearcache"
	"github.com/nearcache/nearcache-go/tier"
)

// wires count the commands to each node of a Cluster. The nodes that are tapped must be known beforehand.
type wires map[string]*wire

func (w wires) option(addr string) rueidis.ClientOption {
	var d net.Dialer
	return rueidis.ClientOption{InitAddress: []string{addr}, DialCtxFn: func(ctx context.Context, addr string,
		_ *net.Dialer, _ *tls.Config) (net.Conn, error) {
		conn, err := d.DialContext(ctx, "tcp", addr)
		if err != nil {
			return nil, err
		}
		return &tapped{conn, w[addr]}, nil
	}}
}

// TestCluster_CostAndProof runs an instance with a bound, and a relay, on a real Cluster. An interval costs the relay
// at most three commands on each node, and the instance one for each heartbeat, however many buckets there are; and it
// proves the bound.
func TestCluster_CostAndProof(t *testing.T) {
	for _, buckets := range []int{l2.DefaultBuckets, 1024} {
		t.Run(fmt.Sprint(buckets, " buckets"), func(t *testing.T) { costAndProof(t, buckets) })
	}
}

func costAndProof(t *testing.T, buckets int) {
	nodes := servicestest.StartCluster(t, 3)
	ofInstance, ofRelay := wires{}, wires{}
	for _, n := range nodes {
		ofInstance[n.Addr], ofRelay[n.Addr] = &wire{}, &wire{}
	}
	f := &relayed{src: &counting{commits: &commits{source: newSource()}}, interval: 100 * time.Millisecond}
	client, err := nearcache.New(nearcache.Config{Redis: ofInstance.option(nodes[0].Addr), Buckets: buckets,
		Source: f.src})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	const bound = 2 * time.Second // also on a machine that has other work
	f.Cache = newCache(t, client, nearcache.Options[string, string]{Load: f.src.load, MaxStaleness: bound})
	store, err := tier.Open(tier.Config{Redis: ofRelay.option(nodes[0].Addr), Buckets: buckets})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	defer f.relays(t.Context(), store)()

	lookerOption := rueidis.ClientOption{InitAddress: []string{nodes[0].Addr}}
	looker, err := tier.Open(tier.Config{Redis: lookerOption, Buckets: buckets})
	if err != nil {
		t.Fatal(err)
	}
	defer looker.Close()
	engine := l2.FromHandle(looker.Handle())
	number := func() uint64 {
		rounds, err := engine.LastRounds(t.Context(), l2.SetOf(l2.RoundBucket))
		if err != nil {
			return 0
		}
		return rounds[l2.RoundBucket].Number
	}
	for i := range 20 {
		f.src.write(fmt.Sprint(i), "old")
		resident(t, f.Cache, fmt.Sprint(i))
	}
	begun := number()
	testkit.Eventually(t, "the instance goes by the rounds", func() bool { return number() > begun+10 })

	begun = number()
	f.src.positions.Store(0)
	for _, n := range nodes {
		ofInstance[n.Addr].commands()
		ofRelay[n.Addr].commands()
	}
	testkit.Eventually(t, "fifty rounds", func() bool { return number() >= begun+50 })
	rounds := int(number() - begun)
	beats := map[string]int{}
	for _, n := range nodes {
		all, by := ofInstance[n.Addr].commands()
		t.Logf("in %d rounds, an instance and %s: %v", rounds, n.Addr, by)
		beats[n.Addr] = by["GETEX"]
		if other := all - by["GETEX"]; other > 10 {
			t.Errorf("got %d commands of an instance besides its heartbeats: %v", other, by)
		}
		all, by = ofRelay[n.Addr].commands()
		t.Logf("in %d rounds, the relay and %s: %v", rounds, n.Addr, by)
		if all > 3*rounds {
			t.Errorf("got %d commands of the relay in %d rounds, want at most 3 in each: %v", all, rounds, by)
		}
	}
	for addr, n := range beats {
		if first := beats[nodes[0].Addr]; max(n-first, first-n) > rounds/4 { // a node that is late misses a heartbeat
			t.Errorf("got %d reads on %s and %d on another node, want one in each heartbeat", n, addr, first)
		}
	}
	// TestRounds_CostOfAnIdleInstance says never, on fake time. Here a round may be late.
	if n := int(f.src.positions.Load()); n > rounds/10 {
		t.Errorf("the instance has asked the source for its position %d times in %d rounds", n, rounds)
	}

	for i := range 20 {
		f.src.write(fmt.Sprint(i), "new")
	}
	for i := range 20 {
		testkit.Eventually(t, "the new value", func() bool { return get(t, f.Cache, fmt.Sprint(i)).Value == "new" })
	}
	nodes[1].Kill()
	nodes[1].Restart()
	for i := range 20 {
		f.src.write(fmt.Sprint(i), "newer")
	}
	for i := range 20 {
		key := fmt.Sprint(i)
		testkit.Eventually(t, "the newer value", func() bool { return get(t, f.Cache, key).Value == "newer" })
		resident(t, f.Cache, key)
	}
}
