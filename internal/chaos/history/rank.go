//go:build unix

package history

import "sort"

// unranked is added to a version that nobody committed, so that it stays one that nobody committed.
const unranked = 1 << 62

// Rank replaces each version by its place among the versions of its key, from 1. It is for a source whose versions grow
// by more than one; everything else here takes a key's versions to be contiguous.
func (h *History) Rank() {
	versions := map[uint32][]uint64{}
	for _, c := range h.Commits {
		if !c.Uncounted {
			versions[c.Key] = append(versions[c.Key], c.Version)
		}
	}
	for _, of := range versions {
		sort.Slice(of, func(i, j int) bool { return of[i] < of[j] })
	}
	rank := func(key uint32, version uint64) uint64 {
		of := versions[key]
		i := sort.Search(len(of), func(i int) bool { return of[i] >= version })
		switch {
		case version == 0:
			return 0
		case i < len(of) && of[i] == version:
			return uint64(i) + 1
		}
		return version + unranked
	}
	for i := range h.Commits {
		h.Commits[i].Version = rank(h.Commits[i].Key, h.Commits[i].Version)
	}
	for i := range h.Writes {
		h.Writes[i].Version = rank(h.Writes[i].Key, h.Writes[i].Version)
	}
	for i := range h.Reads {
		r := &h.Reads[i]
		r.Version = rank(r.Key, r.Version)
		if r.Op == AtLeast {
			r.Param = rank(r.Key, r.Param)
		}
	}
}
