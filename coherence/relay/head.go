package relay

import (
	"context"
	"sync"
	"time"

	"github.com/nearcache/nearcache-go/coherence"
)

// heads remembers the source's position, so that the channels need not ask for changes while there are none.
//
// A channel that has every change up to a position lacks nothing while the source is still there: the position covers
// every commit acknowledged before it was read. So an idle relay reads the position at every interval, for the round in
// Redis, and the changes once in askAgain. Both channels go by that one reading.
//
// A commit that wakes the relay may be newer than a reading that had begun before:
//
//	redis: begins to read the position      source: commits, and wakes the relay
//	redis: the position is 7                events: have all up to 7, and must ask nevertheless
//
// So a reading counts for the other channel only if it began after the last wake. A round of Redis that finds that the
// position has moved wakes the other channel, which need not look at every interval itself.
type heads struct {
	mu    sync.Mutex
	at    coherence.Position // zero: not known
	begun time.Time          // when the reading of it began
	woken time.Time          // when the source last woke the relay
}

// askAgain is how often an idle channel asks for changes although the source's position says that there are none.
const askAgain = 3 * time.Second

// readHead reads the source's position.
func (r *relayRun) readHead(ctx context.Context) (coherence.Position, error) {
	begun := time.Now()
	at, err := r.Source.Position(ctx)
	if err == nil {
		r.heads.mu.Lock()
		r.heads.at, r.heads.begun = at, begun
		r.heads.mu.Unlock()
	}
	return at, err
}

// noteWake notes that the source may have changed.
func (r *relayRun) noteWake() {
	r.heads.mu.Lock()
	r.heads.woken = time.Now()
	r.heads.mu.Unlock()
}

// isHead reports whether a position was that of the source within the last two intervals, and nothing has announced a
// change since.
func (r *relayRun) isHead(p coherence.Position) bool {
	r.heads.mu.Lock()
	defer r.heads.mu.Unlock()
	h := &r.heads
	return !p.IsZero() && p == h.at && h.begun.After(h.woken) && time.Since(h.begun) < 2*r.Interval
}
