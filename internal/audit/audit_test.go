package audit_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/audit"
)

// world is a source and a cache of one key, as an Auditor sees them.
type world struct {
	mu     sync.Mutex
	source audit.State[string]
	cache  audit.State[string]
	none   bool // the cache has nothing
	err    error
	onRead func() // runs before the source is read
	causes []audit.Difference
}

func state(version coherence.Version, value string) audit.State[string] {
	return audit.State[string]{Seen: audit.Seen{Version: version}, Value: value, Tier: "l1"}
}

func (w *world) set(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

func (w *world) auditor(wait time.Duration) *audit.Auditor[string, string] {
	return audit.New(audit.Config[string, string]{Wait: wait,
		Serve: func(context.Context, string) (audit.State[string], bool, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.cache, !w.none, nil
		},
		Source: func(context.Context, string) (audit.State[string], error) {
			if w.onRead != nil {
				w.onRead()
			}
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.source, w.err
		},
		Same: func(a, b string) bool { return a == b },
		Explain: func(_ context.Context, k string, _, _ audit.State[string], _ time.Time) (string, audit.Cause, string) {
			return k, audit.Unknown, "because"
		},
		Found: func(d audit.Difference) { w.set(func() { w.causes = append(w.causes, d) }) },
	})
}

// inconsistentAt are the scales at which reads were inconsistent, and all that were judged.
func inconsistentAt(s audit.Summary) (bad, judged []time.Duration) {
	for _, sc := range s.Scales {
		if sc.Inconsistent > 0 {
			bad = append(bad, sc.Within)
		}
		if sc.Judged > 0 {
			judged = append(judged, sc.Within)
		}
	}
	return bad, judged
}

var allScales = []time.Duration{100 * time.Millisecond, 250 * time.Millisecond, time.Second, 10 * time.Second,
	time.Minute}

func TestCheck_JudgesByScale(t *testing.T) {
	const wait = 250 * time.Millisecond
	for _, c := range []struct {
		name      string
		source    audit.State[string]
		heals     time.Duration // after which the cache has what the source has; 0: it has it at once
		bad       []time.Duration
		found     int
		undecided uint64
	}{
		{name: "the same", source: state(1, "old")},
		{name: "the same value of another version", source: state(7, "old")},
		{name: "healed before the first look", source: state(2, "new"), heals: 50 * time.Millisecond},
		{name: "healed before the bound", source: state(2, "new"), heals: 200 * time.Millisecond, bad: allScales[:1]},
		{name: "healed after the bound", source: state(2, "new"), heals: 500 * time.Millisecond, bad: allScales[:2],
			found: 1},
		{name: "healed after two seconds", source: state(2, "new"), heals: 2 * time.Second, bad: allScales[:3], found: 1},
		{name: "never healed", source: state(2, "new"), heals: time.Hour, bad: allScales, found: 1},
		{name: "another value of one version", source: state(1, "uncounted"), heals: time.Hour, bad: allScales, found: 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &world{source: c.source, cache: state(1, "old")}
				a := w.auditor(wait)
				a.Check(t.Context(), "k", w.cache)
				if c.heals > 0 {
					time.Sleep(c.heals)
					w.set(func() { w.cache = w.source })
					time.Sleep(2 * time.Minute)
				}
				a.Close()
				s := a.Summary()
				bad, judged := inconsistentAt(s)
				if !slices.Equal(bad, c.bad) || !slices.Equal(judged, allScales) {
					t.Errorf("got inconsistent at %v of %v, want at %v", bad, judged, c.bad)
				}
				if len(w.causes) != c.found || int(s.Inconsistent) != c.found || s.Reads != 1 || s.Undecided != 0 {
					t.Errorf("found %v; %+v; want %d", w.causes, s, c.found)
				}
				if c.found > 0 && (w.causes[0].Lasted < wait || w.causes[0].Lasted > wait+time.Millisecond) {
					t.Errorf("explained after %v, want after %v", w.causes[0].Lasted, wait)
				}
			})
		})
	}
}

// TestCheck_FollowsAKeyThatChangesAllTheTime: what the cache serves is always a state behind, and never older than the
// state that was seen. That is no inconsistency.
func TestCheck_FollowsAKeyThatChangesAllTheTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{source: state(2, "2"), cache: state(1, "1")}
		a := w.auditor(250 * time.Millisecond)
		ctx, stop := context.WithCancel(t.Context())
		var writing sync.WaitGroup
		writing.Go(func() {
			for v := coherence.Version(3); ctx.Err() == nil; v++ {
				time.Sleep(20 * time.Millisecond)
				w.set(func() { w.cache, w.source = w.source, state(v, v.String()) })
			}
		})
		a.Check(ctx, "k", w.cache)
		time.Sleep(2 * time.Minute)
		stop()
		writing.Wait()
		a.Close()
		if bad, _ := inconsistentAt(a.Summary()); len(bad) > 0 || len(w.causes) > 0 {
			t.Errorf("inconsistent at %v; found %v", bad, w.causes)
		}
	})
}

