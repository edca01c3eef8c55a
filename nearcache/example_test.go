package nearcache_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/nearcache"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
)

type product struct {
	Name  string
	Cents int
}

// shop is a repository with versions, as the examples need one.
type shop struct {
	mu       sync.Mutex
	rows     map[string]product
	versions map[string]nearcache.Version
	loads    int
}

func (s *shop) find(_ context.Context, id string) (nearcache.Entry[product], error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.loads++
	p, ok := s.rows[id]
	if !ok {
		return nearcache.Entry[product]{Version: s.versions[id]}, nearcache.ErrNotFound
	}
	return nearcache.Entry[product]{Value: p, Version: s.versions[id]}, nil
}

func (s *shop) save(id string, p product) nearcache.Version {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rows[id] = p
	s.versions[id]++
	return s.versions[id]
}

func newShop() *shop {
	s := &shop{rows: map[string]product{}, versions: map[string]nearcache.Version{}}
	s.save("42", product{"espresso machine", 24900})
	return s
}

// start starts an in-process Redis, a client and a cache, as each example needs them.
func start(s *shop, o nearcache.Options[string, product]) (*nearcache.Client,
	*nearcache.Cache[string, product], func()) {
	redis, err := nearcachetest.StartRedis("127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	client, err := nearcache.New(nearcache.Config{Redis: redis.ClientOption()})
	if err != nil {
		panic(err)
	}
	if o.Load == nil {
		o.Load = s.find
	}
	products, err := nearcache.NewCache(client, "product", o)
	if err != nil {
		panic(err)
	}
	if err := client.Ready(context.Background()); err != nil {
		panic(err)
	}
	return client, products, func() { _ = client.Close(); redis.Close() }
}

// fromL1 reads keys until L1 serves them. A miss is answered before Redis has its value.
func fromL1(products *nearcache.Cache[string, product], ids ...string) {
	for _, id := range ids {
		for last := nearcache.TierNone; last != nearcache.TierL1; {
			r, err := products.Read(context.Background(), id, nearcache.ReadOptions{})
			if err != nil {
				panic(err)
			}
			last = r.Tier
		}
	}
}

func Example() {
	repo := newShop()
	_, products, stop := start(repo, nearcache.Options[string, product]{})
	defer stop()
	ctx := context.Background()

	for last := nearcache.TierNone; last != nearcache.TierL1; {
		r, err := products.Read(ctx, "42", nearcache.ReadOptions{})
		if err != nil {
			panic(err)
		}
		if r.Tier != last { // it comes nearer with every read; the second may have to be repeated
			fmt.Println(r.Value.Name, "version", r.Version, "from", r.Tier)
		}
		last = r.Tier
	}
	// Output:
	// espresso machine version 1 from source
	// espresso machine version 1 from l2
	// espresso machine version 1 from l1
}

// A source without versions: leases and tracking alone keep stale values out.
func ExampleOptions_find() {
	find := func(_ context.Context, id int) (string, error) {
		if id != 7 {
			return "", nearcache.ErrNotFound
		}
		return "seven", nil
	}
	client, _, stop := start(newShop(), nearcache.Options[string, product]{})
	defer stop()
	names, err := nearcache.NewCache(client, "name", nearcache.Options[int, string]{Find: find})
	if err != nil {
		panic(err)
	}
	fmt.Println(names.Get(context.Background(), 7))
	_, err = names.Get(context.Background(), 8)
	fmt.Println(errors.Is(err, nearcache.ErrNotFound))
	// Output:
	// seven <nil>
	// true
}

// A write and everything it must be told to are one call. Its version makes the read that follows certain, on any
// instance.
func ExampleCache_Write() {
	repo := newShop()
	_, products, stop := start(repo, nearcache.Options[string, product]{})
	defer stop()
	ctx := context.Background()

	v, err := products.Write(ctx, "42", func(context.Context) (nearcache.Version, error) {
		return repo.save("42", product{"ristretto machine", 19900}), nil
	})
	fmt.Println("wrote version", v, err)
	r, err := products.Read(ctx, "42", nearcache.ReadOptions{AtLeast: v})
	fmt.Println(r.Value.Name, r.Version, err)
	// Output:
	// wrote version 2 <nil>
	// ristretto machine 2 <nil>
}

// ReadMany asks each tier once for all keys, and the source by one LoadMany.
func ExampleCache_ReadMany() {
	repo := newShop()
	repo.save("43", product{"grinder", 8900})
	_, products, stop := start(repo, nearcache.Options[string, product]{
		LoadMany: func(ctx context.Context, ids []string) (map[string]nearcache.Entry[product], error) {
			fmt.Println("loading", ids)
			out := make(map[string]nearcache.Entry[product])
			for _, id := range ids {
				if e, err := repo.find(ctx, id); err == nil {
					out[id] = e
				}
			}
			return out, nil
		}})
	defer stop()
	for range 2 {
		for _, r := range products.ReadMany(context.Background(), []string{"43", "nothing", "42"}, nearcache.ReadOptions{}) {
			fmt.Println(r.Value.Name, r.Version, r.Err)
		}
	}
	// Output:
	// loading [43 nothing 42]
	// grinder 1 <nil>
	//  0 nearcache: not found
	// espresso machine 1 <nil>
	// grinder 1 <nil>
	//  0 nearcache: not found
	// espresso machine 1 <nil>
}

// An absence has a version too: it orders the deletion among the writes.
func ExampleEntry_absence() {
	repo := newShop()
	delete(repo.rows, "42") // deleted: the absence is version 2
	repo.versions["42"]++
	_, products, stop := start(repo, nearcache.Options[string, product]{})
	defer stop()
	r, err := products.Read(context.Background(), "42", nearcache.ReadOptions{})
	fmt.Println(r.Version, err)
	// Output: 2 nearcache: not found
}

// A Loader can decide how long its value is kept: here, that nobody is told of the end of a sale.
func ExampleEntry_ttl() {
	repo, saleEnds := newShop(), time.Time{}
	_, products, stop := start(repo, nearcache.Options[string, product]{
		Load: func(ctx context.Context, id string) (nearcache.Entry[product], error) {
			e, err := repo.find(ctx, id)
			if left := time.Until(saleEnds); left > 0 {
				e.Value.Cents, e.TTL = e.Value.Cents/2, left
			}
			return e, err
		}})
	defer stop()
	ctx := context.Background()
	saleEnds = time.Now().Add(300 * time.Millisecond)
	p, _ := products.Get(ctx, "42")
	fmt.Println(p.Cents)
	for p.Cents < 24900 {
		p, _ = products.Get(ctx, "42")
	}
	fmt.Println(p.Cents, "when the sale is over:", !time.Now().Before(saleEnds))
	// Output:
	// 12450
	// 24900 when the sale is over: true
}

// Tags name what else a value depends on; InvalidateTag drops all that depend on one, on every instance, by one write.
func ExampleEntry_tags() {
	repo := newShop()
	_, products, stop := start(repo, nearcache.Options[string, product]{
		Load: func(ctx context.Context, id string) (nearcache.Entry[product], error) {
			e, err := repo.find(ctx, id)
			e.Tags = []string{"brand:corvo"}
			return e, err
		}})
	defer stop()
	ctx := context.Background()
	for range 2 {
		r, err := products.Read(ctx, "42", nearcache.ReadOptions{})
		fmt.Println(r.Value.Name, "from", r.Tier, err)
	}
	fmt.Println(products.InvalidateTag(ctx, "brand:corvo"))
	r, err := products.Read(ctx, "42", nearcache.ReadOptions{})
	fmt.Println(r.Value.Name, "from", r.Tier, err)
	// Output:
	// espresso machine from source <nil>
	// espresso machine from l2 <nil>
	// <nil>
	// espresso machine from source <nil>
}

// What a read requires beyond Get is in its options, and what it got in its Result. A requirement whose premise is
// missing, here a Source, is refused, never ignored.
func ExampleResult() {
	_, products, stop := start(newShop(), nearcache.Options[string, product]{})
	defer stop()
	ctx := context.Background()
	r, err := products.Read(ctx, "42", nearcache.ReadOptions{Fresh: true})
	fmt.Println(r.Value.Name, "version", r.Version, "from", r.Tier, "age", r.Age, "stale", r.Stale, err)
	_, err = products.Read(ctx, "42", nearcache.ReadOptions{MaxStaleness: time.Second})
	fmt.Println(errors.Is(err, nearcache.ErrUnsupported))
	// Output:
	// espresso machine version 1 from source age 0s stale false <nil>
	// true
}

// A Loader that is shown the entry the cache last held can answer that it still stands, without reading it again.
func ExamplePrevious() {
	repo := newShop()
	_, products, stop := start(repo, nearcache.Options[string, product]{
		Load: func(ctx context.Context, id string) (nearcache.Entry[product], error) {
			if old, ok := nearcache.Previous[product](ctx); ok && old.Version == repo.versions[id] {
				return nearcache.Entry[product]{}, nearcache.ErrNotModified
			}
			return repo.find(ctx, id)
		}})
	defer stop()
	ctx := context.Background()
	for {
		if r, _ := products.Read(ctx, "42", nearcache.ReadOptions{}); r.Tier == nearcache.TierL1 {
			break
		}
	}
	r, err := products.Read(ctx, "42", nearcache.ReadOptions{Fresh: true})
	fmt.Println(r.Value.Name, r.Tier, err, "- rows read:", repo.loads)
	// Output: espresso machine source <nil> - rows read: 1
}

// Shadow is how one adopts a cache: the source answers, and what the cache would have got wrong is counted in
// nearcache_shadow_total.
func ExampleClient_SetMode() {
	client, products, stop := start(newShop(), nearcache.Options[string, product]{})
	defer stop()
	if err := client.SetMode(nearcache.ModeShadow); err != nil {
		panic(err)
	}
	for range 3 {
		r, err := products.Read(context.Background(), "42", nearcache.ReadOptions{})
		fmt.Println(r.Tier, err)
	}
	// Output:
	// source <nil>
	// source <nil>
	// source <nil>
}

// Events that reach the program by a way of its own are applied to both tiers. One without a version drops what is
// there.
func ExampleClient_Apply() {
	repo := newShop()
	client, products, stop := start(repo, nearcache.Options[string, product]{})
	defer stop()
	ctx := context.Background()
	fmt.Println(products.Get(ctx, "42"))
	repo.rows["42"] = product{"changed by somebody else", 1}
	fmt.Println(client.Apply(ctx, coherence.Event{Namespace: "product", Key: "42"}))
	fmt.Println(products.Get(ctx, "42"))
	// Output:
	// {espresso machine 24900} <nil>
	// <nil>
	// {changed by somebody else 1} <nil>
}
