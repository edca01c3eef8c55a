package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/l2"
	"github.com/nearcache/nearcache-go/internal/product"
)

// latency is what another client of Redis sees.
type latency struct{ p50, p99, most time.Duration }

func (l latency) String() string {
	return fmt.Sprintf("p50 %v, p99 %v, at most %v", l.p50, l.p99, l.most)
}

func latencyOf(all []time.Duration) (l latency) {
	if slices.Sort(all); len(all) > 0 {
		l = latency{all[len(all)/2], all[len(all)*99/100], all[len(all)-1]}
	}
	return l
}

// latencies are those of two things that others do in Redis: an instance that asks for a record, as a heartbeat does,
// and a writer that invalidates one which an instance holds.
type latencies struct{ get, invalidation latency }

func (g *large) probe(d time.Duration) latencies {
	ctx, cancel := context.WithTimeout(g.t.Context(), d)
	defer cancel()
	return g.probeUntil(ctx)
}

func (g *large) probeUntil(ctx context.Context) (l latencies) {
	var wg sync.WaitGroup
	wg.Go(func() { l.get = g.probeGets(ctx) })
	wg.Go(func() { l.invalidation = g.probeInvalidations(ctx) })
	wg.Wait()
	return l
}

// probeGets asks Redis a thousand times a second.
func (g *large) probeGets(ctx context.Context) latency {
	client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{g.w.redis.Addr}, DisableCache: true})
	if err != nil {
		g.t.Error(err)
		return latency{}
	}
	defer client.Close()
	var all []time.Duration
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil {
		start := time.Now()
		if err := client.Do(ctx, client.B().Get().Key("absent").Build()).Error(); rueidis.IsRedisNil(err) {
			all = append(all, time.Since(start))
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
	return latencyOf(all)
}

// pushed takes pushes of changed keys.
type pushed chan uint64

func (h pushed) KeysChanged(hashes []uint64) {
	for _, hash := range hashes {
		h <- hash
	}
}
func (h pushed) SessionChanged(l2.BucketSet) {}

// probeInvalidations has one client read a record, and another one change it, a hundred times a second.
func (g *large) probeInvalidations(ctx context.Context) latency {
	pushes := make(pushed, 1000)
	reader := g.w.openL2(pushes)
	g.probes++ // the probe before may have ended with a lease of its key
	k := reader.Keyspace().Key(product.Namespace, fmt.Sprint("probe-", g.probes))
	var all []time.Duration
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for v := coherence.Version(1); ctx.Err() == nil; v++ {
		if d, ok := g.invalidate(ctx, reader, pushes, k, v); ok {
			all = append(all, d)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
	return latencyOf(all)
}

// invalidate is how long it takes from a writer's invalidation until the reader hears of it; ok is false if the time is
// up.
func (g *large) invalidate(ctx context.Context, reader *l2.L2, pushes pushed, k l2.Key,
	v coherence.Version) (d time.Duration, ok bool) {
	if err := g.fill(ctx, k, v); err != nil {
		return 0, false
	}
	if raw, _, err := reader.Get(ctx, k, l2.ReadOptions{}); raw == nil || err != nil {
		return 0, false
	}
	for len(pushes) > 0 {
		<-pushes
	}
	start := time.Now()
	if err := g.l2.Apply(ctx, k, v+1); err != nil {
		return 0, false
	}
	for {
		select {
		case hash := <-pushes:
			if hash == k.Hash {
				return time.Since(start), true
			}
		case <-ctx.Done():
			return 0, false
		}
	}
}

// preferEnv gives Redis and the clients that ask it a processor before all else, where the system allows that: what the
// others see then is Redis's own, and not the processors' that the relay, Postgres and Kafka use too.
const preferEnv = "NEARCACHE_LARGE_PREFER"

// prefer is to be called after each start of a program, which inherits the preference.
func (g *large) prefer(relay *program) {
	g.t.Helper()
	if os.Getenv(preferEnv) == "" {
		return
	}
	for _, args := range [][]string{
		{"-a", "-f", "-p", "10", fmt.Sprint(g.w.redis.Pid())},
		{"-a", "-f", "-p", "10", fmt.Sprint(os.Getpid())},
		{"-a", "-o", "-p", "0", fmt.Sprint(relay.cmd.Process.Pid)},
	} {
		if out, err := exec.Command("chrt", args...).CombinedOutput(); err != nil {
			g.t.Skipf("chrt %v: %v: %s", args, err, out)
		}
	}
}

// logLatencies tells of what others saw, and of the commands that kept Redis for 5 ms, by the clock on the wall: on a
// busy machine the slowest may have waited for a processor.
func (g *large) logLatencies(before, meanwhile latencies) {
	g.t.Helper()
	g.t.Logf("another client's GET: %v before, %v meanwhile", before.get, meanwhile.get)
	g.t.Logf("an invalidation of a writer's own, until another client hears of it: %v before, %v meanwhile",
		before.invalidation, meanwhile.invalidation)
	g.t.Logf("commands of Redis that took 5 ms: %s", strings.TrimSpace(g.w.redis.Do("SLOWLOG", "LEN")))
	for _, c := range g.slowest() {
		g.t.Log(c)
	}
}

// slowest are the commands of SLOWLOG, without what they carry.
func (g *large) slowest() (out []string) {
	g.t.Helper()
	client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{g.w.redis.Addr}, DisableCache: true})
	if err != nil {
		g.t.Fatal(err)
	}
	defer client.Close()
	all, err := client.Do(g.t.Context(), client.B().SlowlogGet().Count(20).Build()).ToArray()
	if err != nil {
		g.t.Fatal(err)
	}
	for _, each := range all {
		fields, err := each.ToArray()
		if err != nil || len(fields) < 4 {
			g.t.Fatalf("an entry of SLOWLOG: %v, %v", fields, err)
		}
		took, _ := fields[2].AsInt64()
		words, _ := fields[3].AsStrSlice()
		keys := ""
		if len(words) > 2 && strings.HasPrefix(strings.ToUpper(words[0]), "EVAL") {
			keys = " of " + words[2] + " keys"
		}
		out = append(out, fmt.Sprintf("  %v: %s%s", time.Duration(took)*time.Microsecond, words[0], keys))
	}
	return out
}
