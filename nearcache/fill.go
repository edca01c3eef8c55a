package nearcache

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/nearcache/nearcache-go/internal/l2"
)

// fill is a loaded record on its way to L2.
type fill[K comparable, V any] struct {
	f   *flight[K, V]
	rec *l2.Record
	ttl time.Duration
}

// Bounds of what goes to L2 in one pipeline.
const (
	pipelineFills = 64
	pipelineBytes = 1 << 20 // of payload; a larger record goes alone
)

// fillQueue sends loaded records to L2. A request of its own for each record would cost more processor time than all
// other parts of a fill: a write to the connection, and two goroutines to wake. The readers of a fill have their value
// already. So while one pipeline of fills to a node is under way, those to the same node that come meanwhile wait for
// its end, and go together in the next one:
//
//	A: no pipeline is under way; sends its fill
//	B, C: wait                                   A: has its answer; B has the turn
//	                                             B: sends its own fill and C's; C is done
//
// So each goroutine sends one pipeline at most, whatever comes after it. A node that does not answer delays no fill of
// another.
type fillQueue[K comparable, V any] struct {
	send func(fills []fill[K, V]) // in one pipeline

	mu      sync.Mutex
	waiting map[*l2.Node][]*queuedFill[K, V] // by node; a node is there while a pipeline to it is under way
}

// queuedFill is that of a goroutine which waits for its turn.
type queuedFill[K comparable, V any] struct {
	fill fill[K, V]
	turn chan bool // true: send what waits; false: it was sent
}

// do returns when the fill has been sent to a node.
func (q *fillQueue[K, V]) do(node *l2.Node, x fill[K, V]) {
	q.mu.Lock()
	before, underWay := q.waiting[node]
	if !underWay {
		if q.waiting == nil {
			q.waiting = make(map[*l2.Node][]*queuedFill[K, V])
		}
		q.waiting[node] = nil
		q.mu.Unlock()
		defer q.pass(node)
		q.send([]fill[K, V]{x})
		return
	}
	own := &queuedFill[K, V]{x, make(chan bool, 1)}
	q.waiting[node] = append(before, own)
	q.mu.Unlock()
	if first := <-own.turn; !first {
		return
	}
	defer q.pass(node)
	batch := q.take(node)
	fills := make([]fill[K, V], len(batch))
	for i, w := range batch {
		fills[i] = w.fill
	}
	defer func() {
		for _, w := range batch[1:] {
			w.turn <- false
		}
	}()
	q.send(fills)
}

// pass ends a pipeline. It gives the turn to the first that waits.
func (q *fillQueue[K, V]) pass(node *l2.Node) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if waiting := q.waiting[node]; len(waiting) > 0 {
		waiting[0].turn <- true
	} else {
		delete(q.waiting, node)
	}
}

// take removes what goes in one pipeline from those that wait: the first, whose turn it is, and those behind it.
func (q *fillQueue[K, V]) take(node *l2.Node) (batch []*queuedFill[K, V]) {
	q.mu.Lock()
	defer q.mu.Unlock()
	waiting := q.waiting[node]
	n, bytes := 0, 0
	for _, w := range waiting[:min(len(waiting), pipelineFills)] {
		if bytes += len(w.fill.rec.Payload); n > 0 && bytes > pipelineBytes {
			break
		}
		n++
	}
	batch = append(batch, waiting[:n]...)
	rest := copy(waiting, waiting[n:])
	clear(waiting[rest:])
	q.waiting[node] = waiting[:rest]
	return batch
}

// fillL2 offers records to L2. Whatever becomes of a fill, its lease is settled when fillL2 returns.
func (c *Cache[K, V]) fillL2(fills []fill[K, V]) {
	switch len(fills) {
	case 0:
	case 1:
		c.fills.do(c.client.l2.Node(fills[0].f.key.Bucket), fills[0])
	default:
		c.sendFills(fills)
	}
}

// traceFills is fillL2 in a span of the load's trace. The span covers the wait for a pipeline that is under way.
func (c *Cache[K, V]) traceFills(ctx context.Context, fills []fill[K, V]) {
	if len(fills) == 0 {
		return
	}
	_, s := c.trace(ctx, opFill, len(fills))
	c.fillL2(fills)
	s.end(nil)
}

// sendFills offers records to L2 in one pipeline for each node, and settles their leases.
func (c *Cache[K, V]) sendFills(fills []fill[K, V]) {
	b, ctx := &c.client.breaker, c.client.life // the loads of a batch have no context in common
	var offered []l2.FillResponse
	if len(fills) == 1 {
		x := fills[0]
		var one [1]l2.FillResponse
		one[0].Err = b.ask(ctx, c.node(x.f.key), func(ctx context.Context) (err error) {
			l := x.f.lease.lease
			one[0].Result, err = c.client.l2.Fill(ctx, x.f.key, l.ID, l.Incarnation, *x.rec, x.ttl)
			return err
		})
		offered = one[:]
	} else {
		all, nodes := make([]l2.FillRequest, len(fills)), make([]*l2.Node, len(fills))
		for i, x := range fills {
			l := x.f.lease.lease
			nodes[i] = c.node(x.f.key)
			all[i] = l2.FillRequest{Key: x.f.key, ID: l.ID, Incarnation: l.Incarnation, Record: *x.rec, TTL: x.ttl}
		}
		offered = askMany(ctx, b, batchOf[l2.FillResponse]{c.client.now(), b.timeout, nodes,
			func(ctx context.Context, at []int) []l2.FillResponse {
				return c.client.l2.FillMany(ctx, pick(all, at))
			}, func(o *l2.FillResponse) *error { return &o.Err }})
	}
	for i, o := range offered {
		c.settleFill(ctx, fills[i].f, o)
	}
}

// settleFill ends the lease of a fill that was offered to L2.
func (c *Cache[K, V]) settleFill(ctx context.Context, f *flight[K, V], o l2.FillResponse) {
	h := f.lease
	switch {
	case errors.Is(o.Err, l2.ErrInvalid):
		c.m.fills("invalid").Inc()
		c.declareUncacheable(ctx, h)
	case o.Err != nil:
		c.m.fills("unavailable").Inc()
		c.release(ctx, h)
	case o.Result == l2.TooLarge:
		c.m.fills(o.Result.String()).Inc()
		c.declareUncacheable(ctx, h)
	default:
		c.m.fills(o.Result.String()).Inc()
		h.settle()
		f.filled = o.Result == l2.Filled
	}
}
