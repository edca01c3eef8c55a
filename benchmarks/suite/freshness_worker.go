package suite

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nearcache/nearcache-go/benchmarks/peers"
)

// profile is the load of redis-near-cache's published run.
type freshConfig struct {
	Kind      string
	Redis     string
	Truth     string
	Prefix    string
	Instances int // in each process
	Readers   int // of each instance
	Keys, Hot int
	HotShare  float64
	Bytes     int
	Seconds   float64
}

// tally is what one process saw.
type freshCounts struct {
	Reads, Errors      int64
	Stale, OverBound   int64 // reads of a value that was old when it was asked for; older than the bound
	Stalest            time.Duration
	L1Hits             int64 // -1: not known
	Latency            histogram
	Audited, LeftStale int64
}

// pick is a key, hot ones as often as they are.
func (p *freshConfig) pick(share float64, r uint32) int {
	if share < p.HotShare {
		return int(r) % p.Hot
	}
	return p.Hot + int(r)%(p.Keys-p.Hot)
}

// freshWorker is one process of it.
type freshWorker struct {
	p         freshConfig
	t         *sharedSource
	instances []peers.Peer[string]
	keys      []string
}

func newFreshWorker(ctx context.Context, p freshConfig) (*freshWorker, error) {
	t, err := openSharedSource(p.Truth, p.Keys, p.Bytes)
	if err != nil {
		return nil, err
	}
	kind, ok := peers.Named[string](p.Kind)
	if !ok {
		return nil, fmt.Errorf("no peer %q", p.Kind)
	}
	w := &freshWorker{p: p, t: t}
	for k := range p.Keys {
		w.keys = append(w.keys, keyName(p.Prefix, k))
	}
	for range p.Instances {
		i, err := kind.Open(ctx, peers.Config[string]{Redis: p.Redis, Source: t, Codec: peers.Raw{},
			Prefix: p.Prefix, Entries: p.Keys,
			Bytes: int64(p.Keys * p.Bytes), TTL: time.Hour, Commits: t})
		if err != nil {
			return nil, err
		}
		w.instances = append(w.instances, i)
	}
	return w, nil
}

func (w *freshWorker) do(ctx context.Context, command string) (any, error) {
	switch command {
	case "warm":
		return w.read(ctx, 2), nil
	case "run":
		return w.read(ctx, w.p.Seconds), nil
	case "audit":
		return w.audit(ctx), nil
	}
	return nil, fmt.Errorf("suite: there is no order %q", command)
}

// read has every reader read as fast as it can.
func (w *freshWorker) read(ctx context.Context, seconds float64) (sum freshCounts) {
	var near int64
	for _, i := range w.instances {
		if c, ok := i.(peers.L1Counter); ok {
			near += c.L1Hits()
		} else {
			near = -1
		}
	}
	var ended atomic.Bool
	time.AfterFunc(time.Duration(seconds*float64(time.Second)), func() { ended.Store(true) })
	tallies := make([]freshCounts, len(w.instances)*w.p.Readers)
	var wg sync.WaitGroup
	for i, instance := range w.instances {
		for r := range w.p.Readers {
			t := &tallies[i*w.p.Readers+r]
			wg.Go(func() {
				random := rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
				for n := 0; !ended.Load(); n++ {
					x := random.Uint64()
					k := w.p.pick(float64(x>>40)/(1<<24), uint32(x))
					committed := atomic.LoadUint64(w.t.committed(k))
					// The moment is read before the read where it is timed, and else after: it can only make an age look larger.
					var begun time.Time
					timed := n%64 == 0
					if timed {
						begun = time.Now()
					}
					v, err := instance.Get(ctx, w.keys[k])
					if timed {
						t.Latency.add(time.Since(begun))
					}
					t.Reads++
					if err != nil {
						t.Errors++
						continue
					}
					if seq := sequenceOf(v); seq < committed {
						t.Stale++
						if !timed {
							begun = time.Now()
						}
						age := w.t.age(k, seq, committed, begun)
						t.Stalest = max(t.Stalest, age)
						if age > peers.Bound {
							t.OverBound++
						}
					}
				}
			})
		}
	}
	wg.Wait()
	for _, t := range tallies {
		sum.Reads, sum.Errors, sum.Stale, sum.OverBound = sum.Reads+t.Reads, sum.Errors+t.Errors, sum.Stale+t.Stale,
			sum.OverBound+t.OverBound
		sum.Stalest = max(sum.Stalest, t.Stalest)
		for j, n := range t.Latency {
			sum.Latency[j] += n
		}
	}
	sum.L1Hits = -1
	if near >= 0 {
		sum.L1Hits = -near
		for _, i := range w.instances {
			sum.L1Hits += i.(peers.L1Counter).L1Hits()
		}
	}
	return sum
}

// audit reads every key on every instance when nobody writes any more.
func (w *freshWorker) audit(ctx context.Context) (t freshCounts) {
	for _, i := range w.instances {
		for k := range w.keys {
			v, err := i.Get(ctx, w.keys[k])
			t.Audited++
			if err != nil || sequenceOf(v) < atomic.LoadUint64(w.t.committed(k)) {
				t.LeftStale++
			}
		}
	}
	return t
}

func (w *freshWorker) close() {
	for _, i := range w.instances {
		_ = i.Close()
	}
	w.t.close()
}
