package demo

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/product"
	"github.com/nearcache/nearcache-go/nearcache"
	"github.com/nearcache/nearcache-go/tier"
)

// Instances is how many instances the page shows side by side.
const Instances = 3

// watchedIDs are the products whose versions the page shows.
var watchedIDs = []string{"p00001", "p00002", "p00003", "p00004", "p00005", "p00006"}

// Config is what the demo acts on.
type Config struct {
	// Store is the database, as it is.
	Store product.Store
	// Redis reaches Redis directly, whatever is cut for an instance.
	Redis rueidis.ClientOption
	// Flush empties Redis.
	Flush func()
	// Prefix is that of the caches' Redis keys.
	Prefix string
	// Bound is the bound of staleness that the demo's reads ask for.
	Bound  time.Duration
	Logger *slog.Logger
}

// Instance is one product server as the demo sees it.
type Instance struct {
	URL    string
	Client *nearcache.Client
	Cache  *nearcache.Cache[string, product.Product]
}

// member is an instance with its connections and what is measured of it.
type member struct {
	Instance
	name         string
	redis, kafka *Link
	awake        gate // shut while the instance is paused
	slow         brake
	debug        http.Handler
	rivals       [2]*rival // by rivalNames

	latency, stale window
	ratio          ratio
}

// The plain caches, and the columns of the comparison.
const (
	rivalTTLOnly = iota
	rivalPubSub
)

// Demo is the page and what is behind it.
type Demo struct {
	cfg       Config
	l2        *tier.L2
	redis     rueidis.Client
	members   [Instances]*member
	truth     *truth
	journeys  journeys
	hub       *hub
	stores    stores
	scores    [3]score // nearcache, TTL, pub/sub
	changed   chan string
	writer    atomic.Int32 // whose turn it is to write, in the background
	stampedes atomic.Int32 // steps about a stampede so far
	touring   sync.Mutex
	writing   sync.Mutex
	tours     tourState
	quiet     atomic.Pointer[string] // a product that the background leaves alone; nil: none

	base    context.Context // of all background work
	stop    context.CancelFunc
	watch   job // frames, traffic
	load    job
	compare job
	relay   job
	viewers struct {
		sync.Mutex
		all  map[*viewer]struct{}
		idle *time.Timer
	}
}

// New makes a demo without instances. Close it.
func New(cfg Config) (*Demo, error) {
	l2, err := tier.Open(tier.Config{Redis: cfg.Redis, Prefix: cfg.Prefix, Logger: cfg.Logger})
	if err != nil {
		return nil, err
	}
	plain := cfg.Redis
	plain.DisableCache = true
	redis, err := rueidis.NewClient(plain)
	if err != nil {
		l2.Close()
		return nil, err
	}
	d := &Demo{cfg: cfg, l2: l2, redis: redis, truth: newTruth(), hub: newHub(), changed: make(chan string, 1024)}
	d.base, d.stop = context.WithCancel(context.Background())
	d.viewers.all = make(map[*viewer]struct{})
	for i := range d.members {
		m := &member{name: string(rune('A' + i)), kafka: newLink(nil)}
		m.redis = newLink(func() *tap { return &tap{pushed: func(key string) { d.pushed(i, key) }} })
		for r := range m.rivals {
			m.rivals[r] = newRival(d.rivalLoad(i, r+1))
		}
		d.members[i] = m
	}
	d.watch.run = func(ctx context.Context) { together(ctx, d.frames, d.watchStores, d.gentle) }
	d.load.run = d.heavy
	d.compare.run = func(ctx context.Context) { together(ctx, d.followAll, d.announce) }
	return d, nil
}

// L2 is a connection to Redis that no fault touches, for the relay and the worker.
func (d *Demo) L2() *tier.L2 { return d.l2 }

// Links are the connections of an instance, from 0, to Redis and to Kafka.
func (d *Demo) Links(i int) (redis, kafka *Link) { return d.members[i].redis, d.members[i].kafka }

