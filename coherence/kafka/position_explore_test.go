package kafka

import (
	"flag"
	"fmt"
	"testing"

	"github.com/nearcache/nearcache-go/internal/explore"
)

// This file tries every interleaving of relays that write barriers, leaders of the barriers' topic that change, and an
// instance that learns a position from them. What the instance and the Publisher decide is decided by the code that
// production runs (marks.shows).

const (
	markRecords = 4 // of the barriers' topic
	markCommits = 2
)

type markRecord struct{ head, begun, epoch, term, round uint8 }

type markRelay struct {
	phase uint8
	head  uint8
	at    uint8 // where its record is
	epoch uint8 // of the leader that it sent it to
	round uint8 // the last that was sent
}

// phases of a relay.
const (
	markIdle = iota
	markAsked
	markSent
)

type markWorld struct {
	acknowledged uint8 // commits

	log     [markRecords]markRecord
	records uint8
	high    uint8 // the high watermark
	safe    uint8 // what was acknowledged
	stable  uint8 // what readers of committed records see; below high while somebody's transaction is open
	open    uint8 // one is
	epoch   uint8
	changes uint8 // of the leader, still to come
	oldHigh uint8 // of the leader before, which was cut off and does not know it
	oldEra  uint8 // its epoch+1; 0: there is none

	relays [2]markRelay
	sent   [2]uint8 // behind the last record that each Publisher had acknowledged

	// The instance.
	started uint8
	next    uint8
	seen    [markRecords]struct{ epoch, term, round uint8 } // by offset; of no term: not read
	phase   uint8                                           // 0: no sample, 1: the clock was read, 2: the end was answered
	clock   uint8                                           // as the commits that were acknowledged before it was read
	end     uint8
	ofEpoch uint8
}

// markModel is a scope.
type markModel struct {
	name    string
	large   bool // only with -explore.full
	relays  int
	shared  bool // they use one Publisher
	leader  int  // changes of the leader
	unclean bool // to one that lacks records
	txns    bool
}

func (m *markModel) visit(p *explore.Packer, w *markWorld) {
	explore.Bits(p, 2, &w.acknowledged, &w.epoch, &w.changes, &w.oldEra, &w.phase, &w.clock, &w.ofEpoch)
	explore.Bits(p, 3, &w.records, &w.high, &w.stable, &w.oldHigh, &w.next, &w.safe, &w.end)
	explore.Bits(p, 1, &w.open, &w.started)
	for i := range w.log {
		explore.Bits(p, 2, &w.log[i].head, &w.log[i].epoch, &w.log[i].term, &w.seen[i].epoch, &w.seen[i].term)
		explore.Bits(p, 3, &w.log[i].begun, &w.log[i].round, &w.seen[i].round)
	}
	for i := range m.relays {
		r := &w.relays[i]
		explore.Bits(p, 2, &r.phase, &r.head, &r.epoch)
		explore.Bits(p, 3, &r.at, &r.round)
	}
	for i := range m.publishers() {
		explore.Bits(p, 3, &w.sent[i])
	}
}

func (m *markModel) publishers() int {
	if m.shared {
		return 1
	}
	return m.relays
}

func (m *markModel) publisher(relay int) int { return relay % m.publishers() }

func (m *markModel) pack(w *markWorld) (explore.State, int) {
	var p explore.Packer
	m.visit(&p, w)
	return p.State, p.Used()
}

func (m *markModel) First() (explore.State, int) {
	return m.pack(&markWorld{changes: uint8(m.leader)})
}

func (m *markModel) Next(s *explore.State, emit explore.Emit) {
	p := explore.Packer{State: *s, Unpack: true}
	var from markWorld
	m.visit(&p, &from)
	step := func(name string, who, version int, violation string, to markWorld) {
		if to.open == 0 {
			to.stable = to.high
		}
		next, _ := m.pack(&to)
		emit(explore.Step{Name: name, Instance: int8(who), Version: int8(version)}, &next, violation)
	}
	if w := from; w.acknowledged < markCommits {
		w.acknowledged++
		step("a commit is acknowledged", -1, int(w.acknowledged), "", w)
	}
	for i := range m.relays {
		m.relay(i, from, step)
	}
	m.leaders(from, step)
	m.instance(from, step)
}

type markStep func(name string, who, version int, violation string, to markWorld)

func (m *markModel) relay(i int, w markWorld, step markStep) {
	r, behind := &w.relays[i], &w.sent[m.publisher(i)]
	term := uint8(i + 1)
	switch r.phase {
	case markIdle:
		r.phase, r.head = markAsked, w.acknowledged
		step("a relay asks the source for its head", i, int(r.head), "", w)
	case markAsked:
		if w.records == markRecords || r.round == 7 {
			return
		}
		rec := markRecord{head: r.head, epoch: w.epoch, term: term, round: r.round + 1, begun: *behind}
		r.phase, r.at, r.epoch, r.round = markSent, w.records, w.epoch, rec.round
		w.log[w.records] = rec
		w.records++
		step("a relay's barrier reaches the leader", i, int(r.at), "", w)
	case markSent:
		if r.epoch == w.epoch && w.high > r.at {
			*behind = r.at + 1
			*r = markRelay{round: r.round}
			step("a relay's barrier is acknowledged", i, -1, "", w)
		} else if r.epoch != w.epoch {
			*r = markRelay{round: r.round}
			step("a relay's barrier fails", i, -1, "", w)
		}
	}
}

