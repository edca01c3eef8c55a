package suite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/nearcache/nearcache-go/benchmarks/peers"
)

// freshResult is the sum over all processes. Rates are per second, stale is in percent, out in bytes per second.
type freshResult struct {
	freshCounts
	perSecond, hitRatio, stale, writes, commands, out float64
}

// freshRun is one peer under the load.
type freshRun struct {
	e       *Env
	config  freshConfig
	writers *foreignWriters
	workers *workerGroup
	cleanups
}

// measureFreshness runs the load on one peer. If kill is set, a quarter of the connections are killed half-way.
func (e *Env) measureFreshness(ctx context.Context, peer string, seconds float64, kill bool) (r freshResult,
	err error) {
	run := &freshRun{e: e, config: freshConfig{Kind: peer, Instances: 20 / processes, Readers: 8, Keys: 10_000,
		Hot: 500, HotShare: 0.8, Bytes: 512, Seconds: seconds}}
	defer func() { err = errors.Join(err, run.close()) }()
	if err := run.open(ctx); err != nil {
		return r, err
	}
	writing, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() { run.writers.run(writing, i, 4, 500) })
	}
	defer func() { stop(); wg.Wait() }()
	if err := run.workers.run("warm"); err != nil {
		return r, err
	}
	before, written := e.redisStats(ctx), run.writers.n.Load()
	start := time.Now()
	if kill {
		wg.Go(func() {
			select {
			case <-time.After(time.Duration(seconds / 2 * float64(time.Second))):
				e.killQuarterOfClients(writing)
			case <-writing.Done():
			}
		})
	}
	var counts []freshCounts
	if err := run.workers.collect("run", &counts); err != nil {
		return r, err
	}
	took := time.Since(start).Seconds()
	after := e.redisStats(ctx)
	r.writes = float64(run.writers.n.Load()-written) / took
	stop()
	wg.Wait()
	time.Sleep(2 * time.Second) // until the last writes have reached every instance
	var audits []freshCounts
	if err := run.workers.collect("audit", &audits); err != nil {
		return r, err
	}
	r.sum(counts, audits)
	r.perSecond, r.stale = float64(r.Reads)/seconds, 100*float64(r.Stale)/float64(max(1, r.Reads))
	r.commands, r.out = (after.commands-before.commands)/took, (after.out-before.out)/took
	// A peer that does not count its hits sends Redis one GET for each miss.
	r.hitRatio = 1 - (after.gets-before.gets)/float64(max(1, r.Reads))
	if r.L1Hits >= 0 {
		r.hitRatio = float64(r.L1Hits) / float64(max(1, r.Reads))
	}
	return r, nil
}

// open fills Redis and starts the worker processes. An instance in this process knows the format in which another
// program has to write to Redis, and runs the near cache's relay.
func (r *freshRun) open(ctx context.Context) error {
	kind, ok := peers.Named[string](r.config.Kind)
	if !ok {
		return fmt.Errorf("suite: no peer %q", r.config.Kind)
	}
	var err error
	if r.config.Redis, err = r.e.Redis(ctx); err != nil {
		return err
	}
	if err := r.e.Flush(ctx); err != nil {
		return err
	}
	dir, err := r.e.dataDir("shared")
	if err != nil {
		return err
	}
	r.config.Shared = filepath.Join(dir, fmt.Sprint(r.e.names.Add(1)))
	r.config.Prefix = fmt.Sprintf("s%d", r.e.names.Add(1))
	shared, err := openSharedSource(r.config.Shared, r.config.Keys, r.config.Bytes)
	if err != nil {
		return err
	}
	r.add(func() error { shared.close(); return os.Remove(r.config.Shared) })
	commits := peers.NewMemory[string]()
	own, err := kind.Open(ctx, peers.Config[string]{Redis: r.config.Redis, Source: commits, Codec: peers.Raw{},
		Prefix: r.config.Prefix, Entries: 10, Bytes: 1 << 20, TTL: time.Hour, Commits: commits, Relay: true})
	if err != nil {
		return err
	}
	r.add(own.Close)
	r.writers = &foreignWriters{e: r.e, config: r.config, shared: shared, commits: commits, own: own}
	if err := r.writers.seed(ctx); err != nil {
		return err
	}
	if r.workers, err = r.e.startWorkers(ctx, processes, "fresh", func(int) any { return r.config }); err != nil {
		return err
	}
	r.add(noError(r.workers.stop))
	return nil
}

// sum adds the counts of all processes. L1Hits becomes -1 if one of them does not know it.
func (r *freshResult) sum(counts, audits []freshCounts) {
	known := true
	for i, c := range counts {
		r.add(c)
		known = known && c.L1Hits >= 0
		r.L1Hits += c.L1Hits
		r.Audited, r.LeftStale = r.Audited+audits[i].Audited, r.LeftStale+audits[i].LeftStale
	}
	if !known {
		r.L1Hits = -1
	}
}
