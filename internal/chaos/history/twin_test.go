//go:build unix

package history_test

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/nearcache/nearcache-go/internal/chaos/history"
)

// twin is the checker as one would write it to be right: for every read it looks at everything that happened.
type twin struct{ h *history.History }

// committed is the commit of a key's version.
func (t twin) committed(key uint32, version uint64) (history.Commit, bool) {
	for _, c := range t.h.Commits {
		if c.Key == key && c.Version == version && !c.Uncounted {
			return c, true
		}
	}
	return history.Commit{}, false
}

func (t twin) write(number uint64) history.Write {
	for _, w := range t.h.Writes {
		if w.Number == number {
			return w
		}
	}
	return history.Write{Invoke: -history.Forever, Return: -history.Forever}
}

// known reports whether a version must be known before a time.
func (t twin) known(key uint32, version uint64, before int64) bool {
	for _, c := range t.h.Commits {
		if c.Key != key || c.Version < version || c.Uncounted {
			continue
		}
		if t.write(c.Write).Return < before {
			return true
		}
		for _, r := range t.h.Reads {
			if r.Key == key && r.Version == c.Version && r.Return < before && r.Flags&(history.Failed|history.Unknown) == 0 {
				return true
			}
		}
	}
	return false
}

// behind reports whether some version newer than the read's was known before a time, and whether a deletion was among
// those it should have seen.
func (t twin) behind(r history.Record, before int64) (behind, deleted bool) {
	for _, c := range t.h.Commits {
		if c.Key == r.Key && c.Version > r.Version && t.known(c.Key, c.Version, before) {
			behind, deleted = true, deleted || c.Deleted
		}
	}
	return behind, deleted && r.Flags&history.Absent == 0
}

// deletedBetween reports whether a deletion lies after a and at or before b.
func (t twin) deletedBetween(key uint32, a, b uint64) bool {
	for _, c := range t.h.Commits {
		if c.Key == key && c.Version > a && c.Version <= b && c.Deleted {
			return true
		}
	}
	return false
}

// waited reports whether a read took longer than the moments explain during which it was under way.
func (t twin) waited(r history.Record) bool {
	w := t.h.Waiting
	if w.Slack == 0 || len(t.h.Answers[r.Process]) == 0 {
		return false
	}
	var unexplained, ran time.Duration
	for at := r.Invoke; at < r.Return; at++ {
		explained := false
		for p := range t.h.Answers {
			explained = explained || t.explained(t.h.Instances[p], at)
		}
		if !explained {
			unexplained++
		}
		stopped := false
		for since := at; since >= at-int64(w.Settle); since-- {
			gap, lost := t.gap(since, func(p uint16) bool { return p == r.Process })
			stopped = stopped || lost || gap && since == at
		}
		if !stopped {
			ran++
		}
	}
	return unexplained > w.Slack || ran > w.Slack+w.Deadline
}

// explained reports whether an instance explains waiting at a moment.
func (t twin) explained(instance uint16, at int64) bool {
	w := t.h.Waiting
	of := func(p uint16) bool { return t.h.Instances[p] == instance }
	for p, answers := range t.h.Answers {
		for _, a := range answers {
			took, end := time.Duration(a.Return-a.Invoke), a.Return
			if a.Failed || took >= w.Lost {
				end += int64(w.Settle)
			}
			if of(p) && (a.Failed || took >= w.Slow) && a.Invoke <= at && at < end {
				return true
			}
		}
	}
	for since := at; since >= at-int64(w.Settle); since-- {
		if gap, lost := t.gap(since, of); lost || gap && since == at {
			return true
		}
	}
	return false
}

// gap reports whether the processes that count asked nothing and awaited nothing for Slow around a moment, or for so
// long that more is lost.
func (t twin) gap(at int64, of func(uint16) bool) (gap, lost bool) {
	before, after := int64(-history.Forever), int64(history.Forever)
	var last, next uint16
	for p, answers := range t.h.Answers {
		for _, a := range answers {
			switch {
			case !of(p):
			case a.Invoke <= at && at < a.Return:
				return false, false
			case a.Return <= at && a.Return >= before:
				before, last = a.Return, p
			case a.Invoke > at && a.Invoke < after:
				after, next = a.Invoke, p
			}
		}
	}
	if before == -history.Forever || after == history.Forever {
		return true, true
	}
	took := time.Duration(after - before)
	return took >= t.h.Waiting.Slow || last != next, took >= t.h.Waiting.Lost || last != next
}

