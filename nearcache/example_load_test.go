package nearcache_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nearcache/nearcache-go/nearcache"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
)

// A Loader gets none of its reader's context values but those that the cache lists.
func ExampleOptions_contextKeys() {
	type regionKey struct{}
	redis, err := nearcachetest.StartRedis("")
	if err != nil {
		panic(err)
	}
	defer redis.Close()
	client, err := nearcache.New(nearcache.Config{Redis: redis.PipeOption()})
	if err != nil {
		panic(err)
	}
	defer client.Close()
	find := func(ctx context.Context, k string) (string, error) {
		return fmt.Sprint(k, " from ", ctx.Value(regionKey{})), nil
	}
	ctx := context.WithValue(context.Background(), regionKey{}, "eu")
	for namespace, keys := range map[string][]any{"plain": nil, "regional": {regionKey{}}} {
		cache, err := nearcache.NewCache(client, namespace, nearcache.Options[string, string]{
			Find: find, ContextKeys: keys})
		if err != nil {
			panic(err)
		}
		v, err := cache.Get(ctx, "lamp")
		fmt.Println(v, err)
	}
	// Unordered output:
	// lamp from <nil> <nil>
	// lamp from eu <nil>
}

// A Loader that needs its own key, by way of another one, gets an error that names the keys.
func ExampleCache_Get_loadCycle() {
	redis, err := nearcachetest.StartRedis("")
	if err != nil {
		panic(err)
	}
	defer redis.Close()
	client, err := nearcache.New(nearcache.Config{Redis: redis.PipeOption()})
	if err != nil {
		panic(err)
	}
	defer client.Close()
	var cache *nearcache.Cache[string, string]
	needs := map[string]string{"cart": "user", "user": "cart"}
	cache, err = nearcache.NewCache(client, "shop", nearcache.Options[string, string]{
		Find: func(ctx context.Context, k string) (string, error) { return cache.Get(ctx, needs[k]) }})
	if err != nil {
		panic(err)
	}
	_, err = cache.Get(context.Background(), "cart")
	fmt.Println(errors.Is(err, nearcache.ErrLoadCycle))
	// Output: true
}

// With Invalidated, fail-safe serves also what is known to be replaced.
func ExampleFailSafe_invalidated() {
	redis, err := nearcachetest.StartRedis("")
	if err != nil {
		panic(err)
	}
	defer redis.Close()
	client, err := nearcache.New(nearcache.Config{Redis: redis.PipeOption()})
	if err != nil {
		panic(err)
	}
	defer client.Close()
	ctx := context.Background()
	if err := client.Ready(ctx); err != nil {
		panic(err)
	}
	for namespace, invalidated := range map[string]bool{"strict": false, "lenient": true} {
		down := false
		cache, err := nearcache.NewCache(client, namespace, nearcache.Options[string, string]{
			Load: func(context.Context, string) (nearcache.Entry[string], error) {
				if down {
					return nearcache.Entry[string]{}, errors.New("the database is down")
				}
				return nearcache.Entry[string]{Value: "first", Version: 1}, nil
			},
			FailSafe: nearcache.FailSafe{MaxAge: time.Hour, Invalidated: invalidated}})
		if err != nil {
			panic(err)
		}
		for r := (nearcache.Result[string]{}); r.Tier != nearcache.TierL1; {
			if r, err = cache.Read(ctx, "lamp", nearcache.ReadOptions{}); err != nil {
				panic(err)
			}
		}
		down = true
		if err := cache.Invalidate(ctx, "lamp", 2); err != nil {
			panic(err)
		}
		r, err := cache.Read(ctx, "lamp", nearcache.ReadOptions{})
		fmt.Println(namespace, r.Value, r.Stale, err != nil)
	}
	// Unordered output:
	// strict  false true
	// lenient first true false
}
