package nearcachetest_test

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/nearcache/nearcache-go/coherence/relay"
	"github.com/nearcache/nearcache-go/nearcache"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
)

// A cache with a bound, tested without a database: the table is written behind the cache's back, and the next read has
// the new value.
func ExampleSource() {
	redis, err := nearcachetest.StartRedis("127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	defer redis.Close()
	source := nearcachetest.NewSource()
	table := nearcachetest.NewTable[string](source, "product")
	client, err := nearcache.New(nearcache.Config{Redis: redis.ClientOption(), Source: source,
		Heartbeat: 10 * time.Millisecond})
	if err != nil {
		panic(err)
	}
	defer client.Close()
	ctx, stop := context.WithCancel(context.Background())
	var relaying sync.WaitGroup
	relaying.Go(func() { _ = relay.Relay{Source: source, L2: client.L2(), Interval: 10 * time.Millisecond}.Run(ctx) })
	defer relaying.Wait()
	defer stop()
	const bound = 50 * time.Millisecond
	products, err := nearcache.NewCache(client, "product", nearcache.Options[string, string]{
		MaxStaleness: bound,
		Load: func(ctx context.Context, id string) (nearcache.Entry[string], error) {
			value, version, ok, err := table.Load(ctx, id)
			if err == nil && !ok {
				err = nearcache.ErrNotFound
			}
			return nearcache.Entry[string]{Value: value, Version: version}, err
		},
	})
	if err != nil {
		panic(err)
	}
	for _, name := range []string{"lamp", "desk lamp"} {
		if _, err := table.Put("42", name); err != nil {
			panic(err)
		}
		<-time.After(2 * bound) // a read may be as old as the bound
		got, err := products.Get(ctx, "42")
		fmt.Println(got, err)
	}
	// Output:
	// lamp <nil>
	// desk lamp <nil>
}
