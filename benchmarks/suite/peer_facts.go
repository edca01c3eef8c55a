package suite

import (
	"context"
	"fmt"
	"time"

	"github.com/nearcache/nearcache-go/benchmarks/measure"
	"github.com/nearcache/nearcache-go/benchmarks/peers"
)

// peerFacts runs the conformance test on every peer. A peer that fails it is not timed. The table shows what else the
// test finds.
func peerFacts(ctx context.Context, e *Env) (*measure.Section, error) {
	s := &measure.Section{Title: "The peers",
		Config: "two instances of each peer over one source; a change counts as noticed if it is visible within a second",
		Note: "Every peer passes the same conformance test before it is timed: an absent key is reported as absent, " +
			"a value is read back, and an own write and an own delete are visible. eko/gocache is missing: the " +
			"module registry used for this build does not serve it."}
	t := measure.Table{Title: "What each peer notices", Columns: []string{"peer", "module", "used as documented in",
		"a write by another instance", "another program's write to Redis"}}
	addr, err := e.Redis(ctx)
	if err != nil {
		return nil, err
	}
	for _, k := range peers.Kinds[product]() {
		src, prefix := peers.NewMemory[product](), fmt.Sprintf("s%d", e.names.Add(1))
		w := peers.Config[product]{Redis: addr, Source: src, Codec: peers.JSON[product]{}, Prefix: prefix,
			Entries: 1000, Bytes: 1 << 20, TTL: time.Minute,
			Commits: src, Relay: true}
		a, err := k.Open(ctx, w)
		if err != nil {
			return nil, err
		}
		w.Relay = false
		b, err := k.Open(ctx, w)
		if err != nil {
			return nil, err
		}
		c, err := peers.Conform(ctx, a, b, src, e.foreign, prefix,
			func(i int) product { return peers.NewProduct(i, smallValue) })
		_ = a.Close()
		_ = b.Close()
		if err != nil {
			return nil, fmt.Errorf("%s does not conform: %w", k.Name, err)
		}
		foreign := "no"
		switch {
		case k.LocalOnly && k.NoL1:
			foreign = "reads the source"
		case k.LocalOnly:
			foreign = "no; keeps nothing in Redis"
		case k.NoL1:
			foreign = "reads Redis"
		case c.SeesForeignWrites:
			foreign = "yes"
		}
		t.Rows = append(t.Rows, []string{k.Name, k.Module, k.Docs,
			map[bool]string{true: "yes", false: "no"}[c.SeesOtherInstances], foreign})
	}
	s.Tables = append(s.Tables, t)
	return s, e.Flush(ctx)
}
