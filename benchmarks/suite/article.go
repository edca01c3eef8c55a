package suite

import (
	"context"
	"errors"
	"fmt"

	"github.com/nearcache/nearcache-go/benchmarks/measure"
	"github.com/nearcache/nearcache-go/benchmarks/peers"
)

// article is the scenario of the article that this library goes back to: first with a Redis that has what an earlier hour has
// left in it, then with an empty one.
func article(ctx context.Context, e *Env) (*measure.Section, error) {
	n := e.pick([]int{100_000}, []int{2_000})[0]
	c := catalogConfig{Products: n, Readers: 16, Seconds: float64(e.pick([]int{25}, []int{2})[0])}
	s := &measure.Section{Title: "The article's scenario", Figures: map[string]float64{},
		Config: fmt.Sprintf("%d instances, each in a process of its own, x %d readers, each pausing 10 ms between reads; %d products in Postgres, Zipf (1.1); a read of the database takes 200 ms at the median and 800 ms at p99; "+
			"1%% of all operations are writes, each a transaction; %.0f s each", processes, c.Readers, n, c.Seconds),
		Note: "The article reports 800 -> 320 ms on misses, 45 ms on hits, mean -60%, database reads -80% (a citation). With Redis alone the key is deleted after the commit, as the article's team did. " +
			"The near cache has the trigger and the relay; L1 is empty at the beginning in both tables. A miss is a read that waited for the database, whoever had asked it; saved is per read, against no cache. " +
			"The goals' figures are those of the near cache without a bound on the warm Redis: the state that a service is in for all but its first minutes. \"Doubled\" are database reads of a product while another such read was under way: what a stampede is made of."}
	shopping, err := e.openCatalog(ctx, c)
	if err != nil {
		return nil, err
	}
	defer shopping.pool.Close()
	without, err := shopping.run(ctx, e, noCache, false)
	if err != nil {
		return nil, fmt.Errorf("no cache: %w", err)
	}
	for _, warm := range []bool{true, false} {
		title := "Redis empty at the beginning"
		if warm {
			title = "Redis warm"
		}
		t := measure.Table{Title: title, Columns: []string{"", "reads", "hits", "of L1", "hits p50", "p99",
			"misses p50", "p99", "all p50", "p99", "mean", "mean saved", "database reads", "doubled",
			"of all reads", "saved", "a write, mean", "errors"}}
		t.Rows = append(t.Rows, statsRow("no cache", without, without))
		for _, k := range []struct{ name, kind string }{{"Redis alone", redisAlone}, {"nearcache", "nearcache"},
			{peers.Bounded.String(), peers.Bounded.String()}} {
			r, err := shopping.run(ctx, e, k.kind, warm)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", k.name, err)
			}
			if k.kind == "nearcache" && r.L1 == 0 {
				return nil, errors.New("suite: not one of the near cache's reads was a hit in L1: the run is void")
			}
			t.Rows = append(t.Rows, statsRow(k.name, r, without))
			if k.kind == "nearcache" {
				name := map[bool]string{true: "", false: "_cold"}[warm]
				s.Figures["reads_saved_percent"+name], s.Figures["mean_saved_percent"+name] = r.saved(without)
				s.Figures["doubled"+name] = float64(r.Duplicates)
			}
			fmt.Fprintf(e.Log, "article, %s, warm %v: %d reads, %d of the database\n", k.name, warm, r.Reads, r.Loads)
		}
		s.Tables = append(s.Tables, t)
	}
	return s, e.Flush(ctx)
}
