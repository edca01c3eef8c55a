package nearcache

import "context"

// Loader reads one key from the source of truth. See Options.Load.
type Loader[K comparable, V any] func(context.Context, K) (Entry[V], error)

// BatchLoader reads several keys from the source of truth. See Options.LoadMany.
type BatchLoader[K comparable, V any] func(context.Context, []K) (map[K]Entry[V], error)

type previousKey struct{}

// Previous returns the entry that the cache last held of the key that is being loaded, if it still has it. With it a
// Loader can ask the source whether the version still stands, and return ErrNotModified instead of the value.
func Previous[V any](ctx context.Context) (Entry[V], bool) {
	e, ok := ctx.Value(previousKey{}).(*Entry[V])
	if !ok {
		return Entry[V]{}, false
	}
	return *e, true
}

// FindFunc is a repository method of a source without versions. See Options.Find.
type FindFunc[K comparable, V any] func(context.Context, K) (V, error)

// loader makes a Loader of it.
func (find FindFunc[K, V]) loader() Loader[K, V] {
	return func(ctx context.Context, k K) (Entry[V], error) {
		v, err := find(ctx, k)
		return Entry[V]{Value: v}, err
	}
}
