package nearcache_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/nearcache/nearcache-go/coherence/relay"
	"github.com/nearcache/nearcache-go/nearcache"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
)

// With a Source no read returns a value older than the bound, whatever fails; and each says what was proved.
func ExampleOptions_maxStaleness() {
	redis, err := nearcachetest.StartRedis("127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	defer redis.Close()
	source := &commits{source: newSource()} // in a program: postgres.New, sqlite.New, or your own
	source.write("42", "espresso machine")
	client, err := nearcache.New(nearcache.Config{Redis: redis.ClientOption(), Source: source,
		Heartbeat: 25 * time.Millisecond})
	if err != nil {
		panic(err)
	}
	defer client.Close()
	ctx, stop := context.WithCancel(context.Background())
	var carrying sync.WaitGroup
	carrying.Go(func() { _ = relay.Relay{Source: source, L2: client.L2(), Interval: 25 * time.Millisecond}.Run(ctx) })
	defer carrying.Wait()
	defer stop()
	const bound = 5 * time.Second
	products, err := nearcache.NewCache(client, "product",
		nearcache.Options[string, string]{Load: source.load, MaxStaleness: bound})
	if err != nil {
		panic(err)
	}
	r, err := products.Read(ctx, "42", nearcache.ReadOptions{})
	for err == nil && r.Tier != nearcache.TierL1 {
		r, err = products.Read(ctx, "42", nearcache.ReadOptions{})
	}
	fmt.Println(r.Value, "from", r.Tier, "within the bound:", r.Staleness > 0 && r.Staleness <= bound, err)
	// Output: espresso machine from l1 within the bound: true <nil>
}

// LoadMany reads at once what GetMany finds in no tier.
func ExampleOptions_loadMany() {
	calls := 0
	_, products, stop := start(newShop(), nearcache.Options[string, product]{
		LoadMany: func(_ context.Context, ids []string) (map[string]nearcache.Entry[product], error) {
			calls++
			out := make(map[string]nearcache.Entry[product])
			for _, id := range ids {
				out[id] = nearcache.Entry[product]{Value: product{Name: "product " + id}}
			}
			return out, nil
		}})
	defer stop()
	m, err := products.GetMany(context.Background(), []string{"1", "2", "3"})
	fmt.Println(len(m), m["2"].Name, err, "- calls:", calls)
	// Output: 3 product 2 <nil> - calls: 1
}

// ErrorTTL spares a source that fails: its error is the answer for a while.
func ExampleOptions_errorTTL() {
	var calls atomic.Int64
	_, products, stop := start(newShop(), nearcache.Options[string, product]{
		ErrorTTL: time.Minute,
		Load: func(context.Context, string) (nearcache.Entry[product], error) {
			calls.Add(1)
			return nearcache.Entry[product]{}, errors.New("the database is down")
		}})
	defer stop()
	for range 100 {
		_, _ = products.Get(context.Background(), "42")
	}
	_, err := products.Get(context.Background(), "42")
	fmt.Println(err, "- calls:", calls.Load())
	// Output: nearcache: load product "42": the database is down - calls: 1
}

// MaxLoads bounds how many Loaders run at a time, whatever the rush.
func ExampleOptions_maxLoads() {
	var running, most atomic.Int64
	_, products, stop := start(newShop(), nearcache.Options[string, product]{
		MaxLoads: 2,
		Load: func(_ context.Context, id string) (nearcache.Entry[product], error) {
			n := running.Add(1)
			defer running.Add(-1)
			for was := most.Load(); n > was && !most.CompareAndSwap(was, n); was = most.Load() {
			}
			<-time.After(5 * time.Millisecond)
			return nearcache.Entry[product]{Value: product{Name: id}}, nil
		}})
	defer stop()
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() { _, _ = products.Get(context.Background(), fmt.Sprint(i)) })
	}
	wg.Wait()
	fmt.Println("at a time:", most.Load())
	// Output: at a time: 2
}

// Clone is for values that callers modify; without it they are shared.
func ExampleOptions_clone() {
	_, products, stop := start(newShop(), nearcache.Options[string, product]{
		Clone: func(p product) product { return p }, // here a plain copy; of slices, maps and pointers a deep one
	})
	defer stop()
	p, err := products.Get(context.Background(), "42")
	p.Cents = 0
	again, _ := products.Get(context.Background(), "42")
	fmt.Println(again.Cents, err)
	// Output: 24900 <nil>
}

