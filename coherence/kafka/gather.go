package kafka

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/nearcache/nearcache-go/coherence/internal/tailing"
)

// gatherer sends requests about many partitions in few: those for one leader that come together go together. kafka-go
// opens a connection for each request that is under way, so a request for each partition of a topic of a hundred
// partitions would be a hundred connections, and as many wake-ups, in each process.
type gatherer[Q gathered, A any] struct {
	// exchange sends one request to a leader, and returns an answer for each part, in order. The broker may hold the
	// request for so long while it has nothing to answer.
	exchange func(ctx context.Context, leader int32, parts []Q, hold time.Duration) ([]A, error)
	underWay int           // requests of a kind for a leader at most
	wait     time.Duration // how long a request waits for other parts to join it
	maxBytes int           // of one request
	polls    *polls[A]     // nil: no request is held

	mu      sync.Mutex
	queues  map[queueName]*queue[Q, A]
	life    context.Context // of the requests; nil: none has been sent
	end     context.CancelFunc
	closed  bool
	sending sync.WaitGroup
}

// gathered is a part of a request.
type gathered interface {
	// name is the partition. A request has one part of each.
	name() partitionName
	// kind is what all parts of a request have in common.
	kind() bool
	// bytes is what the part takes in a request.
	bytes() int
	// longest is how long the part may wait for an answer that tells something.
	longest() time.Duration
}

type partitionName struct {
	topic     string
	partition int
}

// queueName is a leader and a kind: requests of one kind never wait for those of another.
type queueName struct {
	leader int32
	kind   bool
}

// queue are the parts of a kind that wait to be sent to a broker.
type queue[Q gathered, A any] struct {
	waiting  []*pending[Q, A]
	underWay int
	pausing  bool // a request waits for parts that may join it
	last     int  // parts of the last request
	turn     int  // rotates the parts: a broker fills an answer in the order of the request
	polling  polling
}

type pending[Q gathered, A any] struct {
	part  Q
	ctx   context.Context
	until time.Time       // from then on it is answered with whatever there is
	done  chan outcome[A] // buffered
}

type outcome[A any] struct {
	answer A
	err    error
}

// do sends a part, and returns what comes of it, or when ctx ends.
func (g *gatherer[Q, A]) do(ctx context.Context, leader int32, part Q) (answer A, err error) {
	p := &pending[Q, A]{part, ctx, time.Now().Add(part.longest()), make(chan outcome[A], 1)}
	g.add(leader, p)
	select {
	case out := <-p.done:
		return out.answer, out.err
	case <-ctx.Done():
		return answer, ctx.Err()
	}
}

func (g *gatherer[Q, A]) add(leader int32, p *pending[Q, A]) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		p.done <- outcome[A]{err: errClosed}
		return
	}
	if g.life == nil {
		g.life, g.end = context.WithCancel(context.Background())
	}
	name := queueName{leader, p.part.kind()}
	q := g.queues[name]
	if q == nil {
		if g.queues == nil {
			g.queues = make(map[queueName]*queue[Q, A])
		}
		q = &queue[Q, A]{}
		g.queues[name] = q
	}
	q.waiting = append(q.waiting, p)
	q.polling.joins(p.part.name())
	g.start(leader, q)
}

// start sends what waits, if one more request may be under way. The caller holds mu.
func (g *gatherer[Q, A]) start(leader int32, q *queue[Q, A]) {
	if len(q.waiting) == 0 || q.pausing || q.underWay >= g.underWay || g.closed {
		return
	}
	q.underWay++
	q.pausing = true
	alone := len(q.waiting) == 1 && q.last <= 1
	g.sending.Go(func() { g.send(leader, q, alone) })
}

// close ends what waits and the requests that are under way, and waits for their goroutines.
func (g *gatherer[Q, A]) close() {
	g.mu.Lock()
	g.closed = true
	for _, q := range g.queues {
		for _, p := range q.waiting {
			p.done <- outcome[A]{err: errClosed}
		}
		q.waiting = nil
	}
	if g.end != nil {
		g.end()
	}
	g.mu.Unlock()
	g.sending.Wait()
}

// errClosed is what is asked for after the end.
var errClosed = errors.New("kafka: closed")

// send sends what waits. It first waits a moment for more: a poll for those that are about to ask again, another
// request for any, unless the leader has had requests for one partition only.
func (g *gatherer[Q, A]) send(leader int32, q *queue[Q, A], alone bool) {
	switch {
	case g.polls != nil:
		g.awaitJoining(q)
	case !alone:
		tailing.Pause(g.life, g.wait)
	}
	g.mu.Lock()
	q.pausing = false
	batch := q.take(g.maxBytes)
	q.last = len(batch)
	var p *poll
	if g.polls != nil && len(batch) > 0 {
		p = q.polling.begin(names(batch), shortest(batch), q.underWay >= g.underWay)
	}
	g.start(leader, q) // with what did not fit
	g.mu.Unlock()
	if len(batch) > 0 {
		g.answer(leader, q, batch, p)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	q.underWay--
	g.start(leader, q)
}

// take takes what can be in one request, and what somebody still waits for. The caller holds the gatherer's mu.
func (q *queue[Q, A]) take(maxBytes int) (batch []*pending[Q, A]) {
	taken := make(map[partitionName]bool, len(q.waiting))
	var rest []*pending[Q, A]
	size := 0
	for _, p := range q.waiting {
		n := p.part.bytes()
		switch {
		case p.ctx.Err() != nil:
		case taken[p.part.name()], len(batch) > 0 && size+n > maxBytes:
			rest = append(rest, p)
		default:
			taken[p.part.name()] = true
			size += n
			batch = append(batch, p)
		}
	}
	q.waiting = rest
	if q.turn++; len(batch) > 1 {
		n := q.turn % len(batch)
		batch = append(batch[n:len(batch):len(batch)], batch[:n]...)
	}
	return batch
}

// connectionLimit is when a connection that does not answer is given up. kafka-go looks at a deadline, and at nothing
// else, while it waits for a broker.
const connectionLimit = 30 * time.Second

// answer sends one request, and hands out what it brings. The request ends when nobody waits for it any more. p is nil
// for one that the broker does not hold.
func (g *gatherer[Q, A]) answer(leader int32, q *queue[Q, A], batch []*pending[Q, A], p *poll) {
	ctx, cancel := context.WithTimeout(g.life, connectionLimit)
	defer cancel()
	var left sync.WaitGroup
	left.Add(len(batch))
	parts := make([]Q, len(batch))
	for i, p := range batch {
		parts[i] = p.part
		stop := context.AfterFunc(p.ctx, left.Done)
		defer func() {
			if stop() {
				left.Done()
			}
		}()
	}
	g.sending.Go(func() {
		left.Wait()
		cancel()
	})
	var hold time.Duration
	if p != nil {
		hold = p.hold
	}
	answers, err := g.exchange(ctx, leader, parts, hold)
	if p != nil {
		batch, answers = g.endPoll(q, p, batch, answers, err)
	}
	for i, p := range batch {
		if err != nil {
			p.done <- outcome[A]{err: err}
		} else {
			p.done <- outcome[A]{answer: answers[i]}
		}
	}
}

func names[Q gathered, A any](batch []*pending[Q, A]) []partitionName {
	all := make([]partitionName, len(batch))
	for i, p := range batch {
		all[i] = p.part.name()
	}
	return all
}