func (m *markModel) leaders(from markWorld, step markStep) {
	if w := from; w.high < w.records {
		w.high++
		w.safe = max(w.safe, w.high)
		step("the replicas have another record", -1, int(w.high)-1, "", w)
	}
	if w := from; m.txns {
		w.open = 1 - w.open
		step("somebody's transaction opens, or ends", -1, int(w.open), "", w)
	}
	if from.changes == 0 {
		return
	}
	// The new leader has all that was acknowledged, and may have more. It may not know yet how much was acknowledged.
	least := from.safe
	if m.unclean {
		least = 0
	}
	for kept := least; kept <= from.records; kept++ {
		for high := range min(from.safe, kept) + 1 {
			w := from
			w.changes--
			w.oldHigh, w.oldEra = from.high, from.epoch+1
			w.epoch++
			for i := kept; i < from.records; i++ {
				w.log[i] = markRecord{}
			}
			w.records, w.high, w.safe = kept, high, min(w.safe, kept)
			w.stable = min(w.stable, high)
			step("another broker leads, and the one before does not know it", -1, int(high), "", w)
		}
	}
}

func (m *markModel) instance(from markWorld, step markStep) {
	if from.started == 0 {
		for at := range from.stable + 1 {
			w := from
			w.started, w.next = 1, at
			step("the instance begins to read", 0, int(at), "", w)
		}
		return
	}
	switch w := from; w.phase {
	case 0:
		w.phase, w.clock = 1, w.acknowledged
		step("the instance reads its clock", 0, int(w.clock), "", w)
	case 1:
		w.phase, w.end, w.ofEpoch = 2, w.high, w.epoch
		if isolation() != 0 {
			w.end = w.stable
		}
		step("the leader answers its end", 0, int(w.end), "", w)
		if old := from; old.oldEra > 0 {
			old.phase, old.end, old.ofEpoch = 2, old.oldHigh, old.oldEra-1
			step("the leader before answers its end", 0, int(old.end), "", old)
		}
	}
	if w := from; w.next > w.records {
		w.started, w.next, w.seen = 0, 0, [markRecords]struct{ epoch, term, round uint8 }{}
		step("the leader has not got the instance's offset", 0, -1, "", w)
	}
	if from.next >= from.stable {
		return
	}
	w := from
	var known marks
	for i, s := range w.seen {
		if s.term > 0 {
			known.read(mark{int64(i), int32(s.epoch), uint64(s.term), uint64(s.round)})
		}
	}
	rec, at := w.log[w.next], w.next
	r := mark{int64(at), int32(rec.epoch), uint64(rec.term), uint64(rec.round)}
	w.seen[at].epoch, w.seen[at].term, w.seen[at].round = rec.epoch, rec.term, rec.round
	w.next++
	violation := ""
	if w.phase == 2 && rec.begun > 0 && known.shows(r, int64(rec.begun), end{int64(w.end), int32(w.ofEpoch)}) {
		if rec.head < w.clock {
			violation = "the position lacks a commit that was acknowledged before it was asked for"
		}
		w.phase, w.clock, w.end, w.ofEpoch = 0, 0, 0, 0
	}
	step("the instance reads a barrier", 0, int(w.next)-1, violation, w)
}

// markScopes are the scopes of make test, in order of size; the race detector makes do with the first ones.
var markScopes = []markModel{
	{name: "one relay", relays: 1},
	{name: "transactions", relays: 1, txns: true},
	{name: "a leader changes", relays: 1, leader: 1},
	{name: "two relays", relays: 2},
	{name: "a leader lacks records", relays: 1, leader: 1, unclean: true},
	{name: "two relays of one Publisher", relays: 2, shared: true, large: true},
	{name: "transactions, a leader changes", relays: 1, txns: true, leader: 1},
	{name: "a leader changes twice", relays: 1, leader: 2, large: true},
}

var exploreFull = flag.Bool("explore.full", false, "TestExplorePosition: the large scopes too")

func (m *markModel) search() explore.Result { return explore.Search(m, 20_000_000) }

// TestExplorePosition: whatever the interleaving, a position covers what was acknowledged before it was asked for.
func TestExplorePosition(t *testing.T) {
	for _, m := range markScopes {
		if (m.large || raced && m != markScopes[0] && m != markScopes[1]) && !*exploreFull {
			continue
		}
		t.Run(m.name, func(t *testing.T) {
			r := m.search()
			t.Logf("%d states, %d steps, whole: %v", r.States, r.Depth, r.Whole)
			switch {
			case r.Violation != "":
				t.Error(markTrace(&r))
			case !r.Whole:
				t.Error("not explored whole")
			}
		})
	}
}

// TestPosition_IsLearnt: the rules let positions be learnt, with any of the scopes.
func TestPosition_IsLearnt(t *testing.T) {
	var seen marks
	for _, step := range []struct {
		mark
		begun int64
		after end
		want  bool
	}{
		{mark{6, 3, 1, 1}, 0, end{6, 3}, false},
		{mark{7, 3, 1, 2}, 7, end{7, 3}, false}, // begun behind the record before the end
		{mark{8, 3, 1, 3}, 8, end{7, 3}, true},
		{mark{9, 4, 1, 4}, 9, end{8, 3}, true},    // the next leader appends it
		{mark{10, 4, 2, 1}, 10, end{8, 4}, false}, // another relay's
		{mark{11, 4, 1, 5}, 10, end{9, 3}, false}, // another leader has answered
		{mark{12, 4, 1, 7}, 12, end{9, 4}, false}, // a round was not acknowledged
	} {
		if got := seen.shows(step.mark, step.begun, step.after); got != step.want {
			t.Errorf("%+v: got %v", step, got)
		}
		seen.read(step.mark)
	}
}

func markTrace(r *explore.Result) string {
	out := r.Violation
	for i, s := range r.Trace {
		out += fmt.Sprintf("\n%4d  %s", i+1, s)
	}
	return out
}
