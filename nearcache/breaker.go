package nearcache

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nearcache/nearcache-go/internal/l2"
)

// breakerLimit is how many reads of Redis in a row must fail, or take too long, for the breaker to open.
const breakerLimit = 5

var errBreakerOpen = fmt.Errorf("%w: the circuit breaker is open", l2.ErrUnavailable)

// breaker keeps a node of Redis that is slow, or gone, from slowing every read of its keys. Each waits for it at most
// for timeout, and after breakerLimit failures in a row none does. The heartbeat goes on, and lets reads ask again when
// the node answers in time. So no read is spent on trying. The keys of other nodes are read as ever.
//
// The questions of the read pipeline go through it: for records, leases and fills. So do writes where a Source's relay
// carries the change too. Other writes must reach Redis, and do not.
type breaker struct {
	timeout  time.Duration
	log      *slog.Logger
	onOpen   func()
	inFlight requests

	circuits sync.Map // *l2.Node to *circuit
}

// circuit is what the breaker knows of a node.
type circuit struct {
	node   *l2.Node
	failed atomic.Int32
	opened atomic.Bool
	said   atomic.Int64 // when the log last said that reads pass it over, by the client's clock; 0: never
	told   atomic.Bool  // and has not said since that they ask it again
}

// sayAgain is how long the log does not name a node again that reads pass over now and then.
const sayAgain = int64(10 * time.Second)

// maySay reports whether the log is to say that reads pass the node over.
func (c *circuit) maySay(now int64) bool {
	last := c.said.Load()
	return (last == 0 || now-last > sayAgain) && c.said.CompareAndSwap(last, now)
}

// of is the circuit of a node.
func (b *breaker) of(n *l2.Node) *circuit {
	if c, ok := b.circuits.Load(n); ok {
		return c.(*circuit)
	}
	c, _ := b.circuits.LoadOrStore(n, &circuit{node: n})
	return c.(*circuit)
}

// openAt are the addresses of the nodes that reads pass over.
func (b *breaker) openAt() (addrs []string) {
	b.circuits.Range(func(n, c any) bool {
		if c.(*circuit).opened.Load() {
			addr := n.(*l2.Node).Addr()
			if addr == "" {
				addr = "a node that is not known yet"
			}
			addrs = append(addrs, addr)
		}
		return true
	})
	slices.Sort(addrs)
	return addrs
}

// anyOpen reports whether reads pass over a node.
func (b *breaker) anyOpen() bool { return len(b.openAt()) > 0 }

// keep forgets the nodes that have no bucket any more.
func (b *breaker) keep(parts []l2.NodeBuckets) {
	b.circuits.Range(func(n, _ any) bool {
		if !slices.ContainsFunc(parts, func(p l2.NodeBuckets) bool { return p.Node == n }) {
			b.circuits.Delete(n)
		}
		return true
	})
}

// ask runs a read of a node.
func (b *breaker) ask(ctx context.Context, n *l2.Node, f func(context.Context) error) error {
	return b.askSince(ctx, n, b.inFlight.now(), b.timeout, f)
}

// askSince is ask for a request that began at a moment of the client's clock and may take so long. A reader that gives
// up says nothing about Redis, and is not counted.
func (b *breaker) askSince(ctx context.Context, n *l2.Node, began int64, limit time.Duration,
	f func(context.Context) error) error {
	c := b.of(n)
	if c.opened.Load() {
		return errBreakerOpen
	}
	r := b.inFlight.begin(ctx, began, limit)
	answered := false
	defer func() { b.inFlight.end(r, answered) }()
	err := f(r)
	if answered = err == nil; answered || !errors.Is(r.Err(), context.Canceled) {
		b.heard(c, err)
	}
	return err
}

// batchOf is a request for several keys, each with an answer and a node of its own.
type batchOf[T any] struct {
	began int64
	limit time.Duration
	nodes []*l2.Node                              // of each key
	ask   func(ctx context.Context, at []int) []T // for some of the keys
	errOf func(*T) *error
}

// askMany is askSince for several keys. Those of nodes that reads pass over have that for an answer; the others are
// asked for at once. Each node is counted by itself: an answer that is unavailable counts as a failure.
func askMany[T any](ctx context.Context, b *breaker, q batchOf[T]) []T {
	out, at := make([]T, len(q.nodes)), make([]int, 0, len(q.nodes))
	worst := make(map[*circuit]error)
	for i, n := range q.nodes {
		c := b.of(n)
		if c.opened.Load() {
			*q.errOf(&out[i]) = errBreakerOpen
			continue
		}
		worst[c], at = nil, append(at, i)
	}
	if len(at) == 0 {
		return out
	}
	r := b.inFlight.begin(ctx, q.began, q.limit)
	answered := false
	defer func() { b.inFlight.end(r, answered) }()
	got := q.ask(r, at)
	answered = true
	for j, i := range at {
		out[i] = got[j]
		if err := *q.errOf(&out[i]); errors.Is(err, l2.ErrUnavailable) {
			worst[b.of(q.nodes[i])], answered = err, false
		}
	}
	if answered || !errors.Is(r.Err(), context.Canceled) {
		for c, err := range worst {
			b.heard(c, err)
		}
	}
	return out
}

// pick are the elements at some places.
func pick[T any](all []T, at []int) []T {
	if len(at) == len(all) {
		return all
	}
	some := make([]T, len(at))
	for j, i := range at {
		some[j] = all[i]
	}
	return some
}

// node is the node that has a key.
func (c *Cache[K, V]) node(key l2.Key) *l2.Node { return c.client.l2.Node(key.Bucket) }

// nodes are the nodes that have the keys of flights.
func (c *Cache[K, V]) nodes(of []*flight[K, V]) []*l2.Node {
	nodes := make([]*l2.Node, len(of))
	for i, f := range of {
		nodes[i] = c.node(f.key)
	}
	return nodes
}

// heard takes the result of a request, and counts failures in a row.
func (b *breaker) heard(c *circuit, err error) {
	switch {
	case l2.Migrating(err): // of one bucket
	case !errors.Is(err, l2.ErrUnavailable):
		if c.failed.Load() != 0 {
			c.failed.Store(0)
		}
	case c.failed.Add(1) >= breakerLimit && c.opened.CompareAndSwap(false, true):
		if c.maySay(b.inFlight.now()) {
			c.told.Store(true)
			b.log.Warn("reads pass over a node of Redis until it answers in time", "node", c.node.Addr(), "error", err)
		}
		b.onOpen()
	}
}

// beat takes the result of a heartbeat at a node. The heartbeat asks it whether or not reads pass it over.
func (b *breaker) beat(n *l2.Node, err error, took time.Duration) {
	c := b.of(n)
	if err == nil && took > b.timeout {
		err = fmt.Errorf("%w: a heartbeat took %v", l2.ErrUnavailable, took)
	}
	b.heard(c, err)
	if err == nil && c.opened.CompareAndSwap(true, false) {
		if c.told.CompareAndSwap(true, false) {
			b.log.Info("reads ask a node of Redis again", "node", c.node.Addr())
		}
	}
}
