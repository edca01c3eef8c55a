package suite

import (
	"context"
	"errors"
	"fmt"

	"github.com/nearcache/nearcache-go/benchmarks/measure"
	"github.com/nearcache/nearcache-go/benchmarks/peers"
)

const articleNote = "This library goes back to an article in which a team put Redis in front of a slow database of " +
	"products and deleted a key after each commit. The article reports misses of 320 ms instead of 800 ms, hits of " +
	"45 ms, a mean latency lower by 60% and database reads lower by 80% (quoted, not compared).\n\n\"Redis only\" " +
	"works like that team's cache. The near cache has the trigger and the relay; its L1 is empty at the beginning of " +
	"both tables. A miss is a read that waited for the database, even if another reader sent the query. \"Saved\" is " +
	"per read, relative to no cache. The goals use the near cache without a bound on a warm Redis: the state of a " +
	"service in all but its first minutes. \"Duplicate\" database reads ran while another read of the same product " +
	"was under way; a stampede consists of them."

// article measures the scenario of the article that started this library: first with the Redis that an hour of work has
// filled, and then with an empty one.
func article(ctx context.Context, e *Env) (*measure.Section, error) {
	n := e.pick([]int{100_000}, []int{2_000})[0]
	c := catalogConfig{Products: n, Readers: 16, Seconds: float64(e.pick([]int{25}, []int{2})[0])}
	s := &measure.Section{Title: "The article's scenario", Figures: map[string]float64{}, Note: articleNote,
		Config: fmt.Sprintf("%d instances, each in its own process, with %d readers each, which pause for 10 ms between "+
			"reads; %d products in Postgres, Zipf (1.1); a read of the database takes 200 ms at the median and 800 ms at "+
			"p99; 1%% of all operations are writes, each a transaction; %.0f s for each row",
			processes, c.Readers, n, c.Seconds)}
	catalog, err := e.openCatalog(ctx, c)
	if err != nil {
		return nil, err
	}
	defer catalog.pool.Close()
	without, err := catalog.run(ctx, e, noCache, emptyRedis)
	if err != nil {
		return nil, fmt.Errorf("no cache: %w", err)
	}
	for _, start := range []redisState{warmRedis, emptyRedis} {
		t := measure.Table{Title: string(start), Columns: []string{"", "reads", "hits", "in L1", "hits p50", "p99",
			"misses p50", "p99", "all p50", "p99", "mean", "mean saved", "database reads", "duplicate",
			"of all reads", "saved", "mean of a write", "errors"}}
		t.Rows = append(t.Rows, statsRow("no cache", without, without))
		for _, k := range []struct{ name, kind string }{{"Redis only", redisOnly}, {"nearcache", "nearcache"},
			{peers.Bounded.String(), peers.Bounded.String()}} {
			r, err := catalog.run(ctx, e, k.kind, start)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", k.name, err)
			}
			t.Rows = append(t.Rows, statsRow(k.name, r, without))
			fmt.Fprintf(e.Log, "article, %s, %s: %d reads, %d of the database\n", k.name, start, r.Reads, r.Loads)
			if k.kind != "nearcache" {
				continue
			}
			if r.L1 == 0 {
				return nil, errors.New("suite: none of the near cache's reads was a hit in L1: the run is void")
			}
			suffix := map[redisState]string{warmRedis: "", emptyRedis: "_cold"}[start]
			s.Figures["reads_saved_percent"+suffix], s.Figures["mean_saved_percent"+suffix] = r.saved(without)
			s.Figures["doubled"+suffix] = float64(r.Duplicates)
		}
		s.Tables = append(s.Tables, t)
	}
	return s, e.Flush(ctx)
}

// redisState is the state of Redis at the beginning, and the title of its table.
type redisState string

const (
	warmRedis  redisState = "Redis warm"
	emptyRedis redisState = "Redis empty at the beginning"
)
