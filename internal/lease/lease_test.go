package lease_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nearcache/nearcache-go/internal/lease"
)

// row is the one row that the tables of a test share.
type row struct {
	mu   sync.Mutex
	term uint64
	beat uint64
	held bool
}

// table is a process's way to the row. While cut is set, its statements wait for an answer until they are given up.
type table struct {
	*row
	mu    sync.Mutex
	cut   bool
	late  bool // the answer to Take is lost
	fails error
}

func (t *table) set(f func()) { t.mu.Lock(); defer t.mu.Unlock(); f() }

// way returns an error instead of an answer.
func (t *table) way(ctx context.Context) error {
	t.mu.Lock()
	cut, err := t.cut, t.fails
	t.mu.Unlock()
	if cut {
		<-ctx.Done()
		return ctx.Err()
	}
	return err
}

func (t *table) Look(ctx context.Context) (lease.Row, error) {
	if err := t.way(ctx); err != nil {
		return lease.Row{}, err
	}
	t.row.mu.Lock()
	defer t.row.mu.Unlock()
	return lease.Row{Term: t.term, Beat: t.beat, Free: !t.held}, nil
}

func (t *table) Take(ctx context.Context, seen lease.Row) (bool, error) {
	if err := t.way(ctx); err != nil {
		return false, err
	}
	t.row.mu.Lock()
	defer t.row.mu.Unlock()
	if t.term != seen.Term || t.beat != seen.Beat {
		return false, nil
	}
	t.term, t.beat, t.held = t.term+1, 0, true
	if t.late {
		return false, errors.New("the answer was lost")
	}
	return true, nil
}

func (t *table) Renew(ctx context.Context, term uint64) (bool, error) {
	if err := t.way(ctx); err != nil {
		return false, err
	}
	t.row.mu.Lock()
	defer t.row.mu.Unlock()
	if t.term != term {
		return false, nil
	}
	t.beat++
	return true, nil
}

func (t *table) Give(ctx context.Context, term uint64) {
	if t.way(ctx) != nil {
		return
	}
	t.row.mu.Lock()
	defer t.row.mu.Unlock()
	if t.term == term {
		t.held = false
	}
}

// leads is a leadership that a process got.
type leads struct {
	context.Context
	term    uint64
	at      time.Time
	release func()
}

// candidate asks for the leadership.
func candidate(ctx context.Context, t lease.Table) <-chan leads {
	got := make(chan leads, 1)
	go func() {
		defer close(got)
		if leading, term, release, err := lease.Lead(ctx, t); err == nil {
			got <- leads{leading, term, time.Now(), release}
		}
	}()
	return got
}

// none fails the test if somebody has got the leadership.
func none(t *testing.T, got <-chan leads) {
	t.Helper()
	synctest.Wait()
	select {
	case <-got:
		t.Error("two lead")
	default:
	}
}

func TestLead_ReleasedPassesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := new(row)
		first := <-candidate(t.Context(), &table{row: r})
		next := candidate(t.Context(), &table{row: r})
		time.Sleep(time.Minute)
		none(t, next)
		if first.Err() != nil || first.term != 1 {
			t.Errorf("after a minute: term %d, %v; want term 1, leading", first.term, first.Err())
		}
		begun := time.Now()
		first.release()
		if first.Err() == nil {
			t.Error("the leadership goes on after release")
		}
		second := <-next
		if took := second.at.Sub(begun); took > lease.Look*5/4 || second.term != 2 {
			t.Errorf("term %d began %v after the release, want term 2 within a look", second.term, took)
		}
		second.release()
	})
}

// TestLead_EndsBeforeAnotherBegins: the leader is cut off at any moment between two beats, and with any delay of its
// last beat's answer.
func TestLead_EndsBeforeAnotherBegins(t *testing.T) {
	for _, at := range []time.Duration{0, 1, lease.Renew / 2, lease.Renew - 1, lease.Renew, lease.Renew + 1} {
		synctest.Test(t, func(t *testing.T) {
			r := new(row)
			mine := &table{row: r}
			first := <-candidate(t.Context(), mine)
			next := candidate(t.Context(), &table{row: r})
			time.Sleep(5*time.Second + at)
			mine.set(func() { mine.cut = true })
			begun := time.Now()
			<-first.Done()
			ended := time.Now()
			none(t, next)
			second := <-next
			if !second.at.After(ended) {
				t.Errorf("cut off at %v: the second leads at %v, the first ended at %v", at, second.at, ended)
			}
			if took := second.at.Sub(begun); took > lease.Duration+2*lease.Look*5/4 {
				t.Errorf("cut off at %v: another leads after %v", at, took)
			}
			second.release()
			first.release()
		})
	}
}