// What clashes is refused when the cache is made, by both names.
func ExampleOptions_jitter() {
	redis, err := nearcachetest.StartRedis("127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	defer redis.Close()
	client, err := nearcache.New(nearcache.Config{Redis: redis.ClientOption()})
	if err != nil {
		panic(err)
	}
	defer client.Close()
	find := func(context.Context, string) (string, error) { return "v", nil }
	// 48 to 60 seconds
	_, err = nearcache.NewCache(client, "a", nearcache.Options[string, string]{Find: find, TTL: time.Minute, Jitter: 0.2})
	fmt.Println(err)
	_, err = nearcache.NewCache(client, "b",
		nearcache.Options[string, string]{Find: find, Refresh: nearcache.Refresh{After: 0.8, Beta: 1}})
	fmt.Println(err)
	// Output:
	// <nil>
	// nearcache: cache "b": Refresh.After is 0.8 and Refresh.Beta 1: one of them says when a value is due
}

// A Redis that is slow or gone keeps no read waiting for longer than RedisTimeout, and after a few not at all.
func ExampleConfig_redisTimeout() {
	client, err := nearcache.New(nearcache.Config{
		Redis:        rueidis.ClientOption{InitAddress: []string{"127.0.0.1:1"}}, // nobody is there
		RedisTimeout: 100 * time.Millisecond,
	})
	if err != nil {
		panic(err)
	}
	defer client.Close()
	products, err := nearcache.NewCache(client, "product", nearcache.Options[string, string]{
		Find: func(_ context.Context, id string) (string, error) { return "product " + id, nil }})
	if err != nil {
		panic(err)
	}
	r, err := products.Read(context.Background(), "42", nearcache.ReadOptions{})
	fmt.Println(r.Value, "from", r.Tier, err, "- Redis:", client.Status().Redis)
	// Output: product 42 from source <nil> - Redis: false
}

// A Redis without CLIENT TRACKING still spares the database. Without events nothing would tell L1 of changes, so there
// is no L1 here.
func ExampleConfig_tracking() {
	redis, err := nearcachetest.StartRedis("127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	defer redis.Close()
	client, err := nearcache.New(nearcache.Config{Redis: redis.ClientOption(), Tracking: nearcache.TrackingOff})
	if err != nil {
		panic(err)
	}
	defer client.Close()
	find := func(_ context.Context, id string) (string, error) { return "product " + id, nil }
	_, err = nearcache.NewCache(client, "product", nearcache.Options[string, string]{Find: find})
	fmt.Println("refused with L1:", err != nil)
	products, err := nearcache.NewCache(client, "product", nearcache.Options[string, string]{Find: find, L1Bytes: -1})
	if err != nil {
		panic(err)
	}
	for range 2 {
		r, err := products.Read(context.Background(), "42", nearcache.ReadOptions{})
		fmt.Println(r.Value, "from", r.Tier, err)
	}
	// Output:
	// refused with L1: true
	// product 42 from source <nil>
	// product 42 from l2 <nil>
}

// A relay elsewhere proves the bound by its rounds in Redis: this process has no connection to the database but its
// Loaders'. While no relay works, reads with a bound go to the source.
func ExampleConfig_relayed() {
	redis, err := nearcachetest.StartRedis("127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	defer redis.Close()
	client, err := nearcache.New(nearcache.Config{Redis: redis.ClientOption(), Relayed: true})
	if err != nil {
		panic(err)
	}
	defer client.Close()
	products, err := nearcache.NewCache(client, "product", nearcache.Options[string, string]{
		MaxStaleness: 250 * time.Millisecond,
		Load: func(_ context.Context, id string) (nearcache.Entry[string], error) {
			return nearcache.Entry[string]{Value: "product " + id, Version: 7}, nil
		}})
	if err != nil {
		panic(err)
	}
	r, err := products.Read(context.Background(), "42", nearcache.ReadOptions{})
	fmt.Println(r.Value, "from", r.Tier, err)
	// Output: product 42 from source <nil>
}
