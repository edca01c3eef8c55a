package peers

import (
	"context"
	"errors"

	"github.com/maypok86/otter/v2"
)

const otterPage = "https://maypok86.github.io/otter/user-guide/v2/features/loading"

// Otter is a cache of one process, with its own loading, which coalesces concurrent loads of a key.
type Otter[V any] struct {
	Cache *otter.Cache[string, V]
	world Config[V]
	load  otter.Loader[string, V]
}

func openOtter[V any](_ context.Context, w Config[V]) (Peer[V], error) {
	c, err := otter.New(&otter.Options[string, V]{MaximumSize: 2 * w.Entries})
	if err != nil {
		return nil, err
	}
	return &Otter[V]{Cache: c, world: w, load: otter.LoaderFunc[string,
		V](func(ctx context.Context, key string) (V, error) {
		v, _, err := w.Source.Load(ctx, key)
		if errors.Is(err, ErrMiss) {
			err = otter.ErrNotFound
		}
		return v, err
	})}, nil
}

// Get implements Peer.
func (o *Otter[V]) Get(ctx context.Context, key string) (V, error) {
	v, err := o.Cache.Get(ctx, key, o.load)
	if errors.Is(err, otter.ErrNotFound) {
		err = ErrMiss
	}
	return v, err
}

// Write implements Peer.
func (o *Otter[V]) Write(ctx context.Context, key string, v V) error {
	if _, err := o.world.Source.Store(ctx, key, v); err != nil {
		return err
	}
	o.Cache.Set(key, v)
	return nil
}

// Delete implements Peer.
func (o *Otter[V]) Delete(ctx context.Context, key string) error {
	_, err := o.world.Source.Remove(ctx, key)
	o.Cache.Invalidate(key)
	return err
}

// Loop implements Peer.
func (o *Otter[V]) Loop(_ context.Context, keys []string, from, n int) (hits int) {
	i := from % len(keys)
	for range n {
		if _, ok := o.Cache.GetIfPresent(keys[i]); ok {
			hits++
		}
		i = next(i, len(keys))
	}
	return hits
}

// Stored implements Peer.
func (*Otter[V]) Stored(string, V, uint64) (string, string) { return "", "" }

// Close implements Peer.
func (o *Otter[V]) Close() error {
	o.Cache.StopAllGoroutines()
	return nil
}
