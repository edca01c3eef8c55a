// Package suite has the benchmarks themselves: each function of All measures one thing and returns a section of the report.
package suite

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/nearcache/nearcache-go/benchmarks/measure"
	"github.com/nearcache/nearcache-go/benchmarks/peers"
	"github.com/nearcache/nearcache-go/internal/services/local"
)

// Env is what the benchmarks run on. Servers are started when they are first asked for.
type Env struct {
	Quick bool
	Peers []string // freshness is of these alone; none: of all
	Base  string   // where servers keep their data
	Log   io.Writer

	servers  *local.Run
	redis    *local.Server
	postgres *local.Server
	kafka    *local.Server
	foreign  rueidis.Client
	names    atomic.Int64
}

// NewEnv makes the directory of this run's servers.
func NewEnv(base string, quick bool, log io.Writer) (*Env, error) {
	if _, err := local.Sweep(base); err != nil {
		return nil, err
	}
	r, err := local.NewRun(base)
	if err != nil {
		return nil, err
	}
	return &Env{Quick: quick, Base: base, Log: log, servers: r}, nil
}

// Among are the kinds that were asked for.
func (e *Env) Among(kinds []string) []string {
	if len(e.Peers) == 0 {
		return kinds
	}
	return slices.DeleteFunc(slices.Clone(kinds), func(k string) bool { return !slices.Contains(e.Peers, k) })
}

// Close stops every server.
func (e *Env) Close() error {
	if e.foreign != nil {
		e.foreign.Close()
	}
	for _, s := range []*local.Server{e.redis, e.postgres, e.kafka} {
		if s != nil {
			s.Discard()
		}
	}
	return e.servers.Remove()
}

func (e *Env) dataDir(name string) (string, error) { return e.servers.Data(name) }

func (e *Env) record(r local.Record) {
	if err := e.servers.Note(r); err != nil {
		fmt.Fprintln(e.Log, err)
	}
}

// Redis is the address of a redis-server of this run.
func (e *Env) Redis(ctx context.Context) (string, error) {
	if e.redis != nil {
		return e.redis.Addr, nil
	}
	dir, err := e.dataDir("redis")
	if err != nil {
		return "", err
	}
	// By default Redis tracks a million keys, and has clients drop what is beyond: peers that hold as many each would never
	// have them all near.
	if e.redis, err = local.StartRedis(ctx, dir, local.Launch{Started: e.record}, "--tracking-table-max-keys",
		"0"); err != nil {
		return "", err
	}
	e.foreign, err = rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{e.redis.Addr}, DisableCache: true})
	return e.redis.Addr, err
}

// Postgres is the URL of a database of this run.
func (e *Env) Postgres(ctx context.Context) (string, error) {
	if e.postgres == nil {
		dir, err := e.dataDir("postgres")
		if err != nil {
			return "", err
		}
		if e.postgres, err = local.StartPostgres(ctx, dir, local.Launch{Started: e.record}); err != nil {
			return "", err
		}
	}
	return local.PostgresURL(e.postgres.Addr, "postgres"), nil
}

// Kafka is the address of a broker of this run.
func (e *Env) Kafka(ctx context.Context) (string, error) {
	if e.kafka == nil {
		dir, err := e.dataDir("kafka")
		if err != nil {
			return "", err
		}
		jars, err := local.FetchKafka(ctx, e.Base, e.Log)
		if err != nil {
			return "", err
		}
		if e.kafka, err = local.StartKafka(ctx, dir, jars, local.Launch{Started: e.record}); err != nil {
			return "", err
		}
	}
	return e.kafka.Addr, nil
}

// Flush empties Redis.
func (e *Env) Flush(ctx context.Context) error {
	return e.foreign.Do(ctx, e.foreign.B().Flushall().Build()).Error()
}

// plan is the rounds and cells of a comparison: with -quick enough to see that it works, and no more.
func (e *Env) plan(workers int) measure.Plan {
	if e.Quick {
		return measure.Plan{Rounds: 5, Turn: 60 * time.Millisecond, Workers: workers}
	}
	return measure.Plan{Rounds: 15, Turn: 200 * time.Millisecond, Workers: workers}
}

