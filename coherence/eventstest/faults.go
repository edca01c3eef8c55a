package eventstest

import (
	"errors"
	"fmt"
	"slices"

	"github.com/nearcache/nearcache-go/coherence"
)

// cut cuts the followers off, and waits until they say so.
func (f *follower) cut(h Harness, n int) {
	f.t.Helper()
	if h.Line == nil {
		f.t.Skipf("the line to the channel cannot be cut")
	}
	h.Line.Cut()
	for p := range n {
		eventually(f.t, fmt.Sprintf("partition %d is lost", p), func() bool { return f.count(p, lost) > 0 })
	}
}

// back waits until each partition is followed again.
func (f *follower) back(n int) {
	f.t.Helper()
	for p := range n {
		eventually(f.t, fmt.Sprintf("partition %d is followed again", p), func() bool {
			log := f.of(p)
			at := slices.IndexFunc(log, func(e entry) bool { return e.kind == lost })
			return slices.ContainsFunc(log[at:], func(e entry) bool { return e.kind == resumed || e.kind == session })
		})
	}
}

// renewed reports whether a session began after the partition was lost.
func (f *follower) renewed(p int) bool {
	log := f.of(p)
	at := slices.IndexFunc(log, func(e entry) bool { return e.kind == lost })
	return at >= 0 && slices.ContainsFunc(log[at:], func(e entry) bool { return e.kind == session })
}

func interruptionTold(t T, h Harness) {
	r := newRelay(t, h)
	f := following(t, h, r.n)
	defer f.stop()
	f.delivers(r.events())
	f.cut(h, r.n)
	defer h.Line.Heal()
	eventually(t, "why is told", func() bool { return len(f.failed()) > 0 })
	h.Line.Heal()
	f.back(r.n)
	f.delivers(r.events())
}

func interruptionLosesNothing(t T, h Harness) {
	r := newRelay(t, h)
	f := following(t, h, r.n)
	defer f.stop()
	f.delivers(r.events())
	f.cut(h, r.n)
	defer h.Line.Heal()
	for range 3 {
		r.events()
	}
	h.Line.Heal()
	f.back(r.n)
	f.delivers(r.events())
	for p := range r.n {
		if !f.renewed(p) {
			r.inOrder(f, p, 0)
		}
	}
	if h.NoBarriers {
		return
	}
	last := r.barrier()
	for p := range r.n {
		eventually(t, "barriers come again", func() bool { return f.hasBarrier(p, last) })
	}
}

// interruptionLoss removes events that a follower has not read.
func interruptionLoss(t T, h Harness) {
	if h.Lose == nil {
		t.Skipf("the channel's messages cannot be removed")
	}
	r := newRelay(t, h)
	f := following(t, h, r.n)
	defer f.stop()
	f.delivers(r.events())
	f.cut(h, r.n)
	defer h.Line.Heal()
	for range 3 {
		r.events()
	}
	if err := h.Lose(t.Context()); err != nil {
		t.Fatalf("Lose: %v", err)
	}
	r.events()
	h.Line.Heal()
	for p := range r.n {
		eventually(t, fmt.Sprintf("a session of partition %d says that events were missed", p), func() bool {
			return f.renewed(p)
		})
	}
	f.delivers(r.events())
}

func recreation(t T, h Harness) {
	if h.Recreate == nil {
		t.Skipf("the channel cannot be made again")
	}
	r := newRelay(t, h)
	f := following(t, h, r.n)
	defer f.stop()
	for range 3 {
		f.delivers(r.events())
	}
	if err := h.Recreate(t.Context()); err != nil {
		t.Fatalf("Recreate: %v", err)
	}
	r.events()
	f.sessions(r.n, 2)
	f.delivers(r.events())
}

// recreationUnseen makes the channel again while the follower is cut off, and fills it until its offsets are where the
// follower's next ones would have been, and beyond.
func recreationUnseen(t T, h Harness) {
	if h.Recreate == nil {
		t.Skipf("the channel cannot be made again")
	}
	r := newRelay(t, h)
	f := following(t, h, r.n)
	defer f.stop()
	for range 3 {
		f.delivers(r.events())
	}
	f.cut(h, r.n)
	defer h.Line.Heal()
	if err := h.Recreate(t.Context()); err != nil {
		t.Fatalf("Recreate: %v", err)
	}
	for range 8 {
		r.events()
	}
	h.Line.Heal()
	for p := range r.n {
		eventually(t, fmt.Sprintf("a session of partition %d says that the channel is another one", p), func() bool {
			return f.renewed(p)
		})
	}
	f.delivers(r.events())
}

// misconfiguration: Run says why it does not follow, and goes on trying, or returns an error that says so.
func misconfiguration(t T, h Harness) {
	if p, ok := h.Events().(coherence.Pinger); ok {
		if err := p.Ping(t.Context()); err != nil {
			t.Errorf("Ping of a channel that works: %v", err)
		}
	}
	if h.Misconfigured == nil {
		t.Skipf("there is no follower that cannot work")
	}
	events := h.Misconfigured()
	if p, ok := events.(coherence.Pinger); ok {
		if err := p.Ping(t.Context()); !errors.Is(err, coherence.ErrMisconfigured) {
			t.Errorf("Ping = %v, want ErrMisconfigured", err)
		}
	}
	f := follow(t, events)
	named := func(err error) bool { return errors.Is(err, coherence.ErrMisconfigured) }
	eventually(t, "the reason is told", func() bool {
		select {
		case <-f.done:
			return true
		default:
			return slices.ContainsFunc(f.failed(), named)
		}
	})
	select {
	case <-f.done:
		if !named(f.err) {
			t.Errorf("Run returned %v, want ErrMisconfigured", f.err)
		}
	default:
		f.stop()
	}
}
