package suite

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nearcache/nearcache-go/benchmarks/peers"
	"github.com/nearcache/nearcache-go/coherence"
)

var errSourceDown = errors.New("suite: the source of truth is down")

// faultySource is a source of truth that can fail: it refuses every request, or answers none. It records every commit
// in truth, and keeps the relay's cursor.
type faultySource struct {
	*peers.Memory[string]
	truth   *sharedSource
	latency time.Duration // of a load or a commit
	down    atomic.Bool
	hanging atomic.Pointer[chan struct{}] // closed when it answers again; nil if it answers

	mu     sync.Mutex
	cursor coherence.Cursor
}

// keyIndex returns the number at the end of a key.
func keyIndex(key string) (int, error) { return strconv.Atoi(key[len(key)-6:]) }

// available waits until the source answers, or returns its failure.
func (f *faultySource) available(ctx context.Context) error {
	if f.down.Load() {
		return errSourceDown
	}
	if until := f.hanging.Load(); until != nil {
		select {
		case <-*until:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return ctx.Err()
}

// query waits as long as a query takes.
func (f *faultySource) query(ctx context.Context) error {
	if err := f.available(ctx); err != nil {
		return err
	}
	select {
	case <-time.After(f.latency):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// startHanging makes every request wait until stopHanging.
func (f *faultySource) startHanging() { c := make(chan struct{}); f.hanging.Store(&c) }

func (f *faultySource) stopHanging() {
	if c := f.hanging.Swap(nil); c != nil {
		close(*c)
	}
}

// Load implements peers.Source.
func (f *faultySource) Load(ctx context.Context, key string) (string, uint64, error) {
	if err := f.query(ctx); err != nil {
		return "", 0, err
	}
	return f.Memory.Load(ctx, key)
}

// Store implements peers.Source. A key has one writer at a time.
func (f *faultySource) Store(ctx context.Context, key, v string) (uint64, error) {
	if err := f.query(ctx); err != nil {
		return 0, err
	}
	k, err := keyIndex(key)
	if err != nil {
		return 0, err
	}
	version, err := f.Memory.Store(ctx, key, v)
	if err == nil {
		atomic.StoreUint64(f.truth.stored(k), sequenceOf(v))
	}
	return version, err
}

// Position implements coherence.Source.
func (f *faultySource) Position(ctx context.Context) (coherence.Position, error) {
	if err := f.available(ctx); err != nil {
		return coherence.Position{}, err
	}
	return f.Memory.Position(ctx)
}

// Changes implements coherence.Source.
func (f *faultySource) Changes(ctx context.Context, after coherence.Position, limit int) ([]coherence.Event,
	coherence.Position, error) {
	if err := f.available(ctx); err != nil {
		return nil, coherence.Position{}, err
	}
	return f.Memory.Changes(ctx, after, limit)
}

// LoadCursor implements coherence.Cursors.
func (f *faultySource) LoadCursor(ctx context.Context, _ string) (coherence.Cursor, error) {
	if err := f.available(ctx); err != nil {
		return coherence.Cursor{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.cursor, nil
}

// SaveCursor implements coherence.Cursors. There is one relay, so the cursor never moves back.
func (f *faultySource) SaveCursor(ctx context.Context, _ string, c coherence.Cursor) error {
	if err := f.available(ctx); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cursor = c
	return nil
}
