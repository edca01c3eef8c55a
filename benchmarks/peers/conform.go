package peers

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/rueidis"
)

// Facts are what Conform finds out and does not demand.
type Facts struct {
	// Foreign says that a write which another program makes to Redis is noticed in the near tier; false also where there is
	// nothing of the cache in Redis.
	Foreign bool
	// Noticed is how long that took, looked at every 100 microseconds.
	Noticed time.Duration
	// Instance says that a write through another instance of the same cache is noticed.
	Instance bool
}

const (
	patience = time.Second // how long a change may take to show
	asks     = 100 * time.Microsecond
)

// Conform demands of two instances of a cache over one source what everybody takes for granted, and finds out the Facts. A
// peer that fails it is not timed.
func Conform[V comparable](ctx context.Context, a, b Peer[V], src Source[V], foreign rueidis.Client, prefix string, value func(i int) V) (f Facts, err error) {
	key := prefix + "conform"
	if _, err := a.Get(ctx, key); !errors.Is(err, ErrMiss) {
		return f, fmt.Errorf("an absent key: error %v, want ErrMiss", err)
	}
	for i := range 3 {
		if err := a.Write(ctx, key, value(i)); err != nil {
			return f, fmt.Errorf("write: %w", err)
		}
		if err := comes(ctx, a, key, value(i)); err != nil {
			return f, fmt.Errorf("own write: %w", err)
		}
	}
	if err := warm(ctx, a, key, value(2)); err != nil {
		return f, err
	}
	if err := warm(ctx, b, key, value(2)); err != nil {
		return f, fmt.Errorf("another instance: %w", err)
	}
	if err := b.Write(ctx, key, value(3)); err != nil {
		return f, fmt.Errorf("write: %w", err)
	}
	f.Instance = comes(ctx, a, key, value(3)) == nil
	if err := a.Write(ctx, key, value(4)); err != nil {
		return f, fmt.Errorf("write: %w", err)
	}
	if err := warm(ctx, a, key, value(4)); err != nil {
		return f, err
	}

	version, err := src.Store(ctx, key, value(5))
	if err != nil {
		return f, err
	}
	begun := time.Now()
	if at, bytes := a.Stored(key, value(5), version); at != "" {
		if err := foreign.Do(ctx, foreign.B().Set().Key(at).Value(bytes).Px(time.Minute).Build()).Error(); err != nil {
			return f, err
		}
	}
	if comes(ctx, a, key, value(5)) == nil {
		f.Foreign, f.Noticed = true, time.Since(begun)
	}

	if err := a.Delete(ctx, key); err != nil {
		return f, fmt.Errorf("delete: %w", err)
	}
	deadline := time.Now().Add(patience)
	for _, err = a.Get(ctx, key); !errors.Is(err, ErrMiss); _, err = a.Get(ctx, key) {
		if time.Now().After(deadline) {
			return f, fmt.Errorf("after a delete: error %v, want ErrMiss", err)
		}
		time.Sleep(asks)
	}
	return f, nil
}

// warm reads often enough for any cache to have the key near.
func warm[V comparable](ctx context.Context, p Peer[V], key string, want V) error {
	if err := comes(ctx, p, key, want); err != nil {
		return err
	}
	for range 20 {
		time.Sleep(asks)
		if _, err := p.Get(ctx, key); err != nil {
			return fmt.Errorf("read: %w", err)
		}
	}
	return nil
}

// comes waits until the cache has the value.
func comes[V comparable](ctx context.Context, p Peer[V], key string, want V) error {
	deadline := time.Now().Add(patience)
	for {
		got, err := p.Get(ctx, key)
		if err == nil && got == want {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("read %v (error %v), want %v", got, err, want)
		}
		time.Sleep(asks)
	}
}
