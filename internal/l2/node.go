package l2

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"
)

// Node is one server of Redis, by the address at which it was dialled. What fails at one says nothing about the others.
type Node struct {
	addr   string // "": the node is not known yet, or the command may go to any
	silent atomic.Bool
	health []health // by operation
	gets   getBatches

	mu    sync.Mutex
	conns map[*routedConn]struct{}
	said  time.Time // when the log last said that the node is silent; zero: it has said since that it answers
}

// The operations that have a health of their own at each node. The scripts follow.
const (
	opReads  = iota // of records and leases, on the tracking connection
	opMarks         // of watermarks and rounds, which Redis counts among the writes
	opOthers        // of what no script does
	opScripts
)

const (
	// sayAgain is how long the log does not repeat that a node is silent. One that answers now and then would fill it.
	sayAgain = 10 * time.Second
	// dropAge is how old a connection to a node that has become a replica is at least before it is closed.
	dropAge = time.Second
	// maxNodes bounds the addresses that are remembered, in a network that gives each new server a new one.
	maxNodes = 256
)

// Addr is the node's address, "" if it is not known.
func (n *Node) Addr() string { return n.addr }

func (n *Node) add(c *routedConn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.conns == nil {
		n.conns = make(map[*routedConn]struct{})
	}
	n.conns[c] = struct{}{}
}

func (n *Node) remove(c *routedConn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.conns, c)
}

// drop closes the connections to the node. One that was dialled lately leads where a new one would.
func (n *Node) drop() (dropped bool) {
	n.mu.Lock()
	var old []*routedConn
	for c := range n.conns {
		if time.Since(c.born) >= dropAge {
			old = append(old, c)
		}
	}
	n.mu.Unlock()
	for _, c := range old {
		_ = c.Close()
	}
	return len(old) > 0
}

// mayWarn reports whether the log is to say that the node is silent.
func (n *Node) mayWarn() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if time.Since(n.said) < sayAgain {
		return false
	}
	n.said = time.Now()
	return true
}

// nodes are those that were dialled.
type nodes struct {
	mu   sync.Mutex
	by   map[string]*Node
	none *Node // stands for those that are not known
	ops  int
}

func newNodes(ops int) *nodes {
	return &nodes{by: make(map[string]*Node), none: &Node{health: make([]health, ops)}, ops: ops}
}

// at is the node of an address.
func (ns *nodes) at(addr string) *Node {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	n := ns.by[addr]
	if n == nil {
		if len(ns.by) >= maxNodes {
			clear(ns.by)
		}
		n = &Node{addr: addr, health: make([]health, ns.ops)}
		ns.by[addr] = n
	}
	return n
}

// Node is the node that the bucket's commands go to, as far as the last one tells. It is never nil: all buckets that
// nothing is known of share a node without an address.
func (l *L2) Node(bucket int) *Node {
	if n := l.routes.node(bucket); n != nil {
		return n
	}
	return l.nodes.none
}

// NodeBuckets are the buckets of one node.
type NodeBuckets struct {
	Node    *Node
	Buckets BucketSet
}

// Nodes are all buckets, by the nodes that their last commands went to.
func (l *L2) Nodes() (all []NodeBuckets) {
	at := make(map[*Node]int)
	i := -1
	for b := range l.keys.Buckets() {
		if n := l.Node(b); i < 0 || all[i].Node != n { // neighbours mostly have one node
			var known bool
			if i, known = at[n]; !known {
				i, at[n] = len(all), len(all)
				all = append(all, NodeBuckets{Node: n})
			}
		}
		all[i].Buckets.Add(b)
	}
	return all
}

// failed sorts an error of a command to a node: what Redis answered, or that it did not.
func (l *L2) failed(n *Node, op int, err error) error {
	nothing := err == nil || rueidis.IsRedisNil(err)
	if f, begun := n.health[op].note(err, l.errors); f != nil {
		l.react(n, f, begun)
	}
	if nothing {
		l.answers(n, op)
		return nil
	}
	if _, answered := rueidis.IsRedisErr(err); !answered && !errors.Is(err, context.Canceled) {
		if n.silent.CompareAndSwap(false, true) && n.mayWarn() {
			l.log.Warn("Redis does not answer", "node", n.addr, "error", err)
		}
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}

// answers says that a node has answered. Whatever was noted before the node was known is over with that.
func (l *L2) answers(n *Node, op int) {
	if n != l.nodes.none {
		l.nodes.none.health[op].note(nil, nil)
		if l.nodes.none.silent.Load() {
			l.nodes.none.silent.Store(false)
		}
	}
	if !n.silent.Load() || !n.silent.CompareAndSwap(true, false) {
		return
	}
	if l.onAnswer != nil {
		l.onAnswer(n)
	}
	n.mu.Lock()
	said := !n.said.IsZero()
	n.said = time.Time{}
	n.mu.Unlock()
	if said {
		l.log.Info("Redis answers again", "node", n.addr)
	}
}

// react does what a fault of a node calls for, which has begun now or lasts.
//
// A server that takes no writes takes no invalidations: it pushes none, whatever changes. So tracking vouches for
// nothing that was read there. A server that has become a replica gets new connections besides: behind a stable address
// another one may be the primary now, and the old connections would lead to the replica for ever.
func (l *L2) react(n *Node, f *Fault, begun bool) {
	if begun && f.Doubt && l.routes.tracker != nil {
		var of BucketSet
		for b := range l.keys.Buckets() {
			if l.routes.node(b) == n {
				of.Add(b)
			}
		}
		if !of.IsZero() {
			l.routes.tracker.SessionChanged(of)
		}
	}
	if f.Demoted && n.drop() {
		l.log.Warn("a server of Redis is no primary any more; connecting again", "node", n.addr, "error", f.Err)
	}
}
