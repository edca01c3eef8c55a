package tailing

import "testing"

// TestNumbers: only a barrier, which the relay alone can write, says which numbers there must be. What others write
// hides no gap beyond it, and ends no session.
func TestNumbers(t *testing.T) {
	type step struct {
		events            []uint64 // of the step's timeline
		garbled           bool
		timeline, barrier uint64
		gap               bool
	}
	const forged = 1 << 60
	for name, steps := range map[string][]step{
		"nothing is missing": {{barrier: 5}, {events: []uint64{6, 7}, barrier: 7}, {barrier: 7}},
		"an event is missing": {{barrier: 5}, {events: []uint64{6, 8}, barrier: 8, gap: true},
			{events: []uint64{9}, barrier: 9}},
		"the last is missing": {{barrier: 5},
			{events: []uint64{6}, barrier: 7, gap: true}, {events: []uint64{8}, barrier: 8}},
		"a forged number ends nothing": {{barrier: 5}, {events: []uint64{forged, 6}, barrier: 6},
			{events: []uint64{7, forged + 1}, barrier: 7}},
		"and hides nothing": {{barrier: 5}, {events: []uint64{forged, 7}, barrier: 7, gap: true},
			{events: []uint64{forged}, barrier: 8, gap: true}},
		"events from before the session's first barrier": {{events: []uint64{3, 4}, barrier: 5},
			{events: []uint64{6}, barrier: 6}},
		"events that overtake the session's first barrier": {{events: []uint64{5, 6, 7}, barrier: 5}, {barrier: 7},
			{barrier: 8, gap: true}},
		"one of which is missing": {{events: []uint64{5, 7}, barrier: 5}, {barrier: 7, gap: true}},
		"events of the timeline before the first barrier's": {{events: []uint64{6}, timeline: 2},
			{timeline: 3, barrier: 5}, {timeline: 3, barrier: 6, gap: true}},
		"another timeline's number hides nothing": {{barrier: 5}, {events: []uint64{6}, timeline: 2},
			{barrier: 6, gap: true}},
		"and counts for its own": {{barrier: 5}, {events: []uint64{6, 7}, timeline: 2},
			{timeline: 2, barrier: 5, gap: true}, {timeline: 2, barrier: 7}},
		"one of which could not be read": {{garbled: true, barrier: 5, gap: true},
			{events: []uint64{6}, barrier: 6}},
		"one that could not be read, and is the relay's": {{barrier: 5},
			{events: []uint64{6, 8}, garbled: true, barrier: 8, gap: true}},
		"one that could not be read, of somebody else's": {{barrier: 5},
			{events: []uint64{6, 7}, garbled: true, barrier: 7}},
		"published again, and out of order": {{barrier: 5},
			{events: []uint64{6, 7, 6, 9, 7, 8}, barrier: 8}, {barrier: 9}},
		"read beyond the barrier": {{barrier: 5}, {events: []uint64{6, 7, 8, 9}, barrier: 7}, {barrier: 9}},
		"beyond a gap":            {{barrier: 5}, {events: []uint64{7, 8, 9}, barrier: 7, gap: true}, {barrier: 9}},
		"an older barrier":        {{barrier: 5}, {barrier: 3}, {events: []uint64{6}, barrier: 6}},
		"another timeline": {{barrier: 5},
			{events: []uint64{6, 1}, timeline: 2, barrier: 1, gap: true},
			{events: []uint64{2}, timeline: 2, barrier: 2}},
	} {
		t.Run(name, func(t *testing.T) {
			var n Numbers
			for i, s := range steps {
				for _, e := range s.events {
					n.Event(Number{s.timeline, e})
				}
				n.garbled = n.garbled || s.garbled
				if s.barrier == 0 {
					continue
				}
				if gap := n.Barrier(s.timeline, s.barrier); gap != s.gap {
					t.Errorf("step %d, %+v: a gap %v", i, s, gap)
				}
			}
		})
	}
}

// TestNumbers_Bounded: a flood of numbers does not fill memory, and hides no event of the relay.
func TestNumbers_Bounded(t *testing.T) {
	n := Numbers{based: true}
	for i := range uint64(10 * maxAhead) {
		n.Event(Number{0, 1000 + 2*i})
	}
	if len(n.ahead) > maxAhead {
		t.Errorf("%d numbers are remembered", len(n.ahead))
	}
	for i := range uint64(50) {
		n.Event(Number{0, i + 1})
	}
	if n.Barrier(0, 50) || !n.Barrier(0, 52) {
		t.Errorf("upto %d", n.upto)
	}
}
