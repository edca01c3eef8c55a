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

// freshConfig is the configuration of a worker process, and of its load.
type freshConfig struct {
	Kind      string
	Redis     string
	Shared    string // the file of the shared source
	Prefix    string
	Instances int // in each process
	Readers   int // of each instance
	Keys, Hot int
	HotShare  float64 // the part of reads and writes that goes to hot keys
	Bytes     int     // of a value
	Seconds   float64
}

// freshCounts is what one process, or one reader, counted.
type freshCounts struct {
	Reads, Errors      int64
	Stale, OverBound   int64 // reads of a value that was old when the read began, and that was older than the bound
	Stalest            time.Duration
	L1Hits             int64 // -1: unknown
	Latency            histogram
	Audited, LeftStale int64
}

// add adds the reads of c, and leaves out L1Hits and the audit.
func (t *freshCounts) add(c freshCounts) {
	t.Reads, t.Errors, t.Stale, t.OverBound = t.Reads+c.Reads, t.Errors+c.Errors, t.Stale+c.Stale,
		t.OverBound+c.OverBound
	t.Stalest = max(t.Stalest, c.Stalest)
	for i, n := range c.Latency {
		t.Latency[i] += n
	}
}

// pick chooses a key for two random numbers: share decides between hot and cold keys.
func (p *freshConfig) pick(share float64, r uint32) int {
	if share < p.HotShare {
		return int(r) % p.Hot
	}
	return p.Hot + int(r)%(p.Keys-p.Hot)
}

// freshWorker is one worker process.
type freshWorker struct {
	p         freshConfig
	t         *sharedSource
	instances []peers.Peer[string]
	keys      []string
}

func newFreshWorker(ctx context.Context, p freshConfig) (*freshWorker, error) {
	t, err := openSharedSource(p.Shared, p.Keys, p.Bytes)
	if err != nil {
		return nil, err
	}
	kind, ok := peers.Named[string](p.Kind)
	if !ok {
		return nil, fmt.Errorf("suite: no peer %q", p.Kind)
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
	return nil, fmt.Errorf("suite: unknown command %q", command)
}

// read runs all readers without a pause.
func (w *freshWorker) read(ctx context.Context, seconds float64) (sum freshCounts) {
	before := w.l1Hits()
	var ended atomic.Bool
	time.AfterFunc(time.Duration(seconds*float64(time.Second)), func() { ended.Store(true) })
	counts := make([]freshCounts, len(w.instances)*w.p.Readers)
	var wg sync.WaitGroup
	for i, instance := range w.instances {
		for r := range w.p.Readers {
			wg.Go(func() { w.readLoop(ctx, instance, &counts[i*w.p.Readers+r], &ended) })
		}
	}
	wg.Wait()
	for _, c := range counts {
		sum.add(c)
	}
	sum.L1Hits = -1
	if before >= 0 {
		sum.L1Hits = w.l1Hits() - before
	}
	return sum
}

// l1Hits is the sum over the instances, or -1 if they do not count.
func (w *freshWorker) l1Hits() (sum int64) {
	for _, i := range w.instances {
		c, ok := i.(peers.L1Counter)
		if !ok {
			return -1
		}
		sum += c.L1Hits()
	}
	return sum
}

// readLoop is one reader. It times one read in 64. A stale value's age counts from the beginning of its read; in a read
// that is not timed the clock is read after it, so that the age can only look larger.
func (w *freshWorker) readLoop(ctx context.Context, instance peers.Peer[string], t *freshCounts, ended *atomic.Bool) {
	random := rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
	for n := 0; !ended.Load(); n++ {
		x := random.Uint64()
		k := w.p.pick(float64(x>>40)/(1<<24), uint32(x))
		committed := atomic.LoadUint64(w.t.committed(k))
		var start time.Time
		timed := n%64 == 0
		if timed {
			start = time.Now()
		}
		v, err := instance.Get(ctx, w.keys[k])
		if timed {
			t.Latency.add(time.Since(start))
		}
		t.Reads++
		if err != nil {
			t.Errors++
			continue
		}
		if seq := sequenceOf(v); seq < committed {
			t.Stale++
			if !timed {
				start = time.Now()
			}
			age := w.t.age(k, seq, committed, start)
			t.Stalest = max(t.Stalest, age)
			if age > peers.Bound {
				t.OverBound++
			}
		}
	}
}

// audit reads every key on every instance after the last write.
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
