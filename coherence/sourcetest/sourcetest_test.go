package sourcetest_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/sourcetest"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
)

func memory() (*nearcachetest.Source, sourcetest.Harness) {
	src := nearcachetest.NewSource()
	return src, sourcetest.Harness{
		Source: src,
		Begin: func(context.Context) (sourcetest.Tx, error) {
			return tx{src.Begin()}, nil
		},
		Reopen:      func(context.Context) (coherence.Source, error) { return src, nil },
		NewTimeline: func(context.Context) error { src.NewTimeline(); return nil },
		Another:     func(context.Context) (coherence.Source, error) { return nearcachetest.NewSource(), nil },
		Depose:      func(_ context.Context, name string) error { src.Depose(name); return nil },
	}
}

// tx is a transaction in memory as the suite sees one.
type tx struct{ *nearcachetest.SourceTx }

func (t tx) Commit(context.Context) error   { return t.SourceTx.Commit() }
func (t tx) Rollback(context.Context) error { t.SourceTx.Rollback(); return nil }

func TestRun_PassesASourceInMemory(t *testing.T) {
	sourcetest.Run(t, func(*testing.T) sourcetest.Harness { _, h := memory(); return h })
}

// record notes what a check says. Its context ends with the check.
type record struct {
	ctx     context.Context
	mu      sync.Mutex
	faults  []string
	skipped bool
}

func (r *record) Helper()                  {}
func (r *record) Context() context.Context { return r.ctx }
func (r *record) Errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.faults = append(r.faults, fmt.Sprintf(format, args...))
}
func (r *record) Fatalf(format string, args ...any) { r.Errorf(format, args...); runtime.Goexit() }
func (r *record) Skipf(string, ...any)              { r.skipped = true; runtime.Goexit() }

// run runs a check by itself.
func run(t *testing.T, c sourcetest.Check, h sourcetest.Harness) *record {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r := &record{ctx: ctx}
	done := make(chan struct{})
	go func() { defer close(done); c.Run(r, h) }()
	<-done
	return r
}

// broken is a source with a fault. A nil field leaves the method as it is.
type broken struct {
	*nearcachetest.Source
	position func(coherence.Position, error) (coherence.Position, error)
	changes  func(ctx context.Context, after coherence.Position, limit int) ([]coherence.Event, coherence.Position,
		error)
	trim        func(ctx context.Context, upto coherence.Position, keep time.Duration) (int64, error)
	version     func(coherence.Version) coherence.Version
	bump        func(ctx context.Context, namespace, key string) (coherence.Version, error)
	save        func(ctx context.Context, name string, c coherence.Cursor) error
	load        func(coherence.Cursor) coherence.Cursor
	lead        func(ctx context.Context, name string) (context.Context, func(), error)
	wait        func(ctx context.Context, d time.Duration) error
	check       func() ([]coherence.Finding, error)
	identity    func() string
	estimate    func(int64) int64
	ageless     bool
	noAbilities bool
}

func (b *broken) Position(ctx context.Context) (coherence.Position, error) {
	p, err := b.Source.Position(ctx)
	if b.position != nil {
		return b.position(p, err)
	}
	return p, err
}

func (b *broken) Changes(ctx context.Context, after coherence.Position, limit int) ([]coherence.Event,
	coherence.Position, error) {
	if b.changes != nil {
		return b.changes(ctx, after, limit)
	}
	return b.Source.Changes(ctx, after, limit)
}

func (b *broken) Trim(ctx context.Context, upto coherence.Position, keep time.Duration) (int64, error) {
	if b.trim != nil {
		return b.trim(ctx, upto, keep)
	}
	return b.Source.Trim(ctx, upto, keep)
}

func (b *broken) Version(ctx context.Context, namespace, key string) (coherence.Version, error) {
	v, err := b.Source.Version(ctx, namespace, key)
	if b.version != nil {
		v = b.version(v)
	}
	return v, err
}

