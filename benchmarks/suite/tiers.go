package suite

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/nearcache/nearcache-go/benchmarks/measure"
	"github.com/nearcache/nearcache-go/benchmarks/peers"
)

const directPostgres = "Postgres, no cache"

// tiers compares a read that ends in L1, in Redis, and in the database.
func tiers(ctx context.Context, e *Env) (*measure.Section, error) {
	const n, conns = 10_000, 16
	s := &measure.Section{Title: "What each tier costs", Figures: map[string]float64{},
		Config: fmt.Sprintf("%d products of %d bytes of JSON; the row in Postgres by its primary key through pgxpool, %d "+
			"connections, all rows in the server's memory", n, smallValue, conns),
		Note: "Redis and Postgres run on the same cores. What they use is in the wall time, and not in the processor " +
			"time of this process."}
	pool, err := e.postgresPool(ctx, conns)
	if err != nil {
		return nil, err
	}
	defer pool.Close()
	table, err := newProductTable(ctx, pool, n)
	if err != nil {
		return nil, err
	}
	all, closeAll, err := openFixtures(ctx, e, products(n, smallValue),
		renamed("nearcache, L1 hit", peers.NearcacheKind[product](peers.Plain)),
		renamed("nearcache, L2 hit", nearcacheWithoutL1()),
		renamed("Redis GET and decode", mustKind[product]("Redis GET")))
	if err != nil {
		return nil, err
	}
	defer closeAll()
	db, err := e.openDirectPostgres(ctx, table, n)
	if err != nil {
		return nil, err
	}
	subjects := make([]measure.Subject, 0, len(all)+1)
	for _, f := range append(all, db) {
		sub := f.subject(ctx)
		if f.noL1 {
			sub.L1Hits = nil
		}
		subjects = append(subjects, sub)
	}
	for _, workers := range e.pick([]int{1, 8, 64}, []int{8}) {
		loads := all[1].src.Loads.Load()
		c, err := compareWall(ctx, e.plan(workers), fmt.Sprintf("%d goroutines", workers), subjects)
		if err != nil {
			return nil, err
		}
		if err := requireL2Hits(all[1], loads, c.Series[1].Ops); err != nil {
			return nil, err
		}
		s.Comparisons = append(s.Comparisons, c)
		s.Figures[fmt.Sprintf("postgres_over_l1_%d", workers)] = c.Ratio(directPostgres).Median
		s.Figures[fmt.Sprintf("l2_over_l1_%d", workers)] = c.Ratio(all[1].name).Median
	}
	return s, nil
}

// postgresPool connects to the database of this run.
func (e *Env) postgresPool(ctx context.Context, conns int32) (*pgxpool.Pool, error) {
	url, err := e.Postgres(ctx)
	if err != nil {
		return nil, err
	}
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	cfg.MaxConns = conns
	return pgxpool.NewWithConfig(ctx, cfg)
}

// openDirectPostgres reads the table without a cache. Like every peer, it has to pass the conformance test.
func (e *Env) openDirectPostgres(ctx context.Context, table productTable, n int) (*fixture[product], error) {
	kind := renamed(directPostgres, mustKind[product]("source"))
	var both []peers.Peer[product]
	for range 2 {
		p, err := kind.Open(ctx, peers.Config[product]{Source: table})
		if err != nil {
			return nil, err
		}
		both = append(both, p)
	}
	prefix := fmt.Sprintf("s%d", e.names.Add(1))
	value := func(i int) product { p := peers.NewProduct(i, smallValue); p.ID = prefix + "conform"; return p }
	if _, err := peers.Conform(ctx, both[0], both[1], table, e.foreign, prefix, value); err != nil {
		return nil, fmt.Errorf("%s does not conform: %w", directPostgres, err)
	}
	st := &fixture[product]{name: directPostgres, peer: both[0], noL1: true}
	for i := range n {
		st.keys = append(st.keys, peers.NewProduct(i, smallValue).ID)
	}
	return st, nil
}
