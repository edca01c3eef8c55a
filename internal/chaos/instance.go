//go:build unix

package chaos

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nearcache/nearcache-go/internal/chaos/history"
	"github.com/nearcache/nearcache-go/internal/wallclock"
	"github.com/nearcache/nearcache-go/nearcache"
)

const (
	heartbeat   = 25 * time.Millisecond
	lookEvery   = 5 * time.Millisecond
	reportEvery = 20 * time.Millisecond
	auditRate   = 50 // reads a second
)

// instance is an instance: a client, a cache, and what reads and writes through it.
type instance struct {
	*child
	store  store
	client *nearcache.Client
	cache  *nearcache.Cache[uint32, item]
	outer  *nearcache.Cache[uint32, int64] // its Loader reads cache
	nested atomic.Bool                     // the Loader of cache reads cache too
	held   *nearcache.Cache[uint32, int64] // its loads can be held
	hist   *history.Log

	holding heldLoads
	lead    *heldLoad      // the last that was held; only the goroutine of commands uses it
	readers sync.WaitGroup // of the reads that commands have begun

	latest     []atomic.Uint64 // by key: the newest version seen here
	reads      atomic.Int64
	bounded    atomic.Int64 // when a bounded read was last served from L1
	complained atomic.Int64 // when an error was last logged
	writers    *gate
	crash      atomic.Bool // the next write dies between its commit and telling anybody
}

// instance runs until ctx ends.
func (c *child) instance(ctx context.Context) error {
	hist, err := history.Create(c.Log, history.Header{Process: c.Process, Instance: c.Instance})
	if err != nil {
		return err
	}
	st, err := openStore(ctx, c.Source, c.Address, 8)
	if err != nil {
		return err
	}
	defer st.close()
	m := &instance{child: c, store: st, hist: hist, latest: make([]atomic.Uint64, c.Keys), writers: newGate()}
	if err := m.open(); err != nil {
		return err
	}
	defer m.client.Close()
	var wg sync.WaitGroup
	wg.Go(func() { m.readAll(ctx) })
	for i := range 2 {
		wg.Go(func() { m.write(ctx, i) })
	}
	wg.Go(func() { m.look(ctx) })
	wg.Go(func() { m.askAll(ctx) })
	err = m.serve(ctx)
	m.writers.open() // a run ends while they are paused
	wg.Wait()
	m.readers.Wait()
	return errors.Join(err, hist.Close())
}

// leaseTTL is for how long a process that dies while it loads a key keeps others from loading it.
const leaseTTL = time.Second

// open opens the client and both caches.
func (m *instance) open() (err error) {
	c, st := m.child, m.store
	tracking := nearcache.TrackingOn
	if c.Tracking == trackingOff {
		tracking = nearcache.TrackingOff
	}
	cfg := nearcache.Config{Redis: c.redis(), Heartbeat: heartbeat, Tracking: tracking, Logger: c.log,
		Events: c.events()}
	if c.Relayed {
		cfg.Relayed = true
	} else {
		cfg.Source = st.truth()
	}
	m.client, err = nearcache.New(cfg)
	if err != nil {
		return err
	}
	opt := nearcache.Options[uint32, item]{Load: m.load, TTL: time.Minute, LoadTimeout: 2 * time.Second,
		LeaseTTL: leaseTTL}
	if c.Default {
		opt.MaxStaleness = c.Bound
		// What is promised of the bound is that nothing differs for so long.
		opt.Audit = nearcache.Audit[uint32, item]{Rate: auditRate, Load: st.load}
	} else if c.Instance == 1 { // and one whose entries are refreshed, or expire, now and then
		opt.TTL, opt.AbsentTTL, opt.Refresh = 3*time.Second, 500*time.Millisecond, nearcache.Refresh{After: 0.7}
		opt.MaxLoads = maxLoads
	}
	if m.cache, err = nearcache.NewCache(m.client, namespace, opt); err == nil {
		m.outer, err = nearcache.NewCache(m.client, outerNamespace, nearcache.Options[uint32, int64]{Load: m.loadOuter,
			TTL: 200 * time.Millisecond, LoadTimeout: 2 * time.Second, LeaseTTL: leaseTTL})
	}
	if err == nil {
		err = m.openHeld()
	}
	if err != nil {
		return errors.Join(err, m.client.Close())
	}
	return nil
}

// serve carries out commands and says how things are.
func (m *instance) serve(ctx context.Context) error {
	t := time.NewTicker(reportEvery)
	defer t.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return nil
		case cmd := <-m.commands:
			if err := m.execute(ctx, cmd); err != nil {
				return err
			}
			m.done++
		case <-t.C:
		}
		if n%5 == 0 {
			if err := m.hist.Flush(); err != nil {
				return err
			}
		}
		m.report(m.status())
	}
}

func (m *instance) execute(ctx context.Context, cmd string) error {
	switch what, arg, _ := strings.Cut(cmd, " "); what {
	case "clock":
		ahead, err := time.ParseDuration(arg)
		wallclock.Step(ahead)
		return err
	case "nest":
		m.nested.Store(arg == "on")
	case "pause":
		m.writers.shut()
	case "go":
		m.writers.open()
	case "sweep":
		m.sweep(ctx)
	case "die":
		m.crash.Store(true)
	case holdLoad, awaitLoad, endsFailed, endsInvalidated, endsEvicted:
		return m.executeHeld(ctx, what, arg)
	default:
		return fmt.Errorf("no command %q", cmd)
	}
	return nil
}

// status looks at the clock first: no moment must come out too late.
func (m *instance) status() status {
	st := status{At: m.hist.Now(), Bounded: m.bounded.Load(), Reads: m.reads.Load(), Done: m.done}
	client := m.client.Status()
	st.Ready = client.Ready
	a := client.Caches[namespace].Audit
	st.Audited = a.Reads
	for i := range a.Differences {
		d := &a.Differences[i]
		st.Differs = append(st.Differs, fmt.Sprintf("%s of key %s by %s, version %d of %d, for %v: %s", d.Cause, d.Key,
			d.Tier, d.Served, d.Source, round(d.Lasted), d.Text))
	}
	if b := client.Bound; b.Staleness > 0 {
		st.Proved = st.At - int64(b.Staleness)
		switch {
		case b.Events > 0 && client.Tracking == nearcache.TrackingOff:
			st.Settled = st.At - int64(b.Events)
		case b.Redis > 0 && b.Events > 0:
			st.Settled = st.At - int64(max(b.Redis, b.Events))
		}
	}
	return st
}

// look records again and again what is proved.
func (m *instance) look(ctx context.Context) {
	t := time.NewTicker(lookEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		now := m.hist.Now()
		staleness := m.client.Status().Bound.Staleness
		if staleness == 0 {
			staleness = -1
		}
		m.hist.Append(&history.Record{Op: history.Gate, Invoke: now, Return: now, Staleness: staleness})
	}
}

// gate lets writers be paused. One goroutine shuts and opens it.
type gate struct {
	mu     sync.RWMutex // each write holds it for reading
	isShut bool
}

func newGate() *gate { return &gate{} }

// shut returns when no write is under way.
func (g *gate) shut() {
	if !g.isShut {
		g.mu.Lock()
		g.isShut = true
	}
}

func (g *gate) open() {
	if g.isShut {
		g.isShut = false
		g.mu.Unlock()
	}
}

func (g *gate) enter() { g.mu.RLock() }

func (g *gate) leave() { g.mu.RUnlock() }
