package nearcache

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/fence"
	"github.com/nearcache/nearcache-go/internal/l1"
	"github.com/nearcache/nearcache-go/internal/l2"
	"github.com/nearcache/nearcache-go/tier"
)

// Client is what the caches of a process share: the connections to Redis, the fence, and the channels that feed it.
// Make one with New and its caches with NewCache; all its methods are safe for concurrent use.
type Client struct {
	// The hot path reads these two; they are written rarely.
	coarse atomic.Int64 // now, up to a tick old, or asleep; see coarseNow
	mode   atomic.Int32

	closed    atomic.Bool
	base      time.Time
	fence     *fence.Fence
	l2        *l2.L2
	keyspace  *l2.Keyspace
	source    coherence.Source    // nil: it is not asked here
	relayed   bool                // a relay carries every change
	untracked bool                // Redis pushes nothing
	versions  coherence.Versioner // the source, if it is one
	beatEvery time.Duration
	pace      pace
	beating   beating
	lag       lag
	retry     *retry
	tagsOnce  sync.Once
	tags      atomic.Pointer[tags]
	tagsErr   error
	breaker   breaker
	health    health
	redis     redisProbe
	system    atomic.Pointer[string] // whose data the prefix holds; nil: not known
	waiters   waiters
	nesting   nesting
	questions questions

	sampling, identifying, inspecting atomic.Bool // calls of the source that have not returned

	sampler sampler

	traceLoad func(caller, load context.Context) context.Context // nil: none
	tracer    coherence.Tracer                                   // nil: none
	m         *metrics
	log       *slog.Logger

	life context.Context // ends with Close
	end  context.CancelFunc
	wg   sync.WaitGroup

	mu     sync.Mutex
	caches map[string]managedCache
	near   int64 // L1Bytes of all caches
}

// bytesPerBump is what of L1's memory goes with a bump that the fence's journals remember, in 8 bytes: an entry, the
// least of which are a few hundred bytes, has several.
const bytesPerBump = 128

// maxRemembered is how much of L1 the journals are made for at most: they take a sixteenth of it, at once.
const maxRemembered = 16 << 30

// remember makes the fence's journals as long as all that L1 may hold needs.
func (c *Client) remember(l1Bytes int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.near = min(c.near+max(0, l1Bytes), maxBytes)
	c.fence.Remember(min(c.near, maxRemembered) / bytesPerBump)
}

// managedCache is a cache as its client sees it.
type managedCache interface {
	awaitFills()
	close()
	l1Stats() l1.Stats
	auditStatus() AuditStatus
	auditReason() string
	maxStaleness() time.Duration
}

const (
	closeGrace  = 5 * time.Second  // how long Close waits for Config.Events to notice that its context has ended
	closeLimit  = 15 * time.Second // and for everything
	pingTimeout = time.Second      // of what New asks the source and the event channel

	modeClosed Mode = ModeOff + 1 // after Close: no read looks at L1
)

