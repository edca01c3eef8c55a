package tier_test

import (
	"context"
	"fmt"
	"time"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/nearcache"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
	"github.com/nearcache/nearcache-go/tier"
)

// A program without a cache, here an import job, has the caches of all instances drop what it has changed.
func Example() {
	redis, err := nearcachetest.StartRedis("127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer redis.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()

	// The service: its cache has loaded product 42.
	client, err := nearcache.New(nearcache.Config{Redis: redis.ClientOption()})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	price := nearcache.Entry[int]{Value: 24900, Version: 1}
	prices, err := nearcache.NewCache(client, "price", nearcache.Options[string, int]{
		Load: func(context.Context, string) (nearcache.Entry[int], error) { return price, nil },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(prices.Get(ctx, "42"))

	// The import job: it changes the price, and then says so to L2.
	l2, err := tier.Open(tier.Config{Redis: redis.ClientOption()})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer l2.Close()
	if err := l2.Ready(ctx); err != nil {
		fmt.Println(err)
		return
	}
	price = nearcache.Entry[int]{Value: 22900, Version: 2}
	if err := l2.Apply(ctx, coherence.Event{Namespace: "price", Key: "42", Version: 2}); err != nil {
		fmt.Println(err)
		return
	}
	_, found, err := l2.Get(ctx, "price", "42")
	fmt.Println("in L2:", found, err)
	now, err := prices.Read(ctx, "42", nearcache.ReadOptions{Fresh: true})
	fmt.Println(now.Value, err)
	// Output:
	// 24900 <nil>
	// in L2: false <nil>
	// 22900 <nil>
}

// NamesOf tells an operator where to look with redis-cli.
func ExampleNamesOf() {
	n, err := tier.NamesOf("shop", tier.DefaultBuckets, "product", "42")
	fmt.Println(n.Record, err)
	fmt.Println(n.Watermark)
	_, err = tier.NamesOf("shop", tier.DefaultBuckets, "a:b", "42")
	fmt.Println(err)
	// Output:
	// shop:{147}:v:product:42 <nil>
	// shop:{147}:w
	// tier: namespace "a:b" contains a colon or a brace
}
