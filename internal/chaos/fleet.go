//go:build unix

package chaos

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/nearcache/nearcache-go/internal/l2"
	"github.com/nearcache/nearcache-go/internal/services/local"
)

// What a run can have as Redis.
const (
	redisSingle   = "single"   // a primary and a replica, which the controller promotes
	redisSentinel = "sentinel" // a primary, two replicas, three Sentinels
	redisCluster  = "cluster"  // three primaries with a replica each
)

const (
	masterName = "primary" // by which Sentinels know it
	nodeDown   = time.Second
	slots      = 16384 // of a Cluster
)

// nodes are the servers of a Sentinel's or a Cluster's Redis. Members find their ways to them by themselves; so each
// has a link to each node, and dials the link where it would have dialled the node.
type nodes struct {
	cluster   bool
	all       []*local.Server
	sentinels []*local.Server
	asked     []string // of a Cluster: a key of each shard
}

// startNodes starts them, and waits until each primary has what it needs to fail over.
func startNodes(ctx context.Context, dir, kind string) (n *nodes, err error) {
	n = &nodes{cluster: kind == redisCluster}
	count := 3
	if n.cluster {
		count = 6
	}
	var buses []string
	for i := range count {
		args := []string{"--repl-diskless-sync-delay", "0", "--repl-timeout", "5"}
		if n.cluster {
			bus, err := free()
			if err != nil {
				return n, err
			}
			buses = append(buses, bus)
			args = append(args, "--cluster-enabled", "yes", "--cluster-port", bus, "--cluster-node-timeout",
				strconv.FormatInt(nodeDown.Milliseconds(), 10), "--cluster-replica-validity-factor", "0",
				"--cluster-require-full-coverage", "no")
		}
		s, err := startIn(dir, fmt.Sprint("redis-", i), func(d string) (*local.Server, error) {
			return local.StartRedis(ctx, d, local.Launch{}, args...)
		})
		if err != nil {
			return n, err
		}
		n.all = append(n.all, s)
	}
	if n.cluster {
		err = n.join(ctx, buses)
	} else {
		err = n.watch(ctx, dir)
	}
	if err != nil {
		return n, err
	}
	return n, n.settled(ctx)
}

func startIn(dir, name string, start func(string) (*local.Server, error)) (*local.Server, error) {
	d := filepath.Join(dir, name)
	if err := os.MkdirAll(d, 0o755); err != nil {
		return nil, fmt.Errorf("chaos: %w", err)
	}
	return start(d)
}

// free is a port for a node's bus.
func free() (string, error) {
	addr, err := freeAddress()
	_, port := split(addr)
	return port, err
}

// freeAddress is an address that nobody listens on.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("chaos: %w", err)
	}
	return l.Addr().String(), l.Close()
}

// watch makes the nodes a primary and its replicas, and starts Sentinels.
func (n *nodes) watch(ctx context.Context, dir string) error {
	host, port := split(n.all[0].Addr)
	for _, replica := range n.all[1:] {
		if _, err := local.RedisDo(ctx, replica.Addr, "REPLICAOF", host, port); err != nil {
			return err
		}
	}
	for i := range 3 {
		s, err := startIn(dir, fmt.Sprint("sentinel-", i), func(d string) (*local.Server, error) {
			return local.StartSentinel(ctx, d, local.Launch{}, masterName, n.all[0].Addr, 2, nodeDown)
		})
		if err != nil {
			return err
		}
		n.sentinels = append(n.sentinels, s)
	}
	return nil
}

// join makes the nodes a Cluster: the first half share the slots, and the others follow them.
func (n *nodes) join(ctx context.Context, buses []string) error {
	half := len(n.all) / 2
	for i, s := range n.all[:half] {
		first, last := i*slots/half, (i+1)*slots/half-1
		if _, err := local.RedisDo(ctx, s.Addr, "CLUSTER", "ADDSLOTSRANGE", strconv.Itoa(first),
			strconv.Itoa(last)); err != nil {
			return err
		}
	}
	for i, s := range n.all[1:] {
		host, port := split(s.Addr)
		if _, err := local.RedisDo(ctx, n.all[0].Addr, "CLUSTER", "MEET", host, port, buses[i+1]); err != nil {
			return err
		}
	}
	for i, s := range n.all[half:] {
		id, err := local.RedisDo(ctx, n.all[i].Addr, "CLUSTER", "MYID")
		if err != nil {
			return err
		}
		if err := until(ctx, 30*time.Second, "a node knows its primary", func() bool {
			_, err := local.RedisDo(ctx, s.Addr, "CLUSTER", "REPLICATE", id)
			return err == nil
		}); err != nil {
			return err
		}
	}
	return n.chooseAsked(ctx)
}

// chooseAsked finds a key of each shard that no cache has. No fault moves the slot of such a key.
func (n *nodes) chooseAsked(ctx context.Context) error {
	slotOf := func(key string) (int, error) {
		slot, err := local.RedisDo(ctx, n.all[0].Addr, "CLUSTER", "KEYSLOT", key)
		if err != nil {
			return 0, err
		}
		return strconv.Atoi(slot)
	}
	moves, buckets := make(map[int]bool), l2.NewKeyspace("")
	for i := range buckets.Buckets() {
		slot, err := slotOf(buckets.Watermark(i))
		if err != nil {
			return err
		}
		moves[slot] = true
	}
	n.asked = make([]string, len(n.all)/2)
	for i, found := 0, 0; found < len(n.asked); i++ {
		key := "ask:" + strconv.Itoa(i)
		slot, err := slotOf(key)
		if err != nil {
			return err
		}
		if shard := slot * len(n.asked) / slots; n.asked[shard] == "" && !moves[slot] {
			n.asked[shard] = key
			found++
		}
	}
	return nil
}

