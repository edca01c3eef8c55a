package nearcache

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/nearcache/nearcache-go/internal/fence"
	"github.com/nearcache/nearcache-go/internal/l2"
)

// beatTimeout bounds a heartbeat at one node.
const beatTimeout = 2 * time.Second

// beating are the heartbeats at nodes. Each node has one at a time, and none waits for that of another: a node that is
// stopped keeps nobody from proving what the others have. It belongs to the goroutine that beats.
type beating struct {
	at    map[*l2.Node]*nodeBeat
	round atomic.Pointer[l2.Round] // the last that was read of RoundBucket
}

// nodeBeat is the heartbeat at one node.
type nodeBeat struct {
	over    chan struct{} // closed when the last one has ended
	healthy atomic.Bool   // it was answered
	telling atomic.Bool   // recent changes are told again
	late    bool          // it was not waited for
}

// done reports whether no heartbeat is under way.
func (n *nodeBeat) done() bool {
	select {
	case <-n.over:
		return true
	default:
		return n.over == nil
	}
}

// heartbeat reads the relay's rounds on the tracking connections, at each node by itself. It also keeps those
// connected: rueidis dials only when there is a command to send. It returns how long to wait for the next heartbeat.
func (c *Client) heartbeat() time.Duration {
	begun := time.Now()
	h := c.fence.BeginHeartbeat()
	parts := c.l2.Nodes()
	c.breaker.keep(parts)
	beats := make(map[*l2.Node]*nodeBeat, len(parts))
	for _, part := range parts {
		n := c.beating.at[part.Node]
		if n == nil {
			n = &nodeBeat{}
		}
		beats[part.Node] = n
		if !n.done() {
			continue
		}
		n.over = make(chan struct{})
		over := n.over
		c.wg.Go(func() {
			defer close(over)
			n.healthy.Store(c.beatAt(&h, n, part, begun) == nil)
		})
	}
	c.beating.at = beats
	healthy, anyHealthy := c.awaitBeats()
	if anyHealthy && !c.untracked && c.redis.begin(c.l2.Dials(), c.now()) {
		c.wg.Go(c.probeRedis)
	}
	began := c.at(begun)
	rounds := c.beating.at[c.l2.Node(l2.RoundBucket)]
	c.sample(began-c.pace.lastBeat, anyHealthy && rounds != nil && (rounds.late || !rounds.healthy.Load()))
	c.pace.lastBeat = began
	c.measure()
	var round l2.Round
	if r := c.beating.round.Load(); r != nil {
		round = *r
	}
	return c.nextBeat(began, round, healthy)
}

// awaitBeats waits for the heartbeats that are under way, for as long as one may take that the next does not wait for.
// One that was late before is not waited for. It reports whether all were answered, and whether any was.
func (c *Client) awaitBeats() (all, some bool) {
	all = true
	patience := time.NewTimer(c.beatEvery)
	defer patience.Stop()
	tooLate := false
	for _, n := range c.beating.at {
		if !n.late && !tooLate {
			select {
			case <-n.over:
			case <-patience.C:
				tooLate = true
			}
		}
		n.late = !n.done()
		ok := !n.late && n.healthy.Load()
		all, some = all && ok, some || ok
	}
	return all, some
}

// beatAt is the heartbeat at one node. The watermarks are read too where no round stands for them: there is no relay, a
// bucket goes to another server, or a session has begun.
func (c *Client) beatAt(h *fence.Heartbeat, n *nodeBeat, part l2.NodeBuckets, begun time.Time) error {
	ctx, cancel := context.WithTimeout(c.life, beatTimeout)
	defer cancel()
	if c.untracked {
		return c.beatUntracked(ctx, part, begun)
	}
	rounds, err := c.l2.Rounds(ctx, part.Buckets)
	for i := range rounds {
		if !rounds[i].OK {
			continue
		}
		c.fence.Round(h, rounds[i].Leader, rounds[i].Round)
		if rounds[i].Leader == l2.RoundBucket {
			c.beating.round.Store(&rounds[i].Round)
		}
	}
	if left := part.Buckets &^ c.cover(h, rounds); left != 0 {
		err = c.readWatermarks(ctx, h, left)
		c.cover(h, rounds)
		c.tellAgain(n, part.Buckets)
	}
	return c.beaten(part, err, begun)
}

// beaten takes the outcome of a heartbeat at a node.
func (c *Client) beaten(part l2.NodeBuckets, err error, begun time.Time) error {
	c.breaker.beat(part.Node, err, time.Since(begun))
	if err != nil {
		c.m.errors("heartbeat").Inc()
		return err
	}
	c.retry.answered(part.Buckets)
	return nil
}

// cover moves the watermarks to what the rounds say, and returns the buckets for which it could.
func (c *Client) cover(h *fence.Heartbeat, rounds []l2.RoundReply) (covered l2.BucketSet) {
	for i := range rounds {
		if r := &rounds[i]; r.OK {
			covered |= c.fence.Cover(h, r.Leader, r.Round, c.l2.Together(r.Leader))
		}
	}
	return covered
}

// readWatermarks reads the watermarks of buckets.
func (c *Client) readWatermarks(ctx context.Context, h *fence.Heartbeat, of l2.BucketSet) error {
	read, err := c.l2.Heartbeat(ctx, of)
	for b := range read {
		if read[b].OK {
			c.fence.Watermark(h, b, read[b].Watermark)
		}
	}
	return err
}

// tellAgain tells a server that took over of this process's recent changes in buckets. What fails is tried again at the
// next heartbeat.
func (c *Client) tellAgain(n *nodeBeat, of l2.BucketSet) {
	if !c.l2.Untold(of) || !n.telling.CompareAndSwap(false, true) {
		return
	}
	c.wg.Go(func() {
		defer n.telling.Store(false)
		ctx, cancel := context.WithTimeout(c.life, applyTimeout)
		defer cancel()
		sent, err := c.l2.TellAgain(ctx, of)
		c.m.toldAgain.Add(float64(sent))
		if err != nil {
			c.m.errors("tell_again").Inc()
		}
		if sent > 0 {
			c.log.Info("another Redis server took over: recent invalidations were sent again", "invalidations", sent)
		}
	})
}
