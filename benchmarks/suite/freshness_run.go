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
