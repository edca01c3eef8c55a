package demo

import (
	"context"
	"fmt"
)

// said is a sentence about what one sees, and the guarantee that holds it.
type said struct {
	Text      string `json:"text"`
	Guarantee string `json:"guarantee,omitempty"` // as the documents number them; "": none is at stake
}

// action is a button. instance is its number, from 0; -1: it acts on all.
type action func(ctx context.Context, d *Demo, instance int) (said, error)

// actions are the buttons, by name.
var actions = map[string]action{
	"cut-redis": onOne(func(d *Demo, m *member) said {
		m.redis.Cut()
		return said{m.name + " has lost Redis. Kafka's events still evict its L1 and still prove how old it can be, so " +
			"its gate stays open. What L1 does not have is read from the database.", "C6"}
	}),
	"heal-redis": onOne(func(d *Demo, m *member) said {
		m.redis.Heal()
		return said{m.name + " has Redis again. It begins a new session of tracking, because nobody knows which " +
			"invalidations it missed: entries that only Redis vouched for are read again.", "C7"}
	}),
	"cut-kafka": onOne(func(d *Demo, m *member) said {
		m.kafka.Cut()
		return said{m.name + " has lost Kafka. Redis still pushes every invalidation and proves the bound by its " +
			"watermark: no read notices.", "C1"}
	}),
	"heal-kafka": onOne(func(d *Demo, m *member) said {
		m.kafka.Heal()
		return said{m.name + " follows Kafka's events again. The barriers of the relay say when it has caught up.", "C7"}
	}),
	"pause": onOne(func(d *Demo, m *member) said {
		d.pause(m)
		return said{m.name + " is paused: no byte reaches it, and it answers nobody, like a process that is swapped " +
			"out. Write something, and let it wake.", "C1"}
	}),
	"resume": onOne(func(d *Demo, m *member) said {
		d.resume(m)
		return said{m.name + " wakes. Its proofs have aged with the clock, so its first read does not trust L1 before a " +
			"channel proves it again.", "C1"}
	}),
	"flush": onAll(func(d *Demo) said {
		d.cfg.Flush()
		return said{"Redis is empty. Redis tells every instance so, and each drops what it had from there. One instance " +
			"loads each product, and the others wait for it.", "C2"}
	}),
	"stop-relay": onAll(func(d *Demo) said {
		d.relay.end()
		return said{"The relay has stopped. While nothing is written, the instances find that out from the database and " +
			"prove their bound by it. Write something: the gauges rise, beyond Δ the gates close, and reads go to the database. " +
			"They are slower and never too old.", "C1"}
	}),
	"start-relay": onAll(func(d *Demo) said {
		d.relay.start(d.base)
		return said{"The relay works again. Its first round carries what is in the outbox and proves it: the gates open.",
			"C7"}
	}),
	"start-load": onAll(func(d *Demo) said {
		d.load.start(d.base)
		return said{fmt.Sprintf("Each instance reads %d products a second, and %d prices a second change. Each answer is "+
			"compared with the time of the commit: none is older than Δ.", heavyReads, heavyWrites), "C1"}
	}),
	"stop-load": onAll(func(d *Demo) said {
		d.load.end()
		return said{"The load has stopped.", ""}
	}),
	"start-compare": onAll(func(d *Demo) said {
		d.startCompare()
		return said{fmt.Sprintf("Each read now also goes to two plain caches on the same instance: one with a TTL of %v "+
			"alone, and one that is also evicted by a pub/sub message after each write.", rivalTTL), ""}
	}),
	"stop-compare": onAll(func(d *Demo) said {
		d.compare.end()
		return said{"The plain caches are off.", ""}
	}),
	"heal": onAll(func(d *Demo) said {
		d.healAll()
		return said{"Everything is connected, awake and running.", "C7"}
	}),
}

func onOne(f func(*Demo, *member) said) action {
	return func(_ context.Context, d *Demo, i int) (said, error) {
		if i < 0 || i >= Instances {
			return said{}, errInput("instance: 0, 1 or 2 is needed")
		}
		return f(d, d.members[i]), nil
	}
}

func onAll(f func(*Demo) said) action {
	return func(_ context.Context, d *Demo, _ int) (said, error) { return f(d), nil }
}

func (d *Demo) pause(m *member) {
	m.awake.close()
	m.redis.Freeze()
	m.kafka.Freeze()
}

func (d *Demo) resume(m *member) {
	m.redis.Thaw()
	m.kafka.Thaw()
	m.awake.open()
}

// startCompare begins a comparison: the plain caches are empty, and the counts of all three begin at zero.
func (d *Demo) startCompare() {
	if d.compare.running() {
		return
	}
	d.clearRivals()
	for i := range d.scores {
		s := &d.scores[i]
		s.reads.Store(0)
		s.stale.Store(0)
		s.loads.Store(0)
		s.over.Store(0)
		s.failed.Store(0)
		s.worst.Store(0)
	}
	d.compare.start(d.base)
}

func (d *Demo) clearRivals() {
	for _, m := range d.members {
		for _, r := range m.rivals {
			r.clear()
		}
	}
}

// healAll ends every fault.
func (d *Demo) healAll() {
	for _, m := range d.members {
		m.redis.Heal()
		m.kafka.Heal()
		m.slow.slow(0)
		d.resume(m)
	}
	d.relay.start(d.base)
}

// says is what one sees of an instance now, and which guarantee holds it.
func says(f *instanceFrame, relay bool) (text, guarantee string) {
	switch {
	case f.Paused:
		return "Paused. It answers nobody until it wakes.", "C1"
	case f.Gate && f.RedisCut:
		return "No Redis. Kafka's events prove the bound, so L1 goes on serving.", "C1"
	case f.Gate && f.KafkaCut:
		return "No Kafka. Redis proves the bound, so L1 goes on serving.", "C1"
	case f.Gate && !f.Redis:
		return "Redis is being connected. Kafka's events prove the bound.", "C6"
	case f.Gate:
		return fmt.Sprintf("L1 serves. Nothing in it is older than %.0f ms: proved by %s.", f.Proved, channelName(f.Channel)),
			"C1"
	case !relay:
		return "The relay is stopped, and a change waits in the outbox. L1 is passed over; the database answers.", "C1"
	case f.RedisCut && f.KafkaCut:
		return "Neither channel is connected. L1 is passed over; the database answers.", "C6"
	}
	return "The proof is older than Δ. L1 is passed over; the database answers.", "C1"
}

func channelName(c string) string {
	if c == "events" {
		return "Kafka"
	}
	return "Redis"
}
