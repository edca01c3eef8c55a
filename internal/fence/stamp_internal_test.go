package fence

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
	"unsafe"
)

// TestStamp_ProvesNoMoreThanItsLoad holds the packed moments against the real ones: a proof may be older than it need
// be, by little, and never newer.
func TestStamp_ProvesNoMoreThanItsLoad(t *testing.T) {
	for range 100_000 {
		sample := 1 + rand.Int64N(1<<(1+rand.IntN(62)))
		began := sample + rand.Int64N(1<<(1+rand.IntN(50)))
		if rand.IntN(4) == 0 {
			began = sample - rand.Int64N(min(sample, int64(time.Second))) // the sample began after the load did
		}
		var s Stamp
		s.loaded(began, sample, 0)
		got, ago := s.LoadedAsOf(), max(0, began-sample)
		switch {
		case got > sample, got > s.Began():
			t.Fatalf("began %d, sample %d: proved as of %d", began, sample, got)
		case ago < int64(2*time.Second) && got != sample:
			t.Fatalf("began %d, sample %d: proved as of %d, and could be exact", began, sample, got)
		case ago < int64(72*time.Hour) && sample-got > 1<<spanShift:
			t.Fatalf("began %d, sample %d: proved as of %d, rounded too far", began, sample, got)
		case ago > int64(79*time.Hour) && got != 0:
			t.Fatalf("began %d, sample %d: proved as of %d, out of range", began, sample, got)
		}
	}
	var s Stamp
	s.loaded(5, 0, 0)
	if s.LoadedAsOf() != 0 {
		t.Errorf("without a sample: proved as of %d", s.LoadedAsOf())
	}
	if size := unsafe.Sizeof(s); size != 40 {
		t.Errorf("a stamp takes %d bytes", size)
	}
}

// TestStamp_IsServedNoLongerThanItsTTL holds the packed deadline against the real one: it may come earlier, by little.
func TestStamp_IsServedNoLongerThanItsTTL(t *testing.T) {
	for range 100_000 {
		began, ttl := rand.Int64N(1<<50), rand.Int64N(1<<(1+rand.IntN(61)))-rand.Int64N(1<<40)
		var s Stamp
		s.SetMark()
		s.loaded(began, 0, 3)
		s.SetDeadline(began + ttl)
		early := began + ttl - s.Deadline()
		switch {
		case ttl <= 0:
			if !s.Expired(began) || !s.Expired(began-int64(time.Second)) {
				t.Fatalf("began %d, TTL %d: not expired, also for a clock that is behind", began, ttl)
			}
		case early < 0:
			t.Fatalf("began %d, TTL %d: served %d longer", began, ttl, -early)
		case ttl < int64(2*time.Second) && early != 0, ttl <= int64(MaxTTL) && early >= 1<<spanShift:
			t.Fatalf("began %d, TTL %d: %d too early", began, ttl, early)
		case ttl > int64(MaxTTL) && s.Deadline() != began+int64(MaxTTL):
			t.Fatalf("began %d, TTL %d: served for %d", began, ttl, s.Deadline()-began)
		case s.Expired(s.Deadline() - 1), !s.Expired(s.Deadline()):
			t.Fatalf("began %d, TTL %d: expires at another moment than its deadline", began, ttl)
		}
		if !s.Marked() || s.timeline&^stampMark != 3 || s.Began() != began {
			t.Fatalf("the deadline has changed something else: %+v", &s)
		}
	}
	if MaxTTL < 72*time.Hour {
		t.Errorf("L1 keeps entries for %v at most", MaxTTL)
	}
}

// TestSession_NumbersPassOverNone: what a stamp keeps of a session's number is 0 for no session alone.
func TestSession_NumbersPassOverNone(t *testing.T) {
	for _, last := range []uint64{0, 1, math.MaxUint32 - 1, math.MaxUint32, 1<<33 - 1} {
		if next := nextSession(last); next <= last || session32(next) == 0 || session32(next) == session32(last) {
			t.Errorf("after session %d comes %d", last, next)
		}
	}
}

// TestHistories_FailClosed: when no number is left, an timeline has none, and is taken for no other.
func TestHistories_FailClosed(t *testing.T) {
	var h timelines
	if h.number(0) != 0 {
		t.Error("no timeline has a number")
	}
	for timeline := range uint64(maxTimelines - 1) {
		h.ids = append(h.ids, timeline+1)
	}
	last := h.number(1 << 40)
	if last != maxTimelines || h.number(1<<40) != last || h.number(7) != 7 {
		t.Errorf("numbers %d, %d and %d", last, h.number(1<<40), h.number(7))
	}
	f := &Fence{}
	f.timelines.ids = h.ids
	var s Stamp
	s.loaded(1, 1, f.timelines.number(1<<41))
	if s.timeline != 0 || s.SameTimeline(f, 1<<41) || s.SameTimeline(f, 0) {
		t.Error("an timeline without a number is taken for one")
	}
	s.loaded(1, 1, f.timelines.number(7))
	if !s.SameTimeline(f, 7) || s.SameTimeline(f, 8) {
		t.Error("an timeline is not told from another")
	}
}
