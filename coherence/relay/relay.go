package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/l2"
	"github.com/nearcache/nearcache-go/tier"
)

// Relay carries a Source's changes to an event channel such as Kafka, to Redis, or to both, by two cursors that do not
// wait for each other. Of several relays of one name the Source lets one work at a time, if it is a Leader. The fields
// are read by Run.
type Relay struct {
	// Source is what is relayed. With a Publisher it must be Cursors too. Required.
	Source coherence.Source
	// Publisher takes events and barriers. Defaults to none.
	Publisher coherence.Publisher
	// L2 takes the changes of each bucket and its watermark. Defaults to none. One of the two is required.
	L2 *tier.L2
	// System names the system whose data L2's prefix holds, as nearcache.Config.System does; it must be the same. A relay
	// of another system applies nothing to L2. Defaults to the Source's identity, if it has one.
	System string
	// Name is that of the cursor and of the leadership. Two relays of one source that do different work, for two Redis
	// for example, need different names. Defaults to "relay".
	Name string
	// Interval is how often a round begins: it looks for changes, and moves barriers and watermarks. A Source that is a
	// Waker has changes carried before that. A round that takes about as long, or longer, is followed by a pause of a
	// quarter. Defaults to 100ms.
	Interval time.Duration
	// Batch is how many changes are taken at a time, also of one transaction that has more. Redis serves nobody else while
	// it applies them, for some 4 microseconds each. Defaults to 500; at most 10,000.
	Batch int
	// Keep is how long changes that every channel has passed are kept, for replays after Redis went back in time.
	// Defaults to an hour. The Source must be a Trimmer for anything to be dropped.
	Keep time.Duration
	// Tracer makes a span of each batch, "relay.redis" or "relay.events"; see coherence.Tracer.StartBatch. Defaults to
	// none.
	Tracer coherence.Tracer
	// Registerer takes the metrics. Defaults to none.
	Registerer prometheus.Registerer
	// Logger defaults to discarding.
	Logger *slog.Logger
}

// maxBatch bounds for how long Redis and the source are kept busy at a time.
const maxBatch = 10_000

// mostWait is the longest pause after a failure. What an instance can prove waits for it, after every fail-over.
const mostWait = 500 * time.Millisecond

// relayTimeout bounds each step of a relay.
const relayTimeout = 5 * time.Second

// Run relays until ctx ends, and then returns nil. It goes on after everything that may pass; an error is a
// misconfiguration.
func (r Relay) Run(ctx context.Context) error {
	if r.L2 == nil {
		return r.run(ctx, nil)
	}
	return r.run(ctx, l2.FromHandle(r.L2.Handle()))
}

func (r Relay) run(ctx context.Context, l2 engine) error {
	cursors := coherence.AbilitiesOf(r.Source).Cursors
	switch {
	case r.Source == nil:
		return errors.New("coherence: relay: Source is required")
	case r.Publisher == nil && l2 == nil:
		return errors.New("coherence: relay: Publisher and L2 are both nil: one of them is required")
	case r.Publisher != nil && cursors == nil:
		return fmt.Errorf(
			"coherence: relay: with a Publisher the Source must have Cursors among its Abilities, and %T has not",
			r.Source,
		)
	case r.Batch < 0 || r.Batch > maxBatch:
		return fmt.Errorf("coherence: relay: Batch is %d; it is at most %d, and not negative", r.Batch, maxBatch)
	case r.Interval < 0 || r.Keep < 0:
		return fmt.Errorf("coherence: relay: Interval is %v and Keep %v: negative", r.Interval, r.Keep)
	}
	if r.Name == "" {
		r.Name = "relay"
	}
	if r.Interval == 0 {
		r.Interval = 100 * time.Millisecond
	}
	if r.Batch == 0 {
		r.Batch = 500
	}
	if r.Keep == 0 {
		r.Keep = time.Hour
	}
	if r.Logger == nil {
		r.Logger = slog.New(slog.DiscardHandler)
	}
	run := &relayRun{Relay: r, l2: l2, cursors: cursors, m: newRelayMetrics()}
	if err := run.m.register(r.Registerer); err != nil {
		return fmt.Errorf("coherence: relay: %w", err)
	}
	defer run.m.unregister(r.Registerer)
	var told time.Time
	for ctx.Err() == nil {
		err := run.lead(ctx)
		if err == nil || ctx.Err() != nil {
			told = time.Time{}
			continue
		}
		run.m.errors.WithLabelValues("leader").Inc()
		if time.Since(told) >= repeatEvery {
			told = time.Now()
			r.Logger.Warn("the relay could not become leader; it tries every second", "error", err)
		}
		sleep(ctx, time.Second)
	}
	return nil
}

// relayRun is one Run of a Relay.
type relayRun struct {
	Relay
	l2      engine // nil: none
	cursors coherence.Cursors
	m       *relayMetrics

	mu     sync.Mutex
	passed map[string]coherence.Position // by channel, in this term
	redis  time.Time                     // when Redis last took a round
	named  map[string]bool               // namespaces of malformed changes that were logged

	heads heads
	wakes map[string]chan struct{} // of the loops of this term, by channel
}

