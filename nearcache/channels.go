package nearcache

import (
	"context"
	"time"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/fence"
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
	t.c.m.pushed(hashes)
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

// heartbeat reads the relay's rounds on the tracking connection. It also keeps that connected: rueidis dials only when
// there is a command to send. The watermarks are read too where no round stands for them: there is no relay, a bucket
// goes to another server, or a session has begun. It returns how long to wait for the next heartbeat.
func (c *Client) heartbeat() time.Duration {
	if c.untracked {
		return c.beatUntracked()
	}
	ctx, cancel := context.WithTimeout(c.life, 2*time.Second)
	defer cancel()
	h := c.fence.BeginHeartbeat()
	begun := time.Now()
	meanwhile := c.sampleMeanwhile()
	rounds, err := c.l2.Rounds(ctx)
	for i := range rounds {
		if rounds[i].OK {
			c.fence.Round(&h, rounds[i].Leader, rounds[i].Round)
		}
	}
	if left := l2.AllBuckets &^ c.cover(&h, rounds); left != 0 {
		err = c.readWatermarks(ctx, &h, left)
		c.cover(&h, rounds)
		c.tellAgain()
	}
	c.breaker.beat(err, time.Since(begun))
	if err != nil {
		c.m.errors("heartbeat").Inc()
	} else if c.redis.due(c.l2.Dials(), c.now()) {
		c.wg.Go(c.probeRedis)
	}
	meanwhile()
	began := c.at(begun)
	c.sample(began - c.pace.lastBeat)
	c.pace.lastBeat = began
	c.measure()
	return c.nextBeat(began, rounds[0].Round, err == nil)
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

// tellAgain tells a server that took over of this process's recent changes. What fails is tried again at the next
// heartbeat.
func (c *Client) tellAgain() {
	if !c.l2.Untold() || !c.telling.CompareAndSwap(false, true) {
		return
	}
	c.wg.Go(func() {
		defer c.telling.Store(false)
		ctx, cancel := context.WithTimeout(c.life, applyTimeout)
		defer cancel()
		n, err := c.l2.TellAgain(ctx)
		c.m.toldAgain.Add(float64(n))
		switch {
		case err != nil:
			c.m.errors("tell_again").Inc()
		case n > 0:
			c.log.Info("another Redis server took over: recent invalidations were sent again", "invalidations", n)
		}
	})
}

// sink hands the stream of events to the fence.
type sink struct{ c *Client }

// AskPositions implements coherence.PositionSink.
func (s sink) AskPositions(position func(ctx context.Context) (coherence.Position, error)) {
	s.c.sampler.ask.Store(&position)
}

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

// Deliver applies a batch of a partition in order: to the fence, and then to L2.
//
// A relay tells L2 of the changes of its Source. Without a relay nobody does but the instances that hear the event, so
// each of them makes sure of it. The first to come deletes the older record, and the others find it done; see
// l2.ApplyOnce. The fence comes first: its min version keeps a load between the two from admitting what L2 still has.
//
// An event without a version leaves no min version. So each instance applies it to L2, and bumps the slot again after
// that: a load between the two would admit what L2 still had. The bump before costs nothing, and shortens the time for
// which the old value is served while Redis answers.
func (s sink) Deliver(ctx context.Context, p int, batch []coherence.Message) error {
	c := s.c
	if c.tracer != nil {
		var span coherence.Span
		if ctx, span = c.traceBatch(ctx, batch); span != nil {
			defer span.End(nil)
		}
	}
	var changes changes
	marked := false
	for i := range batch {
		if m := batch[i].Barrier; m != nil {
			s.gap(c.fence.EventBarrier(p, *m))
			marked = true
			continue
		}
		e := &batch[i].Event
		if e.Op == coherence.OpTruncated {
			s.truncated(ctx, p, e)
			continue
		}
		key := c.keyspace.Key(e.Namespace, e.Key)
		s.gap(c.fence.EventSeq(p, e.Seq))
		c.fence.Event(key, e.Version, e.Position)
		if e.Version == 0 || !c.relayed {
			changes.add(l2.Change{Key: key, Version: e.Version})
		}
		c.m.event(key.Hash, e)
	}
	if marked {
		c.measure()
	}
	s.applyOnce(ctx, changes.versioned)
	s.applyAlways(ctx, changes.unversioned)
	return nil
}

// truncated begins a session: for what was loaded before, events vouch no longer, whatever its namespace. Without a
// relay somebody has to tell L2, and the first instance that hears of it does.
func (s sink) truncated(ctx context.Context, p int, e *coherence.Event) {
	c := s.c
	s.gap(c.fence.EventSeq(p, e.Seq))
	c.fence.EventSession(p)
	c.fence.EventSeq(p, e.Seq)
	c.m.byEvents.Inc()
	c.m.eventSessions("truncated").Inc()
	if !c.relayed {
		_ = c.applyTruncated(ctx, *e) // it is retried
	}
}

// changes are those of a batch that L2 must hear of from this instance.
type changes struct {
	unversioned, versioned []l2.Change
	at                     map[string]int // where a record's change is among the versioned
}

// add keeps the newest version of each key.
func (cs *changes) add(ch l2.Change) {
	if ch.Version == 0 {
		cs.unversioned = append(cs.unversioned, ch)
		return
	}
	if i, ok := cs.at[ch.Key.Record]; ok {
		cs.versioned[i].Version = max(cs.versioned[i].Version, ch.Version)
		return
	}
	if cs.at == nil {
		cs.at = make(map[string]int)
	}
	cs.at[ch.Key.Record] = len(cs.versioned)
	cs.versioned = append(cs.versioned, ch)
}

// applyOnce makes sure that L2 has applied versioned changes. Those that fail are retried until L2 takes them.
func (s sink) applyOnce(ctx context.Context, versioned []l2.Change) {
	if len(versioned) == 0 {
		return
	}
	c := s.c
	if c.breaker.ask(ctx, func(ctx context.Context) error { return c.l2.ApplyOnce(ctx, versioned) }) == nil {
		return
	}
	for _, ch := range versioned {
		c.retry.add(ch)
	}
}

// applyAlways applies changes without a version to L2, and then to the fence again.
func (s sink) applyAlways(ctx context.Context, unversioned []l2.Change) {
	if len(unversioned) == 0 {
		return
	}
	c := s.c
	err := c.breaker.ask(ctx, func(ctx context.Context) error { return c.l2.ApplyMany(ctx, unversioned) })
	for _, ch := range unversioned {
		c.fence.Event(ch.Key, 0, coherence.Position{})
		if err != nil {
			c.retry.add(ch)
		}
	}
}

func (s sink) gap(gap bool) {
	if gap {
		s.c.m.eventSessions("gap").Inc()
	}
}
