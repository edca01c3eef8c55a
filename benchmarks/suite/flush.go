package suite

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/nearcache/nearcache-go/benchmarks/measure"
	"github.com/nearcache/nearcache-go/benchmarks/peers"
	"github.com/nearcache/nearcache-go/internal/fence"
)

// flush measures how long it takes to empty an L1, which is what a lost connection causes.
func flush(ctx context.Context, e *Env) (*measure.Section, error) {
	n := e.pick([]int{1_000_000}, []int{100_000})[0]
	s := &measure.Section{Title: "Dropping all of L1", Config: fmt.Sprintf("%d entries; medians of 5", n),
		Figures: map[string]float64{},
		Note: "The near cache begins a new session, and a read skips an entry of an older one. That is one call on " +
			"the fence, whatever L1 holds. ristretto and otter walk their tables."}
	fences := fence.New(fence.Config{Now: func() int64 { return 1 }})
	var session, ristretto, otter []float64
	for range 5 {
		const calls = 1000
		session = append(session, nanosOf(func() {
			for range calls {
				fences.RedisSession()
			}
		})/calls)
		ns, err := e.timeClear(ctx, "ristretto", n,
			func(p peers.Peer[product]) { p.(*peers.Ristretto[product]).Cache.Clear() })
		if err != nil {
			return nil, err
		}
		ristretto = append(ristretto, ns)
		ns, err = e.timeClear(ctx, "otter", n,
			func(p peers.Peer[product]) { p.(*peers.Otter[product]).Cache.InvalidateAll() })
		if err != nil {
			return nil, err
		}
		otter = append(otter, ns)
	}
	t := measure.Table{Title: "Time to drop everything", Columns: []string{"", "min", "median", "max",
		"times the session"}}
	base := measure.Of(session)
	for _, r := range []struct {
		name string
		xs   []float64
	}{{"nearcache, session", session}, {"ristretto Clear", ristretto}, {"otter InvalidateAll", otter}} {
		st := measure.Of(r.xs)
		t.Rows = append(t.Rows, []string{r.name, Nanos(st.Min), Nanos(st.Median), Nanos(st.Max),
			fmt.Sprintf("%.0f", st.Median/base.Median)})
	}
	s.Tables = append(s.Tables, t)
	return s, nil
}

// nanosOf is how long f takes, in nanoseconds.
func nanosOf(f func()) float64 {
	start := time.Now()
	f()
	return float64(time.Since(start).Nanoseconds())
}

// timeClear fills a peer with n entries and times clear, in nanoseconds.
func (e *Env) timeClear(ctx context.Context, name string, n int, clear func(peers.Peer[product])) (ns float64,
	err error) {
	p, _, err := openEmpty(ctx, e, mustKind[product](name), smallValue, n)
	if err != nil {
		return 0, err
	}
	for i := range n {
		if _, err := p.Get(ctx, strconv.Itoa(i)); err != nil {
			return 0, err
		}
	}
	ns = nanosOf(func() { clear(p) })
	return ns, p.Close()
}
