package suite

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/nearcache/nearcache-go/benchmarks/measure"
	"github.com/nearcache/nearcache-go/benchmarks/peers"
	"github.com/nearcache/nearcache-go/coherence/postgres"
)

// table is a source of truth in Postgres, whose reads are as slow as the article's: half of them take 200 ms, one in a
// hundred 800. Versions and events come from the library's own trigger.
type pgTable struct {
	pool  *pgxpool.Pool
	reads atomic.Int64
}

func (p *pgTable) slow() float64 {
	return min(1.5, 0.2*math.Exp(0.596*rand.NormFloat64())) // ln(800/200) / 2.326
}

// Load implements peers.Source.
func (p *pgTable) Load(ctx context.Context, key string) (v product, version uint64, err error) {
	p.reads.Add(1)
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

// article is the scenario of the article that this library goes back to.
func article(ctx context.Context, e *Env) (*measure.Section, error) {
	n := e.pick([]int{100_000}, []int{2_000})[0]
	seconds := float64(e.pick([]int{30}, []int{4})[0])
	const instances, readers = 4, 16
	s := &measure.Section{Title: "The article's scenario", Figures: map[string]float64{},
		Config: fmt.Sprintf("%d instances x %d readers, each pausing 10 ms between reads; %d products in Postgres, Zipf (1.1); reads of 200 ms at the median and 800 ms at p99; 1%% writes; %.0f s, Redis warm", instances, readers, n, seconds),
		Note:   "The article reports 800 -> 320 ms on misses, 45 ms on hits, mean -60%, database reads -80% (a citation). Instances are clients of one process."}
	url, err := e.Postgres(ctx)
	if err != nil {
		return nil, err
	}
	addr, err := e.Redis(ctx)
	if err != nil {
		return nil, err
	}
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	cfg.MaxConns = 100
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer pool.Close()
	src, err := postgres.New(pool, "")
	if err != nil {
		return nil, err
	}
	if err := src.Install(ctx); err != nil {
		return nil, err
	}
	if _, err := pool.Exec(ctx, `drop table if exists products; create table products (id text primary key, name text not null, price bigint not null, stock bigint not null, about text not null)`); err != nil {
		return nil, err
	}
	if _, err := pool.CopyFrom(ctx, pgx.Identifier{"products"}, []string{"id", "name", "price", "stock", "about"}, pgx.CopyFromSlice(n, func(i int) ([]any, error) {
		p := peers.NewProduct(i, smallValue)
		return []any{p.ID, p.Name, p.Price, p.Stock, p.About}, nil
	})); err != nil {
		return nil, err
	}
	if err := src.InstallTrigger(ctx, postgres.Trigger{Table: "products", Namespace: "b", KeyColumns: []string{"id"}}); err != nil {
		return nil, err
	}
	t := measure.Table{Title: "What a reader sees, and the database", Columns: []string{"", "reads", "p50", "p99", "mean", "database reads", "of all reads", "errors"}}
	var without, mean float64
	for _, k := range []peers.Kind[product]{named("no cache", must[product]("source")), named("Redis alone", must[product]("Redis GET")), must[product]("nearcache"), must[product](peers.Bounded.String())} {
		if err := e.Flush(ctx); err != nil {
			return nil, err
		}
		table := &pgTable{pool: pool}
		r, err := e.shop(ctx, k, addr, src, table, n, instances, readers, seconds)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", k.Name, err)
		}
		part := float64(r.loads) / float64(r.reads)
		t.Rows = append(t.Rows, []string{k.Name, fmt.Sprint(r.reads), Nanos(float64(r.latency.at(0.5))), Nanos(float64(r.latency.at(0.99))), Nanos(r.mean), fmt.Sprint(r.loads), fmt.Sprintf("%.3f%%", 100*part), fmt.Sprint(r.errors)})
		switch k.Name {
		case "no cache":
			without, mean = part, r.mean
		case "nearcache":
			s.Figures["reads_saved_percent"], s.Figures["mean_saved_percent"] = 100*(1-part/without), 100*(1-r.mean/mean)
		}
	}
	s.Tables = append(s.Tables, t)
	return s, e.Flush(ctx)
}

type shopResult struct {
	reads, loads, errors int64
	mean                 float64
	latency              spread
}

// shop runs the load on one kind of cache.
func (e *Env) shop(ctx context.Context, k peers.Kind[product], addr string, src *postgres.Source, table *pgTable, n, instances, readers int, seconds float64) (r shopResult, err error) {
	w := peers.World[product]{Redis: addr, Source: table, Codec: peers.JSON[product]{}, Prefix: "article", Entries: n, Bytes: int64(n * smallValue), TTL: time.Hour, Commits: src}
	var all []peers.Peer[product]
	defer func() {
		for _, p := range all {
			_ = p.Close()
		}
	}()
	for i := range instances {
		w.Relay = i == 0
		p, err := k.Open(ctx, w)
		if err != nil {
			return r, err
		}
		all = append(all, p)
	}
	if at, _ := all[0].Stored("x", product{}, 1); at != "" { // what an earlier hour has left there
		versions := map[string]uint64{}
		rows, err := table.pool.Query(ctx, `select key, version from nearcache.versions where namespace = 'b'`)
		if err != nil {
			return r, err
		}
		var key string
		var version uint64
		if _, err := pgx.ForEachRow(rows, []any{&key, &version}, func() error { versions[key] = version; return nil }); err != nil {
			return r, err
		}
		if err := each(ctx, 4, n, func(i int) error {
			p := peers.NewProduct(i, smallValue)
			at, v := all[0].Stored(p.ID, p, versions[p.ID])
			return e.foreign.Do(ctx, e.foreign.B().Set().Key(at).Value(v).Px(time.Hour).Build()).Error()
		}); err != nil {
			return r, err
		}
	}
	before := table.reads.Load()
	ends := time.Now().Add(time.Duration(seconds * float64(time.Second)))
	var mu sync.Mutex
	var total time.Duration
	var wg sync.WaitGroup
	for _, p := range all {
		for range readers {
			wg.Go(func() {
				random := rand.New(rand.NewPCG(rand.Uint64(), 1))
				zipf := rand.NewZipf(random, 1.1, 1, uint64(n-1))
				var mine shopResult
				var took time.Duration
				for time.Now().Before(ends) {
					v := peers.NewProduct(int(zipf.Uint64()), smallValue)
					if random.IntN(100) == 0 {
						v.Price += int64(random.IntN(1000))
						if err := p.Write(ctx, v.ID, v); err != nil {
							mine.errors++
						}
						continue
					}
					begun := time.Now()
					_, err := p.Get(ctx, v.ID)
					d := time.Since(begun)
					mine.latency.add(d)
					took += d
					mine.reads++
					if err != nil {
						mine.errors++
					}
					time.Sleep(10 * time.Millisecond)
				}
				mu.Lock()
				defer mu.Unlock()
				r.reads, r.errors, total = r.reads+mine.reads, r.errors+mine.errors, total+took
				for i, c := range mine.latency {
					r.latency[i] += c
				}
			})
		}
	}
	wg.Wait()
	r.loads, r.mean = table.reads.Load()-before, float64(total.Nanoseconds())/float64(max(1, r.reads))
	return r, nil
}
