package nearcache

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/l2"
)

// Reason is one way in which the client serves less than it is configured to: hits that become misses, a bound that
// cannot be proved, a channel that is not followed. The codes are stable; docs/reference/reasons.md lists them.
type Reason struct {
	Code    string    // for alerts: snake_case, the label of nearcache_degraded
	Message string    // for people: what is wrong, and what to do about it
	Since   time.Time // when the client found out
}

// The codes that the client gives itself. Those of Redis are internal/l2's, those of a database its driver's.
const (
	reasonBreaker        = "redis_slow"
	reasonBucketsSilent  = "redis_buckets_silent"
	reasonQuarantine     = "buckets_quarantined"
	reasonPending        = "invalidations_pending"
	reasonSource         = "source_unreachable"
	reasonSourceConfig   = "source_misconfigured"
	reasonRelay          = "relay_silent"
	reasonBound          = "bound_not_met"
	reasonEvents         = "events_not_followed"
	reasonEventsConfig   = "events_misconfigured"
	reasonClocks         = "clock_skew"
	reasonPrefix         = "prefix_taken"
	reasonBuckets        = "redis_buckets" // a fault of Redis too
	reasonInspectFailing = "source_not_checked"
	reasonAudit          = "cache_and_source_differ"
	reasonPushOrder      = "redis_push_order"
)

var ownReasons = []string{reasonBreaker, reasonBucketsSilent, reasonQuarantine, reasonPending, reasonSource,
	reasonSourceConfig, reasonRelay, reasonBound, reasonEvents, reasonEventsConfig, reasonClocks,
	reasonPrefix, reasonInspectFailing, reasonAudit, reasonPushOrder}

const (
	reasonsEvery  = time.Second
	inspectEvery  = time.Minute
	logAgainAfter = time.Minute     // before a reason that comes and goes is logged again
	settling      = 5 * time.Second // until a channel that has not begun counts as silent
	skewAllowed   = 2 * time.Second
	skewKept      = time.Minute
)

// health is what the client's background work has last met. The zero value is healthy.
type health struct {
	sample  atomic.Pointer[error] // of the last reading of the source's position; nil: it went well
	skew    atomic.Pointer[skew]
	taken   atomic.Pointer[taken]
	inspect atomic.Pointer[inspection]

	mu     sync.Mutex
	events map[int]error // why partitions are not followed; -1: the stream

	known   map[string]Reason
	logged  map[string]time.Time
	reasons []Reason
}

type inspection struct {
	findings []coherence.Finding
	err      error
}

type skew struct {
	by   time.Duration // positive: the writer's clock is ahead of ours
	seen time.Time
}

// sampled takes the outcome of a reading of the source's position.
func (h *health) sampled(err error) {
	if err == nil {
		if h.sample.Load() != nil {
			h.sample.Store(nil)
		}
		return
	}
	h.sample.Store(&err)
}

// eventsFailed takes what an EventSource says of a partition; nil ends it.
func (h *health) eventsFailed(partition int, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err == nil {
		delete(h.events, partition)
		delete(h.events, -1)
		return
	}
	if h.events == nil {
		h.events = make(map[int]error)
	}
	h.events[partition] = err
}

func (h *health) eventsError() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	partitions := make([]int, 0, len(h.events))
	for p := range h.events {
		partitions = append(partitions, p)
	}
	if len(partitions) == 0 {
		return nil
	}
	return h.events[slices.Min(partitions)]
}

// clocks compares the wall clocks of a record's writer and of this process. A record that Redis still holds cannot have
// expired, and none was written in the future.
func (h *health) clocks(written, expires, now time.Time, keeps time.Duration) {
	var by time.Duration
	switch {
	case written.Sub(now) > skewAllowed:
		by = written.Sub(now)
	case !expires.IsZero() && now.Sub(expires) > keeps+skewAllowed:
		by = expires.Sub(now)
	default:
		return
	}
	h.skew.Store(&skew{by, now})
}

// watchHealth runs until the client is closed.
func (c *Client) watchHealth() {
	c.every(reasonsEvery, func() { c.refreshReasons() })
	c.every(claimEvery, func() { _ = c.claim() }) // the outcome is in Status
	checker := coherence.AbilitiesOf(c.source).Checker
	if checker == nil {
		return
	}
	c.every(inspectEvery, func() {
		ctx, stop := context.WithTimeout(c.life, inspectEvery/2)
		defer stop()
		found, err := singly(ctx, &c.inspecting, func() ([]coherence.Finding, error) { return checker.Check(ctx) })
		if c.life.Err() == nil {
			c.health.inspect.Store(&inspection{found, err})
		}
	})
}

