package coherence

import (
	"fmt"
	"strconv"
)

// Version orders the states of one key, across deletes too: of two versions of a key the larger is the newer state.
// Versions of different keys are not comparable. 0 means that the source of truth has no versions.
type Version uint64

// String is the version in decimal.
func (v Version) String() string { return strconv.FormatUint(uint64(v), 10) }

// Position is a point in the commit order of a source of truth: every change at or before it is settled.
// Positions of different timelines are not comparable: a source that lost acknowledged commits (a fail-over, a restore)
// begins a new timeline. The zero Position means that nothing is known.
type Position struct {
	Timeline uint64 // identifies one unbroken history of the source; 0 only in the zero Position
	N        uint64 // grows with every commit
}

// IsZero reports whether p is the unknown position.
func (p Position) IsZero() bool { return p == Position{} }

// Covers reports whether everything settled at q is settled at p too. Nothing covers, or is covered by, an unknown
// position or one of another timeline.
func (p Position) Covers(q Position) bool {
	return p.Timeline != 0 && p.Timeline == q.Timeline && p.N >= q.N
}

// String is "timeline/n", the timeline in hexadecimal.
func (p Position) String() string { return fmt.Sprintf("%x/%d", p.Timeline, p.N) }
