package fence_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/fence"
	"github.com/nearcache/nearcache-go/internal/l2"
)

var keys = l2.NewKeyspace("")

// rig is a fence with a clock of the test's.
type rig struct {
	*fence.Fence
	now int64
}

func newRig(cfg fence.Config) *rig {
	r := &rig{now: 1}
	cfg.Now = func() int64 { return r.now }
	r.Fence = fence.New(cfg)
	return r
}

func at(n uint64) coherence.Position { return coherence.Position{Timeline: 1, N: n} }

func mark(n uint64) l2.Watermark {
	return l2.Watermark{Incarnation: l2.Incarnation{1}, Position: at(n)}
}

func (r *rig) sample(n uint64) { r.EndSample(r.BeginSample(), at(n)) }

// heartbeat reads the same watermark for all buckets.
func (r *rig) heartbeat(w l2.Watermark) {
	h := r.BeginHeartbeat()
	for b := range l2.DefaultBuckets {
		r.Watermark(&h, b, w)
	}
}

// admitL2 loads a key whole.
func (r *rig) admitL2(t *testing.T, k l2.Key, v coherence.Version) *fence.Stamp {
	t.Helper()
	snap := r.Begin(k)
	var s fence.Stamp
	if o, ok := r.FromL2(&snap, v, &s); o != fence.Serve || !ok {
		t.Fatalf("a quiet load of version %d: %v, admitted %v", v, o, ok)
	}
	return &s
}

func (r *rig) check(t *testing.T, s *fence.Stamp, want fence.Verdict) {
	t.Helper()
	if got := s.Check(r.Fence); got != want {
		t.Errorf("verdict %d, want %d", got, want)
	}
}

func TestFence_PushEvictsEntryAndLoad(t *testing.T) { // C2, R3
	r, k := newRig(fence.Config{}), keys.Key("p", "a")
	entry := r.admitL2(t, k, 1)
	running := r.Begin(k)
	r.Changed(k.Hash)
	r.check(t, entry, fence.Invalidated)
	var s fence.Stamp
	if o, ok := r.FromL2(&running, 1, &s); o != fence.Serve || ok {
		t.Errorf("a load that began before the push: %v, admitted %v; want served and not admitted", o, ok)
	}
	if r.StillValid(&running) {
		t.Error("a reader may join a load that an invalidation has overtaken")
	}
	r.check(t, r.admitL2(t, k, 1), fence.Current) // the same version again is welcome
}

// TestFence_LateLoadOfTheSource is the late fill of an L1 that events vouch for: the row was read before the change,
// which carries no version, so that no min version knows better.
func TestFence_LateLoadOfTheSource(t *testing.T) { // C2, R1
	r, k := newRig(fence.Config{Complete: true}), keys.Key("p", "a")
	events(r, 1)
	running := r.Begin(k)
	r.Event(k, 0, coherence.Position{})
	var s fence.Stamp
	if o, ok := r.FromSource(&running, 1, &s); o != fence.Serve || ok {
		t.Errorf("a load that began before the event: %v, admitted %v; want served and not admitted", o, ok)
	}
	again := r.Begin(k)
	if _, ok := r.FromSource(&again, 1, &s); !ok {
		t.Error("a load that began after it is not admitted")
	}
}

func TestFence_OtherKeysOfTheSlotEvictNothing(t *testing.T) {
	r, k := newRig(fence.Config{}), keys.Key("p", "a")
	entry, running := r.admitL2(t, k, 1), r.Begin(k)
	for i := range uint64(128) {
		r.Changed(k.Hash + (i+1)<<20) // same slot, other key
		r.check(t, entry, fence.Current)
	}
	var s fence.Stamp
	if _, ok := r.FromL2(&running, 1, &s); !ok {
		t.Error("a load is refused for other keys' sake")
	}
	for i := range uint64(129) {
		r.Changed(k.Hash + (i+1)<<20)
	}
	r.check(t, entry, fence.Collided) // more than the journal remembers: unproved, C6
}

func TestFence_OwnBumpAmongOthersIsFound(t *testing.T) {
	r, k := newRig(fence.Config{}), keys.Key("p", "a")
	for pos := range uint64(128) {
		entry := r.admitL2(t, k, 0)
		for i := range uint64(128) {
			if i == pos {
				r.Changed(k.Hash)
			} else {
				r.Changed(k.Hash + (i+1)<<20)
			}
		}
		r.check(t, entry, fence.Invalidated)
	}
}