// lead waits to be the leader and works until that ends.
func (r *relayRun) lead(ctx context.Context) error {
	if l := coherence.AbilitiesOf(r.Source).Leader; l != nil {
		leading, release, err := l.Lead(ctx, r.Name)
		if err != nil {
			return err
		}
		defer release()
		ctx = leading
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r.m.leader.Set(1)
	defer r.m.leader.Set(0)
	r.Logger.Info("relaying", "name", r.Name)
	r.passed, r.wakes = make(map[string]coherence.Position), make(map[string]chan struct{})
	var wg sync.WaitGroup
	var loops []func()
	start := func(channel string, round func(context.Context) (more bool, err error),
		next func(begun time.Time) time.Time) {
		r.wakes[channel] = make(chan struct{}, 1)
		r.pass(channel, coherence.Position{})
		loops = append(loops, func() { r.loop(ctx, channel, round, next) })
	}
	if r.Publisher != nil {
		p := &publisher{relayRun: r, progress: progress{relayRun: r, channel: "events"}, term: rand.Uint64()}
		start("events", p.round, p.next)
	}
	if r.l2 != nil {
		a := &applier{relayRun: r, progress: progress{relayRun: r, channel: "redis"}, of: r.l2.Keyspace().All()}
		defer a.parts.Wait()
		start("redis", a.round, func(begun time.Time) time.Time { return begun.Add(r.Interval) })
	}
	for _, loop := range loops {
		wg.Go(loop)
	}
	wg.Go(func() { r.listen(ctx) })
	wg.Go(func() { r.trim(ctx) })
	wg.Go(func() { r.measure(ctx) })
	wg.Wait()
	return nil
}

// loop runs rounds of one channel: at once while there is more, when woken, and when the next is due, however often it
// is woken. A failure is repeated more and more slowly.
//
// The next round is due an interval after the last one began, not after it ended: what an instance can prove waits for
// it. A round that takes about as long as an interval, or longer, is followed by a pause of a quarter.
func (r *relayRun) loop(
	ctx context.Context,
	channel string,
	round func(context.Context) (bool, error),
	next func(begun time.Time) time.Time,
) {
	failing := failure{relayRun: r, channel: channel, failed: "relaying fails", passed: "relaying again"}
	wait := r.Interval
	var due time.Time
	for ctx.Err() == nil {
		begun := time.Now()
		more, err := round(ctx)
		if ctx.Err() != nil {
			return
		}
		failing.note(err)
		if err != nil {
			sleep(ctx, wait)
			wait = min(2*wait, mostWait)
			continue
		}
		wait = r.Interval
		r.m.rounds.WithLabelValues(channel).Inc()
		r.m.last.WithLabelValues(channel).SetToCurrentTime()
		r.succeeded(channel)
		if more {
			continue
		}
		if at := next(begun); !due.After(begun) || due.After(at) {
			due = at
			if rested := time.Now().Add(r.Interval / 4); rested.After(due) {
				due = rested
			}
		}
		t := time.NewTimer(time.Until(due))
		select {
		case <-t.C:
		case <-r.wakes[channel]:
		case <-ctx.Done():
		}
		t.Stop()
	}
}

// isDue reports whether an interval has passed since a round began. The loop reads its clock a little before the round
// does, so a little less will do.
func (r *relayRun) isDue(begun time.Time) bool { return time.Since(begun) >= r.Interval-r.Interval/16 }

// listen wakes the loops when the Source says that there may be changes.
func (r *relayRun) listen(ctx context.Context) {
	w := coherence.AbilitiesOf(r.Source).Waker
	if w == nil {
		return
	}
	for ctx.Err() == nil {
		if err := w.Wait(ctx, time.Second); err != nil {
			sleep(ctx, time.Second) // polling goes on meanwhile
			continue
		}
		r.noteWake()
		r.wakeExcept("")
	}
}

// wakeExcept wakes the loops of all channels but one.
func (r *relayRun) wakeExcept(channel string) {
	for name, wake := range r.wakes {
		if name == channel {
			continue
		}
		select {
		case wake <- struct{}{}:
		default:
		}
	}
}

func (r *relayRun) succeeded(channel string) {
	if channel != "redis" {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.redis = time.Now()
}

// redisFollows reports whether Redis has taken a round lately.
func (r *relayRun) redisFollows() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.redis.IsZero() && time.Since(r.redis) < followsFor*r.Interval
}

// followsFor is for how many intervals after a round Redis counts as taking them.
const followsFor = 5

// followsUntil is when Redis will not have taken a round lately, unless it takes another.
func (r *relayRun) followsUntil() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.redis.Add(followsFor * r.Interval)
}

// pass remembers how far a channel has come.
func (r *relayRun) pass(channel string, p coherence.Position) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.passed[channel] = p
}

// unpass forgets a channel that is no more.
func (r *relayRun) unpass(channel string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.passed, channel)
}

// trim drops what every channel has passed and none will replay. After an outage there may be more than one step's
// worth of it; then the next step follows at once.
func (r *relayRun) trim(ctx context.Context) {
	t := coherence.AbilitiesOf(r.Source).Trimmer
	if t == nil {
		return
	}
	failing := failure{relayRun: r, channel: "trim", failed: "old changes cannot be dropped: the outbox grows",
		passed: "old changes are dropped again"}
	for more := false; ; {
		if !more {
			sleep(ctx, min(max(r.Keep/10, time.Second), time.Minute))
		}
		if ctx.Err() != nil {
			return
		}
		upto := r.passedByAll()
		if more = false; upto.IsZero() {
			continue
		}
		step, cancel := context.WithTimeout(ctx, relayTimeout)
		n, err := t.Trim(step, upto, r.Keep)
		more = n > 0 && err == nil && step.Err() != nil
		cancel()
		r.m.trimmed.Add(float64(n))
		if ctx.Err() == nil {
			failing.note(err)
		}
	}
}

// passedByAll is the position that every channel has passed, zero if one has passed nothing yet.
func (r *relayRun) passedByAll() (upto coherence.Position) {
	r.mu.Lock()
	defer r.mu.Unlock()
	first := true
	for _, p := range r.passed {
		if p.IsZero() {
			return p
		}
		if first || upto.Covers(p) {
			upto, first = p, false
		}
	}
	return upto
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
