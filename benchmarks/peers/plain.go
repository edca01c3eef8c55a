package peers

import (
	"context"

	"github.com/redis/rueidis"
)

const plainPage = "https://github.com/redis/rueidis#getting-started"

// PlainRedis has no L1: every read is a GET and a decode.
type PlainRedis[V any] struct {
	Client rueidis.Client
	world  Config[V]
}

func openPlain[V any](_ context.Context, w Config[V]) (Peer[V], error) {
	c, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{w.Redis}, DisableCache: true})
	if err != nil {
		return nil, err
	}
	return &PlainRedis[V]{Client: c, world: w}, nil
}

// Get implements Peer.
func (p *PlainRedis[V]) Get(ctx context.Context, key string) (v V, err error) {
	b, err := p.Client.Do(ctx, p.Client.B().Get().Key(key).Build()).AsBytes()
	if err == nil {
		return p.world.Codec.Decode(b)
	}
	if !rueidis.IsRedisNil(err) {
		return v, err
	}
	if v, _, err = p.world.Source.Load(ctx, key); err == nil {
		err = p.set(ctx, key, v)
	}
	return v, err
}

func (p *PlainRedis[V]) set(ctx context.Context, key string, v V) error {
	return p.Client.Do(ctx, p.Client.B().Set().Key(key).Value(encoded(p.world.Codec,
		v)).Px(p.world.TTL).Build()).Error()
}

// Write implements Peer.
func (p *PlainRedis[V]) Write(ctx context.Context, key string, v V) error {
	if _, err := p.world.Source.Store(ctx, key, v); err != nil {
		return err
	}
	return p.set(ctx, key, v)
}

// Delete implements Peer.
func (p *PlainRedis[V]) Delete(ctx context.Context, key string) error {
	if _, err := p.world.Source.Remove(ctx, key); err != nil {
		return err
	}
	return p.Client.Do(ctx, p.Client.B().Del().Key(key).Build()).Error()
}

// Loop implements Peer.
func (p *PlainRedis[V]) Loop(ctx context.Context, keys []string, from, n int) (hits int) {
	i := from % len(keys)
	for range n {
		if b, err := p.Client.Do(ctx, p.Client.B().Get().Key(keys[i]).Build()).AsBytes(); err == nil {
			if _, err := p.world.Codec.Decode(b); err == nil {
				hits++
			}
		}
		i = next(i, len(keys))
	}
	return hits
}

// Stored implements Peer.
func (p *PlainRedis[V]) Stored(key string, v V, _ uint64) (string, string) {
	return key, encoded(p.world.Codec, v)
}

// Close implements Peer.
func (p *PlainRedis[V]) Close() error {
	p.Client.Close()
	return nil
}
