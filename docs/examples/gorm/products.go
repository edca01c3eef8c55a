package main

import (
	"context"
	"fmt"
	"strconv"

	"gorm.io/gorm"

	"github.com/nearcache/nearcache-go/nearcache"
	"github.com/nearcache/nearcache-go/nearcache/sqlload"
)

// Product is a row of the table products.
type Product struct {
	ID         int64 `gorm:"primaryKey"`
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
	r.cache, err = nearcache.NewCache(client, namespace, nearcache.Options[int64, Product]{
		Load: sqlload.Row(r.find, func(f found) (Product, nearcache.Version, bool) {
			return f.Product, f.Version, f.Found
		}),
	})
	return r, err
}

// Get reads a product through the cache. The error wraps nearcache.ErrNotFound if there is none.
func (r *Products) Get(ctx context.Context, id int64) (Product, error) { return r.cache.Get(ctx, id) }

// found is a product with its version; one that does not exist has a version too.
type found struct {
	Product `gorm:"embedded"`
	Version nearcache.Version
	Found   bool
}

// find reads value and version in one statement. The left join gives a row for an absent product.
func (r *Products) find(ctx context.Context, id int64) (f found, err error) {
	err = r.db.WithContext(ctx).Table("(select 1 as one) one").
		Select(r.version+" as version, p.id is not null as found, p.*", key(id)).
		Joins("left join products p on p.id = ?", id).Take(&f).Error
	return f, err
}

// Create inserts a product.
func (r *Products) Create(ctx context.Context, p Product) error {
	return r.write(ctx, p.ID, func(tx *gorm.DB) error { return tx.Create(&p).Error })
}

// SetPrice changes a product's price. The error wraps nearcache.ErrNotFound if there is no such product.
func (r *Products) SetPrice(ctx context.Context, id, cents int64) error {
	return r.write(ctx, id, func(tx *gorm.DB) error {
		res := tx.Model(&Product{ID: id}).Update("price_cents", cents)
		if res.Error == nil && res.RowsAffected == 0 {
			return nearcache.ErrNotFound
		}
		return res.Error
	})
}

// write runs change in a transaction. The trigger of the table counts the version in it and writes the outbox, so both
// commit with the change, or not at all. An error of the commit itself is returned as it is: nobody knows then whether
// it happened.
func (r *Products) write(ctx context.Context, id int64, change func(*gorm.DB) error) error {
	_, err := r.cache.Write(ctx, id, func(ctx context.Context) (v nearcache.Version, err error) {
		err = r.db.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
			if err := change(tx); err != nil {
				return fmt.Errorf("%w: %w", nearcache.ErrNotCommitted, err)
			}
			if err := tx.Raw("select "+r.version, key(id)).Scan(&v).Error; err != nil {
				return fmt.Errorf("%w: %w", nearcache.ErrNotCommitted, err)
			}
			return nil
		})
		return v, err
	})
	return err
}

// key is how the trigger writes a product's key, and the cache by its default EncodeKey.
func key(id int64) string { return strconv.FormatInt(id, 10) }
