package peers

import (
	"context"

	"github.com/redis/rueidis"
)

const rueidisPage = "https://github.com/redis/rueidis#server-assisted-client-side-caching"

// DoCache is rueidis's client-side caching. It keeps encoded replies and decodes on every read.
type DoCache[V any] struct {
	Client rueidis.Client
	world  Config[V]
}

func openDoCache[V any](_ context.Context, w Config[V]) (Peer[V], error) {
	// The default is 128 MiB per connection. The cache must hold as much as the others.
	c, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{w.Redis}, PipelineMultiplex: -1,
		CacheSizeEachConn: max(rueidis.DefaultCacheBytes, int(w.Bytes)+1024*w.Entries)})
	if err != nil {
		return nil, err
	}
	return &DoCache[V]{Client: c, world: w}, nil
}

// Get implements Peer.
func (d *DoCache[V]) Get(ctx context.Context, key string) (v V, err error) {
	b, err := d.Client.DoCache(ctx, d.Client.B().Get().Key(key).Cache(), d.world.TTL).AsBytes()
	if err == nil {
		return d.world.Codec.Decode(b)
	}
	if !rueidis.IsRedisNil(err) {
		return v, err
	}
	if v, _, err = d.world.Source.Load(ctx, key); err == nil {
		err = d.set(ctx, key, v)
	}
	return v, err
}

func (d *DoCache[V]) set(ctx context.Context, key string, v V) error {
	return d.Client.Do(ctx, d.Client.B().Set().Key(key).Value(encoded(d.world.Codec,
		v)).Px(d.world.TTL).Build()).Error()
}

// Write implements Peer.
func (d *DoCache[V]) Write(ctx context.Context, key string, v V) error {
	if _, err := d.world.Source.Store(ctx, key, v); err != nil {
		return err
	}
	return d.set(ctx, key, v)
}

// Delete implements Peer.
func (d *DoCache[V]) Delete(ctx context.Context, key string) error {
	if _, err := d.world.Source.Remove(ctx, key); err != nil {
		return err
	}
	return d.Client.Do(ctx, d.Client.B().Del().Key(key).Build()).Error()
}

// Loop implements Peer. With Raw a value is not decoded.
func (d *DoCache[V]) Loop(ctx context.Context, keys []string, from, n int) (hits int) {
	_, raw := any(d.world.Codec).(Raw)
	i := from % len(keys)
	for range n {
		res := d.Client.DoCache(ctx, d.Client.B().Get().Key(keys[i]).Cache(), d.world.TTL)
		if raw {
			if _, err := res.ToString(); err == nil && res.IsCacheHit() {
				hits++
			}
		} else if b, err := res.AsBytes(); err == nil {
			if _, err := d.world.Codec.Decode(b); err == nil && res.IsCacheHit() {
				hits++
			}
		}
		i = next(i, len(keys))
	}
	return hits
}

// Stored implements Peer.
func (d *DoCache[V]) Stored(key string, v V, _ uint64) (string, string) {
	return key, encoded(d.world.Codec, v)
}

// Close implements Peer.
func (d *DoCache[V]) Close() error {
	d.Client.Close()
	return nil
}
