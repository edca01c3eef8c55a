package suite

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/nearcache/nearcache-go/benchmarks/peers"
)

// productTable holds products in Postgres. Each is read by its primary key.
type productTable struct{ pool *pgxpool.Pool }

// newProductTable makes the table and fills it.
func newProductTable(ctx context.Context, pool *pgxpool.Pool, n int) (productTable, error) {
	if _, err := pool.Exec(ctx, `drop table if exists catalogue;
		create table catalogue (id text primary key, name text not null, price bigint not null, stock bigint not null,
			about text not null, version bigint not null default 1, gone boolean not null default false)`); err != nil {
		return productTable{}, err
	}
	if _, err := pool.CopyFrom(ctx, pgx.Identifier{"catalogue"}, []string{"id", "name", "price", "stock", "about"},
		pgx.CopyFromSlice(n, func(i int) ([]any, error) {
			p := peers.NewProduct(i, smallValue)
			return []any{p.ID, p.Name, p.Price, p.Stock, p.About}, nil
		})); err != nil {
		return productTable{}, err
	}
	_, err := pool.Exec(ctx, `vacuum analyze catalogue`)
	return productTable{pool}, err
}

// Load implements peers.Source.
func (r productTable) Load(ctx context.Context, key string) (v product, version uint64, err error) {
	var gone bool
	err = r.pool.QueryRow(ctx, `select id, name, price, stock, about, version, gone from catalogue where id = $1`, key).
		Scan(&v.ID, &v.Name, &v.Price, &v.Stock, &v.About, &version, &gone)
	if errors.Is(err, pgx.ErrNoRows) || err == nil && gone {
		return product{}, version, peers.ErrMiss
	}
	return v, version, err
}

// Store implements peers.Source.
func (r productTable) Store(ctx context.Context, key string, v product) (version uint64, err error) {
	err = r.pool.QueryRow(ctx, `insert into catalogue as c (id, name, price, stock, about) values ($1, $2, $3, $4, $5)
		on conflict (id) do update set name = $2, price = $3, stock = $4, about = $5,
			version = c.version + 1, gone = false
		returning version`,
		key, v.Name, v.Price, v.Stock, v.About).Scan(&version)
	return version, err
}

// Remove implements peers.Source.
func (r productTable) Remove(ctx context.Context, key string) (version uint64, err error) {
	err = r.pool.QueryRow(ctx,
		`update catalogue set version = version + 1, gone = true where id = $1 returning version`, key).Scan(&version)
	return version, err
}
