package suite

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/nearcache/nearcache-go/benchmarks/peers"
	"github.com/nearcache/nearcache-go/coherence/postgres"
	"github.com/nearcache/nearcache-go/nearcache"
)

// pgTable is a source of truth in Postgres, whose reads are as slow as the article's: half of them take 200 ms, one in a
// hundred 800. Versions and events come from the library's own trigger.
type pgTable struct {
	pool    *pgxpool.Pool
	reads   atomic.Int64
	doubled atomic.Int64 // reads of what another read was under way for, in any process
	under   []uint64     // the reads under way of each product, which all processes share
}

// quickest is the least that a read of the database takes: who waits that long has waited for one.
const quickest = 40 * time.Millisecond

func (p *pgTable) slow() float64 {
	return max(quickest.Seconds(), min(1.5, 0.2*math.Exp(0.596*rand.NormFloat64()))) // ln(800/200) / 2.326
}

// askedKey marks a read, so that the database can tell it that it was asked.
type askedKey struct{}

// Load implements peers.Source.
func (p *pgTable) Load(ctx context.Context, key string) (v product, version uint64, err error) {
	i, err := strconv.Atoi(key[1:])
	if err != nil {
		return v, 0, fmt.Errorf("suite: product %q: %w", key, err)
	}
	if asked, ok := ctx.Value(askedKey{}).(*atomic.Bool); ok {
		asked.Store(true)
	}
	p.reads.Add(1)
	if atomic.AddUint64(&p.under[i], 1) > 1 {
		p.doubled.Add(1)
	}
	defer atomic.AddUint64(&p.under[i], ^uint64(0))
	err = p.pool.QueryRow(ctx, `select p.id, p.name, p.price, p.stock, p.about, coalesce(v.version, 0) from (select pg_sleep($2)) s, products p
		left join nearcache.versions v on v.namespace = 'b' and v.key = p.id where p.id = $1`, key, p.slow()).
		Scan(&v.ID, &v.Name, &v.Price, &v.Stock, &v.About, &version)
	if errors.Is(err, pgx.ErrNoRows) {
		err = peers.ErrMiss
	}
	return v, version, err
}

// Store implements peers.Source.
func (p *pgTable) Store(ctx context.Context, key string, v product) (version uint64, err error) {
	err = pgx.BeginFunc(ctx, p.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `update products set price = $2 where id = $1`, key, v.Price); err != nil {
			return err
		}
		return tx.QueryRow(ctx, `select version from nearcache.versions where namespace = 'b' and key = $1`, key).Scan(&version)
	})
	return version, err
}

// Remove implements peers.Source.
func (p *pgTable) Remove(context.Context, string) (uint64, error) { return 0, errReadOnly }

// shopping is the configuration of a process with one instance.
type shopping struct {
	Kind            string
	Redis, Postgres string
	Under           string // the file of pgTable.under
	Products        int
	Readers         int
	Seconds         float64
}

// sales is what it saw.
type sales struct {
	Reads, Writes, Errors  int64
	Loads, Doubled         int64
	L1, L2                 int64 // hits of the near cache by tier
	Took, Wrote            time.Duration
	All, Hits, Misses      spread
	HitsTook, MissesTook   time.Duration
	HitsCount, MissesCount int64
}

func (s *sales) add(o sales) {
	for _, x := range []struct{ to, from *int64 }{{&s.Reads, &o.Reads}, {&s.Writes, &o.Writes}, {&s.Errors, &o.Errors}, {&s.Loads, &o.Loads}, {&s.Doubled, &o.Doubled},
		{&s.L1, &o.L1}, {&s.L2, &o.L2}, {&s.HitsCount, &o.HitsCount}, {&s.MissesCount, &o.MissesCount}} {
		*x.to += *x.from
	}
	s.Took, s.Wrote, s.HitsTook, s.MissesTook = s.Took+o.Took, s.Wrote+o.Wrote, s.HitsTook+o.HitsTook, s.MissesTook+o.MissesTook
	for i := range s.All {
		s.All[i] += o.All[i]
		s.Hits[i] += o.Hits[i]
		s.Misses[i] += o.Misses[i]
	}
}