// Attach says which instance is the i-th. All must be attached before the page is served.
func (d *Demo) Attach(i int, in Instance) {
	d.members[i].Instance = in
	d.members[i].debug = nearcache.DebugHandler(in.Client)
}

// Relay says how a relay is run, and starts it. It ends with Stop.
func (d *Demo) Relay(run func(context.Context)) {
	d.relay.run = run
	d.relay.start(d.base)
}

// Stop heals everything, and ends all background work and all streams of the page. After it nothing starts again.
func (d *Demo) Stop() {
	d.stop()
	d.hub.close()
	d.healAll()
	for _, j := range []*job{&d.watch, &d.load, &d.compare, &d.relay} {
		j.end()
	}
}

// Close is Stop, and closes the demo's own connections.
func (d *Demo) Close() {
	d.Stop()
	d.redis.Close()
	d.l2.Close()
}

// Source returns the source of an instance: it answers nothing while the instance is paused.
func (d *Demo) Source(i int, s coherence.Source) coherence.Source {
	return &pausedSource{s, &d.members[i].awake}
}

type pausedSource struct {
	coherence.Source
	awake *gate
}

// Position implements coherence.Source.
func (s *pausedSource) Position(ctx context.Context) (coherence.Position, error) {
	if err := s.awake.wait(ctx.Done()); err != nil {
		return coherence.Position{}, err
	}
	return s.Source.Position(ctx)
}

// Load returns the Loader of an instance.
func (d *Demo) Load(i int, load nearcache.Loader[string, product.Product]) nearcache.Loader[string, product.Product] {
	m := d.members[i]
	return func(ctx context.Context, id string) (nearcache.Entry[product.Product], error) {
		if err := m.awake.wait(ctx.Done()); err != nil {
			return nearcache.Entry[product.Product]{}, err
		}
		d.scores[0].loads.Add(1)
		e, err := load(ctx, id)
		if err == nil {
			err = m.slow.pass(ctx, 0, id)
		}
		return e, err
	}
}

// rivalLoad is the Loader of a plain cache.
func (d *Demo) rivalLoad(i, scored int) func(context.Context, string) (product.Version, error) {
	return func(ctx context.Context, id string) (product.Version, error) {
		d.scores[scored].loads.Add(1)
		_, v, err := d.cfg.Store.Find(ctx, id)
		if err == nil {
			err = d.members[i].slow.pass(ctx, scored, id)
		}
		return v, err
	}
}

// Door holds up the requests of an instance while it is paused. The demo's own pass.
func (d *Demo) Door(i int, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.URL.Path, "/demo") && d.members[i].awake.wait(r.Context().Done()) != nil {
			return // the client has gone
		}
		next.ServeHTTP(w, r)
	})
}

// pushed notes that Redis has pushed an invalidation to an instance. "" is every key.
func (d *Demo) pushed(i int, key string) {
	id := ""
	if key != "" {
		var ok bool
		if _, id, ok = strings.Cut(key, ":v:"+product.Namespace+":"); !ok {
			return
		}
	}
	d.journeys.at(id, 0, stage{Instance: i + 1, By: "redis"}, time.Now())
}

// publish has the plain caches' writer announce a change.
func (d *Demo) publish(id string) {
	if !d.compare.running() {
		return
	}
	select {
	case d.changed <- id:
	default: // the demo's own queue; a thousand are waiting
	}
}

// announce sends the messages of the plain caches' writer.
func (d *Demo) announce(ctx context.Context) {
	for {
		select {
		case id := <-d.changed:
			_ = d.redis.Do(ctx, d.redis.B().Publish().Channel(pubsubChannel).Message(id).Build()).Error()
		case <-ctx.Done():
			return
		}
	}
}

// followAll follows the messages on every instance, through its own connection to Redis.
func (d *Demo) followAll(ctx context.Context) {
	all := make([]func(context.Context), Instances)
	for i, m := range d.members {
		all[i] = func(ctx context.Context) { m.rivals[rivalPubSub].follow(ctx, d.members[i].redis.Redis(d.cfg.Redis)) }
	}
	together(ctx, all...)
}
