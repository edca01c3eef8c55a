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

// writers are a foreign program.
type foreignWriters struct {
	e       *Env
	p       freshConfig
	t       *sharedSource
	commits *peers.Memory[string]
	own     peers.Peer[string]
	order   sync.Mutex
	n       atomic.Int64
}

func (w *foreignWriters) seed(ctx context.Context) error {
	return each(ctx, 1, w.p.Keys/pipeline, func(b int) error {
		cmds := make([]rueidis.Completed, 0, pipeline)
		for k := b * pipeline; k < (b+1)*pipeline; k++ {
			cmds = append(cmds, w.set(k))
		}
		if err := w.e.send(ctx, cmds); err != nil {
			return err
		}
		for k := b * pipeline; k < (b+1)*pipeline; k++ {
			w.t.commit(k, atomic.LoadUint64(w.t.stored(k)))
		}
		return nil
	})
}

// set commits the next value of a key at the source and returns what brings it to Redis.
func (w *foreignWriters) set(k int) rueidis.Completed {
	key := keyName(w.p.Prefix, k)
	seq := atomic.LoadUint64(w.t.stored(k)) + 1
	v := w.t.value(seq)
	w.order.Lock()
	_, _ = w.commits.Store(context.Background(), key, v)
	at, _ := w.commits.Position(context.Background())
	atomic.StoreUint64(w.t.stored(k), seq)
	atomic.StoreUint64(&w.t.words[0], at.N)
	w.order.Unlock()
	name, bytes := w.own.Stored(key, v, seq)
	return w.e.foreign.B().Set().Key(name).Value(bytes).Px(time.Hour).Build()
}

// run writes some times a second until ctx ends. Each writer has keys of its own: the order of a key's values is the order
// of its writes.
func (w *foreignWriters) run(ctx context.Context, i, of, perSecond int) {
	begun := time.Now()
	for n := 0; ctx.Err() == nil; n++ {
		if wait := time.Until(begun.Add(time.Duration(n) * time.Second / time.Duration(perSecond))); wait > 0 {
			time.Sleep(wait)
		}
		k := w.p.pick(rand.Float64(), rand.Uint32())
		k = k - k%of + i
		if w.e.foreign.Do(context.WithoutCancel(ctx), w.set(k)).Error() == nil {
			w.t.commit(k, atomic.LoadUint64(w.t.stored(k)))
			w.n.Add(1)
		}
	}
}
