package peers

import (
	"context"
	"errors"

	"github.com/go-redis/cache/v9"
	"github.com/redis/go-redis/v9"
)

const goRedisCachePage = "https://github.com/go-redis/cache#quickstart"

// GoRedisCache is go-redis/cache with its TinyLFU: encoded values in this process and in Redis. Nothing invalidates the
// local ones when another process writes. The documentation shows a TTL of a minute for the local tier. Here it is that
// of the other peers, since a minute passes between two turns of a comparison.
type GoRedisCache[V any] struct {
	Client *redis.Client
	Cache  *cache.Cache
	near   *cache.Cache // the same local tier without Redis, for Loop
	world  Config[V]
}

func openGoRedisCache[V any](_ context.Context, w Config[V]) (Peer[V], error) {
	c := redis.NewClient(&redis.Options{Addr: w.Redis})
	local := cache.NewTinyLFU(2*w.Entries, w.TTL)
	return &GoRedisCache[V]{Client: c, world: w, Cache: cache.New(&cache.Options{Redis: c, LocalCache: local}),
		near: cache.New(&cache.Options{LocalCache: local})}, nil
}

// Get implements Peer. Once is the "advanced usage" of the documentation: it loads, and coalesces concurrent loads.
func (g *GoRedisCache[V]) Get(ctx context.Context, key string) (v V, err error) {
	if err = g.Cache.Get(ctx, key, &v); !errors.Is(err, cache.ErrCacheMiss) {
		return v, err
	}
	err = g.Cache.Once(&cache.Item{Ctx: ctx, Key: key, Value: &v, TTL: g.world.TTL, Do: func(*cache.Item) (any, error) {
		v, _, err := g.world.Source.Load(ctx, key)
		return v, err
	}})
	return v, err
}

// Write implements Peer.
func (g *GoRedisCache[V]) Write(ctx context.Context, key string, v V) error {
	if _, err := g.world.Source.Store(ctx, key, v); err != nil {
		return err
	}
	return g.Cache.Set(&cache.Item{Ctx: ctx, Key: key, Value: v, TTL: g.world.TTL})
}

// Delete implements Peer.
func (g *GoRedisCache[V]) Delete(ctx context.Context, key string) error {
	if _, err := g.world.Source.Remove(ctx, key); err != nil {
		return err
	}
	return g.Cache.Delete(ctx, key)
}

// Loop implements Peer. The value escapes into the library, as for every user of it.
func (g *GoRedisCache[V]) Loop(ctx context.Context, keys []string, from, n int) (hits int) {
	i := from % len(keys)
	for range n {
		var v V
		if err := g.near.Get(ctx, keys[i], &v); err == nil {
			hits++
		}
		i = next(i, len(keys))
	}
	return hits
}

// Stored implements Peer.
func (g *GoRedisCache[V]) Stored(key string, v V, _ uint64) (string, string) {
	b, err := g.Cache.Marshal(v)
	if err != nil {
		panic(err)
	}
	return key, string(b)
}

// Close implements Peer.
func (g *GoRedisCache[V]) Close() error { return g.Client.Close() }
