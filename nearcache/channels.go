package nearcache

import (
	"context"
	"time"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/l2"
)

var _ l2.BucketTracker = tracker{}

// tracker hands Redis's pushes to the fence. It runs on rueidis's reader goroutine and does not block.
type tracker struct{ c *Client }

// KeysChanged evicts the pushed keys, and then wakes the flights that wait for their fill.
func (t tracker) KeysChanged(hashes []uint64) {
	for _, h := range hashes {
		t.c.fence.Changed(h)
		t.c.waiters.wake(h)
	}
	t.c.m.pushes.Add(float64(len(hashes)))
}

// SessionChanged ends the Redis session. Waiters look again: the push they wait for may be lost.
func (t tracker) SessionChanged() {
	t.c.fence.RedisSession()
	t.c.waiters.wakeAll()
	t.c.m.redisSessions.Inc()
}

// BucketMoved is SessionChanged of one bucket.
func (t tracker) BucketMoved(bucket int) {
	t.c.fence.BucketSession(bucket)
	t.c.waiters.wakeAll()
	t.c.m.redisSessions.Inc()
}

// heartbeat reads the watermarks on the tracking connection. It also keeps that connected: rueidis dials only when
// there is a command to send.
func (c *Client) heartbeat() {
	ctx, cancel := context.WithTimeout(c.life, 2*time.Second)
	defer cancel()
	h := c.fence.BeginHeartbeat()
	begun := time.Now()
	read, err := c.l2.Heartbeat(ctx)
	c.breaker.beat(err, time.Since(begun))
	if err != nil {
		c.m.errors("heartbeat").Inc()
	}
	for b := range read {
		if read[b].OK {
			c.fence.Watermark(&h, b, read[b].Watermark)
		}
	}
	c.measure()
}

// probe reads the source's position.
func (c *Client) probe(timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(c.life, timeout)
	defer cancel()
	p := c.fence.BeginSample()
	at, err := singly(ctx, &c.sampling, func() (coherence.Position, error) { return c.source.Position(ctx) })
	if c.life.Err() == nil {
		c.health.sampled(err)
	}
	if err != nil {
		c.m.errors("sample").Inc()
		return err
	}
	c.fence.EndSample(p, at)
	c.measure()
	return nil
}

// sink hands the stream of events to the fence.
type sink struct{ c *Client }

// Partitions announces the partitions.
func (s sink) Partitions(n int) { s.c.fence.EventPartitions(n) }

// Session begins a session.
func (s sink) Session(p int) {
	s.c.fence.EventSession(p)
	s.c.health.eventsFailed(p, nil)
	s.c.m.eventSessions("start").Inc()
}

// Lost suspends the channel.
func (s sink) Lost(p int) { s.c.fence.EventsLost(p) }

// Resumed ends a suspension.
func (s sink) Resumed(p int) {
	s.c.fence.EventsResumed(p)
	s.c.health.eventsFailed(p, nil)
}

// Failed keeps why a partition is not followed, for Status.
func (s sink) Failed(p int, err error) { s.c.health.eventsFailed(p, err) }

// Malformed counts.
func (s sink) Malformed(int, error) { s.c.m.malformed.Inc() }

// Deliver applies a batch of a partition in order.
//
// The sender of an event without a version does not invalidate L2. So each instance does, and bumps the slots only
// then: a load between the two would admit what L2 still had. Their keys are bumped before as well, which costs nothing
// and shortens the time for which the old value is served while Redis answers.
func (s sink) Deliver(ctx context.Context, p int, batch []coherence.Message) error {
	c := s.c
	var unversioned []l2.Change
	marked := false
	for i := range batch {
		if m := batch[i].Barrier; m != nil {
			s.gap(c.fence.EventBarrier(p, *m))
			marked = true
			continue
		}
		e := &batch[i].Event
		key := c.keyspace.Key(e.Namespace, e.Key)
		s.gap(c.fence.EventSeq(p, e.Seq))
		c.fence.Event(key, e.Version, e.Position)
		if e.Version == 0 {
			unversioned = append(unversioned, l2.Change{Key: key})
		}
		c.m.event(e)
	}
	if marked {
		c.measure()
	}
	if len(unversioned) == 0 {
		return nil
	}
	err := c.breaker.ask(ctx, func(ctx context.Context) error { return c.l2.ApplyMany(ctx, unversioned) })
	for _, ch := range unversioned {
		c.fence.Event(ch.Key, 0, coherence.Position{})
		if err != nil {
			c.retry.add(ch)
		}
	}
	return nil
}

func (s sink) gap(gap bool) {
	if gap {
		s.c.m.eventSessions("gap").Inc()
	}
}
