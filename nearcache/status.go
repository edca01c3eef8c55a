package nearcache

import (
	"sync"
	"time"

	"github.com/nearcache/nearcache-go/internal/fence"
)

// Status is a snapshot of what the client can rely on.
type Status struct {
	Ready  bool // Redis is connected and every channel has been heard from
	Redis  bool // Redis is connected
	Events bool // every partition of Config.Events is followed; false without one
	Mode   Mode
	// Tracking is Config.Tracking. Without tracking Bound.Redis and Channels.Watermarks stay 0.
	Tracking TrackingMode
	Pending  int // invalidations that could not be sent to L2 yet
	// Quarantined counts the buckets that are read at the source because too many of their invalidations
	// failed, until L2 has started them again.
	Quarantined int
	Bound       Bound
	Caches      map[string]CacheStatus // by namespace
	Channels    Channels
	// Servers are those of Redis, of a Cluster the primaries, as they described themselves when they were dialled.
	Servers []RedisServer
	// Reasons says in which ways the client serves less than it is configured to, sorted by code. Empty: all is well.
	Reasons []Reason
}

// Bound is what the channels prove now of every entry that they vouch for. Either one is enough for a read.
type Bound struct {
	// Redis is how old, at most, an entry is that tracking vouches for, by the watermark in Redis; of all buckets
	// the worst counts. 0: nothing is proved.
	Redis time.Duration
	// Events is the same by the event channel's barriers.
	Events time.Duration
	// Staleness is the smaller of the two: the tightest MaxStaleness that L1 can serve now. 0: nothing is proved, and
	// reads with a bound go to the source.
	Staleness time.Duration
	// Channel is the one that proves Staleness: "redis", "events", or "none".
	Channel string
	// SampledBy is what has shown the newest position of the source, without which no channel proves anything: "rounds"
	// (the relay's, in Redis), "events" (the relay's barriers in the event channel), "source" (this client has asked it),
	// or "none".
	SampledBy string
}

// Channels is the state of the two channels that invalidate L1: Redis tracking and the stream of events.
type Channels struct {
	RedisSessions  uint64 // sessions of tracking so far, summed over all buckets
	Watermarks     int    // buckets whose watermark has been read in the present session
	EventSession   uint64 // the present session of the events, 0 while they vouch for nothing
	EventSessions  uint64 // sessions of the events so far
	Partitions     int    // of the events
	Followed       int    // partitions that are followed now
	AwaitingSample int    // buckets whose L2 is not believed until the source's position has been read again
}

// CacheStatus is what a cache's own bound comes to.
type CacheStatus struct {
	MaxStaleness time.Duration // as configured; 0: no bound
	// Slack is how much later the proof in force may come and L1 still serve; negative: the gate is closed, by that
	// much. Without any proof it is -MaxStaleness.
	Slack time.Duration
	// Open says whether L1 serves what the channels vouch for. A cache without a bound is always open.
	Open bool
	// Audit is what the auditor has found; zero without Options.Audit.
	Audit AuditStatus
}

// Status reports the state of the channels now.
func (c *Client) Status() Status {
	ch := c.fence.Channels()
	s := Status{Redis: c.l2.Up(), Events: ch.EventSession != 0, Mode: c.Mode(), Tracking: c.tracking(),
		Pending: c.retry.len(), Quarantined: c.retry.buckets(), Bound: c.bound(), Channels: Channels(ch),
		Servers: c.redis.seen()}
	s.Ready = c.ready(&ch)
	s.Reasons = c.refreshReasons()
	c.mu.Lock()
	defer c.mu.Unlock()
	s.Caches = make(map[string]CacheStatus, len(c.caches))
	for name, cache := range c.caches {
		status := s.Bound.of(cache.maxStaleness())
		status.Audit = cache.auditStatus()
		s.Caches[name] = status
	}
	return s
}

// ready is Status.Ready alone, for those who ask often.
func (c *Client) ready(ch *fence.Channels) bool {
	heard := c.untracked || ch.Watermarks == c.keyspace.Buckets()
	return c.l2.Up() && heard && (ch.EventSession != 0 || !c.m.events)
}

// bound reads the proofs.
func (c *Client) bound() Bound {
	proved, now := c.fence.ChannelsAsOf(), c.now()
	b := Bound{Redis: age(proved.Redis, now), Events: age(proved.Events, now), Channel: "none", SampledBy: c.sampledBy()}
	if b.Redis > 0 {
		b.Staleness, b.Channel = b.Redis, "redis"
	}
	if b.Events > 0 && (b.Redis == 0 || b.Events < b.Redis) {
		b.Staleness, b.Channel = b.Events, "events"
	}
	return b
}

// of is what the bound means to a cache.
func (b Bound) of(most time.Duration) CacheStatus {
	switch {
	case most == 0:
		return CacheStatus{Open: true}
	case b.Staleness == 0:
		return CacheStatus{MaxStaleness: most, Slack: -most}
	}
	return CacheStatus{MaxStaleness: most, Slack: most - b.Staleness, Open: b.Staleness <= most}
}

// lag measures how long a commit takes to be proved applied here. A commit just after the moment of one proof is
// covered by the next: so what a proof's age has grown to when the next one comes is the longest that any commit took.
type lag struct {
	mu   sync.Mutex
	last fence.ChannelsAsOf
}

// measure is called whenever a proof may have moved. While heartbeats are slow it would measure them.
func (c *Client) measure() {
	proved, now := c.fence.ChannelsAsOf(), c.now()
	c.lag.mu.Lock()
	defer c.lag.mu.Unlock()
	for _, ch := range []struct {
		name string
		last *int64
		next int64
	}{{"redis", &c.lag.last.Redis, proved.Redis}, {"events", &c.lag.last.Events, proved.Events}} {
		if ch.next > *ch.last && *ch.last > 0 && !c.pace.slow.Load() {
			c.m.lag(ch.name).Observe(time.Duration(now - *ch.last).Seconds())
		}
		*ch.last = ch.next
	}
}