func TestFence_BumpsRaceWithReaders(t *testing.T) {
	r, k := newRig(fence.Config{}), keys.Key("p", "a")
	for range 200 {
		entry := r.admitL2(t, k, 0)
		var wg sync.WaitGroup
		for i := range uint64(3) {
			wg.Go(func() { r.Changed(k.Hash + (i+1)<<20); entry.Check(r.Fence) })
		}
		wg.Go(func() { r.Changed(k.Hash); r.check(t, entry, fence.Invalidated) })
		wg.Wait()
		r.check(t, entry, fence.Invalidated)
	}
}

func TestFence_EventRaisesMinVersion(t *testing.T) { // R27
	r, k := newRig(fence.Config{}), keys.Key("p", "a")
	entry := r.admitL2(t, k, 1)
	r.Event(k, 2, at(10))
	r.check(t, entry, fence.Invalidated)
	snap := r.Begin(k)
	var s fence.Stamp
	if o, ok := r.FromL2(&snap, 1, &s); o != fence.BelowMinVersion || ok {
		t.Errorf("L2 behind the event: %v, %v", o, ok)
	}
	if o, _ := r.FromSource(&snap, 1, &s); o != fence.BelowMinVersion {
		t.Errorf("a Loader behind the event: %v", o)
	}
	fresh := r.admitL2(t, k, 2)
	r.Event(k, 2, at(10)) // the same event again, or the own write's echo
	r.Event(k, 1, at(5))
	r.check(t, fresh, fence.Current)
	r.Event(k, 0, coherence.Position{}) // unversioned: unconditional
	r.check(t, fresh, fence.Invalidated)
}

func TestFence_SessionOfOneBucket(t *testing.T) { // C6: another server answers for it
	r, k, other := newRig(fence.Config{}), keys.Key("p", "a"), keys.Key("p", "b")
	if k.Bucket == other.Bucket {
		t.Fatal("the keys are of one bucket")
	}
	r.heartbeat(mark(1))
	moved, stayed, running := r.admitL2(t, k, 1), r.admitL2(t, other, 1), r.Begin(k)
	r.BucketSession(k.Bucket)
	r.check(t, moved, fence.Unvouched)
	r.check(t, stayed, fence.Current)
	if snap := r.Begin(k); snap.WatermarkKnown || r.StillValid(&running) {
		t.Error("the watermark, or a load, of the other server is still believed")
	}
}

// TestFence_MinVersionOutlivesTheWatermark: a bucket has no watermark from the beginning of a session to its first
// heartbeat.
//
//	reader: is served version 5                     L2 has 4, for the relay cannot reach it
//	a minute later Redis restarts: a session, and no watermark
//	reader: L2 returns 4
func TestFence_MinVersionOutlivesTheWatermark(t *testing.T) { // C3
	r, k := newRig(fence.Config{Complete: true}), keys.Key("p", "a")
	r.sample(3)
	r.heartbeat(mark(3))
	r.Event(k, 5, at(9))
	r.now += int64(time.Minute)
	snap := r.Begin(k)
	r.RedisSession()
	var s fence.Stamp
	if o, _ := r.FromL2(&snap, 4, &s); o != fence.BelowMinVersion {
		t.Errorf("version 4 after 5: %v", o)
	}
	if v := r.MinVersion(k); v != 5 {
		t.Errorf("the min version is %d", v)
	}
}

// TestFence_EventOfALostTimeline: its version is no min version in the timeline that is left, which may never get
// there.
func TestFence_EventOfALostTimeline(t *testing.T) { // C7, R21
	r, k := newRig(fence.Config{Complete: true}), keys.Key("p", "a")
	events(r, 1)
	r.sample(20)
	r.EndSample(r.BeginSample(), coherence.Position{Timeline: 2, N: 10})
	entry := r.fromSource(t, "a", 8)
	r.Event(k, 9, at(19))
	r.check(t, entry, fence.Invalidated)
	r.fromSource(t, "a", 8)
	r.Event(k, 9, coherence.Position{Timeline: 2, N: 12})
	snap := r.Begin(k)
	var s fence.Stamp
	if o, _ := r.FromSource(&snap, 8, &s); o != fence.BelowMinVersion {
		t.Errorf("behind an event of this timeline: %v", o)
	}
}

