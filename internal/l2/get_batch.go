package l2

import (
	"context"
	"runtime"
	"sync"

	"github.com/redis/rueidis"
)

// Reads of single keys that begin at about the same moment go to their node in one pipeline. A request of its own for
// each costs more processor time than all the rest of the read, here and in Redis: a write to the connection, a read of
// it, and a write of the reply.
//
// The first reader leads a batch. It yields the processor once, and those that run meanwhile may join. Then it sends
// the batch. So nothing waits for a timer, and where no other goroutine is ready to run nothing waits at all:
//
//	A: leads a batch; yields
//	                              B: joins; waits            C: joins; waits
//	A: sends the GETs of A, B, C; gives B and C their replies
//
// rueidis by itself sends almost each read alone: the goroutine that writes is the next to run after the reader.
//
// The pipeline has the context of its leader. If that one ends, the others ask again, each by itself.

// maxGetBatch bounds how many replies a reader waits for.
const maxGetBatch = 64

// After so many batches in a row that nobody has joined, a leader does not yield, except every aloneTries-th.
const (
	aloneLimit = 4
	aloneTries = 16
)

// getBatches are the batches of one node.
type getBatches struct {
	mu    sync.Mutex
	open  *getBatch // may be joined; nil: there is none
	alone int       // how many batches in a row nobody has joined
}

// getBatch belongs to its leader, the first of its members, once it is closed.
type getBatch struct{ members []*getMember }

// getMember is a read in a batch.
type getMember struct {
	key       Key
	watermark bool // the watermark of the key's bucket is read before the record
	reply     getReply
	again     bool          // there is no reply; the reader has to ask by itself
	done      chan struct{} // of one place: the reply is there
}

// getReply is what a node answered for one key.
type getReply struct{ watermark, record rueidis.RedisResult }

// member is a read's place in a batch.
func (l *L2) member(k Key, watermark bool) *getMember {
	m, ok := l.members.Get().(*getMember)
	if !ok {
		m = &getMember{done: make(chan struct{}, 1)}
	}
	m.key, m.watermark = k, watermark
	return m
}

// free keeps a member for another read. Nobody else may know of it any more.
func (l *L2) free(m *getMember) {
	*m = getMember{done: m.done}
	l.members.Put(m)
}

// place is what a read has in a batch.
type place uint8

const (
	placeMember place = iota
	placeLeader
	placeAlone // there is no batch: nobody would join it
)

// join adds a read to the open batch. If there is none, or it is full, the read leads a new one, or goes alone.
func (b *getBatches) join(m *getMember) (led *getBatch, p place) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.open != nil && len(b.open.members) < maxGetBatch {
		b.open.members = append(b.open.members, m)
		return nil, placeMember
	}
	if b.alone >= aloneLimit && b.alone%aloneTries != 0 {
		b.alone++
		return nil, placeAlone
	}
	b.open = &getBatch{members: []*getMember{m}}
	return b.open, placeLeader
}

// close lets nobody join any more.
func (b *getBatches) close(led *getBatch) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.open == led {
		b.open = nil
	}
	if len(led.members) > 1 {
		b.alone = 0
	} else {
		b.alone++
	}
}

// getOne reads a record on the tracking connection, and the watermark before it if that is asked for.
func (l *L2) getOne(ctx context.Context, c *clients, k Key, watermark bool) getReply {
	n := l.Node(k.Bucket)
	if n == l.nodes.none { // of its buckets each may have another node
		return l.getAlone(ctx, c, k, watermark)
	}
	m := l.member(k, watermark)
	led, p := n.gets.join(m)
	switch p {
	case placeMember:
		return l.awaitReply(ctx, c, m)
	case placeLeader:
		l.yield()
		n.gets.close(led)
		if len(led.members) > 1 {
			return l.sendBatch(ctx, c, led)
		}
	}
	l.free(m)
	return l.getAlone(ctx, c, k, watermark)
}

// awaitReply waits for what the leader gives a member.
func (l *L2) awaitReply(ctx context.Context, c *clients, m *getMember) getReply {
	select {
	case <-m.done:
	case <-ctx.Done(): // the leader still has m
		failed := rueidis.NewErrorResult(ctx.Err())
		return getReply{failed, failed}
	}
	k, watermark, reply, again := m.key, m.watermark, m.reply, m.again
	l.free(m)
	if again {
		return l.getAlone(ctx, c, k, watermark)
	}
	return reply
}

// sendBatch reads what a batch asks for, gives its members their replies, and returns the leader's own.
func (l *L2) sendBatch(ctx context.Context, c *clients, b *getBatch) getReply {
	given := 0
	defer func() { // also after a panic nobody waits for ever
		for _, m := range b.members[given:] {
			m.again = true
			m.done <- struct{}{}
		}
	}()
	cmds := make([]rueidis.Completed, 0, len(b.members))
	for _, m := range b.members {
		if m.watermark {
			cmds = append(cmds, l.readWatermark(c, m.key.Bucket))
		}
		cmds = append(cmds, c.tracking.B().Get().Key(m.key.Record).Build())
	}
	res := c.tracking.DoMulti(ctx, cmds...)
	ended := ctx.Err() != nil
	own := b.members[0]
	for _, m := range b.members {
		if m.watermark {
			m.reply.watermark, res = res[0], res[1:]
		}
		m.reply.record, res = res[0], res[1:]
		given++
		if m != own {
			m.again = ended && (m.reply.record.NonRedisError() != nil || m.watermark &&
				m.reply.watermark.NonRedisError() != nil)
			m.done <- struct{}{}
		}
	}
	l.joined.Add(uint64(len(b.members) - 1))
	reply := own.reply
	l.free(own)
	return reply
}

// getAlone is getOne in a request of its own.
func (l *L2) getAlone(ctx context.Context, c *clients, k Key, watermark bool) (r getReply) {
	get := c.tracking.B().Get().Key(k.Record).Build()
	if !watermark {
		r.record = c.tracking.Do(ctx, get)
		return r
	}
	res := c.tracking.DoMulti(ctx, l.readWatermark(c, k.Bucket), get)
	return getReply{res[0], res[1]}
}

// yield lets other goroutines run.
func (l *L2) yield() {
	if l.onYield != nil {
		l.onYield()
		return
	}
	runtime.Gosched()
}
