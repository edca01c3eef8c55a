package fence_test

import (
	"testing"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/fence"
)

// sampleAt takes a sample that begins at a moment and finds a position.
func (r *rig) sampleAt(now int64, n uint64) {
	r.now = now
	r.sample(n)
}

func (r *rig) proved(t *testing.T, s *fence.Stamp, want int64) {
	t.Helper()
	if got := s.AsOf(r.Fence); got != want {
		t.Errorf("proved as of %d, want %d", got, want)
	}
}

// fromSource loads a key from the source whole.
func (r *rig) fromSource(t *testing.T, key string, v coherence.Version) *fence.Stamp {
	t.Helper()
	snap := r.Begin(keys.Key("p", key))
	var s fence.Stamp
	if o, ok := r.FromSource(&snap, v, &s); o != fence.Serve || !ok {
		t.Fatalf("a quiet load from the source: %v, admitted %v", o, ok)
	}
	return &s
}

func TestAsOf_WatermarkCoversSamples(t *testing.T) { // C1
	r, k := newRig(fence.Config{Complete: true}), keys.Key("p", "a")
	r.sampleAt(10, 5)
	r.heartbeat(mark(4))
	entry := r.admitL2(t, k, 1)
	r.proved(t, entry, 0) // L2 is at 4: what 5 changed may be missing
	r.heartbeat(mark(5))
	r.proved(t, entry, 10)
	r.sampleAt(20, 5) // the source stood still: L2 is known to be past it at once
	r.proved(t, entry, 20)
	r.sampleAt(30, 9)
	r.sampleAt(40, 11)
	r.heartbeat(mark(10))
	r.proved(t, entry, 30)
	if b := r.ChannelsAsOf(); b.Redis != 30 || b.Events != 0 {
		t.Errorf("got %+v, want Redis proved at 30 and events at 0", b)
	}
	r.RedisSession()
	r.heartbeat(mark(11))
	r.proved(t, entry, 0) // what the old session proved of it is forgotten, and the new one never saw it
	r.proved(t, r.admitL2(t, k, 1), 40)
}

func TestAsOf_OwnLoad(t *testing.T) {
	r := newRig(fence.Config{Complete: true})
	r.now = 7
	snap := r.Begin(keys.Key("p", "a"))
	r.now = 9
	var s fence.Stamp
	if _, ok := r.FromSource(&snap, 1, &s); !ok {
		t.Fatal("not admitted")
	}
	r.proved(t, &s, 7) // when the load began, not when it ended
	r.check(t, &s, fence.Unvouched)
	r.Changed(keys.Key("p", "a").Hash)
	r.check(t, &s, fence.Invalidated)
	// What L2's watermark covered when the value was read stays true without any channel.
	r.sampleAt(10, 5)
	r.heartbeat(mark(5))
	l2 := r.admitL2(t, keys.Key("p", "b"), 1)
	r.RedisSession()
	r.check(t, l2, fence.Unvouched)
	r.proved(t, l2, 10)
}

func TestAsOf_BarriersOfEveryPartition(t *testing.T) { // C1, R26
	r := newRig(fence.Config{Complete: true})
	events(r, 2)
	r.sampleAt(1, 1) // the timeline is known
	r.now = 5
	entry := r.fromSource(t, "a", 1)
	r.sampleAt(10, 5)
	r.EventBarrier(0, coherence.Barrier{Position: at(9), Partitions: 2})
	r.proved(t, entry, 5) // the other partition may still hold an event from before 5
	r.EventBarrier(1, coherence.Barrier{Position: at(4), Partitions: 2})
	r.proved(t, entry, 5)
	r.EventBarrier(1, coherence.Barrier{Position: at(6), Partitions: 2})
	r.proved(t, entry, 10)
	r.sampleAt(20, 8)
	r.EventBarrier(1, coherence.Barrier{Position: at(9), Partitions: 1}) // a relay that knew of one partition
	r.proved(t, entry, 10)
	r.EventBarrier(1, coherence.Barrier{Position: at(8), Partitions: 2})
	r.proved(t, entry, 20)
	if b := r.ChannelsAsOf(); b.Events != 20 {
		t.Errorf("got %+v, want events proved at 20", b)
	}
	r.EventPartitions(3) // a partition is added: what its barriers say is not known yet
	r.EventSession(2)
	late := r.fromSource(t, "b", 1)
	r.sampleAt(30, 8)
	for p := range 2 {
		r.EventBarrier(p, coherence.Barrier{Position: at(9), Partitions: 2})
	}
	r.proved(t, late, 20)
	for p := range 3 {
		r.EventBarrier(p, coherence.Barrier{Position: at(9), Partitions: 3})
	}
	r.proved(t, late, 30)
	r.proved(t, entry, 5) // of another session
}