// refreshReasons finds the reasons that hold now, keeps since when each has, and logs those that are new.
func (c *Client) refreshReasons() []Reason {
	h, now := &c.health, time.Now()
	found := c.findReasons(now)
	h.mu.Lock()
	defer h.mu.Unlock()
	known := make(map[string]Reason, len(found))
	for i := range found {
		r := &found[i]
		if was, ok := h.known[r.Code]; ok {
			r.Since = was.Since
		} else {
			h.log(c.log, *r, now)
		}
		known[r.Code] = *r
	}
	for code, r := range h.known {
		if _, still := known[code]; !still {
			c.log.Info("nearcache: recovered", "reason", code, "after", now.Sub(r.Since).Round(time.Millisecond))
		}
	}
	h.known = known
	slices.SortFunc(found, func(a, b Reason) int { return strings.Compare(a.Code, b.Code) })
	h.reasons = found
	return slices.Clone(found)
}

func (h *health) log(log *slog.Logger, r Reason, now time.Time) {
	if last, ok := h.logged[r.Code]; ok && now.Sub(last) < logAgainAfter {
		return
	}
	if h.logged == nil {
		h.logged = make(map[string]time.Time)
	}
	h.logged[r.Code] = now
	log.Warn("nearcache: degraded", "reason", r.Code, "message", r.Message)
}

// findReasons looks at everything that can make hits become misses.
func (c *Client) findReasons(now time.Time) []Reason {
	var out []Reason
	add := func(code, format string, args ...any) {
		out = append(out, Reason{Code: code, Message: fmt.Sprintf(format, args...), Since: now})
	}
	young := c.now() < int64(settling)
	if t := c.health.taken.Load(); t != nil {
		add(t.reason, "The cache is off: %v.", t.error)
	}
	up := c.redisReasons(add, young)
	sampled := c.sourceReasons(add)
	c.eventReasons(add, young)
	if s := c.health.skew.Load(); s != nil && now.Sub(s.seen) < skewKept {
		add(reasonClocks,
			"A record in Redis was written by a clock that differs from this one by %v: L1 keeps values too long"+
				" or not at all; synchronise the clocks.", s.by.Round(time.Millisecond))
	}
	if c.relayed && c.vouched() && !young {
		c.boundReasons(add, up && sampled)
	}
	c.auditReasons(add)
	return out
}

type addReason func(code, format string, args ...any)

// redisReasons reports whether Redis is up.
func (c *Client) redisReasons(add addReason, young bool) bool {
	faults := c.l2.Faults()
	for _, f := range faults {
		if t := c.health.taken.Load(); t != nil && t.reason == f.Code {
			continue
		}
		at := ""
		if len(f.Nodes) > 0 {
			at = strings.Join(f.Nodes, ", ") + ": "
		}
		add(f.Code, "%s (%s%s)", f.Advice, at, c.secretless(f))
	}
	up := c.l2.Up()
	if !up && len(faults) == 0 && !young {
		add("redis_unreachable", "Redis does not answer.")
	}
	if why := c.redis.order(); why != "" && c.relayed && !c.untracked && up && len(faults) == 0 && !young {
		add(reasonPushOrder, "Tracking proves no bound here: it is not shown that Redis pushes an invalidation before the"+
			" reply that shows the change (%s). Use Redis or Valkey, without a proxy between; or Config.Events; or set"+
			" Config.Tracking to TrackingOff.", why)
	}
	if open := c.breaker.openAt(); len(open) > 0 && len(faults) == 0 {
		add(reasonBreaker, "Redis answers slower than RedisTimeout: reads pass over %s until a heartbeat is in time.",
			strings.Join(open, ", "))
	}
	ch, all := c.fence.Channels(), c.keyspace.Buckets()
	if up && len(faults) == 0 && !young && !c.untracked && ch.Watermarks < all {
		add(reasonBucketsSilent, "%d of %d buckets of Redis have not been heard from: their keys are read at the source.",
			all-ch.Watermarks, all)
	}
	if n := c.retry.buckets(); n > 0 {
		add(reasonQuarantine,
			"Too many invalidations failed: %d buckets are read at the source until Redis has started them again.", n)
	}
	if n := c.retry.len(); n > 0 {
		add(reasonPending, "%d invalidations have not reached Redis yet: other instances may serve the old values.", n)
	}
	return up && len(faults) == 0
}