// stand is a peer that holds its keys near.
type fixture[V any] struct {
	name string
	peer peers.Peer[V]
	keys []string
	src  *peers.Memory[V]
	noL1 bool
}

// subject is how it is timed.
func (s *fixture[V]) subject(ctx context.Context) measure.Subject {
	sub := measure.Subject{Name: s.name, MinHit: 0.995, Loop: func(_, from,
		n int) int {
		return s.peer.Loop(ctx, s.keys, from, n)
	}}
	if c, ok := s.peer.(peers.L1Counter); ok {
		sub.L1Hits = c.L1Hits
	}
	return sub
}

// data is what a set of stands holds: n values of a size.
type dataset[V any] struct {
	n     int
	value func(i int) V
	codec peers.Codec[V]
	bytes int64 // of one encoded value
}

func products(n, size int) dataset[peers.Product] {
	return dataset[peers.Product]{n, func(i int) peers.Product { return peers.NewProduct(i, size) },
		peers.JSON[peers.Product]{}, int64(size)}
}

// smallValue and largeValue are what is called small and 4 kB in the report, in bytes of JSON.
const (
	smallValue = 150
	largeValue = 4096
)

// open opens a peer with all of the data in Redis, as the peer itself keeps it there, and in its near tier.
func openFilled[V any](ctx context.Context, e *Env, kind peers.Kind[V], name string, d dataset[V]) (*fixture[V],
	error) {
	s, err := openUnfilled(ctx, e, kind, name, d)
	if err != nil {
		return nil, err
	}
	if err := s.fillL1(ctx, 0.999); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", name, err), s.peer.Close())
	}
	s.keys = shuffledCopies(s.keys)
	return s, nil
}

// openCold is open with nothing near.
func openUnfilled[V any](ctx context.Context, e *Env, kind peers.Kind[V], name string, d dataset[V]) (*fixture[V],
	error) {
	addr, err := e.Redis(ctx)
	if err != nil {
		return nil, err
	}
	prefix := "s" + strconv.FormatInt(e.names.Add(1), 10)
	s := &fixture[V]{name: name, noL1: kind.NoL1, src: peers.NewMemory[V](), keys: make([]string, d.n)}
	for i := range s.keys {
		s.keys[i] = fmt.Sprintf("%s-%07d", prefix, i)
		s.src.Seed(s.keys[i], d.value(i))
	}
	s.peer, err = kind.Open(ctx, peers.Config[V]{Redis: addr, Source: s.src, Codec: d.codec, Prefix: prefix,
		Entries: d.n, Bytes: d.bytes * int64(d.n),
		TTL: time.Hour, Commits: s.src, Relay: true})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if err := s.fillRedis(ctx, e, d); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", name, err), s.peer.Close())
	}
	return s, nil
}

// asked are keys as requests bring them: in no order that the cache was filled in, which the processor would otherwise
// recognize and fetch ahead by, and as strings of their own, just read and so at hand.
func shuffledCopies(keys []string) []string {
	out := make([]string, len(keys))
	var all strings.Builder
	for _, i := range rand.Perm(len(keys)) {
		all.WriteString(keys[i])
	}
	at := 0
	for i := range out { // all of one length
		n := len(keys[i])
		out[i] = all.String()[at : at+n]
		at += n
	}
	return out
}

// fill puts the data into Redis.
func (s *fixture[V]) fillRedis(ctx context.Context, e *Env, d dataset[V]) error {
	if at, _ := s.peer.Stored(s.keys[0], d.value(0), 1); at == "" {
		return nil
	}
	return e.store(ctx, len(s.keys), func(i int) (at, value string) { return s.peer.Stored(s.keys[i], d.value(i), 1) })
}

// pipeline is how many commands the suite sends at once.
const pipeline = 500

// store has Redis hold n values for an hour.
func (e *Env) store(ctx context.Context, n int, one func(i int) (at, value string)) error {
	return each(ctx, 4, n/pipeline+1, func(b int) error {
		cmds := make([]rueidis.Completed, 0, pipeline)
		for i := b * pipeline; i < min(n, (b+1)*pipeline); i++ {
			at, v := one(i)
			cmds = append(cmds, e.foreign.B().Set().Key(at).Value(v).Px(time.Hour).Build())
		}
		return e.send(ctx, cmds)
	})
}

