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

// flush is what emptying a near tier takes, which is what a lost connection comes to.
func flush(ctx context.Context, e *Env) (*measure.Section, error) {
	n := e.pick([]int{1_000_000}, []int{100_000})[0]
	s := &measure.Section{Title: "Dropping all of L1", Config: fmt.Sprintf("%d entries; medians of 5", n),
		Note:    "The near cache begins a session: entries of the last one are passed over when they are read. It is one call on the fence, whatever L1 holds; ristretto and otter walk their tables.",
		Figures: map[string]float64{}}
	fences := fence.New(fence.Config{Now: func() int64 { return 1 }})
	once := func(f func()) float64 {
		begun := time.Now()
		f()
		return float64(time.Since(begun).Nanoseconds())
	}
	var session, ristretto, otter []float64
	for range 5 {
		session = append(session, once(func() {
			for range 1000 {
				fences.RedisSession()
			}
		})/1000)
		for _, r := range []struct {
			name  string
			into  *[]float64
			clear func(peers.Peer[product])
		}{
			{"ristretto", &ristretto, func(p peers.Peer[product]) { p.(*peers.Ristretto[product]).Cache.Clear() }},
			{"otter", &otter, func(p peers.Peer[product]) { p.(*peers.Otter[product]).Cache.InvalidateAll() }},
		} {
			p, _, err := openEmpty(ctx, e, mustKind[product](r.name), smallValue, n)
			if err != nil {
				return nil, err
			}
			for i := range n {
				if _, err := p.Get(ctx, strconv.Itoa(i)); err != nil {
					return nil, err
				}
			}
			*r.into = append(*r.into, once(func() { r.clear(p) }))
			if err := p.Close(); err != nil {
				return nil, err
			}
		}
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
