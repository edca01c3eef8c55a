package nearcache

import (
	"context"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/l2"
)

var _ l2.Tracker = tracker{}

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

// SessionChanged ends the sessions of buckets. Waiters look again: the push they wait for may be lost.
func (t tracker) SessionChanged(of l2.BucketSet) {
	for b := range of.All() {
		t.c.fence.BucketSession(b)
	}
	t.c.waiters.wakeAll()
	t.c.m.redisSessions.Inc()
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
	for i, err := range c.tell(ctx, versioned, c.l2.ApplyOnce) {
		if err != nil {
			c.retry.add(versioned[i])
		}
	}
}

// tell brings changes to L2, past the nodes that reads pass over. It returns the error of each.
func (c *Client) tell(ctx context.Context, changes []l2.Change,
	apply func(context.Context, []l2.Change) []error) []error {
	nodes := make([]*l2.Node, len(changes))
	for i := range changes {
		nodes[i] = c.l2.Node(changes[i].Key.Bucket)
	}
	return askMany(ctx, &c.breaker, batchOf[error]{c.now(), c.breaker.timeout, nodes,
		func(ctx context.Context, at []int) []error {
			return apply(ctx, pick(changes, at))
		}, func(err *error) *error { return err }})
}

// applyAlways applies changes without a version to L2, and then to the fence again.
func (s sink) applyAlways(ctx context.Context, unversioned []l2.Change) {
	if len(unversioned) == 0 {
		return
	}
	c := s.c
	for i, err := range c.tell(ctx, unversioned, c.l2.ApplyEach) {
		ch := unversioned[i]
		if err != nil {
			c.retry.add(ch) // before the bump: from then on L2 is not believed of this key
		}
		c.fence.Event(ch.Key, 0, coherence.Position{})
	}
}

func (s sink) gap(gap bool) {
	if gap {
		s.c.m.eventSessions("gap").Inc()
	}
}
