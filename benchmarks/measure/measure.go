// Package measure times subjects in turns within one run, so that other activity of the machine affects all of them.
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
	// Loop does n operations, beginning at index from, and returns how many had the expected result. Several workers
	// call it at once.
	Loop func(worker, from, n int) (hits int)
	// MinHit is the least part of operations that must be hits. A run with fewer measures something else, and fails.
	MinHit float64
	// Before runs before each turn and is not measured. Defaults to nothing.
	Before func()
	// L1Hits returns the hits so far, for peers whose Loop cannot distinguish a hit from a miss that was loaded.
	// Defaults to the count of Loop.
	L1Hits func() int64
}

// Plan says how long subjects are timed.
type Plan struct {
	Rounds  int           // the turns of each subject
	Turn    time.Duration // the length of a turn
	Workers int           // the goroutines of a turn
}

// Series is the result of all rounds for one subject.
type Series struct {
	Name     string    `json:"name"`
	NsPerOp  []float64 `json:"ns_per_op"`  // by round: wall time divided by the operations of all workers
	CPUPerOp []float64 `json:"cpu_per_op"` // by round: processor time of this process divided by them
	Allocs   float64   `json:"allocs_per_op"`
	Bytes    float64   `json:"bytes_per_op"`
	HitRatio float64   `json:"hit_ratio"`
	Ops      int64     `json:"ops"`
}

// Stat sums up several rounds.
type Stat struct{ Min, Median, Max float64 }

// Of returns the Stat of xs.
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

// Ratios divides two series round by round. Each ratio is of two turns of the same round.
func Ratios(s, base []float64) []float64 {
	out := make([]float64, min(len(s), len(base)))
	for i := range out {
		out[i] = s[i] / base[i]
	}
	return out
}

// Interleave gives each subject a turn in every round. Each round begins with the next subject, so that no subject
// always comes first. An additional first round is not counted.
func Interleave(ctx context.Context, p Plan, subjects []Subject) ([]Series, error) {
	out := make([]Series, len(subjects))
	hits := make([]int64, len(subjects))
	mallocs, bytes := make([]float64, len(subjects)), make([]float64, len(subjects))
	for r := -1; r < p.Rounds; r++ {
		for j := range subjects {
			i := (j + max(r, 0)) % len(subjects)
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			length := p.Turn
			if r < 0 {
				length /= 4
			}
			c := runTurn(subjects[i], p.Workers, length)
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
			return nil, fmt.Errorf("measure: %s has a hit ratio of %.4f, want at least %.4f: the run is void", s.Name,
				s.HitRatio, subjects[i].MinHit)
		}
	}
	return out, nil
}

// turn is the result of one turn.
type turn struct {
	ops, hits      int64
	took, cpu      time.Duration
	mallocs, bytes uint64
}

// runTurn runs one turn.
func runTurn(s Subject, workers int, d time.Duration) turn {
	if s.Before != nil {
		s.Before()
	}
	var before, after runtime.MemStats
	counts := make([]count, workers)
	var wg sync.WaitGroup
	ready := make(chan struct{})
	for w := range workers {
		from := rand.IntN(1 << 30)
		wg.Go(func() {
			<-ready
			counts[w].ops, counts[w].hits = work(s, w, from, d)
		})
	}
	var hitsBefore int64
	if s.L1Hits != nil {
		hitsBefore = s.L1Hits()
	}
	runtime.ReadMemStats(&before)
	start, cpu := time.Now(), ProcessorTime()
	close(ready)
	wg.Wait()
	t := turn{took: time.Since(start), cpu: ProcessorTime() - cpu}
	runtime.ReadMemStats(&after)
	t.mallocs, t.bytes = after.Mallocs-before.Mallocs, after.TotalAlloc-before.TotalAlloc
	for _, c := range counts {
		t.ops += c.ops
		t.hits += c.hits
	}
	if s.L1Hits != nil {
		t.hits = min(t.hits, s.L1Hits()-hitsBefore)
	}
	return t
}

// count is the result of one worker.
type count struct {
	ops, hits int64
	_         [48]byte // keeps the next worker on another cache line
}

// work is one worker. It reads the clock between chunks of operations that take some tens of microseconds, so that the
// cost of this package is no part of an operation that takes nanoseconds.
func work(s Subject, worker, from int, d time.Duration) (ops, hits int64) {
	chunk, end := 1, time.Now().Add(d)
	for last := time.Now(); ; {
		hits += int64(s.Loop(worker, from+int(ops), chunk))
		ops += int64(chunk)
		now := time.Now()
		if now.After(end) {
			return ops, hits
		}
		if now.Sub(last) < 20*time.Microsecond && chunk < 4096 {
			chunk *= 2
		}
		last = now
	}
}

// ProcessorTime returns the user and system time of this process so far.
func ProcessorTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
