// Package lease elects one leader among many processes, by a row of a database.
//
// The leader raises the row's beat again and again. A candidate that has seen one beat for the whole of a lease, by its
// own clock, takes the row, which begins a new term. No clock is compared with another one, so a step of any clock, the
// database's too, neither ends a leadership nor keeps a dead one.
//
// A leader that cannot raise the beat ends before a candidate can have seen it for so long:
//
//	leader: asks for beat 7, at t           its lease lasts until t + Duration, less a margin
//	the row has beat 7                      a candidate sees it now or later, so after t
//	leader: gets no answer any more         it ends at t + Duration - margin
//	candidate: beat 7 for Duration          it leads after t + Duration
//
// A process that stands still for that long learns of it late. Until then two may work. So what a leader writes has to
// be harmless, or be refused by its term.
package lease

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"
)

const (
	// Duration is how long a beat has to stand still before a candidate takes the row.
	Duration = 3 * time.Second
	// Renew is the time between two beats. Each takes a transaction id, and so moves the source's position: then an
	// idle relay looks for changes.
	Renew = time.Second
	// Look is about the time between two looks of a candidate; a quarter more or less.
	Look = 500 * time.Millisecond

	again  = Renew / 4              // the time until a beat that failed is tried again
	margin = 500 * time.Millisecond // by which a leader ends earlier than a candidate can begin
)

// ErrGone is what Table.Renew returns (wrapped) when the leadership has ended for everybody to see.
var ErrGone = errors.New("the leader's session has ended")

// Row is the state of a leadership.
type Row struct {
	Term uint64 // of the last leader; 0: there was none
	Beat uint64 // grows within a term
	Free bool   // nobody leads: there is no row, its leader gave it back, or is known to be gone
}

// Table is the row of one leadership. A candidate and a leader call it from one goroutine.
type Table interface {
	// Look reads the row.
	Look(ctx context.Context) (Row, error)
	// Take makes the caller the leader of term seen.Term+1, if the row still has the term and the beat of seen. It
	// reports false if it has not.
	Take(ctx context.Context, seen Row) (bool, error)
	// Renew raises the beat, if the row still has the term. It reports false if it has not.
	Renew(ctx context.Context, term uint64) (bool, error)
	// Give lets the next candidate lead at once, if the row still has the term.
	Give(ctx context.Context, term uint64)
}

// Lead waits to be the leader. The context that it returns ends when the leadership does. release gives it up, and is
// called once.
func Lead(ctx context.Context, t Table) (leading context.Context, term uint64, release func(), err error) {
	term, since, err := take(ctx, t)
	if err != nil {
		return nil, 0, nil, err
	}
	leading, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer cancel()
		keep(leading, t, term, since)
	}()
	return leading, term, func() { cancel(); <-done }, nil
}

// take returns the term that the caller leads, and from when on its lease counts.
func take(ctx context.Context, t Table) (term uint64, since time.Time, err error) {
	var seen Row
	var first time.Time // when seen was seen first
	for {
		row, err := t.Look(ctx)
		if err != nil {
			return 0, since, err
		}
		if now := time.Now(); first.IsZero() || row != seen {
			seen, first = row, now
		}
		if asked := time.Now(); row.Free || asked.Sub(first) >= Duration {
			got, err := t.Take(ctx, row)
			if err != nil {
				return 0, since, err
			}
			if got {
				return row.Term + 1, asked, nil
			}
		}
		select {
		case <-ctx.Done():
			return 0, since, ctx.Err()
		case <-time.After(Look*3/4 + rand.N(Look/2)):
		}
	}
}

// keep raises the beat until leading ends or the lease is lost. It never takes the row: after a lease that ran out
// another process may have led and ended, and then this leader has to learn of it.
func keep(leading context.Context, t Table, term uint64, since time.Time) {
	for wait := Renew; ; {
		select {
		case <-leading.Done():
			end, stop := context.WithTimeout(context.WithoutCancel(leading), time.Second)
			defer stop()
			t.Give(end, term)
			return
		case <-time.After(wait):
		}
		asked := time.Now()
		until := since.Add(Duration - margin)
		attempt, stop := context.WithDeadline(leading, until)
		got, err := t.Renew(attempt, term)
		stop()
		switch {
		case err == nil && !got, errors.Is(err, ErrGone):
			return
		case err == nil:
			since, wait = asked, Renew
		case leading.Err() == nil && !time.Now().Before(until):
			return
		default:
			wait = again
		}
	}
}
