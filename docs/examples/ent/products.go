package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"entgo.io/ent/dialect/sql"

	"github.com/nearcache/nearcache-go/docs/examples/ent/ent"
	"github.com/nearcache/nearcache-go/docs/examples/ent/ent/product"
	"github.com/nearcache/nearcache-go/nearcache"
	"github.com/nearcache/nearcache-go/nearcache/sqlload"
)

// Product is what the cache shows of a row. It is not the generated type, which holds the client that read it.
type Product struct {
	ID         int64
	Name       string
	PriceCents int64
}

// Products is the repository.
type Products struct {
	*store
	cache *nearcache.Cache[int64, Product]
}

func newProducts(client *nearcache.Client, s *store) (*Products, error) {
	r := &Products{store: s}
	var err error
	r.cache, err = nearcache.NewCache(client, namespace, nearcache.Options[int64, Product]{Load: r.loader()})
	return r, err
}

// loader reads value and version in one statement. The left join gives a row for an absent product too, which a query
// of the generated client would not. So the statement is made with ent's builder and the generated names.
func (r *Products) loader() nearcache.Loader[int64, Product] {
	b := sql.Dialect(r.dialect)
	p := b.Table(product.Table).As("p")
	query, _ := b.SelectExpr(r.versionOf("")).
		AppendSelectExpr(sql.Raw(p.C(product.FieldID)+" is not null")).
		AppendSelect(p.C(product.FieldID), p.C(product.FieldName), p.C(product.FieldPriceCents)).
		From(b.SelectExpr(sql.Raw("1")).As("one")).
		LeftJoin(p).OnP(sql.EQ(p.C(product.FieldID), 0)).
		Query() // its arguments are those of a key
	return sqlload.Query(r.client, query, func(id int64) []any { return []any{key(id), id} },
		func(p *Product) []any { return []any{&p.ID, &p.Name, &p.PriceCents} })
}

// Get reads a product through the cache. The error wraps nearcache.ErrNotFound if there is none.
func (r *Products) Get(ctx context.Context, id int64) (Product, error) { return r.cache.Get(ctx, id) }

// Create inserts a product.
func (r *Products) Create(ctx context.Context, p Product) error {
	return r.write(ctx, p.ID, func(ctx context.Context, tx *ent.Tx) error {
		return tx.Product.Create().SetID(p.ID).SetName(p.Name).SetPriceCents(p.PriceCents).Exec(ctx)
	})
}

// SetPrice changes a product's price. The error wraps nearcache.ErrNotFound if there is no such product.
func (r *Products) SetPrice(ctx context.Context, id, cents int64) error {
	return r.write(ctx, id, func(ctx context.Context, tx *ent.Tx) error {
		err := tx.Product.UpdateOneID(id).SetPriceCents(cents).Exec(ctx)
		if ent.IsNotFound(err) {
			err = errors.Join(nearcache.ErrNotFound, err)
		}
		return err
	})
}

// write runs change in a transaction. The trigger of the table counts the version in it and writes the outbox, so both
// commit with the change, or not at all. An error of the commit itself is returned as it is: nobody knows then whether
// it happened.
func (r *Products) write(ctx context.Context, id int64, change func(context.Context, *ent.Tx) error) error {
	_, err := r.cache.Write(ctx, id, func(ctx context.Context) (nearcache.Version, error) {
		tx, err := r.client.Tx(ctx)
		if err != nil {
			return 0, fmt.Errorf("%w: %w", nearcache.ErrNotCommitted, err)
		}
		var v nearcache.Version
		if err = change(ctx, tx); err == nil {
			v, err = r.counted(ctx, tx, id)
		}
		if err != nil {
			return 0, errors.Join(fmt.Errorf("%w: %w", nearcache.ErrNotCommitted, err), tx.Rollback())
		}
		return v, tx.Commit()
	})
	return err
}

// counted is the version that a transaction has counted for a product.
func (r *Products) counted(ctx context.Context, tx *ent.Tx, id int64) (v nearcache.Version, err error) {
	query, args := sql.Dialect(r.dialect).SelectExpr(r.versionOf(key(id))).Query()
	rows, err := tx.QueryContext(ctx, query, args...)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	return v, sql.ScanOne(rows, &v)
}

// versionOf is the expression for a key's version, with the argument as the dialect writes it.
func (s *store) versionOf(key string) sql.Querier {
	before, after, _ := strings.Cut(s.version, "?")
	return sql.ExprFunc(func(b *sql.Builder) { b.WriteString(before).Arg(key).WriteString(after) })
}

// key is how the trigger writes a product's key, and the cache by its default EncodeKey.
func key(id int64) string { return strconv.FormatInt(id, 10) }
