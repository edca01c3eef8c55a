package copier

import (
	"fmt"
	"testing"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/ablate"
	"github.com/nearcache/nearcache-go/internal/explore"
	"github.com/nearcache/nearcache-go/internal/l2"
)

// This file tries every interleaving of a copier with a source, the relays, writers and readers of both places, and
// servers that fail over and lose watermarks. There is one key. Which records are copied is decided by the code that
// production runs (believed, carried); the places are package explore's twin of the scripts.

// reader is an instance that misses the key in one place, and loads it.
type reader struct {
	phase       uint8 // readerIdle and so on
	mine        uint8 // 1: its lease stands
	incarnation uint8
	value       uint8 // what it has loaded
}

const (
	readerIdle = iota
	readerLeased
	readerLoaded
)

// phases of the copier.
const (
	copyIdle   = iota
	copyLeased // it has the lease, and has not looked at its clock
	copyClocked
	copyRead
)

type copyWorld struct {
	committed uint8 // versions of the source: the last one
	from, to  explore.L2
	replica   explore.L2 // of from's server
	readers   [2]reader  // of from, and of to
	toValue   uint8      // what the record of to really is, whatever version it claims
	toSeen    uint8      // the newest version that writers have applied to to

	phase       uint8
	mine        uint8 // 1: the lease of to is the copier's
	sample      uint8 // what was committed when it looked at its clock
	proved      uint8 // 1: the last reading of from's watermark proves the clock's moment, in this session
	incarnation uint8 // that it read with that
	lease       uint8 // the incarnation of to that came with the lease
	record      uint8 // what it has read: the version + 1
	value       uint8

	incarnations, evictions, failOvers uint8 // so far
}

// copyModel is a scope.
type copyModel struct {
	name                           string
	versions, evictions, failOvers uint8
	sets                           bool
	goal                           bool // looks for a copy instead of a violation
}

func packL2(p *explore.Packer, l *explore.L2) {
	explore.Bits(p, 2, &l.Record, &l.Watermark)
	explore.Bits(p, 2, &l.RecordIncarnation, &l.WatermarkIncarnation)
	explore.Bits(p, 1, &l.Lease)
}

func (m *copyModel) visit(p *explore.Packer, w *copyWorld) {
	explore.Bits(p, 2, &w.committed, &w.toValue, &w.toSeen, &w.phase, &w.sample, &w.incarnation, &w.lease, &w.record,
		&w.value, &w.incarnations)
	explore.Bits(p, 1, &w.mine, &w.proved, &w.evictions, &w.failOvers)
	packL2(p, &w.from)
	packL2(p, &w.to)
	if m.failOvers > 0 {
		packL2(p, &w.replica)
	}
	for i := range w.readers {
		r := &w.readers[i]
		explore.Bits(p, 2, &r.phase, &r.incarnation, &r.value)
		explore.Bits(p, 1, &r.mine)
	}
}

func (m *copyModel) pack(w *copyWorld) (explore.State, int) {
	var p explore.Packer
	m.visit(&p, w)
	return p.State, p.Used()
}

func (m *copyModel) First() (explore.State, int) {
	w := copyWorld{incarnations: 1}
	w.from = explore.L2{Watermark: 1, WatermarkIncarnation: 1}
	w.to, w.replica = w.from, w.from
	return m.pack(&w)
}

// stepper emits the successors of one state.
type stepper struct {
	*copyModel
	emit explore.Emit
	from copyWorld
}

func (m *copyModel) Next(s *explore.State, emit explore.Emit) {
	p := explore.Packer{State: *s, Unpack: true}
	st := stepper{copyModel: m, emit: emit}
	m.visit(&p, &st.from)
	st.source()
	for i := range 2 {
		st.relay(i)
		st.reader(i)
	}
	st.servers()
	st.copier()
}

// step emits a successor, after the checks.
func (s *stepper) step(name string, who int, w copyWorld) {
	if w.to.Record == 0 {
		w.toValue = 0
	}
	if w.from.Lease == 0 {
		w.readers[0].mine = 0
	}
	if w.to.Lease == 0 {
		w.readers[1].mine, w.mine = 0, 0
	}
	violation := ""
	if newest := max(w.to.Watermark, w.toSeen+1); !s.goal && w.to.Live() && w.toValue+1 < newest {
		violation = fmt.Sprintf("the new place holds version %d, and has applied %d", w.toValue, newest-1)
	}
	if s.goal && name == "the copier fills" && w.toValue == s.versions {
		violation = "reached"
	}
	next, _ := s.pack(&w)
	s.emit(explore.Step{Name: name, Instance: int8(who), Version: -1}, &next, violation)
}

// place is one of the two, 0 being the old one.
func (w *copyWorld) place(i int) *explore.L2 {
	if i == 0 {
		return &w.from
	}
	return &w.to
}

func (s *stepper) source() {
	if w := s.from; w.committed < s.versions {
		w.committed++
		s.step("a commit", -1, w)
	}
	if !s.sets {
		return
	}
	for i := range 2 {
		for v := uint8(1); v <= s.from.committed; v++ { // a writer's own invalidation may come late, and twice
			w := s.from
			w.place(i).Set(v, false)
			if i == 1 {
				w.toSeen = max(w.toSeen, v)
				if w.to.Record == v+1 && s.from.to.Record != v+1 {
					w.toValue = v
				}
			}
			s.step(fmt.Sprintf("a writer sets version %d", v), i, w)
		}
	}
}