// send is one pipeline; the error is the first.
func (e *Env) send(ctx context.Context, cmds []rueidis.Completed) error {
	for _, res := range e.foreign.DoMulti(ctx, cmds...) {
		if err := res.Error(); err != nil {
			return err
		}
	}
	return nil
}

// read reads every key once.
func (s *fixture[V]) readAll(ctx context.Context) error {
	return each(ctx, 32, len(s.keys)/100+1, func(b int) error {
		keys := s.keys[b*100 : min(len(s.keys), (b+1)*100)]
		if f, ok := s.peer.(peers.Fetcher); ok { // a million keys one by one take minutes
			return f.Fetch(ctx, keys)
		}
		for _, k := range keys {
			if _, err := s.peer.Get(ctx, k); err != nil {
				return err
			}
		}
		return nil
	})
}

// warm reads until a part of the keys is near.
func (s *fixture[V]) fillL1(ctx context.Context, part float64) error {
	for pass := range 40 {
		if err := s.readAll(ctx); err != nil {
			return err
		}
		if s.noL1 {
			return nil
		}
		time.Sleep(time.Duration(pass+1) * time.Millisecond) // ristretto admits in the background
		sub := s.subject(ctx)
		near := int64(0)
		if sub.L1Hits != nil {
			near = sub.L1Hits()
		}
		hits := int64(sub.Loop(0, 0, len(s.keys)))
		if sub.L1Hits != nil {
			hits = sub.L1Hits() - near
		}
		if float64(hits) >= part*float64(len(s.keys)) {
			return nil
		}
	}
	return fmt.Errorf("suite: not all of %d keys come near", len(s.keys))
}

// each calls f with 0 to n-1 from several goroutines and returns the first error.
func each(ctx context.Context, workers, n int, f func(i int) error) error {
	var at atomic.Int64
	var first error
	var once sync.Once
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for i := int(at.Add(1) - 1); i < n && ctx.Err() == nil; i = int(at.Add(1) - 1) {
				if err := f(i); err != nil {
					once.Do(func() { first = err })
					at.Store(int64(n))
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(first, ctx.Err())
}

// stands opens several peers on the same data.
func openFixtures[V any](ctx context.Context, e *Env, d dataset[V], kinds ...peers.Kind[V]) (all []*fixture[V],
	closeAll func(), err error) {
	closeAll = func() {
		for _, s := range all {
			if err := s.peer.Close(); err != nil {
				fmt.Fprintf(e.Log, "close %s: %v\n", s.name, err)
			}
		}
		if err := e.Flush(ctx); err != nil {
			fmt.Fprintln(e.Log, err)
		}
	}
	for _, k := range kinds {
		s, err := openFilled(ctx, e, k, k.Name, d)
		if err != nil {
			closeAll()
			return nil, nil, err
		}
		all = append(all, s)
	}
	return all, closeAll, nil
}

// compare times stands against the first one.
func compareFixtures[V any](ctx context.Context, p measure.Plan, title string,
	all []*fixture[V]) (measure.Comparison, error) {
	subjects := make([]measure.Subject, len(all))
	for i, s := range all {
		subjects[i] = s.subject(ctx)
	}
	return compareCPU(ctx, p, title, subjects)
}

func compareWall(ctx context.Context, p measure.Plan, title string, subjects []measure.Subject) (measure.Comparison,
	error) {
	series, err := measure.Interleave(ctx, p, subjects)
	return measure.Comparison{Title: title, Base: subjects[0].Name, Series: series}, err
}

// inProcess is timed for what runs in this process alone.
func compareCPU(ctx context.Context, p measure.Plan, title string, subjects []measure.Subject) (measure.Comparison,
	error) {
	c, err := compareWall(ctx, p, title, subjects)
	c.CPU = true
	return c, err
}

// named is a kind under another name.
func renamed[V any](name string, k peers.Kind[V]) peers.Kind[V] {
	k.Name = name
	return k
}

func mustKind[V any](name string) peers.Kind[V] {
	k, ok := peers.Named[V](name)
	if !ok {
		panic("suite: no peer " + name)
	}
	return k
}
