package suite

import (
	"context"
	"strconv"
	"sync/atomic"

	"github.com/nearcache/nearcache-go/benchmarks/measure"
	"github.com/nearcache/nearcache-go/benchmarks/peers"
	"github.com/nearcache/nearcache-go/nearcache"
)

// miss measures a read of a key that neither tier has and that the source returns at once: the cost that the protocol
// adds to a load.
func miss(ctx context.Context, e *Env) (*measure.Section, error) {
	s := &measure.Section{Title: "A miss", Config: "8 goroutines, a new key each time, a source that answers at once",
		Note: "The base is the least that cache-aside costs, a GET and a SET. The near cache takes a lease between " +
			"the two. Another instance that misses the key then waits for the fill and does not load as well. A codec " +
			"of the program's own is not known to keep every value: the near cache decodes what it fills, and compares.",
		Figures: map[string]float64{}}
	var subjects []measure.Subject
	for _, k := range []peers.Kind[product]{mustKind[product]("Redis GET"),
		peers.NearcacheKind(peers.Plain, func(o *nearcache.Options[string, product]) { o.Codec = nil }),
		renamed("nearcache, a codec of the program's own", peers.NearcacheKind[product](peers.Plain)),
		mustKind[product]("hand-rolled"),
		mustKind[product]("rueidis DoCache"), mustKind[product]("go-redis/cache"), mustKind[product]("sturdyc")} {
		p, prefix, err := openEmpty(ctx, e, k, smallValue, 100_000)
		if err != nil {
			return nil, err
		}
		defer func() { _ = p.Close() }()
		var n atomic.Int64
		subjects = append(subjects, measure.Subject{Name: k.Name, MinHit: 0.99, Loop: func(_, _, count int) (hits int) {
			for range count {
				if _, err := p.Get(ctx, prefix+"-"+strconv.FormatInt(n.Add(1), 10)); err == nil {
					hits++
				}
			}
			return hits
		}})
	}
	defer func() { _ = e.Flush(ctx) }()
	c, err := compareCPU(ctx, e.plan(8), "8 goroutines", subjects)
	if err == nil {
		s.Figures["processor"] = c.Ratio(peers.Plain.String()).Median
	}
	s.Comparisons = append(s.Comparisons, c)
	return s, err
}