func TestAsOf_GapEndsIt(t *testing.T) { // C1, R25
	r := newRig(fence.Config{Complete: true})
	events(r, 1)
	r.now = 1
	entry := r.fromSource(t, "a", 1)
	r.EventSeq(0, 1)
	r.EventSeq(0, 3) // 2 was the key's
	r.sampleAt(10, 5)
	r.EventBarrier(0, coherence.Barrier{Position: at(9), Seq: 3, Partitions: 1})
	r.proved(t, entry, 1)
}

// TestAsOf_GapBeforeTheFirstNumber: the explorer's find. A barrier that has seen no event yet is a number too.
//
//	barrier 0: the partition is followed from its beginning
//	event 1, the key's: lost                               load: takes its snapshot, and has read version 0
//	barrier 1, which covers the event
func TestAsOf_GapBeforeTheFirstNumber(t *testing.T) { // C1, R25
	r := newRig(fence.Config{Complete: true})
	events(r, 1)
	r.EventBarrier(0, coherence.Barrier{Position: at(0), Seq: 0, Partitions: 1})
	r.now = 1
	entry := r.fromSource(t, "a", 0)
	r.sampleAt(10, 1)
	if !r.EventBarrier(0, coherence.Barrier{Position: at(1), Seq: 1, Partitions: 1}) {
		t.Error("the first event was left out, and that is no gap")
	}
	r.proved(t, entry, 1)
}

func TestAsOf_NewTimeline(t *testing.T) { // R21
	r := newRig(fence.Config{Complete: true})
	r.sampleAt(10, 5)
	r.heartbeat(mark(9))
	r.now = 20
	r.EndSample(r.BeginSample(), coherence.Position{Timeline: 2, N: 3})
	r.heartbeat(mark(9)) // the bucket is of the old timeline still
	r.proved(t, r.admitL2(t, keys.Key("p", "a"), 1), 0)
}

func TestAsOf_NumbersOfALostHistoryHideNoGap(t *testing.T) { // R21, R25
	r := newRig(fence.Config{Complete: true})
	events(r, 1)
	r.sample(5)
	r.EventSeq(0, 900)
	r.EndSample(
		r.BeginSample(),
		coherence.Position{Timeline: 2, N: 3},
	) // a restored database, and with it the relay's cursor
	if r.EventSeq(0, 700) || !r.EventSeq(0, 702) {
		t.Error("the numbers start at 700 now, and 701 is missing")
	}
}

// TestFence_WatermarkOfALostSession: a watermark says nothing about a value that another server has answered.
//
//	heartbeat: reads watermark 9         load: takes its snapshot
//	Redis fails over to a lagging replica; the load's GET dials it and returns version 1, as of 5
//
// Kafka's session, which began with base 6, would vouch for it for good.
func TestFence_WatermarkOfALostSession(t *testing.T) { // C1, C3
	r, k := newRig(fence.Config{Complete: true, MinVersions: 1}), keys.Key("p", "a")
	events(r, 1)
	r.sampleAt(10, 6)
	r.heartbeat(mark(9))
	snap := r.Begin(k)
	r.RedisSession()
	var s fence.Stamp
	if _, ok := r.FromL2(&snap, 1, &s); ok {
		t.Error("admitted by a watermark of another session")
	}
	r.proved(t, &s, 0)
	// And the required watermark: version 2 at 8 was seen and forgotten, L2 is back at 5.
	other := k
	other.Hash++
	r.heartbeat(mark(9))
	r.Event(k, 2, at(8))
	r.Event(other, 1, at(7))
	snap = r.Begin(k)
	r.RedisSession()
	if o, _ := r.FromL2(&snap, 1, &s); o != fence.Behind {
		t.Errorf("a value from before the required watermark: %v", o)
	}
}

func TestFence_WatermarkThatGoesBackIsASession(t *testing.T) { // R13: demoted and promoted again, on one connection
	r, k := newRig(fence.Config{Complete: true}), keys.Key("p", "a")
	r.sample(5)
	r.heartbeat(mark(9))
	entry := r.admitL2(t, k, 1)
	snap := r.Begin(k)
	r.Learn(&snap, mark(8)) // a load's answer that is looked at late is not another server
	r.heartbeat(mark(9))
	r.check(t, entry, fence.Current)
	r.heartbeat(mark(7))
	r.check(t, entry, fence.Unvouched)
}

// The buckets move together at each heartbeat, and share what it shows.
func TestAsOf_BucketsShareOne(t *testing.T) {
	r := newRig(fence.Config{Complete: true})
	r.sampleAt(10, 5)
	r.heartbeat(mark(5))
	now := int64(10)
	if n := testing.AllocsPerRun(100, func() {
		now++
		r.sampleAt(now, 5)
	}); n > 3 {
		t.Errorf("a sample that moves all buckets allocates %v times, want not once for each bucket", n)
	}
	r.proved(t, r.admitL2(t, keys.Key("p", "a"), 1), now)
}
