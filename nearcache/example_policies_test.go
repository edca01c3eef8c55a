package nearcache_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nearcache/nearcache-go/nearcache"
)

// With FailSafe the last value is served while the source is down, and Read says so.
func ExampleFailSafe() {
	repo := newShop()
	down := false
	_, products, stop := start(repo, nearcache.Options[string, product]{
		TTL:      100 * time.Millisecond,
		FailSafe: nearcache.FailSafe{MaxAge: time.Hour},
		Load: func(ctx context.Context, id string) (nearcache.Entry[product], error) {
			if down {
				return nearcache.Entry[product]{}, errors.New("the database is down")
			}
			return repo.find(ctx, id)
		}})
	defer stop()
	ctx := context.Background()
	r, err := products.Read(ctx, "42", nearcache.ReadOptions{})
	for err == nil && r.Tier == nearcache.TierSource { // until it is cached
		r, err = products.Read(ctx, "42", nearcache.ReadOptions{})
	}
	fmt.Println(r.Value.Name, err)
	down = true
	for err == nil && !r.Stale { // until its TTL is over
		r, err = products.Read(ctx, "42", nearcache.ReadOptions{})
	}
	fmt.Println(r.Value.Name, "stale:", r.Stale, err)
	_, err = products.Read(ctx, "42", nearcache.ReadOptions{ServeStale: -1})
	fmt.Println(err)
	// Output:
	// espresso machine <nil>
	// espresso machine stale: true <nil>
	// nearcache: load product "42": the database is down
}

// With Refresh a read that finds its value due begins a load in the background, and nobody waits for it.
func ExampleRefresh() {
	repo := newShop()
	_, products, stop := start(repo, nearcache.Options[string, product]{
		TTL:     time.Hour,
		Refresh: nearcache.Refresh{After: 0.00001}, // 36ms
	})
	defer stop()
	ctx := context.Background()
	p, err := products.Get(ctx, "42")
	fmt.Println(p.Cents, err)
	repo.save("42", product{"espresso machine", 19900}) // by a way that tells the cache nothing
	for err == nil && p.Cents != 19900 {
		p, err = products.Get(ctx, "42")
	}
	fmt.Println(p.Cents, err)
	// Output:
	// 24900 <nil>
	// 19900 <nil>
}

// A cache that is Clearable drops everything by one write, on every instance.
func ExampleCache_Clear() {
	repo := newShop()
	_, products, stop := start(repo, nearcache.Options[string, product]{Clearable: true})
	defer stop()
	ctx := context.Background()
	for range 2 {
		r, err := products.Read(ctx, "42", nearcache.ReadOptions{})
		fmt.Println(r.Value.Name, "from", r.Tier, err)
	}
	fmt.Println(products.Clear(ctx))
	r, err := products.Read(ctx, "42", nearcache.ReadOptions{})
	fmt.Println(r.Value.Name, "from", r.Tier, err)
	// Output:
	// espresso machine from source <nil>
	// espresso machine from l2 <nil>
	// <nil>
	// espresso machine from source <nil>
}