func TestFence_ServingNewerEvictsOlder(t *testing.T) { // C3
	r, k := newRig(fence.Config{}), keys.Key("p", "a")
	r.Event(k, 1, at(1))
	older := r.admitL2(t, k, 1)
	slow, snap := r.Begin(k), r.Begin(k)
	var s fence.Stamp
	if o, ok := r.FromL2(&snap, 2, &s); o != fence.Serve || !ok {
		t.Fatalf("the load that raised the min version: %v, admitted %v", o, ok)
	}
	r.check(t, &s, fence.Current)
	r.check(t, older, fence.Invalidated)
	if o, ok := r.FromL2(&slow, 1, &s); o != fence.BelowMinVersion || ok {
		t.Errorf("a slower load of the older version: %v, %v", o, ok)
	}
}

func TestFence_RedisSessionEndsItsEntries(t *testing.T) { // R6
	r, k := newRig(fence.Config{}), keys.Key("p", "a")
	entry, running := r.admitL2(t, k, 1), r.Begin(k)
	r.RedisSession()
	r.check(t, entry, fence.Unvouched)
	var s fence.Stamp
	if _, ok := r.FromL2(&running, 1, &s); ok {
		t.Error("a load over a lost connection is admitted")
	}
	r.check(t, r.admitL2(t, k, 1), fence.Current)
}

func TestFence_NewIncarnationEndsSession(t *testing.T) {
	r, k := newRig(fence.Config{}), keys.Key("p", "a")
	if snap := r.Begin(k); snap.WatermarkKnown {
		t.Fatal("a watermark is known before any was read")
	}
	r.heartbeat(mark(1))
	entry := r.admitL2(t, k, 1)
	r.heartbeat(mark(2))
	r.check(t, entry, fence.Current)
	r.heartbeat(l2.Watermark{Incarnation: l2.Incarnation{2}, Position: at(2)})
	r.check(t, entry, fence.Unvouched)
}

func TestFence_LateHeartbeatOfAnOldConnection(t *testing.T) {
	r, k := newRig(fence.Config{}), keys.Key("p", "a")
	h := r.BeginHeartbeat()
	r.RedisSession()
	r.Watermark(&h, k.Bucket, mark(9))
	if snap := r.Begin(k); snap.WatermarkKnown {
		t.Error("a watermark of the old connection counts in the new session")
	}
}

// TestFence_PushedOutMinVersionRaisesRequiredWatermark: the bucket waits for what the next sample covers, whatever
// position the events claim: one of long ago, or one that the source will never reach.
func TestFence_PushedOutMinVersionRaisesRequiredWatermark(t *testing.T) { // R27 after the ring is full
	for _, claimed := range []uint64{1, 10, 1 << 40} {
		r := newRig(fence.Config{MinVersions: 1, Complete: true})
		r.sample(3)
		r.heartbeat(mark(3))
		k := keys.Key("p", "a")
		r.Event(k, 2, at(claimed))
		other := k
		other.Hash++
		r.Event(other, 1, at(claimed)) // pushes k's min version out
		r.sample(10)
		snap := r.Begin(k)
		var s fence.Stamp
		if o, ok := r.FromL2(&snap, 1, &s); o != fence.Behind || ok {
			t.Errorf("L2 at 3 may hold what version 2 at 10 replaced: %v, %v", o, ok)
		}
		r.heartbeat(mark(10))
		r.admitL2(t, k, 2)
	}
}

func TestFence_UnplacedMinVersionWaitsForTheNextSample(t *testing.T) {
	r := newRig(fence.Config{MinVersions: 1, Complete: true})
	r.sample(3)
	r.heartbeat(mark(5))
	k := keys.Key("p", "a")
	other := k
	other.Hash++
	r.Written(k, 2) // its commit's position is not known here
	r.Written(other, 1)
	snap := r.Begin(k)
	var s fence.Stamp
	if o, _ := r.FromL2(&snap, 1, &s); o != fence.Behind {
		t.Errorf("before any sample that covers the write: %v; a sample already taken must not do", o)
	}
	r.sample(7)
	snap = r.Begin(k)
	if o, _ := r.FromL2(&snap, 1, &s); o != fence.Behind {
		t.Errorf("L2 at 5, the write is covered by 7: %v", o)
	}
	r.heartbeat(mark(7))
	r.admitL2(t, k, 2)
}

