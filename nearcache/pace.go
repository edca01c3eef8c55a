package nearcache

import (
	"sync/atomic"
	"time"

	"github.com/nearcache/nearcache-go/internal/l2"
)

// pace is how often the client beats and ticks. Both slow down while nothing needs them.
type pace struct {
	bounded  atomic.Int64  // when a read last had a bound of its own, by the client's clock; 0: none had
	fixed    atomic.Bool   // a cache has a bound
	slow     atomic.Bool   // the next heartbeat comes late
	hurry    chan struct{} // has it come at once
	awake    chan struct{} // the coarse clock was found asleep
	lastBeat int64         // when the last heartbeat began; of the beating goroutine alone
	number   uint64        // of the round that it read
	moved    int64         // when a heartbeat last read another number
	again    bool          // it came early, to look at the rounds again
}

const (
	tick       = 20 * time.Millisecond // the resolution of L1 deadlines
	tickFor    = time.Second           // how long the coarse clock runs after it was woken
	boundedFor = 10 * time.Second      // how long a bound of a read keeps heartbeats fast
	slowdown   = 10                    // heartbeats are so many times rarer when no bound needs them,
	slowest    = time.Second           // but not rarer than this, unless they are configured so
	asleep     = 0                     // stands in the coarse clock while it does not run
)

// coarseNow is now, up to a tick old. While nothing reads the clock, nothing moves it: the first reader finds it
// asleep, and reads the real one.
func (c *Client) coarseNow() int64 {
	if now := c.coarse.Load(); now != asleep {
		return now
	}
	return c.wakeClock()
}

func (c *Client) wakeClock() int64 {
	now := c.now()
	if c.coarse.CompareAndSwap(asleep, now) {
		signal(c.pace.awake)
	}
	return now
}

// ticks moves the coarse clock for a while whenever it has been woken.
func (c *Client) ticks() {
	t := time.NewTicker(tick)
	defer t.Stop()
	until := c.now() + int64(tickFor)
	for {
		select {
		case <-t.C:
		case <-c.life.Done():
			c.coarse.Store(asleep) // who reads on reads the real clock
			return
		}
		now := c.now()
		if now < until {
			c.coarse.Store(now)
			continue
		}
		t.Stop()
		c.coarse.Store(asleep)
		select {
		case <-c.pace.awake:
		case <-c.life.Done():
			return
		}
		until = c.now() + int64(tickFor)
		t.Reset(tick)
	}
}

// beats has heartbeats follow each other until Close.
func (c *Client) beats() {
	t := time.NewTimer(c.heartbeat())
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-c.pace.hurry:
		case <-c.life.Done():
			return
		}
		t.Reset(c.heartbeat())
	}
}

// hastens is called when a bound is asked for: the heartbeats that prove it must be fast.
func (c *Client) hastens() {
	if c.pace.slow.CompareAndSwap(true, false) {
		signal(c.pace.hurry)
	}
}

// boundedRead notes a read with a bound of its own.
func (c *Client) boundedRead() {
	now := c.coarseNow()
	if now-c.pace.bounded.Load() > int64(boundedFor/8) {
		c.pace.bounded.Store(now)
	}
	if c.pace.slow.Load() {
		c.hastens()
	}
}

// nextBeat is how long to wait for the next heartbeat, after one that began at a moment and read a round.
//
// Heartbeats and rounds come about equally often. One that comes just before a round is published sees the same number
// twice, or that the round has begun, and learns what it could have learnt a little later only from the next. So it
// looks again soon, and goes on from there.
func (c *Client) nextBeat(began int64, round l2.Round, healthy bool) time.Duration {
	p := &c.pace
	if round.Number != p.number {
		p.number, p.moved = round.Number, began
	}
	working := round.Number != 0 && began-p.moved < 3*int64(c.beatEvery) // there is a relay
	early := working && !p.again && (p.moved != began || round.Token != 0)
	wait := c.beatEvery
	switch p.again = early; {
	case healthy && c.mayBeSlow(began):
		p.slow.Store(true)
		wait = max(c.beatEvery, min(slowdown*c.beatEvery, slowest))
		p.again = false
	case early:
		wait = c.beatEvery / 4
	}
	return max(time.Duration(began+int64(wait)-c.now()), wait/8)
}

// mayBeSlow reports whether nothing needs the bound now.
func (c *Client) mayBeSlow(now int64) bool {
	if c.pace.fixed.Load() || c.breaker.anyOpen() || c.fence.Waits() {
		return false
	}
	last := c.pace.bounded.Load()
	return last == 0 || now-last > int64(boundedFor)
}
