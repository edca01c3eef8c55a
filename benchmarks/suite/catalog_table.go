package suite

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/nearcache/nearcache-go/benchmarks/peers"
)

// slowTable is a source of truth in Postgres whose reads are as slow as those of the article: 200 ms at the median and
// 800 ms at p99. Versions and events come from the library's own trigger.
type slowTable struct {
	pool       *pgxpool.Pool
	reads      atomic.Int64
	duplicates atomic.Int64 // reads of a product while another read of it was under way, in any process
	inFlight   []uint64     // the reads under way of each product; all processes share this memory
}

// minLoad is the least time of a read of the database. A read of the cache that takes as long has waited for one.
const minLoad = 40 * time.Millisecond

// delay is log-normal, in seconds.
func (p *slowTable) delay() float64 {
	return max(minLoad.Seconds(), min(1.5, 0.2*math.Exp(0.596*rand.NormFloat64()))) // ln(800/200) / 2.326
}

// loadedKey is the key of a flag in a context. Load sets it, so that the reader knows that its read reached the
// database.
type loadedKey struct{}

// Load implements peers.Source.
func (p *slowTable) Load(ctx context.Context, key string) (v product, version uint64, err error) {
	i, err := strconv.Atoi(key[1:])
	if err != nil {
		return v, 0, fmt.Errorf("suite: product %q: %w", key, err)
	}
	if asked, ok := ctx.Value(loadedKey{}).(*atomic.Bool); ok {
		asked.Store(true)
	}
	p.reads.Add(1)
	if atomic.AddUint64(&p.inFlight[i], 1) > 1 {
		p.duplicates.Add(1)
	}
	defer atomic.AddUint64(&p.inFlight[i], ^uint64(0))
	err = p.pool.QueryRow(ctx, `select p.id, p.name, p.price, p.stock, p.about, nearcache.version_of('b', p.id)
		from (select pg_sleep($2)) s, products p where p.id = $1`, key, p.delay()).
		Scan(&v.ID, &v.Name, &v.Price, &v.Stock, &v.About, &version)
	if errors.Is(err, pgx.ErrNoRows) {
		err = peers.ErrMiss
	}
	return v, version, err
}

// Store implements peers.Source.
func (p *slowTable) Store(ctx context.Context, key string, v product) (version uint64, err error) {
	err = pgx.BeginFunc(ctx, p.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `update products set price = $2 where id = $1`, key, v.Price); err != nil {
			return err
		}
		return tx.QueryRow(ctx, `select nearcache.version_of('b', $1)`, key).Scan(&version)
	})
	return version, err
}

// Remove implements peers.Source.
func (p *slowTable) Remove(context.Context, string) (uint64, error) { return 0, errReadOnly }
