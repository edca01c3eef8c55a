package peers

import "context"

// NoCache reads the source every time.
type NoCache[V any] struct{ world Config[V] }

func openNoCache[V any](_ context.Context, w Config[V]) (Peer[V], error) { return &NoCache[V]{w}, nil }

// Get implements Peer.
func (d *NoCache[V]) Get(ctx context.Context, key string) (V, error) {
	v, _, err := d.world.Source.Load(ctx, key)
	return v, err
}

// Write implements Peer.
func (d *NoCache[V]) Write(ctx context.Context, key string, v V) error {
	_, err := d.world.Source.Store(ctx, key, v)
	return err
}

// Delete implements Peer.
func (d *NoCache[V]) Delete(ctx context.Context, key string) error {
	_, err := d.world.Source.Remove(ctx, key)
	return err
}

// Loop implements Peer.
func (d *NoCache[V]) Loop(ctx context.Context, keys []string, from, n int) (hits int) {
	i := from % len(keys)
	for range n {
		if _, _, err := d.world.Source.Load(ctx, keys[i]); err == nil {
			hits++
		}
		i = next(i, len(keys))
	}
	return hits
}

// Stored implements Peer.
func (*NoCache[V]) Stored(string, V, uint64) (string, string) { return "", "" }

// Close implements Peer.
func (*NoCache[V]) Close() error { return nil }
