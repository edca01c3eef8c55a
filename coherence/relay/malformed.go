package relay

import (
	"slices"

	"github.com/nearcache/nearcache-go/coherence"
)

// mostNamed is how many namespaces of malformed changes are logged.
const mostNamed = 64

// wellFormed leaves out the changes of a namespace that no cache can have. A source of the caller's own may count them,
// or a program that writes the outbox by itself. In Redis such a change would be one of another key, and in the event
// channel a message that every instance has to count and to set aside:
//
//	namespace "a:b", key "k"     has in Redis the name of namespace "a", key "b:k"
func (r *relayRun) wellFormed(channel string, events []coherence.Event) []coherence.Event {
	malformed := func(e coherence.Event) bool { return e.Validate() != nil }
	if !slices.ContainsFunc(events, malformed) {
		return events
	}
	kept := make([]coherence.Event, 0, len(events))
	for _, e := range events {
		err := e.Validate()
		if err == nil {
			kept = append(kept, e)
			continue
		}
		r.m.malformed.WithLabelValues(channel).Inc()
		if r.firstOf(e.Namespace) {
			r.Logger.Error("changes are left out: no cache can have their namespace", "error", err)
		}
	}
	return kept
}

// firstOf reports whether a namespace of malformed changes has not been logged yet.
func (r *relayRun) firstOf(namespace string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.named[namespace] || len(r.named) >= mostNamed {
		return false
	}
	if r.named == nil {
		r.named = make(map[string]bool)
	}
	r.named[namespace] = true
	return true
}
