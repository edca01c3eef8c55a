package suite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/rueidis"

	"github.com/nearcache/nearcache-go/benchmarks/measure"
	"github.com/nearcache/nearcache-go/benchmarks/peers"
	"github.com/nearcache/nearcache-go/coherence/postgres"
)

// article is the scenario of the article that this library goes back to: first with a Redis that has what an earlier hour has
// left in it, then with an empty one.
func article(ctx context.Context, e *Env) (*measure.Section, error) {
	n := e.pick([]int{100_000}, []int{2_000})[0]
	c := shopping{Products: n, Readers: 16, Seconds: float64(e.pick([]int{25}, []int{2})[0])}
	s := &measure.Section{Title: "The article's scenario", Figures: map[string]float64{},
		Config: fmt.Sprintf("%d instances, each in a process of its own, x %d readers, each pausing 10 ms between reads; %d products in Postgres, Zipf (1.1); a read of the database takes 200 ms at the median and 800 ms at p99; "+
			"1%% of all operations are writes, each a transaction; %.0f s each", processes, c.Readers, n, c.Seconds),
		Note: "The article reports 800 -> 320 ms on misses, 45 ms on hits, mean -60%, database reads -80% (a citation). With Redis alone the key is deleted after the commit, as the article's team did. " +
			"The near cache has the trigger and the relay; L1 is empty at the beginning in both tables. A miss is a read that waited for the database, whoever had asked it; saved is per read, against no cache. " +
			"The goals' figures are those of the near cache without a bound on the warm Redis: the state that a service is in for all but its first minutes. \"Doubled\" are database reads of a product while another such read was under way: what a stampede is made of."}
	shopping, err := e.openShop(ctx, c)
	if err != nil {
		return nil, err
	}
	defer shopping.pool.Close()
	without, err := shopping.run(ctx, e, noCache, false)
	if err != nil {
		return nil, fmt.Errorf("no cache: %w", err)
	}
	for _, warm := range []bool{true, false} {
		title := "Redis empty at the beginning"
		if warm {
			title = "Redis warm"
		}
		t := measure.Table{Title: title, Columns: []string{"", "reads", "hits", "of L1", "hits p50", "p99", "misses p50", "p99", "all p50", "p99", "mean", "mean saved", "database reads", "doubled", "of all reads", "saved", "a write, mean", "errors"}}
		t.Rows = append(t.Rows, salesRow("no cache", without, without))
		for _, k := range []struct{ name, kind string }{{"Redis alone", redisAlone}, {"nearcache", "nearcache"}, {peers.Bounded.String(), peers.Bounded.String()}} {
			r, err := shopping.run(ctx, e, k.kind, warm)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", k.name, err)
			}
			if k.kind == "nearcache" && r.L1 == 0 {
				return nil, errors.New("suite: not one of the near cache's reads was a hit in L1: the run is void")
			}
			t.Rows = append(t.Rows, salesRow(k.name, r, without))
			if k.kind == "nearcache" {
				name := map[bool]string{true: "", false: "_cold"}[warm]
				s.Figures["reads_saved_percent"+name], s.Figures["mean_saved_percent"+name] = r.saved(without)
				s.Figures["doubled"+name] = float64(r.Doubled)
			}
			fmt.Fprintf(e.Log, "article, %s, warm %v: %d reads, %d of the database\n", k.name, warm, r.Reads, r.Loads)
		}
		s.Tables = append(s.Tables, t)
	}
	return s, e.Flush(ctx)
}

// saved is how much less, in percent, a read asks of the database and takes.
func (s *sales) saved(without sales) (reads, mean float64) {
	part := func(x sales) float64 { return float64(x.Loads) / float64(max(1, x.Reads)) }
	return 100 * (1 - part(*s)/part(without)), 100 * (1 - s.mean()/without.mean())
}

func (s *sales) mean() float64 { return float64(s.Took.Nanoseconds()) / float64(max(1, s.Reads)) }

func salesRow(name string, r, without sales) []string {
	reads, mean := r.saved(without)
	at := func(s *spread, count int64, q float64) string {
		if count == 0 {
			return ""
		}
		return Nanos(float64(s.at(q)))
	}
	share := func(n int64) string { return fmt.Sprintf("%.2f%%", 100*float64(n)/float64(max(1, r.Reads))) }
	l1 := ""
	if r.L1+r.L2 > 0 {
		l1 = share(r.L1)
	}
	return []string{name, fmt.Sprint(r.Reads), share(r.HitsCount), l1, at(&r.Hits, r.HitsCount, 0.5), at(&r.Hits, r.HitsCount, 0.99), at(&r.Misses, r.MissesCount, 0.5), at(&r.Misses, r.MissesCount, 0.99),
		at(&r.All, r.Reads, 0.5), at(&r.All, r.Reads, 0.99), Nanos(r.mean()), fmt.Sprintf("%.1f%%", mean), fmt.Sprint(r.Loads), fmt.Sprint(r.Doubled), fmt.Sprintf("%.3f%%", 100*float64(r.Loads)/float64(max(1, r.Reads))), fmt.Sprintf("%.2f%%", reads),
		Nanos(float64(r.Wrote.Nanoseconds()) / float64(max(1, r.Writes))), fmt.Sprint(r.Errors)}
}

