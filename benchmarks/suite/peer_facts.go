package suite

import (
	"context"
	"fmt"
	"time"

	"github.com/nearcache/nearcache-go/benchmarks/measure"
	"github.com/nearcache/nearcache-go/benchmarks/peers"
)

// facts runs every peer's conformance test: who fails it is not timed, and what it finds out beside is the table.
func peerFacts(ctx context.Context, e *Env) (*measure.Section, error) {
	s := &measure.Section{Title: "The peers",
		Config: "two instances of each over one source; a change counts as noticed if it shows within a second",
		Note: "Every peer passed the same conformance test before it was timed: an absent key, a value read back, an own write and an own delete that show. " +
			"eko/gocache is missing: the module registry that this was built with does not serve it."}
	t := measure.Table{Title: "What each notices", Columns: []string{"peer", "module", "used as in",
		"a write by another instance", "a foreign write to Redis"}}
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
		f, err := peers.Conform(ctx, a, b, src, e.foreign, prefix,
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
		case f.SeesForeignWrites:
			foreign = "yes"
		}
		t.Rows = append(t.Rows, []string{k.Name, k.Module, k.Docs,
			map[bool]string{true: "yes", false: "no"}[f.SeesOtherInstances], foreign})
	}
	s.Tables = append(s.Tables, t)
	return s, e.Flush(ctx)
}