func TestFence_WatermarkMustBeReadBeforeTheGet(t *testing.T) {
	r := newRig(fence.Config{MinVersions: 1, Complete: true})
	r.sample(3)
	r.heartbeat(mark(3))
	k := keys.Key("p", "a")
	other := k
	other.Hash++
	r.Event(k, 2, at(10))
	r.Event(other, 1, at(4))
	snap := r.Begin(k)
	r.heartbeat(mark(10)) // arrives between the GET and its judgement
	var s fence.Stamp
	if o, _ := r.FromL2(&snap, 1, &s); o != fence.Behind {
		t.Errorf("judged by a watermark read after the value: %v", o)
	}
}

func TestFence_MinVersionsAgeWithoutWatermark(t *testing.T) {
	r, k := newRig(fence.Config{MinVersionAge: time.Second}), keys.Key("p", "a")
	r.Written(k, 5)
	if got := r.MinVersion(k); got != 5 {
		t.Errorf("min version %d", got)
	}
	r.now += int64(time.Second) + 1
	if got := r.MinVersion(k); got != 0 {
		t.Errorf("min version %d after its age", got)
	}
}

func events(r *rig, n int) {
	r.EventPartitions(n)
	for p := range n {
		r.EventSession(p)
	}
}

func TestFence_EventsVouchWhileRedisIsAway(t *testing.T) {
	r, k := newRig(fence.Config{Complete: true}), keys.Key("p", "a")
	events(r, 2)
	r.sample(5)
	r.heartbeat(mark(5))
	both := r.admitL2(t, k, 1)
	snap := r.Begin(k)
	var own fence.Stamp
	if _, ok := r.FromSource(&snap, 1, &own); !ok {
		t.Fatal("a load from the source is not admitted")
	}
	r.RedisSession()
	r.check(t, both, fence.Current) // nothing is flushed, so there is no stampede
	r.check(t, &own, fence.Current)
	r.EventsLost(1)
	r.check(t, both, fence.Unvouched)
	r.EventsResumed(1)
	r.check(t, both, fence.Current)
	if r.EventSeq(1, 1) || r.EventSeq(1, 2) || r.EventSeq(1, 2) {
		t.Error("contiguous numbers and a repetition are called a gap")
	}
	if !r.EventSeq(1, 4) {
		t.Error("a skipped number is no gap")
	}
	r.check(t, both, fence.Unvouched)
}

func TestFence_BarrierRevealsLostTail(t *testing.T) {
	r, k := newRig(fence.Config{Complete: true}), keys.Key("p", "a")
	events(r, 1)
	r.sampleAt(1, 1) // the timeline is known
	snap := r.Begin(k)
	var own fence.Stamp
	r.FromSource(&snap, 1, &own)
	r.EventSeq(0, 1)
	if r.EventBarrier(0, coherence.Barrier{Position: at(3), Seq: 1}) {
		t.Error("a barrier right behind its last event is a gap")
	}
	r.check(t, &own, fence.Current)
	if !r.EventBarrier(0, coherence.Barrier{Position: at(4), Seq: 2}) {
		t.Error("the barrier knows of an event that we have not seen")
	}
	r.check(t, &own, fence.Unvouched)
}

func TestFence_NewEventSessionDoesNotVouchForOldL2(t *testing.T) { // the explorer's second hole
	r, k := newRig(fence.Config{Complete: true}), keys.Key("p", "a")
	r.sample(5)
	events(r, 1)
	r.heartbeat(mark(5))
	snap := r.Begin(k)
	var s fence.Stamp
	r.FromL2(&snap, 1, &s)
	r.RedisSession()
	r.check(t, &s, fence.Unvouched) // no sample since the session began: L2 may have missed what the session did
	r.heartbeat(mark(5))
	r.sample(6)
	snap = r.Begin(k)
	r.FromL2(&snap, 1, &s)
	r.RedisSession()
	r.check(t, &s, fence.Unvouched) // L2 is at 5, the session's base is 6
	r.heartbeat(mark(6))
	whole := r.admitL2(t, k, 1)
	r.RedisSession()
	r.check(t, whole, fence.Current)
}

