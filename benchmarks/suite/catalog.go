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

	"github.com/nearcache/nearcache-go/benchmarks/peers"
	"github.com/nearcache/nearcache-go/coherence/postgres"
)

// catalogRun has the database of the article's scenario.
type catalogRun struct {
	c    catalogConfig
	pool *pgxpool.Pool
	src  *postgres.Source
}

// openCatalog fills the table and installs the library's trigger on it.
func (e *Env) openCatalog(ctx context.Context, c catalogConfig) (o *catalogRun, err error) {
	if c.Postgres, err = e.Postgres(ctx); err != nil {
		return nil, err
	}
	if c.Redis, err = e.Redis(ctx); err != nil {
		return nil, err
	}
	pool, err := catalogPool(ctx, c.Postgres, 8)
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
	if _, err := pool.Exec(ctx,
		`drop table if exists products; create table products (id text primary key, name text not null,
			price bigint not null, stock bigint not null, about text not null)`); err != nil {
		return nil, err
	}
	if _, err := pool.CopyFrom(ctx, pgx.Identifier{"products"}, []string{"id", "name", "price", "stock", "about"},
		pgx.CopyFromSlice(c.Products, func(i int) ([]any, error) {
			p := peers.NewProduct(i, smallValue)
			return []any{p.ID, p.Name, p.Price, p.Stock, p.About}, nil
		})); err != nil {
		return nil, err
	}
	if _, err := pool.Exec(ctx, `analyze products`); err != nil {
		return nil, err
	}
	if err := src.InstallTrigger(ctx, postgres.Trigger{Table: "products", Namespace: "b",
		KeyColumns: []string{"id"}}); err != nil {
		return nil, err
	}
	return &catalogRun{c, pool, src}, nil
}

// run runs the load on one kind of cache.
func (o *catalogRun) run(ctx context.Context, e *Env, kindName string, start redisState) (sum readStats, err error) {
	if err := e.Flush(ctx); err != nil {
		return sum, err
	}
	dir, err := e.dataDir("inflight")
	if err != nil {
		return sum, err
	}
	c := o.c
	c.Kind, c.InFlight = kindName, filepath.Join(dir, fmt.Sprint(e.names.Add(1)))
	inFlight, err := mapFile(c.InFlight, c.Products)
	if err != nil {
		return sum, err
	}
	defer func() { unmapFile(inFlight); os.Remove(c.InFlight) }()
	kind, ok := peers.Named[product](kindName)
	if !ok {
		return sum, fmt.Errorf("suite: no peer %q", kindName)
	}
	// The instance in this process runs the relay, and knows the format in Redis.
	w := catalogPeerConfig(c, &slowTable{pool: o.pool, inFlight: inFlight}, o.src)
	w.Relay = true
	own, err := kind.Open(ctx, w)
	if err != nil {
		return sum, err
	}
	defer func() { err = errors.Join(err, own.Close()) }()
	if at, _ := own.Stored("x", product{}, 1); at != "" && start == warmRedis {
		if err := o.fill(ctx, e, own); err != nil {
			return sum, fmt.Errorf("fill Redis: %w", err)
		}
	}
	workers, err := e.startWorkers(ctx, processes, "catalog", func(int) any { return c })
	if err != nil {
		return sum, err
	}
	defer workers.stop()
	var all []readStats
	if err := workers.collect("run", &all); err != nil {
		return sum, err
	}
	for _, s := range all {
		sum.add(s)
	}
	return sum, nil
}

// fill writes every product of the database to Redis, in pipelines.
func (o *catalogRun) fill(ctx context.Context, e *Env, own peers.Peer[product]) error {
	rows, err := o.pool.Query(ctx,
		`select id, name, price, stock, about, nearcache.version_of('b', id) from products`)
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
