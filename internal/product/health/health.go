// Package health says whether a program is alive, whether it should get work, and why it is not at its best. All
// programs of the demo serve it at /healthz, /readyz and /status.
//
// A program is ready while it sends no more errors than its neighbours would. What fails for all instances at once,
// such as the database, is a reason and leaves them ready: a balancer that takes all of them out helps nobody.
package health

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
)

// Reason is one thing that is wrong. Code is stable, Detail is a sentence.
type Reason struct {
	Code    string    `json:"code"`
	Detail  string    `json:"detail"`
	Since   time.Time `json:"since"`
	Unready bool      `json:"unready"` // the program should get no work
}

// Check looks for one thing that can be wrong.
type Check struct {
	Code string
	// Run returns what is wrong now, nil if nothing is. The error's text becomes the reason's detail, so it must not
	// show a password. One that wraps ErrUnready makes the program unready.
	Run func(context.Context) error
}

// ErrUnready marks what makes this program worse than its neighbours.
var ErrUnready = errors.New("unready")

// Unready marks an error with ErrUnready and keeps its text.
func Unready(err error) error { return unready{err} }

type unready struct{ error }

func (u unready) Unwrap() []error { return []error{u.error, ErrUnready} }

// interval is the time between two rounds of checks, and limit what each check may take.
const (
	interval = 500 * time.Millisecond
	limit    = 2 * time.Second
)

// Monitor keeps the reasons. Its methods are safe for concurrent use.
type Monitor struct {
	// Also returns reasons that a part of the program finds, and logs, by itself. It is set before the first request, and
	// may be nil.
	Also func() []Reason

	checks []Check
	log    *slog.Logger

	mu      sync.Mutex
	reasons map[string]Reason
}

// Starting is the code of the reason that a Monitor begins with, Draining that of a program which is about to stop.
const (
	Starting = "starting"
	Draining = "draining"
)

// NewMonitor returns a monitor of a program that is starting: Run's first round ends that.
func NewMonitor(log *slog.Logger, checks ...Check) *Monitor {
	m := &Monitor{checks: checks, log: log, reasons: make(map[string]Reason)}
	m.Set(Starting, Unready(errors.New("the first checks have not ended yet")))
	return m
}

// Set begins a reason, changes its detail, or ends it if err is nil. A reason that begins or ends is logged once.
func (m *Monitor) Set(code string, err error) {
	m.mu.Lock()
	old, there := m.reasons[code]
	if err == nil {
		delete(m.reasons, code)
	} else {
		r := Reason{Code: code, Detail: err.Error(), Since: time.Now(), Unready: errors.Is(err, ErrUnready)}
		if there {
			r.Since = old.Since
		}
		m.reasons[code] = r
	}
	m.mu.Unlock()
	switch {
	case code == Starting || code == Draining:
	case err != nil && !there:
		m.log.Warn("degraded", "reason", code, "detail", err.Error())
	case err == nil && there:
		m.log.Info("no longer degraded", "reason", code, "after", time.Since(old.Since).Round(time.Millisecond))
	}
}

// Drain makes the program unready for good.
func (m *Monitor) Drain() { m.Set(Draining, Unready(errors.New("the program is about to stop"))) }

// Ready says whether the program should get work, and what is wrong, by code.
func (m *Monitor) Ready() (bool, []Reason) {
	reasons := []Reason{}
	if m.Also != nil {
		reasons = append(reasons, m.Also()...)
	}
	m.mu.Lock()
	for _, r := range m.reasons {
		reasons = append(reasons, r)
	}
	m.mu.Unlock()
	ready := !slices.ContainsFunc(reasons, func(r Reason) bool { return r.Unready })
	slices.SortFunc(reasons, func(a, b Reason) int { return strings.Compare(a.Code, b.Code) })
	return ready, reasons
}

// Run runs the checks until ctx ends. They run beside each other, so that one that hangs holds up no other.
func (m *Monitor) Run(ctx context.Context) {
	for ctx.Err() == nil {
		var round sync.WaitGroup
		for _, c := range m.checks {
			round.Go(func() {
				check, cancel := context.WithTimeout(ctx, limit)
				defer cancel()
				err := c.Run(check)
				if ctx.Err() == nil { // else it failed because the program stops
					m.Set(c.Code, err)
				}
			})
		}
		round.Wait()
		m.Set(Starting, nil)
		t := time.NewTimer(interval)
		select {
		case <-t.C:
		case <-ctx.Done():
		}
		t.Stop()
	}
}
