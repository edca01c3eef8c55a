package suite

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nearcache/nearcache-go/benchmarks/measure"
)

// plan returns the rounds and turns of a comparison. With -quick they only show that it works.
func (e *Env) plan(workers int) measure.Plan {
	if e.Quick {
		return measure.Plan{Rounds: 5, Turn: 60 * time.Millisecond, Workers: workers}
	}
	return measure.Plan{Rounds: 15, Turn: 200 * time.Millisecond, Workers: workers}
}

// compareFixtures compares fixtures with the first one, by processor time.
func compareFixtures[V any](ctx context.Context, p measure.Plan, title string,
	all []*fixture[V]) (measure.Comparison, error) {
	subjects := make([]measure.Subject, len(all))
	for i, s := range all {
		subjects[i] = s.subject(ctx)
	}
	return compareCPU(ctx, p, title, subjects)
}

// compareWall compares subjects with the first one, by wall time.
func compareWall(ctx context.Context, p measure.Plan, title string, subjects []measure.Subject) (measure.Comparison,
	error) {
	series, err := measure.Interleave(ctx, p, subjects)
	return measure.Comparison{Title: title, Base: subjects[0].Name, Series: series}, err
}

// compareCPU compares subjects that run in this process only, by processor time.
func compareCPU(ctx context.Context, p measure.Plan, title string, subjects []measure.Subject) (measure.Comparison,
	error) {
	c, err := compareWall(ctx, p, title, subjects)
	c.CPU = true
	return c, err
}

// each calls f with 0 to n-1 from several goroutines. It stops at the first error and returns it.
func each(ctx context.Context, workers, n int, f func(i int) error) error {
	var at atomic.Int64
	var first error
	var once sync.Once
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for i := int(at.Add(1) - 1); i < n && ctx.Err() == nil; i = int(at.Add(1) - 1) {
				if err := f(i); err != nil {
					once.Do(func() { first = err })
					at.Store(int64(n))
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(first, ctx.Err())
}

// Nanos formats nanoseconds with a fitting unit.
func Nanos(ns float64) string {
	switch {
	case ns < 1e3:
		return fmt.Sprintf("%.1f ns", ns)
	case ns < 1e6:
		return fmt.Sprintf("%.2f us", ns/1e3)
	case ns < 1e9:
		return fmt.Sprintf("%.2f ms", ns/1e6)
	}
	return fmt.Sprintf("%.2f s", ns/1e9)
}

// pick returns full, or quick with -quick.
func (e *Env) pick(full, quick []int) []int {
	if e.Quick {
		return quick
	}
	return full
}

// bars makes a plot of one figure of every series.
func bars(file, title, y string, c measure.Comparison, f func(measure.Series) measure.Stat) measure.Plot {
	p := measure.Plot{File: file, Title: title, Y: y}
	for _, s := range c.Series {
		p.Bars = append(p.Bars, measure.Bar{Name: s.Name, Stat: f(s)})
	}
	return p
}

// quantile returns the smallest element that is not exceeded by a part q of xs.
func quantile(xs []float64, q float64) float64 {
	sorted := slices.Sorted(slices.Values(xs))
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

// column returns one figure of every observation.
func column(all []observation, f func(observation) float64) []float64 {
	out := make([]float64, len(all))
	for i := range all {
		out[i] = f(all[i])
	}
	return out
}
