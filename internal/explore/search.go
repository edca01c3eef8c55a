package explore

import (
	"fmt"
	"slices"
	"time"
)

// Step names a step of a model: what happened, to which instance, with which version. Negative numbers are left out.
type Step struct {
	Name     string
	Instance int8
	Version  int8
}

// String is the step as traces show it.
func (s Step) String() string {
	out := s.Name
	if s.Instance >= 0 {
		out = fmt.Sprintf("instance %d: %s", s.Instance, out)
	}
	if s.Version >= 0 {
		out = fmt.Sprintf("%s [%d]", out, s.Version)
	}
	return out
}

// Emit takes a successor: the step that leads there, the state, and what the step violates, "" if nothing.
type Emit func(step Step, next *State, violation string)

// Model is a protocol. Equal states have equal futures.
type Model interface {
	// First is the state to begin from, and how many words of it are used.
	First() (s State, words int)
	// Next emits every successor.
	Next(s *State, emit Emit)
}

// Result is what a search found.
type Result struct {
	States    int
	Depth     int    // steps from the first state to the last one that was looked at
	Whole     bool   // every reachable state was looked at
	Violation string // what the last step of Trace violates; "": nothing
	Trace     []string
	Bytes     int
	Took      time.Duration
}

// Search looks at every state that can be reached, nearest first, until one step violates something, or until there are
// more than limit states. Then all that are nearer hold.
func Search(m Model, limit int) (r Result) {
	begun := time.Now()
	first, words := m.First()
	t := &store{words: words}
	t.add(&first, 0)
	var last Step
	i, level := 0, 1
	for ; i < t.n && r.Violation == "" && t.n <= limit; i++ {
		if i == level {
			r.Depth++
			level = t.n
		}
		s := t.at(i)
		m.Next(&s, func(step Step, next *State, violation string) {
			switch {
			case r.Violation != "":
			case violation != "":
				r.Violation, last = violation, step
			default:
				t.add(next, i)
			}
		})
	}
	r.States, r.Whole, r.Bytes = t.n, i == t.n && r.Violation == "", t.bytes()
	if r.Violation != "" {
		r.Trace = trace(m, t, i-1, last)
	}
	r.Took = time.Since(begun)
	return r
}

// trace finds the steps again: of each state only its parent is kept.
func trace(m Model, t *store, at int, last Step) []string {
	out := []string{last.String()}
	for ; at > 0; at = t.from(at) {
		want, parent, found := t.at(at), t.at(t.from(at)), ""
		m.Next(&parent, func(step Step, next *State, _ string) {
			if found == "" && *next == want {
				found = step.String()
			}
		})
		out = append(out, found)
	}
	slices.Reverse(out)
	return out
}