// info is what a node says of its replication, "" if it does not answer.
func (n *nodes) info(ctx context.Context, s *local.Server) string {
	ctx, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
	defer cancel()
	info, err := local.RedisDo(ctx, s.Addr, "INFO", "replication")
	if err != nil {
		return ""
	}
	return info
}

// primaries are the nodes that take writes.
func (n *nodes) primaries(ctx context.Context) (out []*local.Server) {
	for _, s := range n.all {
		if contains(n.info(ctx, s), "role:master") {
			out = append(out, s)
		}
	}
	return out
}

// settled waits until every primary has a replica that follows it, and everybody agrees on who is who.
func (n *nodes) settled(ctx context.Context) error {
	want := 1
	if n.cluster {
		want = 3
	}
	return until(ctx, 60*time.Second, "each primary of Redis has its replicas", func() bool {
		masters := 0
		for _, s := range n.all {
			switch info := n.info(ctx, s); {
			case contains(info, "role:master") && !contains(info, "connected_slaves:0"):
				masters++
			case !contains(info, "master_link_status:up"):
				return false
			}
		}
		return masters == want && n.agreed(ctx)
	})
}

// agreed reports whether the nodes, or the Sentinels, see all that there is.
func (n *nodes) agreed(ctx context.Context) bool {
	if n.cluster {
		for _, s := range n.all {
			info, err := local.RedisDo(ctx, s.Addr, "CLUSTER", "INFO")
			known, e := local.RedisDo(ctx, s.Addr, "CLUSTER", "NODES")
			if err != nil || !contains(info, "cluster_state:ok") || !contains(info, "cluster_slots_ok:16384") ||
				!contains(info, fmt.Sprint("cluster_known_nodes:", len(n.all))) ||
				e != nil || strings.Contains(known, "[") { // a slot on its way
				return false
			}
		}
		return true
	}
	primary := ""
	for _, s := range n.sentinels {
		at, err := local.RedisDo(ctx, s.Addr, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", masterName)
		known, e := local.RedisDo(ctx, s.Addr, "SENTINEL", "REPLICAS", masterName)
		if err != nil || e != nil || primary != "" && at != primary || strings.Contains(known, "s_down") ||
			strings.Contains(known, "disconnected") {
			return false
		}
		primary = at
	}
	now := n.primaries(ctx)
	if len(now) != 1 {
		return false
	}
	_, port := split(now[0].Addr)
	return contains(primary, port)
}

// option leads to all of them.
func (n *nodes) option() (o redisTo) {
	o.Asked = n.asked
	for _, s := range n.all {
		o.Nodes = append(o.Nodes, s.Addr)
	}
	for _, s := range n.sentinels {
		o.Sentinels = append(o.Sentinels, s.Addr)
	}
	return o
}

// redisTo says how a member finds the nodes.
type redisTo struct {
	Nodes     []string
	Sentinels []string
	Via       map[string]string // the link to each node
	Asked     []string          // a key of each shard, if there are shards
}

// apply turns an option for one server into one for these.
func (to *redisTo) apply(o rueidis.ClientOption) rueidis.ClientOption {
	if len(to.Nodes) == 0 {
		return o
	}
	o.InitAddress = to.Nodes
	if len(to.Sentinels) > 0 {
		o.InitAddress = to.Sentinels
		o.Sentinel = rueidis.SentinelOption{MasterSet: masterName, Dialer: o.Dialer}
	}
	o.DialCtxFn = to.dial
	return o
}

// openL2 opens L2 past all links.
func (b *cluster) openL2() (*l2.L2, error) {
	o := rueidis.ClientOption{}
	if b.nodes != nil {
		to := b.nodes.option()
		o = to.apply(o)
	} else {
		o.InitAddress = []string{b.redis.Addr}
	}
	return l2.Open(l2.Config{Redis: o})
}

// toRedis is how a member finds Redis. Each member has a link to each node.
func (b *cluster) toRedis(member string) (to redisTo) {
	if b.nodes == nil {
		return to
	}
	to = b.nodes.option()
	to.Via = make(map[string]string)
	for _, addr := range to.Nodes {
		to.Via[addr] = b.links.of(member, nodeService(addr)).addr
	}
	return to
}

// nodeService names the link to a node.
func nodeService(addr string) service { return redisService + service("@"+addr) }

func (n *nodes) close() {
	for _, s := range append(n.all, n.sentinels...) {
		s.Discard()
	}
}

// addNodeLinks makes a member's links to the nodes.
func (b *cluster) addNodeLinks(member string) (err error) {
	if b.nodes == nil {
		return nil
	}
	for _, s := range b.nodes.all {
		err = errors.Join(err, b.links.add(member+"/"+string(nodeService(s.Addr)), b.hosts[member].listen(), s.Addr))
	}
	return err
}

// dial goes to the link of a node.
func (to *redisTo) dial(ctx context.Context, addr string, d *net.Dialer, _ *tls.Config) (net.Conn, error) {
	if link := to.Via[addr]; link != "" {
		addr = link
	}
	return d.DialContext(ctx, "tcp", addr)
}