// TestLead_StoodStill: a leader that stood still for longer than its lease neither takes the row back nor gives it up
// for the next leader.
func TestLead_StoodStill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := new(row)
		first := <-candidate(t.Context(), &table{row: r})
		r.mu.Lock() // another leads since, and this leader does not know
		r.term, r.beat = 2, 7
		r.mu.Unlock()
		<-first.Done()
		first.release()
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.term != 2 || r.beat != 7 || !r.held {
			t.Errorf("the row is %+v; the leader of term 1 changed it", r)
		}
	})
}

// TestLead_SurvivesErrors: one that passes costs nothing, and one that stays ends the leadership in time.
func TestLead_SurvivesErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mine := &table{row: new(row)}
		first := <-candidate(t.Context(), mine)
		mine.set(func() { mine.fails = errors.New("the server restarts") })
		time.Sleep(lease.Duration / 2)
		mine.set(func() { mine.fails = nil })
		time.Sleep(time.Minute)
		synctest.Wait()
		if first.Err() != nil {
			t.Error("an error that passed ended the leadership")
		}
		mine.set(func() { mine.fails = errors.New("the server is gone") })
		time.Sleep(lease.Duration)
		synctest.Wait()
		if first.Err() == nil {
			t.Error("the leader goes on without a lease")
		}
		first.release()
	})
}

func TestLead_EndsWithItsSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mine := &table{row: new(row)}
		first := <-candidate(t.Context(), mine)
		mine.set(func() { mine.fails = lease.ErrGone })
		begun := time.Now()
		<-first.Done()
		if took := time.Since(begun); took > lease.Renew {
			t.Errorf("the leader notices after %v that its session has ended", took)
		}
		first.release()
	})
}

// TestLead_LostAnswer: the row was taken, and nobody knows.
func TestLead_LostAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := new(row)
		if _, _, _, err := lease.Lead(t.Context(), &table{row: r, late: true}); err == nil {
			t.Fatal("a lost answer is no error")
		}
		begun := time.Now()
		second := <-candidate(t.Context(), &table{row: r})
		if took := second.at.Sub(begun); second.term != 2 || took < lease.Duration || took > lease.Duration+lease.Look*5/4 {
			t.Errorf("term %d began after %v, want term 2 after a lease", second.term, took)
		}
		second.release()
	})
}

// TestLead_OneOfMany: whatever happens to leaders, terms follow each other and no two overlap.
func TestLead_OneOfMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		r := new(row)
		var mu sync.Mutex
		var now, most int
		terms := make(map[uint64]bool)
		var all sync.WaitGroup
		for i := range 5 {
			all.Go(func() {
				mine := &table{row: r}
				for ctx.Err() == nil {
					leading, term, release, err := lease.Lead(ctx, mine)
					if err != nil {
						return
					}
					mu.Lock()
					now++
					most = max(most, now)
					if terms[term] {
						t.Errorf("two leaders of term %d", term)
					}
					terms[term] = true
					mu.Unlock()
					time.Sleep(time.Duration(i+1) * 700 * time.Millisecond)
					if i%2 == 0 { // cut off until after the lease
						mine.set(func() { mine.cut = true })
						<-leading.Done()
					}
					mu.Lock()
					now--
					mu.Unlock()
					release()
					mine.set(func() { mine.cut = false })
				}
			})
		}
		time.Sleep(5 * time.Minute)
		cancel()
		all.Wait()
		if most != 1 || len(terms) < 50 {
			t.Errorf("%d led at once, in %d terms; want one at a time, in many", most, len(terms))
		}
	})
}