// secretless is what Redis said, on one line. Redis and the network do not repeat passwords.
func (c *Client) secretless(f *l2.Fault) string {
	line, _, _ := strings.Cut(f.Err.Error(), "\n")
	return line
}

// sourceReasons reports whether the source tells its position.
func (c *Client) sourceReasons(add addReason) bool {
	ok := true
	if p := c.health.sample.Load(); p != nil {
		ok = false
		if errors.Is(*p, coherence.ErrMisconfigured) {
			add(reasonSourceConfig, "The source cannot tell its position, and waiting does not help: %v.", *p)
		} else {
			add(reasonSource, "The source does not tell its position: no bound can be proved until it does (%v).", *p)
		}
	}
	i := c.health.inspect.Load()
	if i == nil {
		return ok
	}
	for _, f := range i.findings {
		add(f.Code, "%s", f.Text)
	}
	if i.err != nil && ok {
		add(reasonInspectFailing, "The source could not be inspected: %v.", i.err)
	}
	return ok
}

func (c *Client) eventReasons(add addReason, young bool) {
	if !c.m.events {
		return
	}
	err := c.health.eventsError()
	switch {
	case err != nil && errors.Is(err, coherence.ErrMisconfigured):
		add(reasonEventsConfig, "The event channel cannot be followed, and waiting does not help: %v.", err)
	case err != nil:
		add(reasonEvents, "The event channel is not followed: %v.", err)
	case !young && c.fence.Channels().EventSession == 0:
		add(reasonEvents, "The event channel is not followed yet.")
	}
}

// auditReasons says what the auditors have found lately.
func (c *Client) auditReasons(add addReason) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var found []string
	for _, name := range slices.Sorted(maps.Keys(c.caches)) {
		if text := c.caches[name].auditReason(); text != "" {
			found = append(found, text)
		}
	}
	if len(found) > 0 {
		add(reasonAudit, "%s", strings.Join(found, " "))
	}
}

// boundReasons says why the caches' bounds are not met. healthy says that neither Redis nor the source explains it.
func (c *Client) boundReasons(add addReason, healthy bool) {
	b := c.bound()
	silent := max(settling, 20*c.beatEvery)
	if proved := c.provedByRelay(b); healthy && (proved == 0 || proved > silent) {
		add(reasonRelay, "No relay has proved anything for %v or longer: run one for this prefix, look at its"+
			" log, and look for a transaction that has been open as long.", silent)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	var closed []string
	for name, cache := range c.caches {
		if s := b.of(cache.maxStaleness()); !s.Open {
			closed = append(closed, name)
		}
	}
	slices.Sort(closed)
	if len(closed) > 0 {
		proved := "nothing is proved"
		if b.Staleness > 0 {
			proved = fmt.Sprintf("the channels prove %v", b.Staleness.Round(time.Millisecond))
		}
		add(reasonBound, "The gate of %s is closed: %s, and MaxStaleness asks for less; reads go to the source.",
			strings.Join(closed, ", "), proved)
	}
}

// describe joins reasons for an error.
func describe(reasons []Reason) string {
	if len(reasons) == 0 {
		return "no reason is known yet"
	}
	parts := make([]string, len(reasons))
	for i, r := range reasons {
		parts[i] = r.Code + ": " + r.Message
	}
	return strings.Join(parts, "; ")
}

// degraded collects the reasons in force. Those that are known beforehand have a sample of 0
// otherwise.
type degraded struct{ c *Client }

var degradedDesc = prometheus.NewDesc("nearcache_degraded",
	"1 while the client serves less than it is configured to, by reason.", []string{"reason"}, nil)

// Describe implements prometheus.Collector.
func (degraded) Describe(ch chan<- *prometheus.Desc) { ch <- degradedDesc }

// Collect implements prometheus.Collector.
func (d degraded) Collect(ch chan<- prometheus.Metric) {
	holds := make(map[string]float64)
	for _, code := range append(l2.FaultCodes(), ownReasons...) {
		holds[code] = 0
	}
	for _, r := range d.c.refreshReasons() {
		holds[r.Code] = 1
	}
	for code, v := range holds {
		ch <- prometheus.MustNewConstMetric(degradedDesc, prometheus.GaugeValue, v, code)
	}
}