type shop struct {
	c     shopping
	table *pgTable
	pool  *pgxpool.Pool
	peer  peers.Peer[product]
	get   func(ctx context.Context, key string) (nearcache.Tier, error)
	write func(ctx context.Context, key string, v product) error
	told  sync.Once // of the first error
}

// fails counts an error, and tells of the first.
func (s *shop) fails(mine *sales, err error) {
	mine.Errors++
	s.told.Do(func() { fmt.Fprintf(os.Stderr, "article, %s: the first error: %v\n", s.c.Kind, err) })
}

const (
	redisAlone = "Redis GET"
	noCache    = "source"
)

// shopPool has room for all readers of a process in the database at once, and for the near cache's own questions.
func shopPool(ctx context.Context, url string, readers int) (*pgxpool.Pool, error) {
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	cfg.MaxConns = int32(readers + 8)
	return pgxpool.NewWithConfig(ctx, cfg)
}

func newShop(ctx context.Context, c shopping) (s *shop, err error) {
	s = &shop{c: c, table: &pgTable{}}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if s.table.under, err = mapped(c.Under, c.Products); err != nil {
		return nil, err
	}
	if s.pool, err = shopPool(ctx, c.Postgres, c.Readers); err != nil {
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
	if s.peer, err = kind.Open(ctx, shopWorld(c, s.table, src)); err != nil {
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
	case *peers.PlainRedis[product]: // as the article's team did: commit, and then delete the key
		s.write = func(ctx context.Context, key string, v product) error {
			if _, err := s.table.Store(ctx, key, v); err != nil {
				return err
			}
			return p.Client.Do(ctx, p.Client.B().Del().Key(key).Build()).Error()
		}
	}
	return s, nil
}

// shopWorld is what an instance runs in.
func shopWorld(c shopping, table *pgTable, src *postgres.Source) peers.World[product] {
	return peers.World[product]{Redis: c.Redis, Source: table, Codec: peers.JSON[product]{}, Prefix: "article", Entries: c.Products, Bytes: int64(c.Products * smallValue),
		TTL: time.Hour, Commits: src}
}

func (s *shop) close() {
	if s.peer != nil {
		_ = s.peer.Close()
	}
	if s.pool != nil {
		s.pool.Close()
	}
	if s.table.under != nil {
		unmap(s.table.under)
	}
}

// do has every reader read, and now and then write, as long as it shall.
func (s *shop) do(ctx context.Context, order string) (any, error) {
	if order != "run" {
		return nil, fmt.Errorf("suite: there is no order %q", order)
	}
	ends := time.Now().Add(time.Duration(s.c.Seconds * float64(time.Second)))
	var mu sync.Mutex
	var sum sales
	var wg sync.WaitGroup
	for range s.c.Readers {
		wg.Go(func() {
			mine := s.visit(ctx, ends)
			mu.Lock()
			defer mu.Unlock()
			sum.add(mine)
		})
	}
	wg.Wait()
	sum.Loads, sum.Doubled = s.table.reads.Load(), s.table.doubled.Load()
	return sum, nil
}

// visit is one reader.
func (s *shop) visit(ctx context.Context, ends time.Time) (mine sales) {
	random := rand.New(rand.NewPCG(rand.Uint64(), 1))
	zipf := rand.NewZipf(random, 1.1, 1, uint64(s.c.Products-1))
	for time.Now().Before(ends) {
		v := peers.NewProduct(int(zipf.Uint64()), smallValue)
		if random.IntN(100) == 0 {
			v.Price += int64(random.IntN(1000))
			begun := time.Now()
			if err := s.write(ctx, v.ID, v); err != nil {
				s.fails(&mine, err)
			}
			mine.Wrote += time.Since(begun)
			mine.Writes++
			continue
		}
		var asked atomic.Bool
		marked := context.WithValue(ctx, askedKey{}, &asked)
		begun := time.Now()
		tier, err := s.get(marked, v.ID)
		d := time.Since(begun)
		if err != nil {
			s.fails(&mine, err)
		}
		mine.Reads++
		mine.Took += d
		mine.All.add(d)
		// A reader that shares another's load, or that waits for another process's, has missed too.
		if asked.Load() || tier == nearcache.TierSource || tier == nearcache.TierL2 && d >= quickest {
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
