package suite

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nearcache/nearcache-go/benchmarks/peers"
	"github.com/nearcache/nearcache-go/coherence"
)

// memoryOutbox is a source of truth in the driver with the abilities of coherence/postgres: it wakes its relay and
// keeps the relay's cursor. The other processes load what was committed through the shared source.
type memoryOutbox struct {
	*peers.Memory[string]
	t      *sharedSource
	prefix string
	keys   int

	order sync.Mutex
	woken chan struct{}
	saved coherence.Cursor
}

func newMemoryOutbox(t *sharedSource, prefix string, keys int) *memoryOutbox {
	o := &memoryOutbox{Memory: peers.NewMemory[string](), t: t, prefix: prefix, keys: keys,
		woken: make(chan struct{}, 1)}
	for k := range keys {
		o.Seed(keyName(prefix, k), "")
	}
	at, _ := o.Position(context.Background())
	atomic.StoreUint64(&t.words[0], at.N)
	return o
}

// write commits the next value of a key.
func (o *memoryOutbox) write(ctx context.Context, k int) {
	o.order.Lock()
	_, _ = o.Store(ctx, keyName(o.prefix, k), "") // a Memory never fails
	at, _ := o.Position(ctx)
	atomic.AddUint64(o.t.stored(k), 1)
	atomic.StoreUint64(&o.t.words[0], at.N)
	o.order.Unlock()
	select {
	case o.woken <- struct{}{}:
	default:
	}
}

// run writes at a rate until ctx ends. If it is late, it writes without a pause until it has caught up.
func (o *memoryOutbox) run(ctx context.Context, perSecond float64, pick func() int) {
	start := time.Now()
	for n := 0; ctx.Err() == nil; n++ {
		// A sleep for each of ten thousand writes per second would cost more than the writes.
		due := start.Add(time.Duration(float64(n) / perSecond * float64(time.Second)))
		if wait := time.Until(due); wait > time.Millisecond {
			time.Sleep(wait)
		}
		o.write(ctx, pick())
	}
}

// Wait implements coherence.Waker.
func (o *memoryOutbox) Wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-o.woken:
	case <-t.C:
	case <-ctx.Done():
	}
	return ctx.Err()
}

// LoadCursor implements coherence.Cursors. A relay without a cursor begins at the current position.
func (o *memoryOutbox) LoadCursor(ctx context.Context, _ string) (c coherence.Cursor, err error) {
	o.order.Lock()
	defer o.order.Unlock()
	if o.saved.Position.IsZero() {
		o.saved.Position, err = o.Position(ctx)
	}
	return o.saved, err
}

// SaveCursor implements coherence.Cursors.
func (o *memoryOutbox) SaveCursor(_ context.Context, _ string, c coherence.Cursor) error {
	o.order.Lock()
	defer o.order.Unlock()
	o.saved = c
	return nil
}

// published is the position that the relay has saved.
func (o *memoryOutbox) published() float64 {
	o.order.Lock()
	defer o.order.Unlock()
	return float64(o.saved.Position.N)
}

// preloadedSource is the shared source of an outbox whose keys exist from the beginning, with version 1. The shared
// number counts the writes since then.
type preloadedSource struct{ *sharedSource }

// Load implements peers.Source.
func (s preloadedSource) Load(ctx context.Context, key string) (string, uint64, error) {
	v, seq, err := s.sharedSource.Load(ctx, key)
	return v, seq + 1, err
}

// picker returns a function that picks keys: by Zipf (1.1), the first key most often, or uniformly.
func picker(keys int, uniform bool) func() int {
	random := rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
	if uniform {
		return func() int { return random.IntN(keys) }
	}
	z := rand.NewZipf(random, zipfS, 1, uint64(keys-1))
	return func() int { return int(z.Uint64()) }
}

const zipfS = 1.1

var (
	_ coherence.Waker   = (*memoryOutbox)(nil)
	_ coherence.Cursors = (*memoryOutbox)(nil)
)
