package peers

import (
	"context"
	"time"

	"github.com/dgraph-io/ristretto/v2"
	"github.com/redis/rueidis"
)

const pubSubPage = "https://redis.io/docs/latest/develop/pubsub/"

// channel is where the writers publish keys.
const channel = "bench:invalidate"

// PubSub is the cache that many applications write themselves: ristretto, Redis below it, and a channel on which a
// writer publishes the key. A lost message stays lost, a load under way caches the old value, and a write to Redis
// without a message is not noticed.
type PubSub[V any] struct {
	Client rueidis.Client
	Local  *ristretto.Cache[string, *V]
	world  Config[V]
	stop   context.CancelFunc
	done   chan struct{}
}

func openPubSub[V any](ctx context.Context, w Config[V]) (Peer[V], error) {
	c, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{w.Redis}, DisableCache: true})
	if err != nil {
		return nil, err
	}
	local, err := newRistretto[string, V](w.Entries)
	if err != nil {
		return nil, err
	}
	h := &PubSub[V]{Client: c, Local: local, world: w, done: make(chan struct{})}
	var listening context.Context
	listening, h.stop = context.WithCancel(context.WithoutCancel(ctx))
	heard := make(chan struct{})
	go func() {
		defer close(h.done)
		first := true
		for listening.Err() == nil {
			conn, release := c.Dedicate()
			gone := conn.SetPubSubHooks(rueidis.PubSubHooks{OnMessage: func(m rueidis.PubSubMessage) { local.Del(m.Message) }})
			err := conn.Do(listening, conn.B().Subscribe().Channel(channel).Build()).Error()
			if first {
				close(heard)
				first = false
			}
			if err == nil {
				select {
				case <-gone:
				case <-listening.Done():
				}
			} else {
				time.Sleep(10 * time.Millisecond) // Redis is down: wait before the next attempt
			}
			release()
		}
	}()
	<-heard
	return h, nil
}

// Get implements Peer.
func (h *PubSub[V]) Get(ctx context.Context, key string) (v V, err error) {
	if p, ok := h.Local.Get(key); ok {
		return *p, nil
	}
	b, err := h.Client.Do(ctx, h.Client.B().Get().Key(key).Build()).AsBytes()
	switch {
	case err == nil:
		v, err = h.world.Codec.Decode(b)
	case rueidis.IsRedisNil(err):
		if v, _, err = h.world.Source.Load(ctx, key); err == nil {
			err = h.set(ctx, key, v)
		}
	}
	if err == nil {
		h.Local.SetWithTTL(key, &v, 1, h.world.TTL)
	}
	return v, err
}

func (h *PubSub[V]) set(ctx context.Context, key string, v V) error {
	return h.Client.Do(ctx, h.Client.B().Set().Key(key).Value(encoded(h.world.Codec,
		v)).Px(h.world.TTL).Build()).Error()
}

func (h *PubSub[V]) publish(ctx context.Context, key string) error {
	return h.Client.Do(ctx, h.Client.B().Publish().Channel(channel).Message(key).Build()).Error()
}

// Write implements Peer.
func (h *PubSub[V]) Write(ctx context.Context, key string, v V) error {
	if _, err := h.world.Source.Store(ctx, key, v); err != nil {
		return err
	}
	if err := h.set(ctx, key, v); err != nil {
		return err
	}
	h.Local.Del(key)
	return h.publish(ctx, key)
}

// Delete implements Peer.
func (h *PubSub[V]) Delete(ctx context.Context, key string) error {
	if _, err := h.world.Source.Remove(ctx, key); err != nil {
		return err
	}
	if err := h.Client.Do(ctx, h.Client.B().Del().Key(key).Build()).Error(); err != nil {
		return err
	}
	h.Local.Del(key)
	return h.publish(ctx, key)
}

// Loop implements Peer.
func (h *PubSub[V]) Loop(_ context.Context, keys []string, from, n int) (hits int) {
	i := from % len(keys)
	for range n {
		if _, ok := h.Local.Get(keys[i]); ok {
			hits++
		}
		i = next(i, len(keys))
	}
	return hits
}

// Stored implements Peer.
func (h *PubSub[V]) Stored(key string, v V, _ uint64) (string, string) {
	return key, encoded(h.world.Codec, v)
}

// Close implements Peer.
func (h *PubSub[V]) Close() error {
	h.stop()
	<-h.done
	h.Client.Close()
	h.Local.Close()
	return nil
}
