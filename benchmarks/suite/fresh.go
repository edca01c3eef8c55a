package suite

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/nearcache/nearcache-go/benchmarks/measure"
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

// spread counts durations in steps of an eighth of a power of two.
type histogram [400]int64

func (s *histogram) add(d time.Duration) {
	s[min(len(s)-1, int(8*math.Log2(float64(max(1, d.Nanoseconds())))))]++
}

func (s *histogram) at(q float64) time.Duration {
	var all, upto int64
	for _, n := range s {
		all += n
	}
	for i, n := range s {
		if upto += n; all > 0 && float64(upto) >= q*float64(all) {
			return time.Duration(math.Exp2(float64(i+1) / 8))
		}
	}
	return 0
}

const processes = 4

// freshKinds are those that keep something in Redis: a foreign write is nothing to the others.
var freshKinds = []string{"nearcache", peers.Bounded.String(), "rueidis DoCache", "go-redis CSC", "go-redis/cache",
	"sturdyc", "hand-rolled", "Redis GET"}

// freshness is speed and staleness in one run, first undisturbed, then with a quarter of all connections killed half-way.
func freshness(ctx context.Context, e *Env) (*measure.Section, error) {
	seconds := 30.0
	if e.Quick {
		seconds = 3
	}
	s := &measure.Section{Title: "Freshness beside speed", Figures: map[string]float64{},
		Config: fmt.Sprintf("20 instances in %d processes, 160 readers as fast as they can, 10,000 keys of 512 bytes, 80%% of reads and writes on 500 hot keys, "+
			"4 writers with 2,000 foreign writes/s together straight to Redis, %.0f s after 2 s of warming",
			processes, seconds),
		Note: "The load of redis-near-cache's published run (.NET, 14 cores: 2.20M reads/s, 0.33% stale, stalest 105 ms; a citation, not a comparison). A read is stale if a newer value had been " +
			"acknowledged to its writer before the read began. Latencies are of one read in 64. Every process, Redis, the writers and the relay share the machine's cores."}
	for _, killed := range []bool{false, true} {
		title := "Undisturbed"
		if killed {
			title = "A quarter of the connections killed half-way"
		}
		t := measure.Table{Title: title, Columns: []string{"", "reads/s", "near", "stale", "stalest",
			"older than 250 ms", "p50", "p99", "p99.9", "errors", "writes/s", "Redis commands/s", "MB/s out",
			"stale after quiescence"}}
		speed := measure.Plot{File: "freshness", Title: "Reads per second, with 2,000 foreign writes per second",
			Y: "reads/s"}
		for _, kind := range e.Among(freshKinds) {
			r, err := e.measureFreshness(ctx, kind, seconds, killed)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", kind, err)
			}
			near := "unknown"
			if r.near >= 0 {
				near = fmt.Sprintf("%.2f%%", 100*r.near)
			}
			t.Rows = append(t.Rows, []string{kind, fmt.Sprintf("%.0f", r.perSecond), near,
				fmt.Sprintf("%.4f%%", r.stale), Nanos(float64(r.Stalest)), strconv.FormatInt(r.OverBound, 10),
				Nanos(float64(r.Latency.at(0.5))), Nanos(float64(r.Latency.at(0.99))),
				Nanos(float64(r.Latency.at(0.999))), strconv.FormatInt(r.Errors, 10),
				fmt.Sprintf("%.0f", r.writes), fmt.Sprintf("%.0f", r.commands), fmt.Sprintf("%.1f", r.out/1e6),
				fmt.Sprintf("%d of %d", r.LeftStale, r.Audited)})
			fmt.Fprintf(e.Log, "freshness, %s, killed %v: %.0f reads/s, %.4f%% stale\n", kind, killed, r.perSecond,
				r.stale)
			speed.Bars = append(speed.Bars, measure.Bar{Name: kind,
				Stat: measure.Stat{Min: r.perSecond, Median: r.perSecond, Max: r.perSecond}})
			switch {
			case kind == "nearcache" && !killed:
				s.Figures["reads"], s.Figures["stale_percent"], s.Figures["stalest_ms"] = r.perSecond, r.stale,
					float64(r.Stalest)/1e6
			case kind == peers.Bounded.String():
				s.Figures["over_bound"] += float64(r.OverBound)
			}
			if kind == "nearcache" || kind == peers.Bounded.String() {
				s.Figures["left_stale"] += float64(r.LeftStale)
			}
		}
		s.Tables = append(s.Tables, t)
		if !killed {
			s.Plots = append(s.Plots, speed)
		}
	}
	return s, nil
}

type freshResult struct {
	freshCounts
	perSecond, near, stale, writes, commands, out float64
}

