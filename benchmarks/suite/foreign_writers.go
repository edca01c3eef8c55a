package suite

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/nearcache/nearcache-go/benchmarks/peers"
)

// foreignWriters write to the source and to Redis as another program does, which knows the format but not the library.
type foreignWriters struct {
	e       *Env
	config  freshConfig
	shared  *sharedSource
	commits *peers.Memory[string]
	own     peers.Peer[string] // knows the format
	order   sync.Mutex         // of the commits
	n       atomic.Int64       // writes so far
}

// seed writes every key once.
func (w *foreignWriters) seed(ctx context.Context) error {
	return each(ctx, 1, w.config.Keys/pipeline, func(b int) error {
		cmds := make([]rueidis.Completed, 0, pipeline)
		for k := b * pipeline; k < (b+1)*pipeline; k++ {
			cmds = append(cmds, w.set(k))
		}
		if err := w.e.send(ctx, cmds); err != nil {
			return err
		}
		for k := b * pipeline; k < (b+1)*pipeline; k++ {
			w.shared.commit(k, atomic.LoadUint64(w.shared.stored(k)))
		}
		return nil
	})
}

// set commits the next value of a key at the source and returns the command that brings it to Redis.
func (w *foreignWriters) set(k int) rueidis.Completed {
	key := keyName(w.config.Prefix, k)
	seq := atomic.LoadUint64(w.shared.stored(k)) + 1
	v := w.shared.value(seq)
	w.order.Lock()
	_, _ = w.commits.Store(context.Background(), key, v)
	at, _ := w.commits.Position(context.Background())
	atomic.StoreUint64(w.shared.stored(k), seq)
	atomic.StoreUint64(&w.shared.words[0], at.N)
	w.order.Unlock()
	name, bytes := w.own.Stored(key, v, seq)
	return w.e.foreign.B().Set().Key(name).Value(bytes).Px(time.Hour).Build()
}

// run writes at a rate until ctx ends. Writer i of n has keys of its own, so that the values of a key are committed in
// the order in which they are written.
func (w *foreignWriters) run(ctx context.Context, i, n, perSecond int) {
	start := time.Now()
	for count := 0; ctx.Err() == nil; count++ {
		if wait := time.Until(start.Add(time.Duration(count) * time.Second / time.Duration(perSecond))); wait > 0 {
			time.Sleep(wait)
		}
		k := w.config.pick(rand.Float64(), rand.Uint32())
		k = k - k%n + i
		if w.e.foreign.Do(context.WithoutCancel(ctx), w.set(k)).Error() == nil {
			w.shared.commit(k, atomic.LoadUint64(w.shared.stored(k)))
			w.n.Add(1)
		}
	}
}
