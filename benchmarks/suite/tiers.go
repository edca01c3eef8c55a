package suite

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/nearcache/nearcache-go/benchmarks/measure"
	"github.com/nearcache/nearcache-go/benchmarks/peers"
)

const directPostgres = "straight to Postgres"

// tiers are what a read costs that ends in L1, in Redis, and in the database.
func tiers(ctx context.Context, e *Env) (*measure.Section, error) {
	const n, conns = 10_000, 16
	s := &measure.Section{Title: "What each tier costs", Figures: map[string]float64{},
		Config: fmt.Sprintf("%d products of %d bytes of JSON; the row in Postgres by its primary key through pgxpool, %d connections, all of it in the server's memory", n, smallValue, conns),
		Note:   "Redis and Postgres run on the same cores: what they use is in the wall time, and not in the processor time of this process."}
	url, err := e.Postgres(ctx)
	if err != nil {
		return nil, err
	}
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	cfg.MaxConns = conns
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer pool.Close()
	table, err := newProductTable(ctx, pool, n)
	if err != nil {
		return nil, err
	}
	d := products(n, smallValue)
	far := peers.NearcacheKind(peers.Plain, disableL1)
	far.NoL1 = true
	all, closeAll, err := openFixtures(ctx, e, d, renamed("nearcache, L1 hit",
		peers.NearcacheKind[product](peers.Plain)), renamed("nearcache, L2 hit", far),
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
	for _, st := range append(all, db) {
		sub := st.subject(ctx)
		if st.noL1 {
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
		if more := all[1].src.Loads.Load() - loads; more > c.Series[1].Ops/1000 {
			return nil, fmt.Errorf("suite: %d of %d reads of L2 went to the source", more, c.Series[1].Ops)
		}
		s.Comparisons = append(s.Comparisons, c)
		s.Figures[fmt.Sprintf("postgres_over_l1_%d", workers)] = c.Ratio(directPostgres).Median
		s.Figures[fmt.Sprintf("l2_over_l1_%d", workers)] = c.Ratio(all[1].name).Median
	}
	return s, nil
}

// straight is no cache before the table. It conforms like any peer.
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
