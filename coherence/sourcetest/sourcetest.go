package sourcetest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nearcache/nearcache-go/coherence"
)

// Harness is a source to be checked and what the checks need besides.
type Harness struct {
	// Source is empty and nothing else writes to it. Required.
	Source coherence.Source
	// Begin begins a transaction that writes. Required.
	Begin func(ctx context.Context) (Tx, error)
	// OneWriter says that a second transaction cannot write while one is open.
	OneWriter bool
	// Reopen returns a Source over the same data, as the next process sees it. nil: restarts are not checked.
	Reopen func(ctx context.Context) (coherence.Source, error)
	// NewTimeline makes the source lose its history, as a fail-over or a restore does. nil: that is not checked.
	NewTimeline func(ctx context.Context) error
	// Another returns a freshly installed source of another system. nil: that names differ is not checked.
	Another func(ctx context.Context) (coherence.Source, error)
	// Depose breaks the leadership of a name from outside, as a broken connection does. nil: that is not checked.
	Depose func(ctx context.Context, name string) error
}

// Tx is a transaction of the source.
type Tx interface {
	// Write changes a key, and returns the version that its new state has.
	Write(ctx context.Context, namespace, key string, op coherence.Op) (coherence.Version, error)
	Commit(ctx context.Context) error
	Rollback(ctx context.Context) error
}

// T is the part of *testing.T that a check uses.
type T interface {
	Helper()
	Context() context.Context
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Skipf(format string, args ...any)
}

// Check is one part of the suite.
type Check struct {
	Name string
	Run  func(t T, h Harness)
}

// Run runs every check, each with a Harness of its own.
func Run(t *testing.T, open func(t *testing.T) Harness) {
	for _, c := range Checks() {
		t.Run(c.Name, func(t *testing.T) { c.Run(t, open(t)) })
	}
}

// Checks are the parts of the suite, for those who run them in their own way.
func Checks() []Check {
	return []Check{
		{"Abilities_SurviveAWrapper", abilitiesSurvive},
		{"Position_IsMonotoneAndCoversCommits", positionCovers},
		{"Position_FailsWithItsContext", positionContext},
		{"Changes_AreCompleteAndOrdered", changesComplete},
		{"Changes_KeepTheirOperation", changesOps},
		{"Changes_LimitZeroAsksForThePosition", changesLimitZero},
		{"Changes_PassATransactionOverTheLimit", changesLargeTransaction},
		{"Changes_CanBeReadAgainFromEveryPiece", changesPieces},
		{"Changes_LeaveOutWhatRollsBack", changesRollback},
		{"Changes_SettleNothingBesideAnOpenTransaction", changesOpen},
		{"Changes_MissNothingOfConcurrentWriters", changesConcurrent},
		{"Changes_RefuseOtherTimelines", changesTimeline},
		{"NewTimeline_IsNoticed", newTimeline},
		{"Trim_DropsWhatIsOldAndPassed", trimDrops},
		{"Trim_RefusesPositionsBefore", trimRefuses},
		{"Trim_KeepsATransactionThatIsBeingRead", trimPieces},
		{"Versions_GrowAcrossDeletes", versionsGrow},
		{"Versions_AreNotUsedAgainAfterTrim", versionsAfterTrim},
		{"Versioner_TellsTheLastCommit", versioner},
		{"Bumper_CountsAndTells", bumper},
		{"Cursors_DoNotGoBack", cursors},
		{"Leader_IsAloneByName", leaderAlone},
		{"Leader_NoticesItsLoss", leaderLoss},
		{"Waker_WakesForACommit", waker},
		{"Checker_FindsNothing", checker},
		{"Identifier_NamesOneSystem", identifier},
		{"Estimator_IsAboutRight", estimator},
		{"Restart_KeepsEverything", restart},
	}
}

const ns = "n"

// patience is how long a check waits for what must come; nothing is timed by it.
var patience = time.Minute

