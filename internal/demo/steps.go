package demo

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nearcache/nearcache-go/internal/product"
	"github.com/nearcache/nearcache-go/nearcache"
)

// The instances by name, as the steps use them.
const (
	instanceA = iota
	instanceB
	instanceC
)

// steps are the tour. Each is about one product, so that a step finds nothing of the one before it.
var steps = []step{
	{Title: "The stale hour", Guarantee: "C1",
		Story: "A shop caches its products for an hour. Someone corrects a price. For the rest of that hour, customers see " +
			"the wrong price on every server but one.",
		Does: "All caches hold a product. A writes a new price. B and C are read at once, and again a second later.",
		run:  staleHour},
	{Title: "The race", Guarantee: "C2",
		Story: "A reader loads a product. Before it stores what it has loaded, a writer changes the product and has it " +
			"evicted everywhere. Then the reader stores the old value, and no message will ever evict it.",
		Does: "B begins to load a product and is held after its read of the database. A writes. B goes on. B is read.",
		run:  race},
	{Title: "The stampede", Guarantee: "C2",
		Story: "Redis restarts empty at the busiest hour. All readers of a product miss at once, and each of them asks the " +
			"database.",
		Does: "A load takes 150 ms. Redis is flushed, and 300 readers on three instances ask at once for a product that no " +
			"instance holds.",
		run: stampede},
	{Title: "The lost connection", Guarantee: "C6",
		Story: "An instance loses its connection to Redis for a moment. Whatever was changed in that moment, it never " +
			"learns: messages are not repeated.",
		Does: "B loses Redis. A writes. B is read, gets Redis back, and is read again.",
		run:  lostConnection},
	{Title: "The paused process", Guarantee: "C1",
		Story: "A process is swapped out, or its machine is moved. When it wakes, its cache is as it was, and no time " +
			"seems to have passed.",
		Does: "C is paused. A writes. C wakes after more than Δ, and is read at once.",
		run:  pausedProcess},
	{Title: "The bound", Guarantee: "C1",
		Story: "Something fails that nobody thought of. What can a reader rely on then? On the bound: a value is served " +
			"from memory only while it is proved to be no older than Δ.",
		Does: "The relay is stopped, so nobody proves any more that a change has arrived. A writes twice. B is read, and " +
			"again when the relay works.",
		run: theBound},
}

func staleHour(ctx context.Context, d *Demo, r *report) error {
	id := watchedIDs[0]
	if err := d.warm(ctx, id); err != nil {
		return err
	}
	w, err := d.write(ctx, instanceA, id)
	if err != nil {
		return err
	}
	for i, m := range d.members[instanceB:] {
		t, ok := w.time(stage{Instance: instanceB + i + 1, By: "read"})
		if !ok {
			return fmt.Errorf("%s has not served the write", m.name)
		}
		commit, _ := w.time(stageDatabase)
		r.say("nearcache", true, "%s served the new price %s after the commit.", m.name, readable(max(0, t-commit)))
	}
	pause(ctx, time.Second)
	c, err := d.compared(ctx, instanceC, id)
	if err != nil {
		return err
	}
	r.sayAnswer("nearcache", "A second later, C", c.ours)
	r.sayAnswer("ttl", "The TTL cache of C", c.ttl)
	r.say("ttl", false, "It will do so until its TTL is over: here that is %v, in the story an hour.", rivalTTL)
	r.sayAnswer("pubsub", "The pub/sub cache of C", c.pubsub)
	return nil
}

