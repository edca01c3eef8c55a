package demo

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"
)

// errBusy says that a step of the tour is running.
var errBusy = errors.New("a step of the tour is running; wait for its end")

// step is one of the tour. Its texts are in the page; run does it and returns what was measured.
type step struct {
	Title     string `json:"title"`
	Story     string `json:"story"`
	Does      string `json:"does"`
	Guarantee string `json:"guarantee"`

	run func(ctx context.Context, d *Demo, r *report) error
}

// finding is a line of a step's outcome.
type finding struct {
	// Of says whose behaviour it is: "nearcache", "ttl", "pubsub", or "" for a line of the story.
	Of string `json:"of"`
	// OK says whether that is what a reader wants.
	OK   bool   `json:"ok"`
	Text string `json:"text"`
}

// report is what a step has found so far.
type report struct {
	Step     int       `json:"step"`  // from 1
	State    string    `json:"state"` // "running", "done" or "failed"
	Findings []finding `json:"findings"`
	Error    string    `json:"error,omitempty"`

	d *Demo
}

// say adds a line, and shows it at once.
func (r *report) say(of string, ok bool, format string, args ...any) {
	r.Findings = append(r.Findings, finding{of, ok, fmt.Sprintf(format, args...)})
	r.d.hub.tell("tour", r)
}

// tourState is the number of the step that runs, from 1; 0: none.
type tourState struct{ step atomic.Int32 }

func (t *tourState) running() int { return int(t.step.Load()) }

// stepTimeout bounds a step.
const stepTimeout = time.Minute

// tour runs a step. It goes on when the page that began it has gone.
func (d *Demo) tour(r *http.Request, in request) (any, error) {
	if in.Step < 1 || in.Step > len(steps) {
		return nil, errInput(fmt.Sprintf("step: a number from 1 to %d is needed", len(steps)))
	}
	return d.runStep(context.WithoutCancel(r.Context()), in.Step)
}

func (d *Demo) runStep(ctx context.Context, n int) (*report, error) {
	if !d.touring.TryLock() {
		return nil, errBusy
	}
	defer d.touring.Unlock()
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	defer context.AfterFunc(d.base, cancel)()
	d.tours.step.Store(int32(n))
	defer d.tours.step.Store(0)
	d.quiet.Store(&watchedIDs[n-1])
	defer d.quiet.Store(nil)
	d.healAll()
	d.load.end()
	d.startCompare()
	r := &report{Step: n, State: "running", Findings: []finding{}, d: d}
	d.hub.tell("tour", r)
	err := d.ready(ctx)
	if err == nil {
		err = steps[n-1].run(ctx, d, r)
	}
	d.healAll()
	r.State = "done"
	if err != nil {
		r.State, r.Error = "failed", err.Error()
	}
	d.hub.tell("tour", r)
	return r, nil
}

// ready waits until every instance serves within the bound, and the plain caches get their messages.
func (d *Demo) ready(ctx context.Context) error {
	return d.await(ctx, "all instances being connected, with their bounds proved", func() bool {
		for _, m := range d.members {
			s := m.Client.Status()
			if !s.Redis || !s.Events || s.Bound.Staleness == 0 || s.Bound.Staleness > d.cfg.Bound {
				return false
			}
		}
		return d.subscribed(ctx)
	})
}

// subscribed reports whether a message of the plain caches' writer reaches every instance.
func (d *Demo) subscribed(ctx context.Context) bool {
	n, err := d.redis.Do(ctx, d.redis.B().Publish().Channel(pubsubChannel).Message("").Build()).AsInt64()
	return err == nil && n >= Instances
}

// awaitFor is how long a step waits for one thing.
const awaitFor = 20 * time.Second

// await waits until something is so.
func (d *Demo) await(ctx context.Context, what string, so func() bool) error {
	ctx, cancel := context.WithTimeoutCause(ctx, awaitFor, fmt.Errorf("waited %v in vain for %s", awaitFor, what))
	defer cancel()
	for !so() {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		pause(ctx, 5*time.Millisecond)
	}
	return nil
}

// warm has every cache of every instance hold a product.
func (d *Demo) warm(ctx context.Context, id string) error {
	d.clearRivals()
	for i := range d.members {
		if _, err := d.read(ctx, i, id); err != nil {
			return err
		}
		for which := range d.members[i].rivals {
			if _, err := d.ask(ctx, i, which, id); err != nil {
				return err
			}
		}
	}
	return nil
}

// compared says what the three caches of an instance answer now.
type compared struct{ ours, ttl, pubsub answer }

func (d *Demo) compared(ctx context.Context, i int, id string) (c compared, err error) {
	if c.ours, err = d.read(ctx, i, id); err != nil {
		return c, err
	}
	if c.ttl, err = d.ask(ctx, i, rivalTTLOnly, id); err != nil {
		return c, err
	}
	c.pubsub, err = d.ask(ctx, i, rivalPubSub, id)
	return c, err
}

// sayAnswer adds a line about an answer. It is right if it is not older than the bound.
func (r *report) sayAnswer(of, who string, a answer) {
	if a.stale == 0 {
		r.say(of, true, "%s answers with version %s, the newest.", who, a.version)
		return
	}
	r.say(of, a.stale <= r.d.cfg.Bound, "%s answers with version %s, which was replaced %s ago.", who, a.version,
		readable(a.stale))
}

// readable is a duration as people say it.
func readable(d time.Duration) string {
	switch {
	case d < 10*time.Millisecond:
		return fmt.Sprintf("%.1f ms", millis(d))
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}