func (t twin) judge(r history.Record) (broken []history.Guarantee) {
	add := func(g history.Guarantee) { broken = append(broken, g) }
	skew := int64(t.h.Skew)
	if t.waited(r) {
		add(history.Wait)
	}
	if r.Flags&history.NotReady != 0 {
		if t.known(r.Key, r.Param, r.Invoke-skew) {
			add(history.C4)
		}
		return broken
	}
	if r.Flags&(history.Failed|history.Unknown) != 0 {
		return broken
	}
	absent := r.Flags&history.Absent != 0
	c, ok := t.committed(r.Key, r.Version)
	fits := func(c history.Commit) bool {
		return c.Deleted == absent && (absent || c.Hash == r.Hash) && t.write(c.Write).Invoke <= r.Return+skew
	}
	seen := ok && fits(c)
	for _, c := range t.h.Commits {
		seen = seen || c.Uncounted && c.Key == r.Key && c.Version == r.Version && fits(c)
	}
	if !seen {
		add(history.C5)
	}
	stale := r.Flags&history.Stale != 0
	late := func(g history.Guarantee, before int64) {
		behind, deleted := t.behind(r, before)
		if behind {
			add(g)
		}
		if deleted && g == history.C1 {
			add(history.C5)
		}
	}
	if r.Staleness > 0 {
		late(history.C6, r.Invoke-int64(r.Staleness)-skew)
	}
	if r.Bound > 0 && !stale && (r.Staleness > r.Bound+time.Duration(r.Return-r.Invoke) || r.Staleness <= 0 &&
		r.Tier != history.Hidden) {
		add(history.C6)
	}
	claim := r.Age
	if r.Staleness > 0 {
		claim = r.Staleness
	}
	if stale && r.Op == history.ServeStale && claim > time.Duration(r.Param)+time.Duration(r.Return-r.Invoke) {
		add(history.StaleLabel)
	}
	if !stale {
		if r.Bound > 0 {
			late(history.C1, r.Invoke-int64(r.Bound)-skew)
		}
		var seen, written uint64
		for _, o := range t.h.Reads {
			_, there := t.committed(o.Key, o.Version)
			if there && o.Key == r.Key && o.Process == r.Process && o.Return < r.Invoke &&
				o.Flags&(history.Failed|history.Unknown) == 0 {
				seen = max(seen, o.Version)
			}
		}
		for _, w := range t.h.Writes {
			if w.Key == r.Key && w.Process == r.Process && w.Invalidated < r.Invoke &&
				t.h.Instances[w.Process] != history.NoInstance {
				written = max(written, w.Version)
			}
		}
		for _, b := range []struct {
			g    history.Guarantee
			want uint64
		}{{history.C3, seen}, {history.C2, written}} {
			if b.want > r.Version {
				add(b.g)
				if !absent && t.deletedBetween(r.Key, r.Version, b.want) {
					add(history.C5)
				}
			}
		}
	}
	switch {
	case r.Op == history.Fresh:
		late(history.FreshReads, r.Invoke-skew)
	case r.Op == history.Sweep:
		late(history.C7, r.Invoke-skew)
	case r.Op == history.AtLeast && r.Version < r.Param:
		add(history.C4)
	}
	return broken
}

