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

// flaky is a source of truth that can fail: it refuses, or does not answer. All that is asked of it fails alike, the commit
// order too. It tells the truth of what was committed, and keeps the relay's cursor.
type flaky struct {
	*peers.Memory[string]
	truth *truth
	takes time.Duration // a load, or a commit
	down  atomic.Bool
	hangs atomic.Pointer[chan struct{}] // closed when it answers again

	mu     sync.Mutex
	cursor coherence.Cursor
}

// number of a key: its name ends with it.
func keyNumber(key string) (int, error) { return strconv.Atoi(key[len(key)-6:]) }

// reached waits for an answer.
func (f *flaky) reached(ctx context.Context) error {
	if f.down.Load() {
		return errSourceDown
	}
	if until := f.hangs.Load(); until != nil {
		select {
		case <-*until:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return ctx.Err()
}

// works is reached, and what the query takes.
func (f *flaky) works(ctx context.Context) error {
	if err := f.reached(ctx); err != nil {
		return err
	}
	select {
	case <-time.After(f.takes):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// hang has it stop answering until answer.
func (f *flaky) hang() { c := make(chan struct{}); f.hangs.Store(&c) }

func (f *flaky) answer() {
	if c := f.hangs.Swap(nil); c != nil {
		close(*c)
	}
}

// Load implements peers.Source.
func (f *flaky) Load(ctx context.Context, key string) (string, uint64, error) {
	if err := f.works(ctx); err != nil {
		return "", 0, err
	}
	return f.Memory.Load(ctx, key)
}

// Store implements peers.Source. A key has one writer at a time.
func (f *flaky) Store(ctx context.Context, key, v string) (uint64, error) {
	if err := f.works(ctx); err != nil {
		return 0, err
	}
	k, err := keyNumber(key)
	if err != nil {
		return 0, err
	}
	version, err := f.Memory.Store(ctx, key, v)
	if err == nil {
		atomic.StoreUint64(f.truth.stored(k), number(v))
	}
	return version, err
}

// Position implements coherence.Source.
func (f *flaky) Position(ctx context.Context) (coherence.Position, error) {
	if err := f.reached(ctx); err != nil {
		return coherence.Position{}, err
	}
	return f.Memory.Position(ctx)
}

// Abilities implements coherence.Source.
func (f *flaky) Abilities() coherence.Abilities { return coherence.Abilities{} }

// Changes implements coherence.Source.
func (f *flaky) Changes(ctx context.Context, after coherence.Position, limit int) ([]coherence.Event, coherence.Position, error) {
	if err := f.reached(ctx); err != nil {
		return nil, coherence.Position{}, err
	}
	return f.Memory.Changes(ctx, after, limit)
}

// LoadCursor implements coherence.Cursors.
func (f *flaky) LoadCursor(ctx context.Context, _ string) (coherence.Cursor, error) {
	if err := f.reached(ctx); err != nil {
		return coherence.Cursor{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.cursor, nil
}

// SaveCursor implements coherence.Cursors. There is one relay: it does not move back.
func (f *flaky) SaveCursor(ctx context.Context, _ string, c coherence.Cursor) error {
	if err := f.reached(ctx); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cursor = c
	return nil
}