func TestCheck_WithoutVersions(t *testing.T) {
	for _, c := range []struct {
		name      string
		change    func(w *world) // every 30 ms
		found     int
		undecided uint64
	}{
		{name: "the cache keeps the old value", found: 1},
		{name: "the cache follows", change: func(w *world) { w.cache, w.source = w.source, state(0, w.source.Value+"x") },
			undecided: 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &world{source: state(0, "new"), cache: state(0, "old")}
				ctx, stop := context.WithCancel(t.Context())
				var writing sync.WaitGroup
				if c.change != nil {
					writing.Go(func() {
						for ctx.Err() == nil {
							time.Sleep(30 * time.Millisecond)
							w.set(func() { c.change(w) })
						}
					})
				}
				a := w.auditor(250 * time.Millisecond)
				a.Check(ctx, "k", w.cache)
				time.Sleep(5 * time.Minute)
				a.Close()
				stop()
				writing.Wait()
				if s := a.Summary(); len(w.causes) != c.found || s.Undecided != c.undecided {
					t.Errorf("found %v, undecided %d; want %d and %d", w.causes, s.Undecided, c.found, c.undecided)
				}
			})
		})
	}
}

func TestCheck_DoesNotBlameTheCacheForWhatItCannotKnow(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(w *world) // 50 ms after the sample
		before func(w *world)
		want   audit.Summary
	}{
		{name: "the source does not answer", before: func(w *world) { w.err = errors.New("down") },
			want: audit.Summary{Undecided: 1}},
		{name: "nothing is cached any more", change: func(w *world) { w.none = true }, want: audit.Summary{Reads: 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &world{source: state(2, "new"), cache: state(1, "old")}
				if c.before != nil {
					c.before(w)
				}
				a := w.auditor(time.Second)
				a.Check(t.Context(), "k", w.cache)
				time.Sleep(50 * time.Millisecond)
				if c.change != nil {
					w.set(func() { c.change(w) })
				}
				time.Sleep(2 * time.Minute)
				a.Close()
				if s := a.Summary(); s.Reads != c.want.Reads || s.Undecided != c.want.Undecided || s.Inconsistent != 0 {
					t.Errorf("got %+v, want %+v", s, c.want)
				}
			})
		})
	}
}

// TestCheck_FindsAVersionThatTheSourceNeverGave: such a record looks newer than everything, for ever.
func TestCheck_FindsAVersionThatTheSourceNeverGave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{source: state(5, "true"), cache: state(900, "forged")}
		a := w.auditor(time.Second)
		a.Check(t.Context(), "k", w.cache)
		time.Sleep(2 * time.Minute)
		a.Close()
		if len(w.causes) != 1 || w.causes[0].Served.Version != 900 || w.causes[0].Source.Version != 5 {
			t.Errorf("found %+v, want version 900 of 5", w.causes)
		}
	})
}

// TestFull_BoundsWhatIsFollowed: a sample that differs and is left out would make the cache look better than it is.
func TestFull_BoundsWhatIsFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{source: state(2, "new"), cache: state(1, "old")}
		a := w.auditor(time.Second)
		ctx, stop := context.WithCancel(t.Context())
		n := 0
		for ; !a.Full(); n++ {
			a.Check(ctx, string(rune('a'+n)), w.cache)
		}
		a.Check(ctx, "one more", w.cache)
		if s := a.Summary(); n != 256 || s.Undecided != 1 {
			t.Errorf("full after %d; %+v", n, s)
		}
		stop()
		a.Close()
		if a.Full() {
			t.Error("still full after the end")
		}
		if len(w.causes) > 0 {
			t.Errorf("found %v although its context has ended", w.causes)
		}
	})
}

func TestScale_Interval(t *testing.T) {
	for _, c := range []struct {
		judged, bad    uint64
		low, high, nin float64
	}{
		{0, 0, 0, 1, 0},
		{1_000_000, 0, 0.9999961, 1, 5.41},
		{1000, 0, 0.99617, 1, 2.41},
		{1000, 1, 0.99436, 0.99982, 2.24},
		{10, 10, 0, 0.27754, 0},
	} {
		s := audit.Scale{Judged: c.judged, Inconsistent: c.bad}
		low, high := s.Interval()
		near := func(a, b, by float64) bool { return a-b < by && b-a < by }
		if !near(low, c.low, 1e-5) || !near(high, c.high, 1e-5) || !near(s.Nines(), c.nin, 0.02) {
			t.Errorf("%d of %d: got %v to %v and %v nines, want %v to %v and %v", c.bad, c.judged, low, high, s.Nines(), c.low,
				c.high, c.nin)
		}
	}
}
