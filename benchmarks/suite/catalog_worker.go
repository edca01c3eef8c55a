package suite

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/nearcache/nearcache-go/benchmarks/peers"
	"github.com/nearcache/nearcache-go/coherence/postgres"
	"github.com/nearcache/nearcache-go/nearcache"
)

// catalogWorker is one worker process with one instance.
type catalogWorker struct {
	c          catalogConfig
	table      *slowTable
	pool       *pgxpool.Pool
	peer       peers.Peer[product]
	get        func(ctx context.Context, key string) (nearcache.Tier, error)
	write      func(ctx context.Context, key string, v product) error
	firstError sync.Once // it is printed
}

// countError counts an error, and prints the first.
func (s *catalogWorker) countError(mine *readStats, err error) {
	mine.Errors++
	s.firstError.Do(func() { fmt.Fprintf(os.Stderr, "article, %s: the first error: %v\n", s.c.Kind, err) })
}

const (
	redisOnly = "Redis GET"
	noCache   = "source"
)

// catalogPool has a connection for every reader of a process, and some for the near cache's own queries.
func catalogPool(ctx context.Context, url string, readers int) (*pgxpool.Pool, error) {
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	cfg.MaxConns = int32(readers + 8)
	return pgxpool.NewWithConfig(ctx, cfg)
}

func newCatalogWorker(ctx context.Context, c catalogConfig) (s *catalogWorker, err error) {
	s = &catalogWorker{c: c, table: &slowTable{}}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if s.table.inFlight, err = mapFile(c.InFlight, c.Products); err != nil {
		return nil, err
	}
	if s.pool, err = catalogPool(ctx, c.Postgres, c.Readers); err != nil {
		return nil, err
	}
	s.table.pool = s.pool
	src, err := postgres.New(s.pool, postgres.Config{})
	if err != nil {
		return nil, err
	}
	kind, ok := peers.Named[product](c.Kind)
	if !ok {
		return nil, fmt.Errorf("suite: no peer %q", c.Kind)
	}
	if s.peer, err = kind.Open(ctx, catalogPeerConfig(c, s.table, src)); err != nil {
		return nil, err
	}
	s.get = func(ctx context.Context, key string) (nearcache.Tier, error) {
		_, err := s.peer.Get(ctx, key)
		return nearcache.TierNone, err
	}
	s.write = s.peer.Write
	switch p := s.peer.(type) {
	case *peers.Nearcache[product]:
		s.get = func(ctx context.Context, key string) (nearcache.Tier, error) {
			r, err := p.Cache.Read(ctx, key, nearcache.ReadOptions{})
			return r.Tier, err
		}
	case *peers.PlainRedis[product]: // as in the article: commit, and then delete the key
		s.write = func(ctx context.Context, key string, v product) error {
			if _, err := s.table.Store(ctx, key, v); err != nil {
				return err
			}
			return p.Client.Do(ctx, p.Client.B().Del().Key(key).Build()).Error()
		}
	}
	return s, nil
}

// catalogPeerConfig is the configuration of an instance.
func catalogPeerConfig(c catalogConfig, table *slowTable, src *postgres.Source) peers.Config[product] {
	return peers.Config[product]{Redis: c.Redis, Source: table, Codec: peers.JSON[product]{}, Prefix: "article",
		Entries: c.Products, Bytes: int64(c.Products * smallValue),
		TTL: time.Hour, Commits: src}
}

func (s *catalogWorker) close() {
	if s.peer != nil {
		_ = s.peer.Close()
	}
	if s.pool != nil {
		s.pool.Close()
	}
	if s.table.inFlight != nil {
		unmapFile(s.table.inFlight)
	}
}

// do runs all readers.
func (s *catalogWorker) do(ctx context.Context, command string) (any, error) {
	if command != "run" {
		return nil, fmt.Errorf("suite: unknown command %q", command)
	}
	ends := time.Now().Add(time.Duration(s.c.Seconds * float64(time.Second)))
	var mu sync.Mutex
	var sum readStats
	var wg sync.WaitGroup
	for range s.c.Readers {
		wg.Go(func() {
			mine := s.readLoop(ctx, ends)
			mu.Lock()
			defer mu.Unlock()
			sum.add(mine)
		})
	}
	wg.Wait()
	sum.Loads, sum.Duplicates = s.table.reads.Load(), s.table.duplicates.Load()
	return sum, nil
}

// readLoop is one reader, which also writes now and then.
func (s *catalogWorker) readLoop(ctx context.Context, ends time.Time) (mine readStats) {
	random := rand.New(rand.NewPCG(rand.Uint64(), 1))
	zipf := rand.NewZipf(random, 1.1, 1, uint64(s.c.Products-1))
	for time.Now().Before(ends) {
		v := peers.NewProduct(int(zipf.Uint64()), smallValue)
		if random.IntN(100) == 0 {
			v.Price += int64(random.IntN(1000))
			start := time.Now()
			if err := s.write(ctx, v.ID, v); err != nil {
				s.countError(&mine, err)
			}
			mine.Wrote += time.Since(start)
			mine.Writes++
			continue
		}
		var loaded atomic.Bool
		marked := context.WithValue(ctx, loadedKey{}, &loaded)
		start := time.Now()
		tier, err := s.get(marked, v.ID)
		d := time.Since(start)
		if err != nil {
			s.countError(&mine, err)
		}
		mine.Reads++
		mine.Took += d
		mine.All.add(d)
		// A reader that waited for the load of another reader or process has missed, too.
		if loaded.Load() || tier == nearcache.TierSource || tier == nearcache.TierL2 && d >= minLoad {
			mine.Misses.add(d)
			mine.MissesTook += d
			mine.MissesCount++
		} else {
			mine.Hits.add(d)
			mine.HitsTook += d
			mine.HitsCount++
			switch tier {
			case nearcache.TierL1:
				mine.L1++
			case nearcache.TierL2:
				mine.L2++
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	return mine
}
