package peers

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/rueidis"
)

// Capabilities are what Conform finds out but does not require.
type Capabilities struct {
	// SeesForeignWrites says that L1 notices another program's write to Redis. It is false if the cache keeps nothing
	// in Redis.
	SeesForeignWrites bool
	// ForeignDelay is the time until then, with a resolution of 100 microseconds.
	ForeignDelay time.Duration
	// SeesOtherInstances says that a write through another instance of the same cache is noticed.
	SeesOtherInstances bool
}

const (
	patience     = time.Second // how long a change may take to become visible
	pollInterval = 100 * time.Microsecond
)

// Conform checks what every application expects of two instances of a cache over one source, and finds out the
// Capabilities. A peer that fails it is not timed. value returns distinct values.
func Conform[V comparable](ctx context.Context, a, b Peer[V], src Source[V], foreign rueidis.Client, prefix string,
	value func(i int) V) (c Capabilities, err error) {
	key := prefix + "conform"
	if err := conformOwnWrites(ctx, a, key, value); err != nil {
		return c, err
	}
	if c.SeesOtherInstances, err = seesOtherInstance(ctx, a, b, key, value); err != nil {
		return c, err
	}
	version, err := src.Store(ctx, key, value(5))
	if err != nil {
		return c, err
	}
	start := time.Now()
	if at, bytes := a.Stored(key, value(5), version); at != "" {
		if err := foreign.Do(ctx, foreign.B().Set().Key(at).Value(bytes).Px(time.Minute).Build()).Error(); err != nil {
			return c, err
		}
	}
	if awaitValue(ctx, a, key, value(5)) == nil {
		c.SeesForeignWrites, c.ForeignDelay = true, time.Since(start)
	}
	return c, conformDelete(ctx, a, key)
}

// conformOwnWrites requires that an absent key is absent, and that an own write is visible.
func conformOwnWrites[V comparable](ctx context.Context, a Peer[V], key string, value func(i int) V) error {
	if _, err := a.Get(ctx, key); !errors.Is(err, ErrMiss) {
		return fmt.Errorf("an absent key: got error %v, want ErrMiss", err)
	}
	for i := range 3 {
		if err := a.Write(ctx, key, value(i)); err != nil {
			return fmt.Errorf("write: %w", err)
		}
		if err := awaitValue(ctx, a, key, value(i)); err != nil {
			return fmt.Errorf("own write: %w", err)
		}
	}
	return awaitL1(ctx, a, key, value(2))
}

// seesOtherInstance reports whether a notices a write through b. Afterwards a holds value 4.
func seesOtherInstance[V comparable](ctx context.Context, a, b Peer[V], key string, value func(i int) V) (bool, error) {
	if err := awaitL1(ctx, b, key, value(2)); err != nil {
		return false, fmt.Errorf("another instance: %w", err)
	}
	if err := b.Write(ctx, key, value(3)); err != nil {
		return false, fmt.Errorf("write: %w", err)
	}
	sees := awaitValue(ctx, a, key, value(3)) == nil
	if err := a.Write(ctx, key, value(4)); err != nil {
		return false, fmt.Errorf("write: %w", err)
	}
	return sees, awaitL1(ctx, a, key, value(4))
}

// conformDelete requires that an own delete is visible.
func conformDelete[V any](ctx context.Context, a Peer[V], key string) error {
	if err := a.Delete(ctx, key); err != nil {
		return fmt.Errorf("delete: %w", err)
	}
	deadline := time.Now().Add(patience)
	for {
		_, err := a.Get(ctx, key)
		if errors.Is(err, ErrMiss) {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("after a delete: got error %v, want ErrMiss", err)
		}
		time.Sleep(pollInterval)
	}
}

// awaitL1 reads often enough for any cache to hold the key in L1.
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

// awaitValue waits until the cache returns the value.
func awaitValue[V comparable](ctx context.Context, p Peer[V], key string, want V) error {
	deadline := time.Now().Add(patience)
	for {
		got, err := p.Get(ctx, key)
		if err == nil && got == want {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("got %v (error %v), want %v", got, err, want)
		}
		time.Sleep(pollInterval)
	}
}