func (b *broken) BumpKey(ctx context.Context, namespace, key string) (coherence.Version, error) {
	if b.bump != nil {
		return b.bump(ctx, namespace, key)
	}
	return b.Source.BumpKey(ctx, namespace, key)
}

func (b *broken) SaveCursor(ctx context.Context, name string, c coherence.Cursor) error {
	if b.save != nil {
		return b.save(ctx, name, c)
	}
	return b.Source.SaveCursor(ctx, name, c)
}

func (b *broken) LoadCursor(ctx context.Context, name string) (coherence.Cursor, error) {
	c, err := b.Source.LoadCursor(ctx, name)
	if b.load != nil {
		c = b.load(c)
	}
	return c, err
}

func (b *broken) Lead(ctx context.Context, name string) (context.Context, func(), error) {
	if b.lead != nil {
		return b.lead(ctx, name)
	}
	return b.Source.Lead(ctx, name)
}

func (b *broken) Wait(ctx context.Context, d time.Duration) error {
	if b.wait != nil {
		return b.wait(ctx, d)
	}
	return b.Source.Wait(ctx, d)
}

func (b *broken) Check(ctx context.Context) ([]coherence.Finding, error) {
	if b.check != nil {
		return b.check()
	}
	return b.Source.Check(ctx)
}

func (b *broken) Identity(ctx context.Context) (string, error) {
	if b.identity != nil {
		return b.identity(), nil
	}
	return b.Source.Identity(ctx)
}

func (b *broken) EstimateBacklog(ctx context.Context, after coherence.Position) (coherence.Backlog, error) {
	before, err := b.Source.EstimateBacklog(ctx, after)
	if b.estimate != nil {
		before.Changes = b.estimate(before.Changes)
	}
	if b.ageless {
		before.Oldest = time.Time{}
	}
	return before, err
}

func (b *broken) Abilities() coherence.Abilities {
	if b.noAbilities {
		return coherence.Abilities{}
	}
	return b.Source.Abilities()
}

// reusing counts versions of its own, from 1 after each delete.
type reusing struct {
	sourcetest.Tx
	last map[string]coherence.Version
}

func (r reusing) Write(ctx context.Context, namespace, key string, op coherence.Op) (coherence.Version, error) {
	if _, err := r.Tx.Write(ctx, namespace, key, op); err != nil {
		return 0, err
	}
	r.last[key]++
	v := r.last[key]
	if op == coherence.OpDeleted {
		r.last[key] = 0
	}
	return v, nil
}

// eager writes its events although it rolls back.
type eager struct{ sourcetest.Tx }

func (e eager) Rollback(ctx context.Context) error { return e.Commit(ctx) }