func race(ctx context.Context, d *Demo, r *report) error {
	id, m := watchedIDs[1], d.members[instanceB]
	d.clearRivals()
	if err := m.Cache.Invalidate(ctx, id, 0); err != nil {
		return err
	}
	release := m.slow.hold(id)
	var begun sync.WaitGroup
	defer begun.Wait()
	defer release()
	begun.Go(func() {
		_, _ = d.read(ctx, instanceB, id) // it began before the write, so either version is right for it
	})
	begun.Go(func() { _, _ = m.rivals[rivalPubSub].get(ctx, id) })
	if err := d.await(ctx, "two loads being held", func() bool {
		return m.slow.holds(0) && m.slow.holds(rivalPubSub+1)
	}); err != nil {
		return err
	}
	r.say("", true, "Two readers on B have read the database: one for nearcache, one for the pub/sub cache. Both are held.")
	before := m.rivals[rivalPubSub].evictions()
	v, err := d.change(ctx, instanceA, id, nil)
	if err != nil {
		return err
	}
	r.say("", true, "A has written version %s.", v)
	if err := d.await(ctx, "the message of the write", func() bool {
		return m.rivals[rivalPubSub].evictions() > before
	}); err != nil {
		return err
	}
	r.say("", true, "The eviction has reached B. Now the two readers go on and store what they have read.")
	release()
	begun.Wait()
	ours, err := d.read(ctx, instanceB, id)
	if err != nil {
		return err
	}
	r.sayAnswer("nearcache", "B", ours)
	r.say("nearcache", ours.version >= v, "The late load held a lease, and the write took it away: it could not be stored.")
	pause(ctx, d.cfg.Bound)
	theirs, err := d.ask(ctx, instanceB, rivalPubSub, id)
	if err != nil {
		return err
	}
	r.sayAnswer("pubsub", "The pub/sub cache of B", theirs)
	return nil
}

// stampede's readers and the time of its loads.
const (
	stampedeReaders = 100 // on each instance
	stampedeLoad    = 150 * time.Millisecond
)

// stampedeID is a product that no cache holds: one of those that the load leaves alone, another one each time.
func (d *Demo) stampedeID() string {
	return productID(heavyKeys + 1 + int(d.stampedes.Add(1)-1)%(seededKeys-heavyKeys))
}

func stampede(ctx context.Context, d *Demo, r *report) error {
	id := d.stampedeID()
	for _, m := range d.members {
		m.slow.slow(stampedeLoad)
	}
	d.cfg.Flush()
	d.clearRivals()
	r.say("", true, "Redis is empty, and so are the plain caches. %d readers ask for a product that no instance holds.",
		Instances*stampedeReaders)
	ours := d.rush(func(i int) error { _, err := d.readOf(ctx, i, id); return err }, 0)
	ttl := d.rush(func(i int) error { _, err := d.members[i].rivals[rivalTTLOnly].get(ctx, id); return err }, 1)
	pubsub := d.rush(func(i int) error { _, err := d.members[i].rivals[rivalPubSub].get(ctx, id); return err }, 2)
	r.say("nearcache", ours.loads <= Instances && ours.failed == 0,
		"nearcache asked the database %d times for %d readers, and the slowest had its answer after %s.",
		ours.loads, Instances*stampedeReaders, readable(ours.took))
	r.say("ttl", false, "The TTL caches asked %d times.", ttl.loads)
	r.say("pubsub", false, "The pub/sub caches asked %d times.", pubsub.loads)
	return nil
}

// readOf is a read of an instance that asks for no bound of its own and is not part of the plots.
func (d *Demo) readOf(ctx context.Context, i int, id string) (product.Version, error) {
	res, err := d.members[i].Cache.Read(ctx, id, nearcache.ReadOptions{MaxStaleness: d.cfg.Bound})
	return res.Version, err
}

// rushed is what came of many readers.
type rushed struct {
	loads, failed int64
	took          time.Duration
}

// rush lets many readers of all instances read at once.
func (d *Demo) rush(read func(i int) error, scored int) (out rushed) {
	before, began := d.scores[scored].loads.Load(), time.Now()
	var failed atomic.Int64
	var all sync.WaitGroup
	for n := range Instances * stampedeReaders {
		all.Go(func() {
			if read(n%Instances) != nil {
				failed.Add(1)
			}
		})
	}
	all.Wait()
	return rushed{d.scores[scored].loads.Load() - before, failed.Load(), time.Since(began)}
}

