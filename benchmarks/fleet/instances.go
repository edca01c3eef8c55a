package fleet

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/rueidis"

	"github.com/nearcache/nearcache-go/coherence/postgres"
	"github.com/nearcache/nearcache-go/nearcache"
)

// instances is a process of several instances. Each has a client, a Source and a cache of its own; they share the pool
// of connections that their Loaders use.
type instances struct {
	config  Config
	pool    *pgxpool.Pool
	all     []*instance
	traffic kafkaTraffic
	reading func() // stops the readers; nil if there are none

	reads, errors, loads atomic.Int64
}

type instance struct {
	source  *postgres.Source
	client  *nearcache.Client
	cache   *nearcache.Cache[string, string]
	metrics *prometheus.Registry
}

// ErrNotReady is the error of a process of which an instance is not ready within a minute: the machine is too small for
// the fleet.
var ErrNotReady = errors.New("fleet: an instance is not ready within a minute")

// ExitNotReady is the exit code for ErrNotReady.
const ExitNotReady = 3

// startInstances returns when every instance is ready.
func startInstances(ctx context.Context, c Config) (_ process, err error) {
	p := &instances{config: c, all: make([]*instance, c.Instances)}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.close())
		}
	}()
	pool, err := pgxpool.ParseConfig(c.Postgres)
	if err != nil {
		return nil, err
	}
	pool.MaxConns = 16
	if p.pool, err = pgxpool.NewWithConfig(ctx, pool); err != nil {
		return nil, err
	}
	ready, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return p, p.each(8, func(i int) (err error) {
		if p.all[i], err = p.open(); err != nil {
			return err
		}
		if err := p.all[i].client.Ready(ready); err != nil {
			return fmt.Errorf("%w: %w", ErrNotReady, err)
		}
		return nil
	})
}

// each calls f for every instance, some at a time.
func (p *instances) each(atATime int, f func(i int) error) error {
	var next atomic.Int64
	errs := make([]error, atATime)
	var wg sync.WaitGroup
	for w := range errs {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(p.all) && errs[w] == nil; i = int(next.Add(1)) - 1 {
				errs[w] = f(i)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (p *instances) open() (*instance, error) {
	i := &instance{metrics: prometheus.NewRegistry()}
	var err error
	// An instance needs one connection for its positions.
	if i.source, err = postgres.New(p.pool, postgres.Config{Conns: 1}); err != nil {
		return nil, err
	}
	cfg := nearcache.Config{Redis: rueidis.ClientOption{InitAddress: []string{p.config.Redis}}, Prefix: p.config.Prefix,
		Source: i.source, Registerer: i.metrics}
	if p.config.Kafka != "" {
		cfg.Events = tail(p.traffic.broker(p.config.Kafka), p.config.Topic)
	}
	if i.client, err = nearcache.New(cfg); err != nil {
		i.source.Close()
		return nil, err
	}
	query := "select coalesce(f.body, ''), " + i.source.VersionSQL("'"+Namespace+"'", "$1") +
		" from (select) one left join " + Table + " f on f.id = $1"
	i.cache, err = nearcache.NewCache(i.client, Namespace, nearcache.Options[string, string]{TTL: time.Hour,
		L1Bytes: 1 << 20, MaxStaleness: p.config.Bound,
		Load: func(ctx context.Context, key string) (e nearcache.Entry[string], err error) {
			p.loads.Add(1)
			return e, p.pool.QueryRow(ctx, query, key).Scan(&e.Value, &e.Version)
		}})
	if err != nil {
		return nil, errors.Join(err, i.close())
	}
	return i, nil
}

func (i *instance) close() error {
	err := i.client.Close()
	i.source.Close()
	return err
}

// Key is the name of key number k.
func Key(k int) string { return fmt.Sprintf("key-%06d", k) }

// do understands "count", "stop", and "read RATE KEYS", which makes each instance read RATE times a second, from its
// first KEYS keys.
func (p *instances) do(ctx context.Context, command string) error {
	var rate float64
	var keys int
	switch {
	case command == "count":
	case command == "stop":
		p.stopReading()
	case strings.HasPrefix(command, "read "):
		if _, err := fmt.Sscanf(command, "read %g %d", &rate, &keys); err != nil {
			return fmt.Errorf("fleet: %q: %w", command, err)
		}
		p.stopReading()
		return p.read(ctx, rate, keys)
	default:
		return fmt.Errorf("fleet: unknown command %q", command)
	}
	return nil
}

func (p *instances) stopReading() {
	if p.reading != nil {
		p.reading()
		p.reading = nil
	}
}

// read brings the keys into every L1 and starts a reader for each instance.
func (p *instances) read(ctx context.Context, rate float64, keys int) error {
	names := make([]string, keys)
	for k := range names {
		names[k] = Key(k)
	}
	if err := p.each(4, func(i int) error {
		for range 2 {
			if _, err := p.all[i].cache.GetMany(ctx, names); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		return err
	}
	reading, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	every := time.Duration(float64(time.Second) / rate)
	for _, i := range p.all {
		wg.Go(func() {
			next := time.Now().Add(rand.N(every))
			for ; ; next = next.Add(every) {
				time.Sleep(time.Until(next))
				if reading.Err() != nil {
					return
				}
				if _, err := i.cache.Get(ctx, names[rand.IntN(keys)]); err != nil {
					p.errors.Add(1)
					continue
				}
				p.reads.Add(1)
			}
		})
	}
	p.reading = func() { stop(); wg.Wait() }
	return nil
}

func (p *instances) count() Counts {
	c := Counts{Reads: float64(p.reads.Load()), Errors: float64(p.errors.Load()), Loads: float64(p.loads.Load()),
		KafkaIn: float64(p.traffic.in.Load()), KafkaOut: float64(p.traffic.out.Load())}
	for n, i := range p.all {
		c.L1Hits += sum(i.metrics, "nearcache_hits_total", "tier")["l1"] +
			sum(i.metrics, "nearcache_l1_hits_total", "")[""] // the name in older versions, which scale measures too
		invalidations := sum(i.metrics, "nearcache_invalidations_total", "channel")
		c.Pushes += invalidations["redis"]
		c.Events += invalidations["events"]
		proved := i.client.Status().Bound.Staleness.Seconds()
		if n == 0 || proved == 0 || proved > c.Proved && c.Proved != 0 {
			c.Proved = proved
		}
	}
	return c
}

func (p *instances) close() error {
	p.stopReading()
	err := p.each(8, func(i int) error {
		if p.all[i] == nil {
			return nil
		}
		return p.all[i].close()
	})
	if p.pool != nil {
		p.pool.Close()
	}
	return err
}
