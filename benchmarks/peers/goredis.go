package peers

import (
	"context"
	"errors"

	"github.com/redis/go-redis/v9"
)

const goRedisPage = "https://github.com/redis/go-redis#client-side-caching"

// GoRedis is go-redis's own client-side caching, which it calls experimental. It keeps encoded replies.
type GoRedis[V any] struct {
	Client *redis.Client
	world  Config[V]
}

func openGoRedis[V any](_ context.Context, w Config[V]) (Peer[V], error) {
	c := redis.NewClient(&redis.Options{Addr: w.Redis, Protocol: 3, DB: 0,
		ClientSideCacheConfig: &redis.ClientSideCacheConfig{MaxEntries: 2 * w.Entries}})
	return &GoRedis[V]{Client: c, world: w}, nil
}

// Get implements Peer.
func (g *GoRedis[V]) Get(ctx context.Context, key string) (v V, err error) {
	b, err := g.Client.Get(ctx, key).Bytes()
	if err == nil {
		return g.world.Codec.Decode(b)
	}
	if !errors.Is(err, redis.Nil) {
		return v, err
	}
	if v, _, err = g.world.Source.Load(ctx, key); err == nil {
		err = g.Client.Set(ctx, key, encoded(g.world.Codec, v), g.world.TTL).Err()
	}
	return v, err
}

// Write implements Peer.
func (g *GoRedis[V]) Write(ctx context.Context, key string, v V) error {
	if _, err := g.world.Source.Store(ctx, key, v); err != nil {
		return err
	}
	return g.Client.Set(ctx, key, encoded(g.world.Codec, v), g.world.TTL).Err()
}

// Delete implements Peer.
func (g *GoRedis[V]) Delete(ctx context.Context, key string) error {
	if _, err := g.world.Source.Remove(ctx, key); err != nil {
		return err
	}
	return g.Client.Del(ctx, key).Err()
}

// Loop implements Peer.
func (g *GoRedis[V]) Loop(ctx context.Context, keys []string, from, n int) (hits int) {
	_, raw := any(g.world.Codec).(Raw)
	i := from % len(keys)
	for range n {
		if raw {
			if _, err := g.Client.Get(ctx, keys[i]).Result(); err == nil {
				hits++
			}
		} else if b, err := g.Client.Get(ctx, keys[i]).Bytes(); err == nil {
			if _, err := g.world.Codec.Decode(b); err == nil {
				hits++
			}
		}
		i = next(i, len(keys))
	}
	return hits
}

// NearHits implements Counter.
func (g *GoRedis[V]) L1Hits() int64 { return int64(g.Client.CSCStats().Hits) }

// Stored implements Peer.
func (g *GoRedis[V]) Stored(key string, v V, _ uint64) (string, string) {
	return key, encoded(g.world.Codec, v)
}

// Close implements Peer.
func (g *GoRedis[V]) Close() error { return g.Client.Close() }