// write commits one change.
func write(t T, h Harness, key string, op coherence.Op) coherence.Version {
	t.Helper()
	tx := begin(t, h)
	v := put(t, tx, key, op)
	commit(t, tx)
	return v
}

func begin(t T, h Harness) Tx {
	t.Helper()
	tx, err := h.Begin(t.Context())
	if err != nil {
		t.Fatalf("Begin: %v", err)
	}
	return tx
}

func put(t T, tx Tx, key string, op coherence.Op) coherence.Version {
	t.Helper()
	v, err := tx.Write(t.Context(), ns, key, op)
	if err != nil {
		t.Fatalf("Write %q: %v", key, err)
	}
	return v
}

func commit(t T, tx Tx) {
	t.Helper()
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatalf("Commit: %v", err)
	}
}

func position(t T, s coherence.Source) coherence.Position {
	t.Helper()
	p, err := s.Position(t.Context())
	if err != nil {
		t.Fatalf("Position: %v", err)
	}
	if p.IsZero() || p.Timeline == 0 {
		t.Fatalf("Position = %v, want one with a timeline", p)
	}
	return p
}

// change is what a check compares of an event.
type change struct {
	Key     string
	Version coherence.Version
}

// batch reads one batch and checks what holds for each.
func batch(t T, s coherence.Source, after coherence.Position, limit int) ([]coherence.Event, coherence.Position) {
	t.Helper()
	events, upto, err := s.Changes(t.Context(), after, limit)
	if err != nil {
		t.Fatalf("Changes(%v, %d): %v", after, limit, err)
	}
	if !after.IsZero() && !upto.Covers(after) {
		t.Fatalf("Changes(%v, %d) is up to %v, which does not cover what it came after", after, limit, upto)
	}
	if len(events) > max(limit, 0) {
		t.Fatalf("Changes(%v, %d) returned %d events", after, limit, len(events))
	}
	last := after
	for _, e := range events {
		switch {
		case !upto.Covers(e.Position) && (upto.Part == 0 || e.Position != events[len(events)-1].Position):
			t.Fatalf("%s version %d is at %v, past the batch's end %v", e.Key, e.Version, e.Position, upto)
		case after.Covers(e.Position):
			t.Fatalf("%s version %d is at %v, which %v covers: it was delivered before", e.Key, e.Version, e.Position, after)
		case !last.IsZero() && !e.Position.Covers(last):
			t.Fatalf("%s version %d is at %v, after an event at %v", e.Key, e.Version, e.Position, last)
		case e.Seq != 0:
			t.Fatalf("%s version %d has sequence number %d; the relay gives them", e.Key, e.Version, e.Seq)
		}
		last = e.Position
	}
	return events, upto
}

// drain reads from a position until everything that was committed before the call is settled and read.
func drain(t T, s coherence.Source, after coherence.Position, limit int) (all []coherence.Event,
	upto coherence.Position) {
	t.Helper()
	target := position(t, s)
	upto = after
	eventually(t, fmt.Sprintf("changes are settled up to %v", target), func() bool {
		events, now := batch(t, s, upto, limit)
		if len(events) >= limit && now == upto {
			t.Fatalf("Changes(%v, %d) returned %d events and did not move on", upto, limit, len(events))
		}
		all, upto = append(all, events...), now
		return upto.Covers(target) && len(events) < limit
	})
	return all, upto
}

func changesOf(events []coherence.Event) (out []change) {
	for _, e := range events {
		out = append(out, change{e.Key, e.Version})
	}
	return out
}

// eventually polls: what a source shares with others, as a server's snapshot, may be held up by them for a while.
func eventually(t T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not in %v: %s", patience, what)
		}
		<-tick.C
	}
}

func wantTrimmed(t T, s coherence.Source, after coherence.Position, why string) {
	t.Helper()
	if _, _, err := s.Changes(t.Context(), after, 10); !errors.Is(err, coherence.ErrTrimmed) {
		t.Errorf("Changes(%v) = %v, want ErrTrimmed: %s", after, err, why)
	}
}
