package peers

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/rueidis"
)

// Facts are what Conform finds out and does not demand.
type Capabilities struct {
	// Foreign says that a write which another program makes to Redis is noticed in the near tier; false also where there is
	// nothing of the cache in Redis.
	SeesForeignWrites bool
	// Noticed is how long that took, looked at every 100 microseconds.
	ForeignDelay time.Duration
	// Instance says that a write through another instance of the same cache is noticed.
	SeesOtherInstances bool
}

const (
	patience     = time.Second // how long a change may take to show
	pollInterval = 100 * time.Microsecond
)

// Conform demands of two instances of a cache over one source what everybody takes for granted, and finds out the Facts. A
// peer that fails it is not timed.
func Conform[V comparable](ctx context.Context, a, b Peer[V], src Source[V], foreign rueidis.Client, prefix string,
	value func(i int) V) (f Capabilities, err error) {
	key := prefix + "conform"
	if _, err := a.Get(ctx, key); !errors.Is(err, ErrMiss) {
		return f, fmt.Errorf("an absent key: error %v, want ErrMiss", err)
	}
	for i := range 3 {
		if err := a.Write(ctx, key, value(i)); err != nil {
			return f, fmt.Errorf("write: %w", err)
		}
		if err := awaitValue(ctx, a, key, value(i)); err != nil {
			return f, fmt.Errorf("own write: %w", err)
		}
	}
	if err := awaitL1(ctx, a, key, value(2)); err != nil {
		return f, err
	}
	if err := awaitL1(ctx, b, key, value(2)); err != nil {
		return f, fmt.Errorf("another instance: %w", err)
	}
	if err := b.Write(ctx, key, value(3)); err != nil {
		return f, fmt.Errorf("write: %w", err)
	}
	f.SeesOtherInstances = awaitValue(ctx, a, key, value(3)) == nil
	if err := a.Write(ctx, key, value(4)); err != nil {
		return f, fmt.Errorf("write: %w", err)
	}
	if err := awaitL1(ctx, a, key, value(4)); err != nil {
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
	if awaitValue(ctx, a, key, value(5)) == nil {
		f.SeesForeignWrites, f.ForeignDelay = true, time.Since(begun)
	}

	if err := a.Delete(ctx, key); err != nil {
		return f, fmt.Errorf("delete: %w", err)
	}
	deadline := time.Now().Add(patience)
	for _, err = a.Get(ctx, key); !errors.Is(err, ErrMiss); _, err = a.Get(ctx, key) {
		if time.Now().After(deadline) {
			return f, fmt.Errorf("after a delete: error %v, want ErrMiss", err)
		}
		time.Sleep(pollInterval)
	}
	return f, nil
}

// warm reads often enough for any cache to have the key near.
func awaitL1[V comparable](ctx context.Context, p Peer[V], key string, want V) error {
	if err := awaitValue(ctx, p, key, want); err != nil {
		return err
	}
	for range 20 {
		time.Sleep(pollInterval)
		if _, err := p.Get(ctx, key); err != nil {
			return fmt.Errorf("read: %w", err)
		}
	}
	return nil
}

// comes waits until the cache has the value.
func awaitValue[V comparable](ctx context.Context, p Peer[V], key string, want V) error {
	deadline := time.Now().Add(patience)
	for {
		got, err := p.Get(ctx, key)
		if err == nil && got == want {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("read %v (error %v), want %v", got, err, want)
		}
		time.Sleep(pollInterval)
	}
}