// relay is the relay of a place.
func (s *stepper) relay(i int) {
	w := s.from
	on := w.place(i)
	switch at := on.Watermark; {
	case at == 0 && w.incarnations < 3:
		w.incarnations++
		on.Reset(0, 0, 0, w.committed, w.incarnations)
		s.step("a relay begins an incarnation", i, w)
	case at > 0 && at-1 < w.committed:
		now := explore.Mark{Incarnation: on.WatermarkIncarnation, Position: at - 1}
		next := now
		next.Position++
		on.Batch(now, next, next.Position)
		s.step("a relay applies a version", i, w)
	}
}

func (s *stepper) reader(i int) {
	w := s.from
	r, on := &w.readers[i], w.place(i)
	switch r.phase {
	case readerIdle:
		if on.Acquire(false) == explore.Granted {
			*r = reader{phase: readerLeased, mine: 1, incarnation: on.Incarnation()}
			s.step("a reader acquires", i, w)
		}
	case readerLeased:
		r.phase, r.value = readerLoaded, w.committed
		s.step("a reader loads", i, w)
	case readerLoaded:
		if on.Fill(r.mine == 1, r.incarnation, r.value) && i == 1 {
			w.toValue = r.value
		}
		*r = reader{}
		s.step("a reader fills", i, w)
	}
}

// servers are what becomes of them.
func (s *stepper) servers() {
	for i := range 2 {
		if w := s.from; w.place(i).Lease == 1 {
			w.place(i).EvictLease()
			s.step("a lease expires", i, w)
		}
		if w := s.from; w.evictions < s.evictions && w.place(i).Watermark > 0 {
			w.evictions++
			w.place(i).EvictWatermark()
			s.step("a watermark is lost", i, w)
		}
	}
	if w := s.from; w.failOvers < s.failOvers {
		w.replica = w.from
		s.step("the old place's replica catches up", 0, w)
		w = s.from
		w.failOvers++
		w.from = w.replica
		w.from.Lease = 0
		if !ablate.Out(ablate.WatermarkFirst) { // the session ends, and package fence takes the proof back
			w.proved = 0
		}
		s.step("the old place fails over", 0, w)
	}
}

// The model's clock: the copier looks at it at moment 1, and what is proved is as of then.
const clocked = 1

func (s *stepper) copier() {
	w := s.from
	switch w.phase {
	case copyIdle:
		if ablate.Out(ablate.CopyLeaseFirst) {
			w.phase, w.sample = copyClocked, w.committed
			s.step("the copier looks at its clock", -1, w)
		} else if s.acquire(&w) {
			w.phase = copyLeased
			s.step("the copier acquires", 1, w)
		}
	case copyLeased:
		w.phase, w.sample = copyClocked, w.committed
		s.step("the copier looks at its clock", -1, w)
	case copyClocked:
		s.proof(w)
	case copyRead:
		if w.to.Fill(w.mine == 1, w.lease, w.record-1) {
			w.toValue = w.value
		}
		w.phase, w.sample, w.proved, w.incarnation, w.lease, w.record, w.value = copyIdle, 0, 0, 0, 0, 0, 0
		s.step("the copier fills", 1, w)
	}
}

func (s *stepper) acquire(w *copyWorld) bool {
	if w.to.Acquire(false) != explore.Granted {
		return false
	}
	if w.lease = w.to.Incarnation(); w.lease == 0 {
		return false
	}
	w.mine = 1
	return true
}

// proof reads the watermark of the old place, or the record.
func (s *stepper) proof(w copyWorld) {
	beat := w
	beat.incarnation, beat.proved = w.from.Incarnation(), 0
	if w.from.Watermark > w.sample {
		beat.proved = 1
	}
	s.step("the copier reads the old watermark", 0, beat)
	if ablate.Out(ablate.CopyLeaseFirst) && !s.acquire(&w) {
		return
	}
	if w.from.Record == 0 || w.from.Unconfirmed == 1 {
		return
	}
	asOf := int64(0)
	if w.proved == 1 {
		asOf = clocked
	}
	rec := l2.Record{Version: coherence.Version(w.from.Record - 1), Incarnation: l2.Incarnation{w.from.RecordIncarnation}}
	if believed(&rec, l2.Incarnation{w.incarnation}, asOf, clocked) != "" {
		return
	}
	w.phase, w.value, w.record = copyRead, uint8(rec.Version), uint8(carried(rec).Version)+1
	s.step("the copier reads the old record", 0, w)
}

var copyScopes = []copyModel{
	{name: "readers", versions: 2},
	{name: "writers", versions: 2, sets: true},
	{name: "lost watermarks", versions: 2, evictions: 1},
	{name: "a fail-over", versions: 2, failOvers: 1},
	{name: "writers and a fail-over", versions: 1, sets: true, failOvers: 1},
}

const copyLimit = 3_000_000

// TestExplore: whatever the interleaving, the new place never holds less than it has applied.
func TestExplore(t *testing.T) {
	for i, m := range copyScopes {
		if raced && i > 1 {
			continue // the race detector makes do with the small ones
		}
		t.Run(m.name, func(t *testing.T) {
			r := explore.Search(&m, copyLimit)
			t.Logf("%d states, %d steps, whole: %v", r.States, r.Depth, r.Whole)
			switch {
			case r.Violation != "":
				t.Error(copyTrace(&r))
			case !r.Whole:
				t.Error("not explored whole")
			}
		})
	}
}

// TestExplore_RecordsAreCopied: the rules let the newest version be copied.
func TestExplore_RecordsAreCopied(t *testing.T) {
	r := explore.Search(&copyModel{versions: 2, goal: true}, copyLimit)
	if r.Violation != "reached" {
		t.Errorf("nothing was copied in %d states", r.States)
	}
}

func copyTrace(r *explore.Result) string {
	out := r.Violation
	for i, s := range r.Trace {
		out += fmt.Sprintf("\n%4d  %s", i+1, s)
	}
	return out
}