func (e *Env) measureFreshness(ctx context.Context, kindName string, seconds float64, kill bool) (r freshResult,
	err error) {
	addr, err := e.Redis(ctx)
	if err != nil {
		return r, err
	}
	if err := e.Flush(ctx); err != nil {
		return r, err
	}
	dir, err := e.dataDir("truth")
	if err != nil {
		return r, err
	}
	p := freshConfig{Kind: kindName, Redis: addr, Truth: filepath.Join(dir, fmt.Sprintf("%d", e.names.Add(1))),
		Prefix:    fmt.Sprintf("s%d", e.names.Add(1)),
		Instances: 20 / processes, Readers: 8, Keys: 10_000, Hot: 500, HotShare: 0.8, Bytes: 512, Seconds: seconds}
	tr, err := openSharedSource(p.Truth, p.Keys, p.Bytes)
	if err != nil {
		return r, err
	}
	defer func() { tr.close(); os.Remove(p.Truth) }()

	// The driver has one instance of its own, which says what a foreign program writes, and runs the relay for us.
	kind, ok := peers.Named[string](kindName)
	if !ok {
		return r, fmt.Errorf("suite: no peer %q", kindName)
	}
	commits := peers.NewMemory[string]()
	own, err := kind.Open(ctx, peers.Config[string]{Redis: addr, Source: commits, Codec: peers.Raw{},
		Prefix: p.Prefix, Entries: 10, Bytes: 1 << 20, TTL: time.Hour,
		Commits: commits, Relay: true})
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, own.Close()) }()
	w := &foreignWriters{e: e, p: p, t: tr, commits: commits, own: own}
	if err := w.seed(ctx); err != nil {
		return r, err
	}
	workers, err := e.startWorkers(ctx, processes, "fresh", func(int) any { return p })
	if err != nil {
		return r, err
	}
	defer workers.stop()

	writing, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() { w.run(writing, i, 4, 500) })
	}
	defer func() { stop(); wg.Wait() }()
	if err := workers.run("warm"); err != nil {
		return r, err
	}
	before, wrote := e.redisStats(ctx), w.n.Load()
	begun := time.Now()
	if kill {
		wg.Go(func() {
			select {
			case <-time.After(time.Duration(seconds / 2 * float64(time.Second))):
				e.killQuarterOfClients(writing)
			case <-writing.Done():
			}
		})
	}
	var tallies []freshCounts
	if err := workers.collect("run", &tallies); err != nil {
		return r, err
	}
	took := time.Since(begun).Seconds()
	after := e.redisStats(ctx)
	r.writes = float64(w.n.Load()-wrote) / took
	stop()
	wg.Wait()
	time.Sleep(2 * time.Second) // quiescence
	var audits []freshCounts
	if err := workers.collect("audit", &audits); err != nil {
		return r, err
	}
	known := true
	for i, t := range tallies {
		r.Reads, r.Errors, r.Stale, r.OverBound = r.Reads+t.Reads, r.Errors+t.Errors, r.Stale+t.Stale,
			r.OverBound+t.OverBound
		r.Stalest = max(r.Stalest, t.Stalest)
		known = known && t.L1Hits >= 0
		r.L1Hits += t.L1Hits
		for j, n := range t.Latency {
			r.Latency[j] += n
		}
		r.Audited, r.LeftStale = r.Audited+audits[i].Audited, r.LeftStale+audits[i].LeftStale
	}
	r.perSecond, r.stale = float64(r.Reads)/seconds, 100*float64(r.Stale)/float64(max(1, r.Reads))
	r.commands, r.out = (after.commands-before.commands)/took, (after.out-before.out)/took
	// Who does not count its hits asks Redis once for every miss.
	r.near = 1 - (after.gets-before.gets)/float64(max(1, r.Reads))
	if known {
		r.near = float64(r.L1Hits) / float64(max(1, r.Reads))
	}
	return r, nil
}

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

// pick is a key, hot ones as often as they are.
func (p *freshConfig) pick(share float64, r uint32) int {
	if share < p.HotShare {
		return int(r) % p.Hot
	}
	return p.Hot + int(r)%(p.Keys-p.Hot)
}

type redisStats struct{ commands, gets, in, out float64 }

func (e *Env) redisStats(ctx context.Context) (s redisStats) {
	info, _ := e.foreign.Do(ctx, e.foreign.B().Info().Section("stats", "commandstats").Build()).ToString()
	for _, line := range strings.Split(info, "\r\n") {
		name, v, _ := strings.Cut(line, ":")
		f, _ := strconv.ParseFloat(v, 64)
		switch name {
		case "total_commands_processed":
			s.commands = f
		case "total_net_input_bytes":
			s.in = f
		case "total_net_output_bytes":
			s.out = f
		case "cmdstat_get":
			calls, _, _ := strings.Cut(strings.TrimPrefix(v, "calls="), ",")
			s.gets, _ = strconv.ParseFloat(calls, 64)
		}
	}
	return s
}

// killQuarter ends every fourth connection but the one it uses.
func (e *Env) killQuarterOfClients(ctx context.Context) {
	list, err := e.foreign.Do(ctx, e.foreign.B().Arbitrary("CLIENT", "LIST").Build()).ToString()
	if err != nil {
		return
	}
	n := 0
	for _, line := range strings.Split(list, "\n") {
		id, rest, ok := strings.Cut(strings.TrimPrefix(line, "id="), " ")
		if !ok || strings.Contains(rest, "cmd=client") {
			continue
		}
		if n++; n%4 == 0 {
			e.foreign.Do(ctx, e.foreign.B().Arbitrary("CLIENT", "KILL", "ID", id).Build())
		}
	}
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
