//go:build unix

package history

import (
	"fmt"
	"sort"
)

// state is one version of a key.
type state struct {
	hash    uint64
	deleted bool
	begun   int64 // its write was invoked; from before the run: the beginning of time
	known   int64 // it, or a later one, had been acknowledged or read
	// uncounted are the states that followed under the same version: their writers counted none.
	uncounted []state
}

// explains reports whether a read that returned at some time can have seen this version with a value, or as absent.
func (s *state) explains(hash uint64, absent bool, at int64) bool {
	if s == nil {
		return false
	}
	if s.begun <= at && s.deleted == absent && (absent || s.hash == hash) {
		return true
	}
	for i := range s.uncounted {
		if s.uncounted[i].explains(hash, absent, at) {
			return true
		}
	}
	return false
}

// truth is what is certain of one key: its versions, which are contiguous.
type truth struct {
	first  uint64 // version of states[0]
	states []state
}

// truths are those of all keys, without what reads make known.
func (h *History) truths() (map[uint32]*truth, error) {
	writes := make(map[uint64]*Write, len(h.Writes))
	for i := range h.Writes {
		w := &h.Writes[i]
		if writes[w.Number] != nil {
			return nil, fmt.Errorf("history: two writes with the number %x", w.Number)
		}
		writes[w.Number] = w
	}
	commits := append([]Commit(nil), h.Commits...)
	sort.SliceStable(commits, func(i, j int) bool {
		a, b := &commits[i], &commits[j]
		return a.Key < b.Key || a.Key == b.Key && a.Version < b.Version
	})
	out := make(map[uint32]*truth)
	for _, c := range commits {
		if c.Uncounted {
			continue
		}
		t := out[c.Key]
		if t == nil {
			t = &truth{first: c.Version}
			out[c.Key] = t
		}
		if want := t.first + uint64(len(t.states)); c.Version != want {
			return nil, fmt.Errorf("history: key %d has version %d after %d", c.Key, c.Version, want-1)
		}
		s := state{hash: c.Hash, deleted: c.Deleted, known: Forever}
		switch w := writes[c.Write]; {
		case c.Write == 0:
			s.begun, s.known = -Forever, -Forever
		case w == nil:
			return nil, fmt.Errorf("history: key %d has version %d by a write that nobody began", c.Key, c.Version)
		case w.Failed:
			return nil, fmt.Errorf("history: key %d has version %d by a write that said it changed nothing", c.Key, c.Version)
		case w.Return != Forever && w.Version != 0 && w.Version != c.Version:
			return nil, fmt.Errorf("history: key %d: a writer was told version %d and committed %d", c.Key, w.Version, c.Version)
		default:
			s.begun, s.known = w.Invoke, w.Return
		}
		t.states = append(t.states, s)
	}
	if err := addUncounted(out, commits, writes); err != nil {
		return nil, err
	}
	for i := range h.Writes {
		w := &h.Writes[i]
		if w.Return == Forever || w.Version == 0 {
			continue
		}
		if t := out[w.Key]; t == nil || t.at(w.Version) == nil {
			return nil, fmt.Errorf("history: key %d: version %d was acknowledged and never committed", w.Key, w.Version)
		}
	}
	return out, nil
}

// addUncounted adds the commits that counted no version. Nothing is promised about when they are seen. But what a
// read returns must still have been committed, so such a commit is a further state of the version that stood at the
// time.
func addUncounted(truths map[uint32]*truth, commits []Commit, writes map[uint64]*Write) error {
	for _, c := range commits {
		if !c.Uncounted {
			continue
		}
		s, w := truths[c.Key].at(c.Version), writes[c.Write]
		if s == nil || w == nil {
			return fmt.Errorf("history: key %d: an uncounted commit of version %d that nobody counted, or by no write", c.Key,
				c.Version)
		}
		s.uncounted = append(s.uncounted, state{hash: c.Hash, deleted: c.Deleted, begun: w.Invoke})
	}
	return nil
}

// at is a version's state, nil if it was never committed.
func (t *truth) at(version uint64) *state {
	if t == nil || version < t.first || version >= t.first+uint64(len(t.states)) {
		return nil
	}
	return &t.states[version-t.first]
}

// saw makes a version known by a read.
func (t *truth) saw(version uint64, at int64) {
	if s := t.at(version); s != nil && at < s.known {
		s.known = at
	}
}

// settle carries what is known to older versions: if a version is known, the versions before it are committed.
func (t *truth) settle() {
	for i := len(t.states) - 2; i >= 0; i-- {
		t.states[i].known = min(t.states[i].known, t.states[i+1].known)
	}
}

// need is the newest version known before a time, 0 if none was.
func (t *truth) need(before int64) uint64 {
	if t == nil {
		return 0
	}
	n := sort.Search(len(t.states), func(i int) bool { return t.states[i].known >= before })
	if n == 0 {
		return 0
	}
	return t.first + uint64(n) - 1
}

// age is for how long, at a time, something newer than a version had been known; 0 if nothing was.
func (t *truth) age(version uint64, at int64) int64 {
	next := t.at(version + 1)
	if next == nil || next.known >= at {
		return 0
	}
	return at - next.known
}

// deletion reports whether one of the versions after a, up to and including b, is a deletion.
func (t *truth) deletion(a, b uint64) bool {
	for v := a + 1; v <= b; v++ {
		if s := t.at(v); s != nil && s.deleted {
			return true
		}
	}
	return false
}
