package fence

import (
	"flag"
	"fmt"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/nearcache/nearcache-go/internal/explore"
)

var (
	exploreFull = flag.Bool("explore.full", false, "TestExplore: the large scopes too")
	exploreOnly = flag.String("explore.scope", "", "TestExplore: only scopes that have this in their name")
	exploreMax  = flag.Int(
		"explore.limit",
		40,
		"TestExplore: go on for this many million states; what is further away is not looked at",
	)
)

// TestExplore searches every scope for a violation. Most of those of make test are whole: every state
// that can be reached holds.
func TestExplore(t *testing.T) {
	all := quick
	switch {
	case *exploreFull:
		all = append(append([]scope(nil), full...), quick...)
	case raced:
		all = tiny
	}
	debug.SetGCPercent(20) // the states are all that there is, and they stay
	defer debug.SetGCPercent(100)
	var total atomic.Int64
	inParallel(all, func(sc scope, report func(string)) {
		if !strings.Contains(sc.name, *exploreOnly) {
			return
		}
		part := sc.limit > 0
		if !part {
			sc.limit = 1_000_000 * *exploreMax
		}
		r := search(sc)
		total.Add(int64(r.States))
		report(describe(&sc, &r))
		switch {
		case r.Violation != "":
			t.Errorf("%s:\n%s", sc.name, violation(&r))
		case !r.Whole && !part && !*exploreFull:
			t.Errorf("%s: not explored whole", sc.name)
		}
	}, t)
	t.Logf("%d states in all", total.Load())
}

// inParallel searches on two cores, for the states of two searches are what memory holds.
func inParallel(all []scope, search func(scope, func(string)), t *testing.T) {
	var wg sync.WaitGroup
	var mu sync.Mutex
	work := make(chan scope)
	for range 2 {
		wg.Go(func() {
			for sc := range work {
				search(sc, func(s string) {
					mu.Lock()
					defer mu.Unlock()
					t.Log(s)
				})
			}
		})
	}
	for _, sc := range all {
		work <- sc
	}
	close(work)
	wg.Wait()
}

// describe is a line about a search.
func describe(sc *scope, r *explore.Result) string {
	what := "whole"
	if !r.Whole {
		what = fmt.Sprintf("up to %d steps", r.Depth-1)
	}
	if r.Violation != "" {
		what = "VIOLATION"
	}
	return fmt.Sprintf(
		"%-44s %s: %9d states, %2d steps, %3d MB, %v: %s",
		sc.name,
		sc.size(),
		r.States,
		r.Depth,
		r.Bytes>>20,
		r.Took.Round(1e8),
		what,
	)
}

func (sc *scope) size() string {
	return fmt.Sprintf("%d versions %d instances %d loads %d fail-overs %d evictions %d lost T %d gaps",
		sc.versions, max(sc.instances, 1), sc.loads, sc.failOvers, sc.evictions, sc.lostConnections, sc.gaps)
}

func violation(r *explore.Result) string {
	var b strings.Builder
	fmt.Fprintln(&b, r.Violation)
	for i, step := range r.Trace {
		fmt.Fprintf(&b, "%4d  %s\n", i+1, step)
	}
	return b.String()
}

// reached is a search for one state.
type reached struct {
	*stepper
	state explore.State
}

// Next says of the state that it is a violation.
func (r *reached) Next(from *explore.State, emit explore.Emit) {
	r.stepper.Next(from, func(step explore.Step, next *explore.State, violation string) {
		if *next == r.state {
			violation = "found"
		}
		emit(step, next, violation)
	})
}

// TestExplore_WarmedIsReached: the state that warm scopes begin with is one that a search finds.
func TestExplore_WarmedIsReached(t *testing.T) {
	sc := scope{versions: 1, instances: 1, loads: 1, partitions: 1, sourced: true}
	s := newStepper(&sc)
	warm := sc
	warm.warm = true
	w := newStepper(&warm)
	state, _ := w.First()
	r := explore.Search(&reached{s, state}, 1_000_000)
	if r.Violation != "found" {
		t.Fatalf("not in %d states", r.States)
	}
	t.Logf("after %d steps", len(r.Trace))
}
