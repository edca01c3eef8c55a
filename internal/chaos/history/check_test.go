//go:build unix

package history_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nearcache/nearcache-go/internal/chaos/history"
)

// The small histories' time is in milliseconds, from 1000 on; key 1 has version 1 from before the run. Instances 1
// and 2 have a cache, process 9 has none.
const key = 1

// script is a history being written down.
type script struct{ h history.History }

func newScript() *script {
	s := &script{h: history.History{Instances: map[uint16]uint16{1: 1, 2: 2, 9: history.NoInstance}, Bound: ms(250)}}
	s.h.Commits = []history.Commit{{Key: key, Version: 1, Hash: 1}}
	return s
}

func ms(n int64) time.Duration { return time.Duration(n) * time.Millisecond }
func at(n int64) int64         { return int64(ms(n)) }

// writes commits the next version; its hash is its number. returned 0: the outcome is not known.
func (s *script) writes(process uint16, invoke, returned int64) *script {
	return s.commits(process, invoke, returned, false)
}

func (s *script) deletes(process uint16, invoke, returned int64) *script {
	return s.commits(process, invoke, returned, true)
}

func (s *script) commits(process uint16, invoke, returned int64, deletes bool) *script {
	v := uint64(len(s.h.Commits) + 1)
	w := history.Write{Key: key, Process: process, Number: v, Invoke: at(invoke), Return: at(returned),
		Invalidated: at(returned), Version: v}
	if returned == 0 {
		w.Return, w.Invalidated, w.Version = history.Forever, history.Forever, 0
	}
	c := history.Commit{Key: key, Version: v, Hash: v, Write: v}
	if deletes {
		c.Hash, c.Deleted = 0, true
	}
	s.h.Writes, s.h.Commits = append(s.h.Writes, w), append(s.h.Commits, c)
	return s
}

// invalidates has the last write end later than its transaction.
func (s *script) invalidates(told int64) *script {
	s.h.Writes[len(s.h.Writes)-1].Invalidated = at(told)
	return s
}

// reads has a process read a version from L1.
func (s *script) reads(process uint16, invoke, returned int64, version uint64, more ...func(*history.Record)) *script {
	r := history.Record{Op: history.Plain, Process: process, Key: key, Invoke: at(invoke), Return: at(returned),
		Version: version, Tier: history.L1, Hash: version}
	if version >= 1 && version <= uint64(len(s.h.Commits)) && s.h.Commits[version-1].Deleted {
		r.Flags, r.Hash = history.Absent, 0
	}
	for _, m := range more {
		m(&r)
	}
	s.h.Reads = append(s.h.Reads, r)
	return s
}

func bounded(r *history.Record) {
	r.Op, r.Bound, r.Staleness = history.Bounded, ms(250), ms(250)
}

func claims(n int64) func(*history.Record) {
	return func(r *history.Record) { r.Staleness = ms(n) }
}

func atLeast(v uint64) func(*history.Record) {
	return func(r *history.Record) { r.Op, r.Param = history.AtLeast, v }
}

func notReady(r *history.Record) { r.Flags, r.Version = history.Failed|history.NotReady, 0 }

func op(o history.Op) func(*history.Record) { return func(r *history.Record) { r.Op = o } }

func staleWithin(age, limit int64) func(*history.Record) {
	return func(r *history.Record) {
		r.Op, r.Flags, r.Bound, r.Age, r.Param = history.ServeStale, r.Flags|history.Stale,
			ms(250), ms(age), uint64(ms(limit))
	}
}

func value(hash uint64) func(*history.Record) {
	return func(r *history.Record) { r.Hash, r.Flags = hash, 0 }
}