func lostConnection(ctx context.Context, d *Demo, r *report) error {
	id, m := watchedIDs[3], d.members[instanceB]
	if err := d.warm(ctx, id); err != nil {
		return err
	}
	m.redis.Cut()
	if err := d.await(ctx, "B noticing that Redis is gone", func() bool { return !m.Client.Status().Redis }); err != nil {
		return err
	}
	r.say("", true, "B has lost Redis.")
	w, err := d.write(ctx, instanceA, id)
	if err != nil {
		return err
	}
	c, err := d.compared(ctx, instanceB, id)
	if err != nil {
		return err
	}
	r.sayAnswer("nearcache", "Without Redis, B", c.ours)
	if t, ok := w.time(stage{Instance: instanceB + 1, By: "kafka"}); ok {
		r.say("nearcache", true, "Kafka's event reached B %s after the write began.", readable(t))
	}
	channel := m.Client.Status().Bound.Channel
	r.say("nearcache", channel == "events", "The bound is now proved by the channel %q.", channel)
	m.redis.Heal()
	if err := d.await(ctx, "B having Redis again", func() bool {
		return m.Client.Status().Redis && d.subscribed(ctx)
	}); err != nil {
		return err
	}
	pause(ctx, 2*d.cfg.Bound)
	if c, err = d.compared(ctx, instanceB, id); err != nil {
		return err
	}
	r.sayAnswer("nearcache", "With Redis again, B", c.ours)
	r.sayAnswer("pubsub", "The pub/sub cache of B", c.pubsub)
	r.sayAnswer("ttl", "The TTL cache of B", c.ttl)
	return nil
}

func pausedProcess(ctx context.Context, d *Demo, r *report) error {
	id, m := watchedIDs[4], d.members[instanceC]
	if err := d.warm(ctx, id); err != nil {
		return err
	}
	d.pause(m)
	defer d.resume(m)
	r.say("", true, "C is paused.")
	w, err := d.write(ctx, instanceA, id)
	if err != nil {
		return err
	}
	r.say("", true, "A has written version %s, and C knows nothing of it.", w.Version)
	pause(ctx, 3*d.cfg.Bound)
	began := time.Now()
	d.resume(m)
	ours, err := d.read(ctx, instanceC, id)
	if err != nil {
		return err
	}
	took := time.Since(began)
	ttl, err := d.ask(ctx, instanceC, rivalTTLOnly, id)
	if err != nil {
		return err
	}
	r.sayAnswer("nearcache", "On waking, C", ours)
	r.say("nearcache", true, "That answer came from %s, %s after waking: L1's proof had run out.", origin(ours),
		readable(took))
	r.sayAnswer("ttl", "The TTL cache of C", ttl)
	pubsub, err := d.ask(ctx, instanceC, rivalPubSub, id)
	if err != nil {
		return err
	}
	r.sayAnswer("pubsub", "The pub/sub cache of C", pubsub)
	return nil
}

func theBound(ctx context.Context, d *Demo, r *report) error {
	id, m := watchedIDs[5], d.members[instanceB]
	if err := d.warm(ctx, id); err != nil {
		return err
	}
	d.relay.end()
	if _, err := d.change(ctx, instanceA, id, nil); err != nil {
		return err
	}
	r.say("", true, "The relay is stopped, and A has written: nobody proves that this change has arrived.")
	if err := d.await(ctx, "the gate of B closing", func() bool {
		b := m.Client.Status().Bound.Staleness
		return b == 0 || b > d.cfg.Bound
	}); err != nil {
		return err
	}
	r.say("nearcache", true, "What B can prove is older than Δ = %s now: its gate is closed.", readable(d.cfg.Bound))
	v, err := d.change(ctx, instanceA, id, nil)
	if err != nil {
		return err
	}
	c, err := d.compared(ctx, instanceB, id)
	if err != nil {
		return err
	}
	r.sayAnswer("nearcache", "B", c.ours)
	r.say("nearcache", c.ours.version >= v && c.ours.proved <= c.ours.took, "That answer came from %s: slower, and right.",
		origin(c.ours))
	d.relay.start(d.base)
	if err := d.ready(ctx); err != nil {
		return err
	}
	if _, err := d.read(ctx, instanceB, id); err != nil {
		return err
	}
	again, err := d.read(ctx, instanceB, id)
	if err != nil {
		return err
	}
	r.say("nearcache", again.stale <= d.cfg.Bound, "The relay works again, and the gate is open: the next reads came from %s.",
		origin(again))
	pause(ctx, d.cfg.Bound)
	if c, err = d.compared(ctx, instanceB, id); err != nil {
		return err
	}
	r.sayAnswer("ttl", "The TTL cache of B, which knows no bound,", c.ttl)
	return nil
}

// origin says where an answer came from.
func origin(a answer) string {
	switch {
	case a.tier == nearcache.TierSource:
		return "the database"
	case a.proved <= a.took:
		return "memory, after the database had confirmed its version"
	case a.tier == nearcache.TierL2:
		return "Redis (L2)"
	}
	return "its own memory (L1)"
}