// New connects to Redis and starts what feeds the fence: heartbeats, samples of the Source's position, the stream of
// Events. It succeeds with Redis down, too: the client connects when it can, and until then reads go to the source. The
// error is a misconfiguration. Close must be called.
func New(cfg Config) (*Client, error) {
	heartbeat := time.Second
	relayed := cfg.Source != nil || cfg.Relayed
	if relayed {
		heartbeat = 100 * time.Millisecond
	}
	err := errors.Join(checkDuration("Config.Heartbeat", &cfg.Heartbeat, heartbeat),
		checkDuration("Config.RedisTimeout", &cfg.RedisTimeout, 500*time.Millisecond), cfg.checkTracking())
	if err != nil {
		return nil, fmt.Errorf("nearcache: %w", err)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	c := &Client{base: time.Now(), source: cfg.Source, relayed: relayed, beatEvery: cfg.Heartbeat, log: cfg.Logger,
		caches: make(map[string]managedCache), untracked: cfg.Tracking == TrackingOff}
	c.pace.hurry, c.pace.awake = make(chan struct{}, 1), make(chan struct{}, 1)
	c.nesting.wake, c.traceLoad, c.tracer = c.waiters.wake, cfg.LoadTrace, cfg.Tracer
	if c.traceLoad == nil && cfg.Tracer != nil {
		c.traceLoad = cfg.Tracer.Continue
	}
	if cfg.System != "" {
		c.system.Store(&cfg.System)
	}
	c.breaker.timeout, c.breaker.log, c.breaker.onOpen = cfg.RedisTimeout, cfg.Logger, c.waiters.wakeAll
	c.versions = coherence.AbilitiesOf(cfg.Source).Versioner
	buckets, err := l2.CheckBuckets(cfg.Buckets)
	if err != nil {
		return nil, fmt.Errorf("nearcache: Config.Buckets: %w", err)
	}
	c.fence = fence.New(fence.Config{Now: c.now, Complete: relayed, Untracked: c.untracked, Buckets: buckets})
	c.m = newMetrics(c, cfg.Events != nil)
	store, err := l2.Open(l2.Config{Redis: cfg.Redis, Prefix: cfg.Prefix, Buckets: buckets, Tracker: c.tracker(),
		Alone: !relayed && !c.untracked})
	if err != nil {
		return nil, fmt.Errorf("nearcache: Config.Redis: %w", err)
	}
	c.l2, c.keyspace = store, store.Keyspace()
	c.retry = &retry{limit: maxRetries, apply: store.ApplyEach, renew: c.renew, node: store.Node,
		quarantine: c.quarantine, release: c.release,
		done: func(ch l2.Change) { c.fence.Written(ch.Key, ch.Version) },
		drop: func(n int) { c.m.retryDropped.Add(float64(n)) },
		wake: make(chan struct{}, 1)}
	c.m.all = append(c.m.all, store)
	if err := c.m.register(cfg.Registerer); err != nil {
		store.Close()
		return nil, fmt.Errorf("nearcache: Config.Registerer: %w", err)
	}
	c.life, c.end = context.WithCancel(context.Background())
	c.breaker.inFlight.life, c.breaker.inFlight.now = c.life, c.now
	c.coarse.Store(c.now())
	if !c.untracked {
		c.fence.DoubtPushes()
	}
	if c.l2.Connected() && c.redis.begin(c.l2.Dials(), c.now()) {
		c.probeRedis()
	}
	if err := c.canWork(cfg.Events); err != nil {
		c.end()
		c.m.unregister()
		store.Close()
		return nil, err
	}
	c.wg.Go(c.ticks)
	c.wg.Go(c.beats)
	c.wg.Go(func() { c.retry.run(c.life) })
	if cfg.Events != nil {
		c.wg.Go(func() { c.follow(cfg.Events) })
	}
	c.watchHealth()
	return c, nil
}

// canWork asks the source and the event channel for what waiting does not mend. Neither has to answer: a client starts
// with its parts down.
func (c *Client) canWork(events coherence.EventSource) error {
	ctx, stop := context.WithTimeout(c.life, pingTimeout)
	defer stop()
	if c.source != nil {
		if err := c.probe(pingTimeout); errors.Is(err, coherence.ErrMisconfigured) {
			return fmt.Errorf("nearcache: Config.Source: %w", err)
		}
	}
	if err := c.claim(); err != nil {
		return fmt.Errorf("nearcache: Config.Prefix: %w: %w", coherence.ErrMisconfigured, err)
	}
	if p, ok := events.(coherence.Pinger); ok {
		_, err := within(ctx, func() (struct{}, error) { return struct{}{}, p.Ping(ctx) })
		if errors.Is(err, coherence.ErrMisconfigured) {
			return fmt.Errorf("nearcache: Config.Events: %w", err)
		}
	}
	return nil
}

// now is monotonic and never 0.
func (c *Client) now() int64 { return int64(time.Since(c.base)) + 1 }

// at is a moment by the client's clock.
func (c *Client) at(t time.Time) int64 { return int64(t.Sub(c.base)) + 1 }

// every calls f at once and then every d until Close, never twice at a time.
func (c *Client) every(d time.Duration, f func()) {
	c.wg.Go(func() {
		t := time.NewTicker(d)
		defer t.Stop()
		for {
			f()
			select {
			case <-t.C:
			case <-c.life.Done():
				return
			}
		}
	})
}

// register gives a cache its metrics and its place among the client's.
func (c *Client) register(namespace string, cache managedCache) (*cacheMetrics, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed.Load() {
		return nil, ErrClosed
	}
	if _, ok := c.caches[namespace]; ok {
		return nil, fmt.Errorf("nearcache: cache %q: the client has one of that namespace already", namespace)
	}
	m, err := c.m.forCache(namespace, cache, c)
	if err != nil {
		return nil, fmt.Errorf("nearcache: cache %q: metrics: %w", namespace, err)
	}
	c.caches[namespace] = cache
	if cache.maxStaleness() > 0 {
		c.pace.fixed.Store(true)
		c.hastens()
	}
	return m, nil
}

// errNilContext is the error of a call that is given none. A Context that is nil would panic later, and perhaps on a
// goroutine whose panic ends the program.
var errNilContext = errors.New("nearcache: the context is nil")

// usable is why a call cannot be served, nil if it can.
func (c *Client) usable(ctx context.Context) error {
	switch {
	case c.closed.Load():
		return ErrClosed
	case ctx == nil:
		return errNilContext
	}
	return nil
}

// Ready returns when Redis is connected and every channel has been heard from, or ctx's error. Reads need not wait for
// it: until then they go to the source.
func (c *Client) Ready(ctx context.Context) error {
	if ctx == nil {
		return errNilContext
	}
	if err := c.l2.Ready(ctx); err != nil {
		return fmt.Errorf("nearcache: waiting for Redis: %w (%s)", err, describe(c.refreshReasons()))
	}
	t := time.NewTicker(5 * time.Millisecond)
	defer t.Stop()
	// Without a relay a server that is new to this client must have been told of its changes, too.
	for ch := c.fence.Channels(); !c.ready(&ch) || c.l2.Untold(c.keyspace.All()); ch = c.fence.Channels() {
		select {
		case <-t.C:
		case <-c.life.Done():
			return ErrClosed
		case <-ctx.Done():
			return fmt.Errorf("nearcache: waiting for the channels: %w (%s)", ctx.Err(), describe(c.refreshReasons()))
		}
	}
	return nil
}

// Apply makes every tier notice an event that reached the caller by a way of its own. An event without a version drops
// whatever there is. It returns an error when the change could not be sent to L2; it is then retried in the background.
//
// An event of a truncated namespace makes every record of L2 a miss, of all namespaces, and ends what tracking vouches
// for: each instance drops its L1 with its next heartbeat.
func (c *Client) Apply(ctx context.Context, e coherence.Event) error {
	if err := c.usable(ctx); err != nil {
		return err
	}
	if err := e.Validate(); err != nil {
		return fmt.Errorf("nearcache: event: %w", err)
	}
	if e.Op == coherence.OpTruncated {
		return c.applyTruncated(ctx, e)
	}
	key := c.keyspace.Key(e.Namespace, e.Key)
	c.m.byApply.Inc()
	c.fence.Event(key, e.Version, e.Position)
	err := c.send(ctx, c.l2.Node(key.Bucket), func(ctx context.Context) error {
		return c.l2.Apply(ctx, key, e.Version)
	})
	if err != nil {
		c.retry.add(l2.Change{Key: key, Version: e.Version}) // before the bump: from then on L2 is not believed of the key
	}
	if e.Version == 0 {
		c.fence.Event(key, 0, e.Position)
	}
	if err != nil {
		return fmt.Errorf("nearcache: apply %s %q: %w: %w", e.Namespace, e.Key, ErrNotInvalidated, err)
	}
	return nil
}

func (c *Client) applyTruncated(ctx context.Context, e coherence.Event) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.sendTimeout())
	defer cancel()
	failed, err := c.l2.ResetBefore(ctx, e.Position)
	if err != nil {
		c.retry.loseAll(failed)
		return fmt.Errorf("nearcache: apply %s, truncated: %w: %w", e.Namespace, ErrNotInvalidated, err)
	}
	return nil
}