// broken are the names of what the reads broke, in order of the reads, "" for one that broke nothing.
func broken(t *testing.T, h *history.History) (out []string) {
	t.Helper()
	err := history.Check(h, func(_ *history.Record, _ time.Duration, vs []history.Violation) {
		var names []string
		for _, v := range vs {
			names = append(names, v.Guarantee.String())
		}
		slices.Sort(names)
		out = append(out, strings.Join(names, " "))
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestCheck_EachGuarantee(t *testing.T) {
	for name, c := range map[string]struct {
		s    *script
		want []string
	}{
		"C1: just within the bound": {newScript().writes(9, 1000, 1010).reads(1, 1260, 1261, 1, bounded), []string{""}},
		"C1: just past it":          {newScript().writes(9, 1000, 1010).reads(1, 1261, 1262, 1, bounded), []string{"C1 C6"}},
		"C1: counts from the read's start": {
			newScript().writes(9, 1000, 1010).reads(1, 1259, 1900, 1, bounded), []string{""}},
		"C1: a write under way is not known yet": {newScript().writes(9, 1000, 2000).reads(1, 1500, 1501, 1, bounded),
			[]string{""}},
		"C1: but what somebody has read is": {
			newScript().writes(9, 1000, 3000).reads(2, 1100, 1110, 2).reads(1, 1361, 1362, 1, bounded), []string{"", "C1 C6"}},
		"C1: and so is what came before it": {
			newScript().writes(9, 1000, 3000).writes(9, 1000, 3000).reads(2, 1100, 1110, 3).reads(1, 1361, 1362, 1,
				bounded), []string{"", "C1 C6"}},
		"C1: an unknown outcome binds nobody": {newScript().writes(9, 1000, 0).reads(1, 2000, 2001, 1, bounded),
			[]string{""}},
		"C1: nor does it bind a plain read": {newScript().writes(9, 1000, 1010).reads(1, 9000, 9001, 1), []string{""}},
		"C2: an own write, then an older value": {
			newScript().writes(1, 1000, 1010).reads(1, 1011, 1012, 1), []string{"C2"}},
		"C2: somebody else's write": {newScript().writes(2, 1000, 1010).reads(1, 1011, 1012, 1), []string{""}},
		"C2: committed, not yet told": {newScript().writes(1, 1000, 1010).invalidates(1030).reads(1, 1029, 1040, 1).
			reads(1, 1031, 1042, 1), []string{"", "C2"}},
		"C2: a read that overlaps": {newScript().writes(1, 1000, 1010).reads(1, 1009, 1012, 1), []string{""}},
		"C3: back": {newScript().writes(9, 1000, 1010).reads(1, 1011, 1012, 2).reads(1, 1013, 1014, 1),
			[]string{"", "C3"}},
		"C3: another instance": {newScript().writes(9, 1000, 1010).reads(1, 1011, 1012, 2).reads(2, 1013, 1014, 1),
			[]string{"", ""}},
		"C3: overlapping reads": {newScript().writes(9, 1000, 1010).reads(1, 1011, 1014, 2).reads(1, 1013, 1015, 1),
			[]string{"", ""}},
		"C3: behind one that returned while another was under way": {
			newScript().writes(9, 1000, 1010).reads(1, 1011, 1020, 1).reads(1, 1012, 1013, 2).reads(1, 1014, 1015,
				1), []string{"", "", "C3"}},
		"C4: granted": {newScript().writes(9, 1000, 1010).reads(1, 1011, 1012, 2, atLeast(2)), []string{""}},
		"C4: older": {newScript().writes(9, 1000, 1010).reads(1, 1011, 1012, 1, atLeast(2)),
			[]string{"C4"}},
		"C4: not ready, rightly": {newScript().reads(1, 1011, 1012, 0, atLeast(2), notReady), []string{""}},
		"C4: not ready, though it is": {newScript().writes(9, 1000, 1010).reads(1, 1011, 1012, 0, atLeast(2), notReady),
			[]string{"C4"}},
		"C5: a version never made":    {newScript().reads(1, 1011, 1012, 7), []string{"C5"}},
		"C5: another version's value": {newScript().writes(9, 1000, 1010).reads(1, 1011, 1012, 2, value(1)), []string{"C5"}},
		"C5: from the future":         {newScript().writes(9, 2000, 2010).reads(1, 1011, 1012, 2), []string{"C5"}},
		"C5: deleted, and a value":    {newScript().deletes(9, 1000, 1010).reads(1, 1011, 1012, 2, value(1)), []string{"C5"}},
		"C5: brought back": {
			newScript().deletes(9, 1000, 1010).reads(1, 1011, 1012, 2).reads(1, 1013, 1014, 1), []string{"", "C3 C5"}},
		"C5: brought back past the bound": {
			newScript().deletes(9, 1000, 1010).reads(1, 1300, 1301, 1, bounded), []string{"C1 C5 C6"}},
		"C5: created anew is no resurrection": {
			newScript().deletes(9, 1000, 1010).writes(9, 1020, 1030).reads(1, 1031, 1032, 3), []string{""}},
		"C6: an honest label": {newScript().writes(9, 1000, 1010).reads(1, 1050, 1051, 1, claims(40)),
			[]string{""}},
		"C6: a false one": {newScript().writes(9, 1000, 1010).reads(1, 1051, 1052, 1, claims(40)),
			[]string{"C6"}},
		"C6: within a bound, and nothing to show": {newScript().reads(1, 1050, 1051, 1, bounded, claims(0)), []string{"C6"}},
		"C6: nor can Get show anything": {newScript().
			reads(1, 1050, 1051, 1, bounded, claims(0), func(r *history.Record) { r.Tier = history.Hidden }), []string{""}},
		"C6: more than asked for": {newScript().reads(1, 1050, 1051, 1, bounded, claims(252)),
			[]string{"C6"}},
		"C7: a sweep": {newScript().writes(9, 1000, 1010).
			reads(1, 1011, 1012, 2, op(history.Sweep)), []string{""}},
		"C7: a sweep that finds an old value": {newScript().writes(9, 1000, 1010).
			reads(1, 1011, 1012, 1, op(history.Sweep)), []string{"C7"}},
		"fresh": {newScript().writes(9, 1000, 1010).
			reads(1, 1011, 1012, 1, op(history.Fresh)), []string{"fresh"}},
		"fresh: beside the write": {newScript().writes(9, 1000, 1010).
			reads(1, 1009, 1012, 1, op(history.Fresh)), []string{""}},
		"fresh: behind another's": {newScript().writes(9, 1000, 0).
			reads(2, 1100, 1110, 2, op(history.Fresh)).reads(1, 1111, 1112, 1, op(history.Fresh)), []string{"", "fresh"}},
		"stale: within the cap": {newScript().writes(9, 1000, 1010).
			reads(1, 1900, 1901, 1, staleWithin(900, 1000)), []string{""}},
		"stale: past the cap": {newScript().writes(9, 1000, 1010).
			reads(1, 1900, 1901, 1, staleWithin(1002, 1000)), []string{"stale"}},
		"stale: still never written": {newScript().reads(1, 1900, 1901, 5, staleWithin(900, 1000)),
			[]string{"C5"}},
	} {
		if diff := cmp.Diff(c.want, broken(t, &c.s.h)); diff != "" {
			t.Errorf("%s: -want +got\n%s", name, diff)
		}
	}
}

func TestCheck_RefusesContradictoryTruth(t *testing.T) {
	for name, spoil := range map[string]func(*history.History){
		"a version is missing": func(h *history.History) {
			h.Commits = append(h.Commits,
				history.Commit{Key: key, Version: 3})
		},
		"a version twice": func(h *history.History) {
			h.Commits = append(h.Commits,
				history.Commit{Key: key, Version: 1})
		},
		"a write nobody began": func(h *history.History) {
			h.Commits = append(h.Commits, history.Commit{Key: key, Version: 2, Write: 77})
		},
		"acknowledged and not committed": func(h *history.History) {
			h.Writes = append(h.Writes, history.Write{Key: key, Number: 5, Return: 5, Version: 2})
		},
		"failed and committed": func(h *history.History) {
			h.Writes = append(h.Writes, history.Write{Key: key, Number: 5, Return: 5, Failed: true})
			h.Commits = append(h.Commits, history.Commit{Key: key, Version: 2, Write: 5})
		},
		"told another version": func(h *history.History) {
			h.Writes = append(h.Writes, history.Write{Key: key, Number: 5, Return: 5, Version: 1})
			h.Commits = append(h.Commits, history.Commit{Key: key, Version: 2, Write: 5})
		},
	} {
		h := newScript().h
		spoil(&h)
		if err := history.Check(&h, func(*history.Record, time.Duration, []history.Violation) {}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestJudge_LinearizesFreshReads(t *testing.T) {
	fresh := op(history.Fresh)
	good := newScript().writes(9, 1000, 1010).writes(9, 1020, 0).
		reads(1, 1011, 1012, 2, fresh).reads(2, 1030, 1031, 2, fresh).reads(1, 1032, 1033, 3, fresh)
	bad := newScript().writes(9, 1000, 1010).writes(9, 1020, 0).
		reads(1, 1030, 1031, 3, fresh).reads(2, 1032, 1033, 2, fresh)
	for _, c := range []struct {
		s    *script
		want []uint32
	}{{good, nil}, {bad, []uint32{key}}} {
		r, err := history.Judge(&c.s.h)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.want, r.Linear.Illegal); diff != "" || r.Linear.Keys != 1 {
			t.Errorf("%d keys; illegal: -want +got\n%s", r.Linear.Keys, diff)
		}
	}
}

func TestJudge_SumsUpByFault(t *testing.T) {
	s := newScript().writes(9, 1000, 1010).
		reads(1, 1100, 1101, 2).
		reads(1, 2100, 2101, 1, bounded). // while the cable is out
		reads(2, 2200, 2201, 0, func(r *history.Record) { r.Flags = history.Failed; r.Tier = history.None }).
		reads(1, 3500, 3501, 2, bounded)
	s.h.Windows = []history.Window{{Fault: "cable", From: at(2000), Healed: at(3000), Recovered: at(3200)}}
	s.h.Looks = map[uint16][]history.Look{1: {{At: at(990), Staleness: ms(20)}, {At: at(1030), Staleness: ms(30)},
		{At: at(1055), Staleness: ms(25)}}}
	r, err := history.Judge(&s.h)
	if err != nil {
		t.Fatal(err)
	}
	want := history.Row{Fault: "cable", Times: 1, Checked: 1, Errors: 1, Stalest: ms(1090), Recover: ms(200)}
	want.Broken[history.C1], want.Broken[history.C3], want.Broken[history.C6] = 1, 1, 1
	want.Served[history.L1], want.Served[history.None] = 1, 1
	if diff := cmp.Diff([]history.Row{want}, r.Rows); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	if r.Quiet.Checked != 2 || r.Quiet.Broke() != 0 || r.Total.Checked != 3 || r.Total.Broke() != 3 ||
		len(r.Violations) != 3 {
		t.Errorf("quiet %+v, total %+v, %d violations kept", r.Quiet, r.Total, len(r.Violations))
	}
	if r.Quiet.Share(history.L1) != 1 {
		t.Errorf("L1's share is %v", r.Quiet.Share(history.L1))
	}
	if r.Lag.Samples != 1 || r.Lag.P999 != ms(45) {
		t.Errorf("lag %+v, want 45ms", r.Lag)
	}
}

// waiting is the rule of the small histories: 100 ms of slack, a deadline of 3 s, and what lasts for 200 ms
// goes on to explain waiting for 50 ms.
var waiting = history.Waiting{Slack: ms(100), Deadline: ms(3000), Slow: ms(50), Lost: ms(200), Settle: ms(50)}

// asks has a process ask Redis or the source every 20 ms from one time to another, with quick answers.
func (s *script) asks(process uint16, from, to int64) *script {
	for t := from; t < to; t += 20 {
		s.asked(process, t, t+1, false)
	}
	return s
}

func (s *script) asked(process uint16, invoke, returned int64, failed bool) *script {
	if s.h.Answers == nil {
		s.h.Answers, s.h.Waiting = map[uint16][]history.Answer{}, waiting
	}
	s.h.Answers[process] = append(s.h.Answers[process],
		history.Answer{Process: process, Invoke: at(invoke), Return: at(returned), Failed: failed})
	return s
}

// faulty adds a fault, and congested one that slows connections which carry much.
func faulty(s *script, from, healed int64) *script {
	s.h.Windows = append(s.h.Windows,
		history.Window{Fault: "fault", From: at(from), Healed: at(healed), Recovered: at(healed)})
	return s
}

func congested(s *script, from, healed int64) *script {
	faulty(s, from, healed).h.Windows[0].Congested = true
	return s
}

func TestCheck_NoReadWaitsWithoutAReason(t *testing.T) {
	failed := func(r *history.Record) { r.Flags, r.Version = history.Failed, 0 }
	both := func() *script { return newScript().asks(1, 1000, 9000).asks(2, 1000, 9000) }
	for name, c := range map[string]struct {
		s    *script
		want []string
	}{
		"within the slack":            {both().reads(1, 2000, 2100, 1), []string{""}},
		"a lease's TTL slept out":     {both().reads(1, 2000, 4000, 1), []string{"wait"}},
		"just past the slack":         {both().reads(1, 2000, 2101, 1), []string{"wait"}},
		"an error does not excuse it": {both().reads(1, 2000, 4000, 0, failed), []string{"wait"}},
		"nor does an absence of Get": {both().
			reads(1, 2000, 4000, 0, func(r *history.Record) { r.Flags = history.Absent | history.Unknown }), []string{"wait"}},
		"nor that it was not ready":      {both().reads(1, 2000, 4000, 0, atLeast(7), notReady), []string{"wait"}},
		"a slow answer explains it":      {both().asked(1, 2010, 3900, false).reads(1, 2000, 4000, 1), []string{""}},
		"a quick one does not":           {both().asked(1, 2010, 2050, false).reads(1, 2000, 4000, 1), []string{"wait"}},
		"so does another instance's":     {both().asked(2, 2010, 3900, false).reads(1, 2000, 4000, 1), []string{""}},
		"one that failed explains a bit": {both().asked(1, 2010, 2011, true).reads(1, 2000, 2151, 1), []string{""}},
		"and no more than that":          {both().asked(1, 2010, 2011, true).reads(1, 2000, 2152, 1), []string{"wait"}},
		"a slow answer explains itself":  {both().asked(1, 2010, 2060, false).reads(1, 2000, 2150, 1), []string{""}},
		"and nothing beyond":             {both().asked(1, 2010, 2060, false).reads(1, 2000, 2151, 1), []string{"wait"}},
		"a slow answer that was over":    {both().asked(1, 1010, 1900, false).reads(1, 2000, 2101, 1), []string{"wait"}},
		"another instance was stopped": {newScript().asks(1, 1000, 9000).asks(2, 1000, 2000).asks(2, 3900, 9000).
			reads(1, 2000, 4000, 1), []string{""}},
		"and went on long before": {newScript().asks(1, 1000, 9000).asks(2, 1000, 2000).asks(2, 2900, 9000).
			reads(1, 3000, 4000, 1), []string{"wait"}},
		"no deadline is overrun": {both().asked(1, 2010, 8900, false).reads(1, 2000, 5101, 1), []string{"wait"}},
		"unless its process was stopped": {newScript().asks(1, 1000, 2000).asked(1, 4000, 8900, false).
			reads(1, 2000, 7050, 1), []string{""}},
		"not another one": {newScript().asks(1, 1000, 9000).asks(2, 1000, 2000).asks(2, 8000, 9000).
			reads(1, 2000, 5101, 1), []string{"wait"}},
		"a congested link explains it": {congested(both(), 1500, 3300).reads(1, 2000, 4000, 1), []string{"wait"}},
		"while it lasts":               {congested(both(), 1500, 3900).reads(1, 2000, 4000, 1), []string{""}},
		"another fault does not":       {faulty(both(), 1500, 3900).reads(1, 2000, 4000, 1), []string{"wait"}},
		"nobody asked":                 {newScript().reads(1, 2000, 9000, 1), []string{""}},
	} {
		c.s.h.Waiting = waiting
		for p := range c.s.h.Answers {
			slices.SortFunc(c.s.h.Answers[p], func(a, b history.Answer) int { return int(a.Invoke - b.Invoke) })
		}
		if diff := cmp.Diff(c.want, broken(t, &c.s.h)); diff != "" {
			t.Errorf("%s: -want +got\n%s", name, diff)
		}
	}
}

func TestCheck_UncountedCommits(t *testing.T) {
	// A commit of value 77 that counted no version, invoked at 1100, while version 2 stood.
	uncounted := func() *script {
		s := newScript().writes(9, 1000, 1010)
		s.h.Writes = append(s.h.Writes,
			history.Write{Key: key, Number: 77, Invoke: at(1100), Return: at(1110), Invalidated: history.Forever})
		s.h.Commits = append(s.h.Commits, history.Commit{Key: key, Version: 2, Hash: 77, Write: 77, Uncounted: true})
		return s
	}
	for name, c := range map[string]struct {
		s    *script
		want []string
	}{
		"seen":                      {uncounted().reads(1, 1200, 1201, 2, value(77)), []string{""}},
		"not seen":                  {uncounted().reads(1, 9000, 9001, 2, bounded), []string{""}},
		"fresh, not seen":           {uncounted().reads(1, 9000, 9001, 2, op(history.Fresh)), []string{""}},
		"before it was written":     {uncounted().reads(1, 1050, 1060, 2, value(77)), []string{"C5"}},
		"under another version":     {uncounted().reads(1, 1200, 1201, 1, value(77)), []string{"C5"}},
		"a value that nobody wrote": {uncounted().reads(1, 1200, 1201, 2, value(78)), []string{"C5"}},
		"a deletion that nobody did": {uncounted().
			reads(1, 1200, 1201, 2, func(r *history.Record) { r.Flags, r.Hash = history.Absent, 0 }), []string{"C5"}},
		"older than the counted one": {uncounted().reads(1, 1300, 1301, 1, bounded), []string{"C1 C6"}},
	} {
		if diff := cmp.Diff(c.want, broken(t, &c.s.h)); diff != "" {
			t.Errorf("%s: -want +got\n%s", name, diff)
		}
	}
	s := uncounted()
	s.h.Commits[2].Version = 9
	if err := history.Check(&s.h, func(*history.Record, time.Duration, []history.Violation) {}); err == nil {
		t.Error("an uncounted commit of a version that nobody counted: no error")
	}
}
