package peers

import (
	"context"

	"github.com/dgraph-io/ristretto/v2"
)

// The documentation recommends these counters and this buffer. Values are held by pointer, the fastest way to read
// them. There is no TTL, which would double the cost of a read.
const ristrettoPage = "https://pkg.go.dev/github.com/dgraph-io/ristretto/v2#Config"

// Ristretto is the bare cache of one process, filled on a miss.
type Ristretto[V any] struct {
	Cache *ristretto.Cache[string, *V]
	world Config[V]
}

func openRistretto[V any](_ context.Context, w Config[V]) (Peer[V], error) {
	c, err := newRistretto[string, V](w.Entries)
	if err != nil {
		return nil, err
	}
	return &Ristretto[V]{Cache: c, world: w}, nil
}

// newRistretto returns a cache for n values.
func newRistretto[K ristretto.Key, V any](n int) (*ristretto.Cache[K, *V], error) {
	return ristretto.NewCache(&ristretto.Config[K, *V]{NumCounters: int64(10 * n), MaxCost: int64(2 * n),
		BufferItems: 64, IgnoreInternalCost: true})
}

// Get implements Peer.
func (r *Ristretto[V]) Get(ctx context.Context, key string) (V, error) {
	if p, ok := r.Cache.Get(key); ok {
		return *p, nil
	}
	v, _, err := r.world.Source.Load(ctx, key)
	if err == nil {
		r.Cache.Set(key, &v, 1)
	}
	return v, err
}

// Write implements Peer.
func (r *Ristretto[V]) Write(ctx context.Context, key string, v V) error {
	if _, err := r.world.Source.Store(ctx, key, v); err != nil {
		return err
	}
	r.Cache.Set(key, &v, 1)
	return nil
}

// Delete implements Peer.
func (r *Ristretto[V]) Delete(ctx context.Context, key string) error {
	_, err := r.world.Source.Remove(ctx, key)
	r.Cache.Del(key)
	return err
}

// Loop implements Peer. Like every peer's Loop it reads the value.
func (r *Ristretto[V]) Loop(_ context.Context, keys []string, from, n int) (hits int) {
	i := from % len(keys)
	for range n {
		if _, ok := r.value(keys[i]); ok {
			hits++
		}
		i = next(i, len(keys))
	}
	return hits
}

// value is the accessor that an application has around its cache. It returns the value, as Get of the other peers does,
// and so reads it.
//
//go:noinline
func (r *Ristretto[V]) value(key string) (v V, ok bool) {
	p, ok := r.Cache.Get(key)
	if ok {
		v = *p
	}
	return v, ok
}

// Pointers is Loop for a caller that never reads the values.
func (r *Ristretto[V]) Pointers(keys []string, from, n int) (hits int) {
	i := from % len(keys)
	for range n {
		if _, ok := r.Cache.Get(keys[i]); ok {
			hits++
		}
		i = next(i, len(keys))
	}
	return hits
}

// Stored implements Peer.
func (*Ristretto[V]) Stored(string, V, uint64) (string, string) { return "", "" }

// Close implements Peer.
func (r *Ristretto[V]) Close() error {
	r.Cache.Close()
	return nil
}
