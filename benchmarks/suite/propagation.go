package suite

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/nearcache/nearcache-go/benchmarks/measure"
	"github.com/nearcache/nearcache-go/benchmarks/peers"
)

// propagation is the time from a write's sending to the last moment at which any instance still served the old value,
// beside Redis's own push of the same write to a connection that only listens.
func propagation(ctx context.Context, e *Env) (*measure.Section, error) {
	n := e.pick([]int{5000}, []int{300})[0]
	const instances = 4
	s := &measure.Section{Title: "Propagation", Figures: map[string]float64{},
		Config: fmt.Sprintf("%d instances in one process, read in turns and without pause by one goroutine; %d foreign writes straight to Redis, one after the other", instances, n),
		Note:   "Redis's own push is that of the very same write, on a rueidis connection that tracks the key. The reader needs a core, and Redis and the network's goroutines another: where others use them, the scheduler is in every figure."}
	addr, err := e.Redis(ctx)
	if err != nil {
		return nil, err
	}
	t := measure.Table{Title: "From the write to the last old value", Columns: []string{"", "p50", "p99", "p99.9", "max", "p99 over the push"}}
	for _, kind := range []peers.Kind[string]{must[string]("nearcache"), must[string]("rueidis DoCache"), must[string]("go-redis CSC")} {
		src, prefix := peers.NewMemory[string](), fmt.Sprintf("s%d", e.names.Add(1))
		key := keyName(prefix, 0)
		var all []peers.Peer[string]
		for range instances {
			p, err := kind.Open(ctx, peers.World[string]{Redis: addr, Source: src, Codec: peers.Raw{}, Prefix: prefix, Entries: 100, Bytes: 1 << 20, TTL: time.Hour})
			if err != nil {
				return nil, err
			}
			all = append(all, p)
		}
		served, pushed, err := e.propagate(ctx, addr, all, src, key, n)
		for _, p := range all {
			_ = p.Close()
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", kind.Name, err)
		}
		ratio := quantile(served, 0.99) / quantile(pushed, 0.99)
		for _, r := range []struct {
			name string
			xs   []float64
		}{{kind.Name, served}, {"  Redis's push", pushed}} {
			over := ""
			if r.name == kind.Name {
				over = fmt.Sprintf("%.2f", ratio)
			}
			t.Rows = append(t.Rows, []string{r.name, Nanos(quantile(r.xs, 0.5)), Nanos(quantile(r.xs, 0.99)), Nanos(quantile(r.xs, 0.999)), Nanos(quantile(r.xs, 1)), over})
		}
		if kind.Name == "nearcache" {
			s.Figures["direct"] = ratio
		}
	}
	s.Tables = append(s.Tables, t)
	return s, e.Flush(ctx)
}

// next goes round.
func next(i, n int) int {
	if i++; i >= n {
		return 0
	}
	return i
}

func quantile(xs []float64, q float64) float64 {
	sorted := slices.Sorted(slices.Values(xs))
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

func (e *Env) propagate(ctx context.Context, addr string, all []peers.Peer[string], src *peers.Memory[string], key string, n int) (served, pushed []float64, err error) {
	var seen atomic.Int64 // when the push came
	push := make(chan struct{}, 16)
	at, _ := all[0].Stored(key, "", 1)
	raw, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{addr}, PipelineMultiplex: -1, ClientTrackingOptions: []string{"BCAST", "PREFIX", at},
		OnInvalidations: func(m []rueidis.RedisMessage) {
			if len(m) > 0 {
				seen.Store(time.Now().UnixNano())
				push <- struct{}{}
			}
		}})
	if err != nil {
		return nil, nil, err
	}
	defer raw.Close()
	if err := raw.Do(ctx, raw.B().Ping().Build()).Error(); err != nil {
		return nil, nil, err
	}
	tr := &truth{bytes: 64}
	write := func(seq int) error {
		v := tr.value(uint64(seq))
		version, err := src.Store(ctx, key, v)
		if err != nil {
			return err
		}
		name, bytes := all[0].Stored(key, v, version)
		return e.foreign.Do(ctx, e.foreign.B().Set().Key(name).Value(bytes).Px(time.Hour).Build()).Error()
	}
	if err := write(1); err != nil {
		return nil, nil, err
	}
	<-push
	var current atomic.Int64
	lasts := make([]struct {
		old, new atomic.Int64 // when a read began that gave an older value; the newest value seen
		_        [48]byte
	}, len(all))
	current.Store(1)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; ; i = next(i, len(all)) {
			select {
			case <-stop:
				return
			default:
			}
			want, begun := current.Load(), time.Now().UnixNano()
			v, err := all[i].Get(ctx, key)
			switch got := int64(number(v)); {
			case err != nil:
			case got < want:
				lasts[i].old.Store(begun)
			default:
				lasts[i].new.Store(got)
			}
		}
	})
	defer func() { close(stop); wg.Wait() }()
	for seq := 2; seq < n+2; seq++ {
		begun := time.Now().UnixNano()
		current.Store(int64(seq))
		if err := write(seq); err != nil {
			return nil, nil, err
		}
		<-push
		pushed = append(pushed, float64(seen.Load()-begun))
		last := begun
		for i := range lasts {
			for deadline := time.Now().Add(5 * time.Second); lasts[i].new.Load() < int64(seq); time.Sleep(50 * time.Microsecond) {
				if time.Now().After(deadline) {
					return nil, nil, fmt.Errorf("suite: an instance does not notice write %d", seq)
				}
			}
			last = max(last, lasts[i].old.Load())
		}
		served = append(served, float64(last-begun))
	}
	return served, pushed, nil
}