// L2 is the client's Redis, for a relay or a worker that runs in the same process. It uses the client's connections and
// is usable until the client is closed.
func (c *Client) L2() *tier.L2 { return tier.Share(c.l2.Handle()) }

// SetMode switches all caches of the client at run time. In every mode writes invalidate and the channels are followed,
// so that ModeOn can be switched back to at any moment. A client starts with ModeOn.
func (c *Client) SetMode(m Mode) error {
	if m < ModeOn || m > ModeOff {
		return fmt.Errorf("nearcache: mode %d does not exist", m)
	}
	if m != ModeOff {
		if err := c.mayServe(); err != nil {
			return err
		}
	}
	for {
		now := c.mode.Load()
		if Mode(now) == modeClosed {
			return ErrClosed
		}
		if c.mode.CompareAndSwap(now, int32(m)) {
			return nil
		}
	}
}

// Mode is the mode in force.
func (c *Client) Mode() Mode { return Mode(c.mode.Load()) }

// Close ends all loads and everything that the client has started, and waits for it. Values that reads have returned
// are still written to Redis, if it answers within RedisTimeout. Reads and writes fail with ErrClosed from then on.
//
// Close does not wait for a callback that does not return: then it gives up after 15 seconds, with an error. What the
// callback holds is left to it.
func (c *Client) Close() error {
	if !c.closed.CompareAndSwap(false, true) {
		return nil
	}
	c.mode.Store(int32(modeClosed))
	c.mu.Lock()
	caches := c.caches
	c.caches = nil
	c.mu.Unlock()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for _, cache := range caches {
			cache.awaitFills()
		}
		c.end()
		c.wg.Wait()
		for _, cache := range caches {
			cache.close()
		}
	}()
	var err error
	giveUp := time.NewTimer(closeLimit)
	defer giveUp.Stop()
	select {
	case <-ended:
	case <-giveUp.C:
		c.end()
		err = fmt.Errorf("nearcache: Close: a callback has not returned for %v", closeLimit)
	}
	c.l2.Close()
	c.m.unregister()
	return err
}

// follow runs the stream of events. Without it the channel vouches for nothing.
func (c *Client) follow(events coherence.EventSource) {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	context.AfterFunc(c.life, func() { time.AfterFunc(closeGrace, stop) })
	_, err := within(ctx, func() (struct{}, error) { return struct{}{}, events.Run(c.life, sink{c}) })
	c.fence.EventPartitions(0)
	if c.life.Err() == nil {
		if err == nil {
			err = errors.New("the stream ended")
		}
		c.health.eventsFailed(-1, fmt.Errorf("%w: %w", coherence.ErrMisconfigured, err))
	}
}
