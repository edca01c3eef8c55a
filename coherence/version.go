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

// Position is a point in the order of a source's changes: every change before it is settled. The order goes by
// transactions, so N says which transactions lie before the point; Part is only needed by those who read one large
// transaction in pieces, and is 0 at the end of each transaction.
//
// Positions of different timelines are not comparable: a source that lost acknowledged commits (a fail-over, a restore)
// begins a new timeline. The zero Position means that nothing is known.
type Position struct {
	Timeline uint64 // identifies one unbroken history of the source; 0 only in the zero Position
	N        uint64 // grows with every commit
	// Part says how many of the next transaction's changes lie before the point too, in a measure of the source's own
	// that grows from change to change. 0: none.
	Part uint64
}

// IsZero reports whether p is the unknown position.
func (p Position) IsZero() bool { return p == Position{} }

// Whole is the position without the changes of a transaction of which others are still to come.
func (p Position) Whole() Position { p.Part = 0; return p }

// Covers reports whether everything settled at q is settled at p too. Nothing covers, or is covered by, an unknown
// position or one of another timeline.
func (p Position) Covers(q Position) bool {
	return p.Timeline != 0 && p.Timeline == q.Timeline && (p.N > q.N || p.N == q.N && p.Part >= q.Part)
}

// String is "timeline/n", the timeline in hexadecimal, and "timeline/n+part" inside a transaction.
func (p Position) String() string {
	if p.Part == 0 {
		return fmt.Sprintf("%x/%d", p.Timeline, p.N)
	}
	return fmt.Sprintf("%x/%d+%d", p.Timeline, p.N, p.Part)
}
