//go:build unix

package history

// Loss is a promotion of a standby that lacked commits. They were acknowledged and read, and the new primary has never
// had them: it counts their versions again, for other states.
//
// A lost commit is promised to nobody. An instance that has not yet noticed the promotion may still return it. Such a
// read counts as one of the newest version that the standby had of the key: C1, C6 and fresh hold for it, since what
// they stand on is a proof, and no proof of before reaches past the promotion. C2 and C3 do not hold, since the
// versions of both primaries are the same numbers. It obliges no later read. Where a deletion was lost, and a deletion
// has its version again, a read of it counts as one of the second.
//
// A read that begins after Until must not return a lost commit.
type Loss struct {
	Commits []Commit
	Until   int64 // every instance had recovered
}

// lostState is a lost commit of a key.
type lostState struct {
	state
	kept  uint64 // the newest version of the key that was not lost
	until int64
}

// losses are the lost commits by key and version.
type losses map[uint32]map[uint64][]lostState

// losses are those of all promotions. Writes that made them are no longer acknowledged.
func (h *History) losses() losses {
	writes := make(map[uint64]*Write)
	for i := range h.Writes {
		writes[h.Writes[i].Number] = &h.Writes[i]
	}
	out := losses{}
	for _, l := range h.Losses {
		first := map[uint32]uint64{}
		for _, c := range l.Commits {
			if v, ok := first[c.Key]; !ok || c.Version < v {
				first[c.Key] = c.Version
			}
		}
		for _, c := range l.Commits {
			s := lostState{state: state{hash: c.Hash, deleted: c.Deleted, begun: -Forever, known: Forever},
				kept: first[c.Key] - 1, until: l.Until}
			if w := writes[c.Write]; w != nil {
				s.begun = w.Invoke
				w.Return, w.Invalidated, w.Version = Forever, Forever, 0
			}
			if out[c.Key] == nil {
				out[c.Key] = map[uint64][]lostState{}
			}
			out[c.Key][c.Version] = append(out[c.Key][c.Version], s)
		}
	}
	return out
}

// kept reports whether a read returned a lost commit while it might, and as which version it counts.
func (l losses) kept(r *Record, skew int64) (version uint64, lost bool) {
	for _, s := range l[r.Key][r.Version] {
		if r.Invoke <= s.until && s.explains(r.Hash, r.Flags&Absent != 0, r.Return+skew) {
			return s.kept, true
		}
	}
	return r.Version, false
}
