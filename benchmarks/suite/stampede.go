package suite

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nearcache/nearcache-go/benchmarks/measure"
	"github.com/nearcache/nearcache-go/benchmarks/peers"
)

// stampedeConfig is the configuration of a worker process. Every goroutine of its instances reads the same cold key at
// the same moment.
type stampedeConfig struct {
	Kind       string
	Redis      string
	Prefix     string
	Instances  int // in each process
	Goroutines int // of each instance
	Rounds     int
}

// stampedeResult is the result of one process for one key.
type stampedeResult struct {
	Loads int64
	Worst time.Duration
}

const (
	slowLoad = 50 * time.Millisecond
	// stampedeLead is the time from the command to the moment of the reads.
	stampedeLead = 20 * time.Millisecond
)

// stampede counts the loads of a cold key that every goroutine of every instance reads at the same moment.
func stampede(ctx context.Context, e *Env) (*measure.Section, error) {
	sizes := []stampedeConfig{{Instances: 1, Goroutines: 32, Rounds: 20}, {Instances: 2, Goroutines: 128, Rounds: 10}}
	if e.Quick {
		sizes[0].Rounds, sizes[1].Rounds = 3, 2
	}
	s := &measure.Section{Title: "Stampede", Figures: map[string]float64{},
		Config: fmt.Sprintf("instances in %d processes; every goroutine of every instance reads one cold key at the same "+
			"moment, one key after the other (%d and %d keys); a source that takes %v and counts its loads",
			processes, sizes[0].Rounds, sizes[1].Rounds, slowLoad)}
	addr, err := e.Redis(ctx)
	if err != nil {
		return nil, err
	}
	for _, c := range sizes {
		c.Redis = addr
		t := measure.Table{Title: fmt.Sprintf("Loads of a cold key: %d instances x %d goroutines",
			processes*c.Instances, c.Goroutines),
			Columns: []string{"", "loads per key, median", "max", "slowest answer, median", "max"}}
		for _, k := range peers.Kinds[product]() {
			c.Kind, c.Prefix = k.Name, fmt.Sprintf("s%d", e.names.Add(1))
			loads, slowest, err := e.stampedeOf(ctx, k, c)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", k.Name, err)
			}
			l, w := measure.Of(loads), measure.Of(slowest)
			t.Rows = append(t.Rows, []string{k.Name, fmt.Sprintf("%.1f", l.Median), fmt.Sprintf("%.0f", l.Max),
				Nanos(w.Median), Nanos(w.Max)})
			if k.Name == "nearcache" {
				s.Figures["loads"] = max(s.Figures["loads"], l.Max)
			}
		}
		s.Tables = append(s.Tables, t)
	}
	return s, e.Flush(ctx)
}

func (e *Env) stampedeOf(ctx context.Context, k peers.Kind[product], c stampedeConfig) (loads, slowest []float64,
	err error) {
	own, err := k.Open(ctx, stampedeConfigOf(c, peers.NewMemory[product](), true))
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, own.Close()) }()
	own.Stored("x", product{}, 1) // waits for the first round of the relay
	workers, err := e.startWorkers(ctx, processes, "stampede", func(int) any { return c })
	if err != nil {
		return nil, nil, err
	}
	defer workers.stop()
	for r := range c.Rounds {
		var all []stampedeResult
		if err := workers.collect(fmt.Sprintf("%d %d", r, time.Now().Add(stampedeLead).UnixNano()), &all); err != nil {
			return nil, nil, err
		}
		var n int64
		var worst time.Duration
		for _, x := range all {
			n += x.Loads
			worst = max(worst, x.Worst)
		}
		if n == 0 {
			return nil, nil, errors.New("suite: a cold key was not loaded: the run is void")
		}
		loads, slowest = append(loads, float64(n)), append(slowest, float64(worst))
	}
	return loads, slowest, nil
}

// stampedeConfigOf is the configuration of an instance. Nothing is ever committed, so the commit order of every process
// is the same.
func stampedeConfigOf(c stampedeConfig, src *peers.Memory[product], relay bool) peers.Config[product] {
	return peers.Config[product]{Redis: c.Redis, Source: src, Codec: peers.JSON[product]{}, Prefix: c.Prefix,
		Entries: 1000, Bytes: 1 << 20, TTL: time.Minute,
		Commits: src, Relay: relay}
}

type stampedeWorker struct {
	c   stampedeConfig
	src *peers.Memory[product]
	all []peers.Peer[product]
}

func newStampedeWorker(ctx context.Context, c stampedeConfig) (_ *stampedeWorker, err error) {
	w := &stampedeWorker{c: c, src: peers.NewMemory[product]()}
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	w.src.LoadDelay = slowLoad
	for r := range c.Rounds {
		w.src.Seed(keyName(c.Prefix, r), peers.NewProduct(r, smallValue))
	}
	kind, ok := peers.Named[product](c.Kind)
	if !ok {
		return nil, fmt.Errorf("suite: no peer %q", c.Kind)
	}
	for range c.Instances {
		p, err := kind.Open(ctx, stampedeConfigOf(c, w.src, false))
		if err != nil {
			return nil, err
		}
		w.all = append(w.all, p)
	}
	return w, nil
}

// do runs one round. The command has its number and its moment.
func (w *stampedeWorker) do(ctx context.Context, command string) (any, error) {
	round, at, _ := strings.Cut(command, " ")
	r, err := strconv.Atoi(round)
	if err != nil {
		return nil, err
	}
	moment, err := strconv.ParseInt(at, 10, 64)
	if err != nil {
		return nil, err
	}
	key, before := keyName(w.c.Prefix, r), w.src.Loads.Load()
	gate := make(chan struct{})
	var wg sync.WaitGroup
	var mu sync.Mutex
	var worst time.Duration
	var failed error
	for _, p := range w.all {
		for range w.c.Goroutines {
			wg.Go(func() {
				<-gate
				start := time.Now()
				_, err := p.Get(ctx, key)
				took := time.Since(start)
				mu.Lock()
				defer mu.Unlock()
				worst, failed = max(worst, took), errors.Join(failed, err)
			})
		}
	}
	time.Sleep(time.Until(time.Unix(0, moment)))
	close(gate)
	wg.Wait()
	return stampedeResult{w.src.Loads.Load() - before, worst}, failed
}

func (w *stampedeWorker) close() {
	for _, p := range w.all {
		_ = p.Close()
	}
}