// openedShop is the database of the scenario.
type openedShop struct {
	c    shopping
	pool *pgxpool.Pool
	src  *postgres.Source
}

// openShop fills the table, and installs the library's trigger on it.
func (e *Env) openShop(ctx context.Context, c shopping) (o *openedShop, err error) {
	if c.Postgres, err = e.Postgres(ctx); err != nil {
		return nil, err
	}
	if c.Redis, err = e.Redis(ctx); err != nil {
		return nil, err
	}
	pool, err := shopPool(ctx, c.Postgres, 8)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			pool.Close()
		}
	}()
	src, err := postgres.New(pool, postgres.Config{})
	if err != nil {
		return nil, err
	}
	if err := src.Install(ctx); err != nil {
		return nil, err
	}
	if _, err := pool.Exec(ctx, `drop table if exists products; create table products (id text primary key, name text not null, price bigint not null, stock bigint not null, about text not null)`); err != nil {
		return nil, err
	}
	if _, err := pool.CopyFrom(ctx, pgx.Identifier{"products"}, []string{"id", "name", "price", "stock", "about"}, pgx.CopyFromSlice(c.Products, func(i int) ([]any, error) {
		p := peers.NewProduct(i, smallValue)
		return []any{p.ID, p.Name, p.Price, p.Stock, p.About}, nil
	})); err != nil {
		return nil, err
	}
	if _, err := pool.Exec(ctx, `analyze products`); err != nil {
		return nil, err
	}
	if err := src.InstallTrigger(ctx, postgres.Trigger{Table: "products", Namespace: "b", KeyColumns: []string{"id"}}); err != nil {
		return nil, err
	}
	return &openedShop{c, pool, src}, nil
}

// run has the load on one kind of cache.
func (o *openedShop) run(ctx context.Context, e *Env, kindName string, warm bool) (sum sales, err error) {
	if err := e.Flush(ctx); err != nil {
		return sum, err
	}
	dir, err := e.data("under")
	if err != nil {
		return sum, err
	}
	c := o.c
	c.Kind, c.Under = kindName, filepath.Join(dir, fmt.Sprint(e.names.Add(1)))
	under, err := mapped(c.Under, c.Products)
	if err != nil {
		return sum, err
	}
	defer func() { unmap(under); os.Remove(c.Under) }()
	kind, ok := peers.Named[product](kindName)
	if !ok {
		return sum, fmt.Errorf("suite: no peer %q", kindName)
	}
	// The driver's instance runs the relay, and knows what Redis holds.
	w := shopWorld(c, &pgTable{pool: o.pool, under: under}, o.src)
	w.Relay = true
	own, err := kind.Open(ctx, w)
	if err != nil {
		return sum, err
	}
	defer func() { err = errors.Join(err, own.Close()) }()
	if at, _ := own.Stored("x", product{}, 1); at != "" && warm {
		if err := o.fill(ctx, e, own); err != nil {
			return sum, fmt.Errorf("fill Redis: %w", err)
		}
	}
	crew, err := e.hire(ctx, processes, "shop", func(int) any { return c })
	if err != nil {
		return sum, err
	}
	defer crew.dismiss()
	var all []sales
	if err := crew.ask("run", &all); err != nil {
		return sum, err
	}
	for _, s := range all {
		sum.add(s)
	}
	return sum, nil
}

// fill has Redis hold every product as the database has it, in pipelines.
func (o *openedShop) fill(ctx context.Context, e *Env, own peers.Peer[product]) error {
	rows, err := o.pool.Query(ctx, `select p.id, p.name, p.price, p.stock, p.about, coalesce(v.version, 0) from products p left join nearcache.versions v on v.namespace = 'b' and v.key = p.id`)
	if err != nil {
		return err
	}
	cmds := make([]rueidis.Completed, 0, pipeline)
	send := func() error {
		err := e.send(ctx, cmds)
		cmds = cmds[:0]
		return err
	}
	var v product
	var version uint64
	if _, err := pgx.ForEachRow(rows, []any{&v.ID, &v.Name, &v.Price, &v.Stock, &v.About, &version}, func() error {
		at, b := own.Stored(v.ID, v, version)
		if cmds = append(cmds, e.foreign.B().Set().Key(at).Value(b).Px(time.Hour).Build()); len(cmds) == pipeline {
			return send()
		}
		return nil
	}); err != nil {
		return err
	}
	return send()
}