func TestFence_IncompleteEventsVouchForNothing(t *testing.T) {
	r, k := newRig(fence.Config{}), keys.Key("p", "a")
	events(r, 1)
	snap := r.Begin(k)
	var s fence.Stamp
	if _, ok := r.FromSource(&snap, 1, &s); ok {
		t.Error("somebody else's events vouch for an entry")
	}
}

func TestFence_NewTimelineDropsEverything(t *testing.T) { // R21
	r, k := newRig(fence.Config{Complete: true}), keys.Key("p", "a")
	events(r, 1)
	r.sample(5)
	r.heartbeat(mark(5))
	entry := r.admitL2(t, k, 7)
	r.EndSample(r.BeginSample(), coherence.Position{Timeline: 2, N: 1})
	r.check(t, entry, fence.Unvouched)
	if got := r.MinVersion(k); got != 0 {
		t.Errorf("min version %d of a timeline that is gone", got)
	}
}

// TestFence_NewTimelineForgetsNoServedVersion: a source that restarts may begin a timeline and have lost nothing. L2
// had the record of before what was served, and was believed.
func TestFence_NewTimelineForgetsNoServedVersion(t *testing.T) { // C3, R21
	r, k := newRig(fence.Config{Complete: true}), keys.Key("p", "a")
	r.sample(5)
	r.heartbeat(mark(5))
	var s fence.Stamp
	snap := r.Begin(k)
	if o, _ := r.FromSource(&snap, 14, &s); o != fence.Serve {
		t.Fatalf("the source's version 14: %v", o)
	}
	second := func(n uint64) coherence.Position { return coherence.Position{Timeline: 2, N: n} }
	l2Has := func(v coherence.Version, want fence.Outcome, when string) {
		t.Helper()
		snap := r.Begin(k)
		if o, _ := r.FromL2(&snap, v, &s); o != want {
			t.Errorf("%s: version %d of L2: got %v, want %v", when, v, o, want)
		}
	}
	r.EndSample(r.BeginSample(), second(6))
	l2Has(13, fence.Behind, "L2 is of the old timeline")
	r.heartbeat(mark(5))
	l2Has(13, fence.Behind, "a heartbeat says so too")
	r.EndSample(r.BeginSample(), second(7)) // covers version 14
	r.heartbeat(l2.Watermark{Position: second(6)})
	l2Has(13, fence.Behind, "L2 has the new timeline, and not all of it")
	r.heartbeat(l2.Watermark{Position: second(7)})
	l2Has(13, fence.Serve, "L2 has applied all: the source has lost version 14")
}

// TestFence_HitRatioUnderOthersWrites is the figure: 10,000 writes a second of other keys cost under 1% of the
// hits of resident ones. Time is simulated: 1,000 keys read every 10 seconds each, for a minute.
func TestFence_HitRatioUnderOthersWrites(t *testing.T) {
	r := newRig(fence.Config{Complete: true})
	r.sample(1)
	const resident, writes, seconds = 1000, 10_000, 60
	stamps := make([]*fence.Stamp, resident)
	ks := make([]l2.Key, resident)
	r.heartbeat(mark(1))
	for i := range ks {
		ks[i] = keys.Key("p", fmt.Sprint("resident", i))
		stamps[i] = r.admitL2(t, ks[i], 1)
	}
	reads, misses, n := 0, 0, 0
	for sec := range seconds {
		for range writes {
			n++
			r.Event(keys.Key("p", fmt.Sprint("other", n%1_000_000)), coherence.Version(n), at(uint64(n)))
		}
		r.sample(uint64(n))
		r.heartbeat(mark(uint64(n)))
		for i := sec % 10; i < resident; i += 10 {
			reads++
			if stamps[i].Check(r.Fence) != fence.Current {
				misses++
				stamps[i] = r.admitL2(t, ks[i], 1)
			}
		}
	}
	t.Logf("%d of %d reads missed", misses, reads)
	if misses*100 >= reads {
		t.Errorf("%d of %d reads missed: 1%% or more", misses, reads)
	}
}