// faults are deliberately broken sources, each with a check that must notice.
var faults = map[string]struct {
	noticedBy string
	breaks    func(b *broken, h *sourcetest.Harness)
}{
	"loses its abilities in a wrapper": {"Abilities_SurviveAWrapper", func(b *broken,
		_ *sourcetest.Harness) {
		b.noAbilities = true
	}},
	"the position goes back": {"Position_IsMonotoneAndCoversCommits", func(b *broken, _ *sourcetest.Harness) {
		calls := uint64(0)
		b.position = func(p coherence.Position, err error) (coherence.Position, error) {
			if calls++; calls == 4 {
				p.N = 1
			}
			return p, err
		}
	}},
	"the position is that of a moment ago": {"Position_IsMonotoneAndCoversCommits", func(b *broken,
		_ *sourcetest.Harness) {
		var before coherence.Position
		b.position = func(p coherence.Position, err error) (coherence.Position, error) {
			if before.IsZero() {
				before = p
			}
			before, p = p, before
			return p, err
		}
	}},
	"answers a caller that is gone": {"Position_FailsWithItsContext", func(b *broken, _ *sourcetest.Harness) {
		b.position = func(coherence.Position, error) (coherence.Position, error) {
			return b.Source.Position(context.Background())
		}
	}},
	"loses a change at a batch's end": {"Changes_AreCompleteAndOrdered", func(b *broken, _ *sourcetest.Harness) {
		b.changes = func(ctx context.Context, after coherence.Position, limit int) ([]coherence.Event, coherence.Position,
			error) {
			events, upto, err := b.Source.Changes(ctx, after, limit+1)
			if len(events) > limit && limit > 0 {
				events = events[:limit]
			}
			return events, upto, err
		}
	}},
	"delivers the last change again": {"Changes_AreCompleteAndOrdered", func(b *broken, _ *sourcetest.Harness) {
		b.changes = func(ctx context.Context, after coherence.Position, limit int) ([]coherence.Event, coherence.Position,
			error) {
			if after.N > 2 {
				after.N--
			}
			return b.Source.Changes(ctx, after, limit)
		}
	}},
	"delivers out of order": {"Changes_AreCompleteAndOrdered", func(b *broken, _ *sourcetest.Harness) {
		b.changes = func(ctx context.Context, after coherence.Position, limit int) ([]coherence.Event, coherence.Position,
			error) {
			events, upto, err := b.Source.Changes(ctx, after, limit)
			if n := len(events); n > 1 {
				events[0], events[n-1] = events[n-1], events[0]
			}
			return events, upto, err
		}
	}},
	"moves back when there is nothing": {"Changes_AreCompleteAndOrdered", func(b *broken, _ *sourcetest.Harness) {
		b.changes = func(ctx context.Context, after coherence.Position, limit int) ([]coherence.Event, coherence.Position,
			error) {
			events, upto, err := b.Source.Changes(ctx, after, limit)
			if len(events) == 0 && upto.N > 1 {
				upto.N--
			}
			return events, upto, err
		}
	}},
	"numbers its events": {"Changes_AreCompleteAndOrdered", func(b *broken, _ *sourcetest.Harness) {
		b.changes = func(ctx context.Context, after coherence.Position, limit int) ([]coherence.Event, coherence.Position,
			error) {
			events, upto, err := b.Source.Changes(ctx, after, limit)
			for i := range events {
				events[i].Seq = 1
			}
			return events, upto, err
		}
	}},
	"calls every change an update": {"Changes_KeepTheirOperation", func(b *broken, _ *sourcetest.Harness) {
		b.changes = func(ctx context.Context, after coherence.Position, limit int) ([]coherence.Event, coherence.Position,
			error) {
			events, upto, err := b.Source.Changes(ctx, after, limit)
			for i := range events {
				events[i].Op = coherence.OpUpdated
			}
			return events, upto, err
		}
	}},
	"takes a limit of 0 for none": {"Changes_LimitZeroAsksForThePosition", func(b *broken, _ *sourcetest.Harness) {
		b.changes = func(ctx context.Context, after coherence.Position, limit int) ([]coherence.Event, coherence.Position,
			error) {
			if limit == 0 {
				limit = 1000
			}
			return b.Source.Changes(ctx, after, limit)
		}
	}},
	"is stuck at a large transaction": {"Changes_PassATransactionOverTheLimit", func(b *broken,
		_ *sourcetest.Harness) {
		b.changes = func(ctx context.Context, after coherence.Position, limit int) ([]coherence.Event, coherence.Position,
			error) {
			events, upto, err := b.Source.Changes(ctx, after, limit)
			if upto.Part > 0 {
				upto = after
			}
			return events, upto, err
		}
	}},
	"begins a large transaction again at each piece": {"Changes_PassATransactionOverTheLimit", func(b *broken,
		_ *sourcetest.Harness) {
		b.changes = func(ctx context.Context, after coherence.Position, limit int) ([]coherence.Event, coherence.Position,
			error) {
			after.Part = 0
			return b.Source.Changes(ctx, after, limit)
		}
	}},
	"cuts a large transaction": {"Changes_PassATransactionOverTheLimit", func(b *broken,
		_ *sourcetest.Harness) {
		b.changes = func(ctx context.Context, after coherence.Position, limit int) ([]coherence.Event, coherence.Position,
			error) {
			events, upto, err := b.Source.Changes(ctx, after, limit)
			if upto.Part > 0 {
				upto.N, upto.Part = upto.N+1, 0
			}
			return events, upto, err
		}
	}},
	"returns a large transaction whole": {"Changes_PassATransactionOverTheLimit", func(b *broken,
		_ *sourcetest.Harness) {
		b.changes = func(ctx context.Context, after coherence.Position, limit int) ([]coherence.Event, coherence.Position,
			error) {
			events, upto, err := b.Source.Changes(ctx, after, limit)
			for err == nil && limit > 0 && upto.Part > 0 {
				var more []coherence.Event
				more, upto, err = b.Source.Changes(ctx, upto, limit)
				events = append(events, more...)
			}
			return events, upto, err
		}
	}},
	"loses a change at the end of a piece": {"Changes_PassATransactionOverTheLimit", func(b *broken,
		_ *sourcetest.Harness) {
		b.changes = func(ctx context.Context, after coherence.Position, limit int) ([]coherence.Event, coherence.Position,
			error) {
			events, upto, err := b.Source.Changes(ctx, after, limit)
			if upto.Part > 0 {
				upto.Part++
			}
			return events, upto, err
		}
	}},
	"orders a transaction anew in each process": {"Changes_CanBeReadAgainFromEveryPiece", func(b *broken,
		h *sourcetest.Harness) {
		h.Reopen = func(context.Context) (coherence.Source, error) {
			again := &broken{Source: b.Source}
			again.changes = func(ctx context.Context, after coherence.Position, limit int) ([]coherence.Event,
				coherence.Position, error) {
				events, upto, err := b.Source.Changes(ctx, after, limit)
				if n := len(events); n > 1 && events[0].Position == events[1].Position {
					events[0], events[1] = events[1], events[0]
				}
				return events, upto, err
			}
			return again, nil
		}
	}},
	"tells of what was rolled back": {"Changes_LeaveOutWhatRollsBack", func(_ *broken, h *sourcetest.Harness) {
		begin := h.Begin
		h.Begin = func(ctx context.Context) (sourcetest.Tx, error) {
			tx, err := begin(ctx)
			return eager{tx}, err
		}
	}},
	"settles beside an open transaction": {"Changes_SettleNothingBesideAnOpenTransaction", func(b *broken,
		_ *sourcetest.Harness) {
		b.changes = func(ctx context.Context, after coherence.Position, limit int) ([]coherence.Event, coherence.Position,
			error) {
			events, upto, err := b.Source.Changes(ctx, after, limit)
			if p, perr := b.Source.Position(ctx); err == nil && perr == nil && len(events) < max(limit, 1) {
				upto = p
			}
			return events, upto, err
		}
	}},
	"loses what commits late": {"Changes_MissNothingOfConcurrentWriters", func(b *broken, h *sourcetest.Harness) {
		var mu sync.Mutex
		n := 0
		b.changes = func(ctx context.Context, after coherence.Position, limit int) ([]coherence.Event, coherence.Position,
			error) {
			events, upto, err := b.Source.Changes(ctx, after, limit)
			mu.Lock()
			defer mu.Unlock()
			if n += len(events); n > 20 && len(events) > 0 {
				n, events = 0, events[1:]
			}
			return events, upto, err
		}
	}},
	"takes a position of another timeline": {"Changes_RefuseOtherTimelines", func(b *broken, _ *sourcetest.Harness) {
		b.changes = func(ctx context.Context, after coherence.Position, limit int) ([]coherence.Event, coherence.Position,
			error) {
			if !after.IsZero() {
				after.Timeline = 1
			}
			return b.Source.Changes(ctx, after, limit)
		}
	}},
	"takes a position that it has not reached": {"Changes_RefuseOtherTimelines", func(b *broken, _ *sourcetest.Harness) {
		b.changes = func(ctx context.Context, after coherence.Position, limit int) ([]coherence.Event, coherence.Position,
			error) {
			if after.N > 1_000_000 {
				return nil, after, nil
			}
			return b.Source.Changes(ctx, after, limit)
		}
	}},
	"keeps its timeline through a restore": {"NewTimeline_IsNoticed", func(_ *broken, h *sourcetest.Harness) {
		h.NewTimeline = func(context.Context) error { return nil }
	}},
	"trims what is young": {"Trim_DropsWhatIsOldAndPassed", func(b *broken, _ *sourcetest.Harness) {
		b.trim = func(ctx context.Context, upto coherence.Position, _ time.Duration) (int64, error) {
			return b.Source.Trim(ctx, upto, 0)
		}
	}},
	"trims what nobody has passed": {"Trim_DropsWhatIsOldAndPassed", func(b *broken, _ *sourcetest.Harness) {
		b.trim = func(ctx context.Context, upto coherence.Position, keep time.Duration) (int64, error) {
			upto.N += 1000
			return b.Source.Trim(ctx, upto, keep)
		}
	}},
	"never trims": {"Trim_DropsWhatIsOldAndPassed", func(b *broken, _ *sourcetest.Harness) {
		b.trim = func(context.Context, coherence.Position, time.Duration) (int64, error) { return 0, nil }
	}},
	"forgets that it trimmed": {"Trim_RefusesPositionsBefore", func(b *broken, _ *sourcetest.Harness) {
		b.changes = func(ctx context.Context, after coherence.Position, limit int) ([]coherence.Event, coherence.Position,
			error) {
			events, upto, err := b.Source.Changes(ctx, after, limit)
			if errors.Is(err, coherence.ErrTrimmed) {
				return b.Source.Changes(ctx, coherence.Position{}, limit)
			}
			return events, upto, err
		}
	}},
	"trims a transaction that is being read": {"Trim_KeepsATransactionThatIsBeingRead", func(b *broken,
		_ *sourcetest.Harness) {
		b.trim = func(ctx context.Context, upto coherence.Position, keep time.Duration) (int64, error) {
			if upto.Part > 0 {
				upto.N++
			}
			return b.Source.Trim(ctx, upto, keep)
		}
	}},
	"begins versions again after a delete": {"Versions_GrowAcrossDeletes", reuse},
	"uses versions again after a trim":     {"Versions_AreNotUsedAgainAfterTrim", reuse},
	"tells the version before": {"Versioner_TellsTheLastCommit", func(b *broken, _ *sourcetest.Harness) {
		b.version = func(v coherence.Version) coherence.Version { return max(v, 1) - 1 }
	}},
	"bumps without an event": {"Bumper_CountsAndTells", func(b *broken, _ *sourcetest.Harness) {
		n := coherence.Version(0)
		b.bump = func(context.Context, string, string) (coherence.Version, error) { n++; return n, nil }
	}},
	"lets a cursor go back": {"Cursors_DoNotGoBack", func(b *broken, _ *sourcetest.Harness) {
		b.save = func(ctx context.Context, name string, c coherence.Cursor) error {
			_ = b.Source.SaveCursor(ctx, name, c)
			return nil
		}
	}},
	"lets a cursor go back inside a transaction": {"Cursors_DoNotGoBack", func(b *broken, _ *sourcetest.Harness) {
		b.save = func(ctx context.Context, name string, c coherence.Cursor) error {
			err := b.Source.SaveCursor(ctx, name, c)
			if c.Position.Part < 1<<50 {
				return nil
			}
			return err
		}
	}},
	"forgets where in a transaction a cursor is": {"Cursors_DoNotGoBack", func(b *broken, _ *sourcetest.Harness) {
		b.load = func(c coherence.Cursor) coherence.Cursor { c.Position.Part = 0; return c }
	}},
	"forgets the sequence numbers": {"Cursors_DoNotGoBack", func(b *broken, _ *sourcetest.Harness) {
		b.load = func(c coherence.Cursor) coherence.Cursor { c.Seqs = nil; return c }
	}},
	"has one cursor for all names": {"Cursors_DoNotGoBack", func(b *broken, _ *sourcetest.Harness) {
		var last coherence.Cursor
		b.save = func(ctx context.Context, name string, c coherence.Cursor) error {
			last = c
			return b.Source.SaveCursor(ctx, name, c)
		}
		b.load = func(coherence.Cursor) coherence.Cursor { return last }
	}},
	"lets everybody lead": {"Leader_IsAloneByName", func(b *broken, _ *sourcetest.Harness) {
		b.lead = func(ctx context.Context, _ string) (context.Context, func(), error) {
			leading, cancel := context.WithCancel(ctx)
			return leading, cancel, nil
		}
	}},
	"has one leader for all names": {"Leader_IsAloneByName", func(b *broken, _ *sourcetest.Harness) {
		b.lead = func(ctx context.Context, _ string) (context.Context, func(), error) { return b.Source.Lead(ctx, "one") }
	}},
	"does not notice that it was deposed": {"Leader_NoticesItsLoss", func(b *broken, _ *sourcetest.Harness) {
		b.lead = func(ctx context.Context, name string) (context.Context, func(), error) {
			_, release, err := b.Source.Lead(ctx, name)
			return ctx, release, err
		}
	}},
	"does not wake": {"Waker_WakesForACommit", func(b *broken, _ *sourcetest.Harness) {
		b.wait = func(ctx context.Context, d time.Duration) error {
			select {
			case <-ctx.Done():
			case <-time.After(d):
			}
			return ctx.Err()
		}
	}},
	"finds what is not": {"Checker_FindsNothing", func(b *broken, _ *sourcetest.Harness) {
		b.check = func() ([]coherence.Finding, error) { return []coherence.Finding{{Code: "x"}}, nil }
	}},
	"has another name each time": {"Identifier_NamesOneSystem", func(b *broken, _ *sourcetest.Harness) {
		n := 0
		b.identity = func() string { n++; return fmt.Sprint("system ", n) }
	}},
	"has the name of another system": {"Identifier_NamesOneSystem", func(b *broken, h *sourcetest.Harness) {
		b.identity = func() string { return "system" }
		h.Another = func(context.Context) (coherence.Source, error) { return b, nil }
	}},
	"never has anything before it": {"Estimator_IsAboutRight", func(b *broken, _ *sourcetest.Harness) {
		b.estimate = func(int64) int64 { return 0 }
	}},
	"does not know how old the backlog is": {"Estimator_IsAboutRight", func(b *broken, _ *sourcetest.Harness) {
		b.ageless = true
	}},
	"always has something before it": {"Estimator_IsAboutRight", func(b *broken, _ *sourcetest.Harness) {
		b.estimate = func(n int64) int64 { return n + 1 }
	}},
	"begins at nothing after a restart": {"Restart_KeepsEverything", func(_ *broken, h *sourcetest.Harness) {
		h.Reopen = func(context.Context) (coherence.Source, error) { return nearcachetest.NewSource(), nil }
	}},
}

func reuse(_ *broken, h *sourcetest.Harness) {
	begin, last := h.Begin, map[string]coherence.Version{}
	h.Begin = func(ctx context.Context) (sourcetest.Tx, error) {
		tx, err := begin(ctx)
		return reusing{tx, last}, err
	}
}

func TestRun_NoticesEachFault(t *testing.T) {
	sourcetest.SetPatience(t, time.Second)
	checks := map[string]sourcetest.Check{}
	noticed := map[string]bool{}
	for _, c := range sourcetest.Checks() {
		checks[c.Name] = c
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			c, ok := checks[fault.noticedBy]
			if !ok {
				t.Fatalf("there is no check %q", fault.noticedBy)
			}
			noticed[c.Name] = true
			src, h := memory()
			b := &broken{Source: src}
			h.Source = b
			fault.breaks(b, &h)
			r := run(t, c, h)
			if r.skipped || len(r.faults) == 0 {
				t.Errorf("%s passed (skipped: %v)", c.Name, r.skipped)
			}
			for _, f := range r.faults {
				t.Log(f)
			}
		})
	}
	for name := range checks {
		if !noticed[name] {
			t.Errorf("no broken source shows that %s notices anything", name)
		}
	}
}
