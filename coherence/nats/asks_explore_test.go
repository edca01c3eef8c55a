package nats

import (
	"fmt"
	"testing"

	"github.com/nearcache/nearcache-go/internal/explore"
)

// This file tries every interleaving of relays that publish rounds, and an instance that asks for a position. Which
// questions a round answers is decided by the code that production runs (asks).

const askCommits = 3

// places of the question with a Publisher.
const (
	askNowhere = iota // it has not arrived, or was answered
	askWaiting
	askDue
)

type askRelay struct {
	phase uint8 // askIdle and so on
	head  uint8 // as commits that it covers
	round uint8 // the last that was begun
}

// phases of a relay.
const (
	askIdle    = iota
	askHead    // it has asked for its head
	askSending // Publish has begun
)

type askPublisher struct {
	place      uint8
	term, next uint8
}

type askWorld struct {
	acknowledged uint8 // commits
	asked        uint8 // the instance has
	clock        uint8 // as the commits that were acknowledged before it asked
	arrived      [2]uint8
	relays       [2]askRelay
	publishers   [2]askPublisher
}

// askModel is a scope.
type askModel struct {
	name   string
	relays int
	shared bool // they use one Publisher
	fails  bool // Publish may fail
}

func (m *askModel) publishers() int {
	if m.shared {
		return 1
	}
	return m.relays
}

func (m *askModel) visit(p *explore.Packer, w *askWorld) {
	explore.Bits(p, 2, &w.acknowledged, &w.clock)
	explore.Bits(p, 1, &w.asked, &w.arrived[0], &w.arrived[1])
	for i := range m.relays {
		explore.Bits(p, 2, &w.relays[i].phase, &w.relays[i].head)
		explore.Bits(p, 3, &w.relays[i].round)
	}
	for i := range m.publishers() {
		explore.Bits(p, 2, &w.publishers[i].place, &w.publishers[i].term)
		explore.Bits(p, 3, &w.publishers[i].next)
	}
}

func (m *askModel) pack(w *askWorld) (explore.State, int) {
	var p explore.Packer
	m.visit(&p, w)
	return p.State, p.Used()
}

func (m *askModel) First() (explore.State, int) { return m.pack(&askWorld{}) }

// with does something with the production's asks, as a Publisher has them.
func (p *askPublisher) with(do func(a *asks[bool]) []bool) (answered bool) {
	a := asks[bool]{term: uint64(p.term), next: uint64(p.next)}
	switch p.place {
	case askWaiting:
		a.waiting = []bool{true}
	case askDue:
		a.due = []bool{true}
	}
	answered = len(do(&a)) > 0
	p.place, p.term, p.next = askNowhere, uint8(a.term), uint8(a.next)
	if len(a.waiting) > 0 {
		p.place = askWaiting
	} else if len(a.due) > 0 {
		p.place = askDue
	}
	return answered
}

func (m *askModel) Next(s *explore.State, emit explore.Emit) {
	p := explore.Packer{State: *s, Unpack: true}
	var from askWorld
	m.visit(&p, &from)
	step := func(name string, who int, violation string, to askWorld) {
		next, _ := m.pack(&to)
		emit(explore.Step{Name: name, Instance: int8(who), Version: -1}, &next, violation)
	}
	if w := from; w.acknowledged < askCommits {
		w.acknowledged++
		step("a commit is acknowledged", -1, "", w)
	}
	if w := from; w.asked == 0 {
		w.asked, w.clock = 1, w.acknowledged
		step("the instance asks", 0, "", w)
	}
	for i := range m.publishers() {
		if w := from; w.asked == 1 && w.arrived[i] == 0 {
			w.arrived[i] = 1
			w.publishers[i].with(func(a *asks[bool]) []bool { a.came(true); return nil })
			step("the question arrives", i, "", w)
		}
	}
	for i := range m.relays {
		m.relay(i, from, step)
	}
}

const askRounds = 3 // of each relay

func (m *askModel) relay(i int, w askWorld, step func(name string, who int, violation string, to askWorld)) {
	r, p := &w.relays[i], &w.publishers[i%m.publishers()]
	term := uint64(i + 1)
	switch r.phase {
	case askIdle:
		if r.round < askRounds {
			r.phase, r.head = askHead, w.acknowledged
			step("a relay asks the source for its head", i, "", w)
		}
	case askHead:
		if r.round == askRounds {
			return
		}
		r.phase = askSending
		r.round++
		before := *p
		violation := ""
		answered := p.with(func(a *asks[bool]) []bool { return a.answered(term, uint64(r.round)) })
		if answered && r.head < w.clock {
			violation = "the position lacks a commit that was acknowledged before it was asked for"
		}
		if m.fails {
			silent := w
			silent.publishers[i%m.publishers()] = before
			step("a relay's round is begun, without a head", i, "", silent)
		}
		step("a relay's round is begun", i, violation, w)
	case askSending:
		if m.fails {
			failed := w
			failed.relays[i].phase, failed.relays[i].head = askIdle, 0
			step("a relay's round fails", i, "", failed)
			// The head of the round after it may be of any time: a Barrier promises nothing of it.
			failed.relays[i].phase = askHead
			step("a relay's round fails, and the next one has a head of before", i, "", failed)
		}
		r.phase, r.head = askIdle, 0
		p.with(func(a *asks[bool]) []bool { a.published(term, uint64(r.round)); return nil })
		step("a relay's round is published", i, "", w)
	}
}

var askScopes = []askModel{
	{name: "one relay", relays: 1},
	{name: "rounds fail", relays: 1, fails: true},
	{name: "two relays", relays: 2, fails: true},
	{name: "two relays of one Publisher", relays: 2, shared: true, fails: true},
}

func (m *askModel) search() explore.Result { return explore.Search(m, 5_000_000) }

// TestExplorePosition: whatever the interleaving, a position covers what was acknowledged before it was asked for.
func TestExplorePosition(t *testing.T) {
	for i, m := range askScopes {
		if raced && i > 1 {
			continue // the race detector makes do with the small ones
		}
		t.Run(m.name, func(t *testing.T) {
			r := m.search()
			t.Logf("%d states, %d steps, whole: %v", r.States, r.Depth, r.Whole)
			switch {
			case r.Violation != "":
				t.Error(askTrace(&r))
			case !r.Whole:
				t.Error("not explored whole")
			}
		})
	}
}

// TestPosition_IsLearnt: the rules let questions be answered.
func TestPosition_IsLearnt(t *testing.T) {
	var a asks[string]
	expect := func(term, round uint64, want int) {
		t.Helper()
		if got := a.answered(term, round); len(got) != want {
			t.Errorf("round %d of term %d answers %v, want %d", round, term, got, want)
		}
	}
	a.came("first")
	expect(1, 1, 0)
	a.published(1, 1)
	a.came("second")
	expect(1, 2, 1)
	expect(2, 1, 0) // another relay's
	a.published(2, 1)
	expect(1, 3, 0)
	expect(2, 3, 0) // a round between the two failed
	expect(2, 2, 1)
}

func askTrace(r *explore.Result) string {
	out := r.Violation
	for i, s := range r.Trace {
		out += fmt.Sprintf("\n%4d  %s", i+1, s)
	}
	return out
}