// chance makes a history in which anything may have happened, right or wrong, on a short time line with many ties.
func chance(rnd *rand.Rand) *history.History {
	h := &history.History{Instances: map[uint16]uint16{0: 0, 1: 1, 9: history.NoInstance},
		Skew: time.Duration(rnd.IntN(3))}
	next := map[uint32]uint64{}
	for k := range uint32(2) {
		h.Commits = append(h.Commits, history.Commit{Key: k, Version: 1, Hash: 1})
		next[k] = 2
	}
	for i := range rnd.IntN(8) {
		k := uint32(rnd.IntN(2))
		from := int64(rnd.IntN(40))
		w := history.Write{Key: k, Process: []uint16{0, 1, 9}[rnd.IntN(3)], Number: uint64(i + 1), Invoke: from,
			Return: history.Forever, Invalidated: history.Forever}
		if rnd.IntN(5) > 0 { // it committed
			c := history.Commit{Key: k, Version: next[k], Hash: next[k], Write: w.Number, Deleted: rnd.IntN(4) == 0}
			if c.Deleted {
				c.Hash = 0
			}
			next[k]++
			h.Commits = append(h.Commits, c)
			if rnd.IntN(4) > 0 {
				w.Return, w.Version = from+int64(rnd.IntN(10)), c.Version
				w.Invalidated = w.Return + int64(rnd.IntN(4))
			}
		}
		h.Writes = append(h.Writes, w)
	}
	h.Waiting = history.Waiting{Slack: 1 + time.Duration(rnd.IntN(4)), Deadline: time.Duration(rnd.IntN(4)),
		Slow:   2 + time.Duration(rnd.IntN(3)),
		Settle: time.Duration(rnd.IntN(3))}
	h.Waiting.Lost = h.Waiting.Slow + time.Duration(rnd.IntN(3))
	h.Answers = map[uint16][]history.Answer{}
	for p := range uint16(2) {
		for at := int64(rnd.IntN(3)); at < 50; at += 1 + int64(rnd.IntN(1+rnd.IntN(4))) {
			took := int64(rnd.IntN(1 + rnd.IntN(4)))
			h.Answers[p] = append(h.Answers[p],
				history.Answer{Process: p, Invoke: at, Return: at + took, Failed: took > 0 && rnd.IntN(20) == 0})
		}
	}
	if rnd.IntN(3) == 0 && len(h.Writes) > 0 { // a commit that counted nothing
		w := &h.Writes[rnd.IntN(len(h.Writes))]
		h.Commits = append(h.Commits,
			history.Commit{Key: w.Key, Version: 1 + uint64(rnd.IntN(int(next[w.Key]-1))), Hash: 99, Write: w.Number,
				Uncounted: true})
	}
	for range rnd.IntN(12) {
		k := uint32(rnd.IntN(2))
		from := int64(rnd.IntN(50))
		r := history.Record{Key: k, Process: uint16(rnd.IntN(2)), Op: history.Op(1 + rnd.IntN(int(history.Sweep))),
			Tier:   history.Tier(rnd.IntN(5)),
			Invoke: from, Return: from + int64(rnd.IntN(8)),
			Version: uint64(rnd.IntN(int(next[k]) + 1)), Staleness: time.Duration(rnd.IntN(20) - 4),
			Age: time.Duration(rnd.IntN(20)), Param: uint64(rnd.IntN(20)), Flags: history.Flags(1<<rnd.IntN(8)) & 0x1f}
		if rnd.IntN(2) == 0 {
			r.Flags = 0
		}
		if rnd.IntN(2) == 0 {
			r.Bound = time.Duration(1 + rnd.IntN(20))
		}
		r.Hash = r.Version
		if rnd.IntN(10) == 0 {
			r.Hash = 99
		}
		if rnd.IntN(3) > 0 { // mostly a state that there was
			for _, c := range h.Commits {
				if c.Key == k && c.Version == r.Version && c.Deleted {
					r.Hash, r.Flags = 0, r.Flags|history.Absent
				}
			}
		}
		h.Reads = append(h.Reads, r)
	}
	return h
}

func TestCheck_AgreesWithItsDumbTwin(t *testing.T) {
	seen := map[history.Guarantee]int{}
	for seed := range uint64(20_000) {
		h := chance(rand.New(rand.NewPCG(seed, 1)))
		type judged struct {
			Read   history.Record
			Broken []history.Guarantee
		}
		var got, want []judged
		for _, r := range h.Reads {
			want = append(want, judged{r, sorted(twin{h}.judge(r))})
		}
		err := history.Check(h, func(r *history.Record, _ time.Duration, vs []history.Violation) {
			var gs []history.Guarantee
			for _, v := range vs {
				gs = append(gs, v.Guarantee)
				seen[v.Guarantee]++
			}
			got = append(got, judged{*r, sorted(gs)})
		})
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		order := func(a, b judged) int {
			return cmp.Or(cmp.Compare(a.Read.Key, b.Read.Key), cmp.Compare(a.Read.Invoke, b.Read.Invoke),
				cmp.Compare(a.Read.Return, b.Read.Return),
				cmp.Compare(a.Read.Version, b.Read.Version), cmp.Compare(a.Read.Op, b.Read.Op), cmp.Compare(a.Read.Process,
					b.Read.Process),
				cmp.Compare(a.Read.Staleness, b.Read.Staleness), cmp.Compare(a.Read.Param, b.Read.Param), cmp.Compare(a.Read.Age,
					b.Read.Age))
		}
		slices.SortFunc(got, order)
		slices.SortFunc(want, order)
		if diff := gocmp.Diff(want, got); diff != "" {
			t.Fatalf("seed %d: -twin +checker\n%s\nwrites %+v\ncommits %+v", seed, diff, h.Writes, h.Commits)
		}
	}
	for g := range history.Guarantees {
		if seen[g] < 100 {
			t.Errorf("%v was broken only %d times: the histories do not try it", g, seen[g])
		}
	}
}

// sorted is the set.
func sorted(gs []history.Guarantee) []history.Guarantee {
	slices.Sort(gs)
	return slices.Compact(gs)
}
