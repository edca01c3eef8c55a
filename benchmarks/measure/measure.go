// Package measure times subjects side by side: in one run, interleaved, so that whatever else the machine does falls on
// all of them.
package measure

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"
)

// Subject is one thing that is timed.
type Subject struct {
	Name string
	// Loop does n operations beginning at a place of the worker's and counts those that found what they should. It is called
	// by several workers at once.
	Loop func(worker, from, n int) (hits int)
	// MinHit is the least part of operations that must be hits: below it the run measures something else, and fails.
	MinHit float64
	// Before runs before each turn, unmeasured. Defaults to nothing.
	Before func()
	// Near counts the hits so far where Loop cannot tell them from misses that were served too. Defaults to Loop's count.
	L1Hits func() int64
}

// Plan says how subjects are timed.
type Plan struct {
	Rounds  int           // how often each subject has its turn
	Turn    time.Duration // how long a turn takes
	Workers int           // goroutines at a time
}

// Series is what the rounds gave for one subject.
type Series struct {
	Name     string    `json:"name"`
	NsPerOp  []float64 `json:"ns_per_op"`  // wall time over the operations of all workers, by round
	CPUPerOp []float64 `json:"cpu_per_op"` // processor time of the whole process over them: what others on the machine do not add to
	Allocs   float64   `json:"allocs_per_op"`
	Bytes    float64   `json:"bytes_per_op"`
	HitRatio float64   `json:"hit_ratio"`
	Ops      int64     `json:"ops"`
}

// Stat is what is reported of several rounds.
type Stat struct{ Min, Median, Max float64 }

// Of is the Stat of xs.
func Of(xs []float64) Stat {
	if len(xs) == 0 {
		return Stat{}
	}
	s := slices.Sorted(slices.Values(xs))
	mid := s[len(s)/2]
	if len(s)%2 == 0 {
		mid = (mid + s[len(s)/2-1]) / 2
	}
	return Stat{s[0], mid, s[len(s)-1]}
}

// Ratios are those of two series, round by round: each is of two turns that were next to each other.
func Ratios(s, base []float64) []float64 {
	out := make([]float64, min(len(s), len(base)))
	for i := range out {
		out[i] = s[i] / base[i]
	}
	return out
}

// Interleave gives each subject its turn, round after round; each round begins with the next subject, so that none has
// always the same neighbour. A first round is not counted.
func Interleave(ctx context.Context, p Plan, subjects []Subject) ([]Series, error) {
	out := make([]Series, len(subjects))
	hits := make([]int64, len(subjects))
	var mallocs, bytes []float64 = make([]float64, len(subjects)), make([]float64, len(subjects))
	for r := -1; r < p.Rounds; r++ {
		for j := range subjects {
			i := (j + max(r, 0)) % len(subjects)
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			cell := p.Turn
			if r < 0 {
				cell /= 4
			}
			c := runTurn(subjects[i], p.Workers, cell)
			if r < 0 {
				continue
			}
			s := &out[i]
			s.Name = subjects[i].Name
			s.NsPerOp = append(s.NsPerOp, float64(c.took.Nanoseconds())/float64(c.ops))
			s.CPUPerOp = append(s.CPUPerOp, float64(c.cpu.Nanoseconds())/float64(c.ops))
			s.Ops += c.ops
			hits[i] += c.hits
			mallocs[i] += float64(c.mallocs)
			bytes[i] += float64(c.bytes)
		}
	}
	for i := range out {
		s := &out[i]
		ops := float64(s.Ops)
		s.HitRatio, s.Allocs, s.Bytes = float64(hits[i])/ops, mallocs[i]/ops, bytes[i]/ops
		if s.HitRatio < subjects[i].MinHit {
			return nil, fmt.Errorf("measure: %s hit %.4f of the time, and must %.4f: the run is void", s.Name,
				s.HitRatio, subjects[i].MinHit)
		}
	}
	return out, nil
}

type turn struct {
	ops, hits      int64
	took, cpu      time.Duration
	mallocs, bytes uint64
}

// run is one turn. Workers look at the clock between chunks of operations that take some tens of microseconds, so that
// neither it nor anything else of this package is a part of an operation that takes nanoseconds.
func runTurn(s Subject, workers int, d time.Duration) turn {
	if s.Before != nil {
		s.Before()
	}
	var before, after runtime.MemStats
	type done struct {
		ops, hits int64
		_         [48]byte // of the next worker's cache line
	}
	results := make([]done, workers)
	var wg sync.WaitGroup
	gate := make(chan struct{})
	for w := range workers {
		from := rand.IntN(1 << 30)
		wg.Go(func() {
			<-gate
			chunk, end := 1, time.Now().Add(d)
			var ops, hits int
			for last := time.Now(); ; {
				hits += s.Loop(w, from+ops, chunk)
				ops += chunk
				now := time.Now()
				if now.After(end) {
					break
				}
				if now.Sub(last) < 20*time.Microsecond && chunk < 4096 {
					chunk *= 2
				}
				last = now
			}
			results[w].ops, results[w].hits = int64(ops), int64(hits)
		})
	}
	var near int64
	if s.L1Hits != nil {
		near = s.L1Hits()
	}
	runtime.ReadMemStats(&before)
	begun, cpu := time.Now(), ProcessorTime()
	close(gate)
	wg.Wait()
	c := turn{took: time.Since(begun), cpu: ProcessorTime() - cpu}
	runtime.ReadMemStats(&after)
	c.mallocs, c.bytes = after.Mallocs-before.Mallocs, after.TotalAlloc-before.TotalAlloc
	for _, r := range results {
		c.ops += r.ops
		c.hits += r.hits
	}
	if s.L1Hits != nil {
		c.hits = min(c.hits, s.L1Hits()-near)
	}
	return c
}

// ProcessorTime is what this process has used so far, user and system.
func ProcessorTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
