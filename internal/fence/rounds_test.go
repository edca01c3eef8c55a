package fence_test

import (
	"testing"

	"github.com/nearcache/nearcache-go/internal/fence"
	"github.com/nearcache/nearcache-go/internal/l2"
)

// roundAt is a published round whose head, and what it came to, is position n.
func roundAt(number, n uint64, incarnation l2.Incarnation) l2.Round {
	all := make([]l2.Incarnation, l2.DefaultBuckets)
	for b := range all {
		all[b] = incarnation
	}
	return l2.Round{Number: number, Head: at(n), Upto: at(n), Buckets: l2.AllBuckets(l2.DefaultBuckets),
		Incarnations: l2.DigestOf(all)}
}

// reads is a heartbeat that reads a round. It reports whether the round stood for the watermarks.
func (r *rig) reads(round l2.Round) bool {
	r.now++
	h := r.BeginHeartbeat()
	r.Round(&h, l2.RoundBucket, round)
	return r.Cover(&h, l2.RoundBucket, round, l2.AllBuckets(l2.DefaultBuckets)) == l2.AllBuckets(l2.DefaultBuckets)
}

func TestRound_TheNextOneEndsASample(t *testing.T) {
	r := newRig(fence.Config{Complete: true})
	r.reads(roundAt(7, 3, l2.Incarnation{}))
	if r.RoundSampledAt() != 0 {
		t.Error("one reading is a sample, want none: nothing says when its round was begun")
	}
	before := r.RoundSampledAt()
	r.reads(roundAt(7, 3, l2.Incarnation{}))
	if r.RoundSampledAt() != before {
		t.Error("the same round ends a sample, want none")
	}
	r.reads(roundAt(8, 4, l2.Incarnation{}))
	if r.RoundSampledAt() == 0 {
		t.Error("round 8 ends no sample that began while 7 was the last")
	}
}

func TestRound_OneThatHasBegunDoesNotCount(t *testing.T) {
	r := newRig(fence.Config{Complete: true})
	begun := roundAt(7, 3, l2.Incarnation{})
	begun.Token = 5
	r.reads(begun)
	r.reads(roundAt(8, 4, l2.Incarnation{}))
	if r.RoundSampledAt() != 0 {
		t.Error("round 8 ends a sample that began after it had begun")
	}
	r.reads(roundAt(9, 5, l2.Incarnation{}))
	if r.RoundSampledAt() == 0 {
		t.Error("round 9 ends no sample")
	}
}

func TestRound_ReadingsOfTwoSessionsAreNotCompared(t *testing.T) {
	r := newRig(fence.Config{Complete: true})
	r.reads(roundAt(7, 3, l2.Incarnation{}))
	r.RedisSession()
	r.reads(roundAt(50, 4, l2.Incarnation{}))
	if r.RoundSampledAt() != 0 {
		t.Error("a round of another session ends a sample")
	}
}

// A server goes back in time behind a standing connection: its rounds do. R13
func TestRound_ThatGoesBackBeginsSessions(t *testing.T) {
	last := roundAt(8, 4, l2.Incarnation{1})
	last.Token = 9
	for name, next := range map[string]l2.Round{
		"an earlier number":   roundAt(7, 4, l2.Incarnation{1}),
		"the same, not begun": roundAt(8, 4, l2.Incarnation{1}),
		"another of a number": roundAt(8, 5, l2.Incarnation{1}),
		"none":                {},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(fence.Config{Complete: true})
			r.reads(last)
			r.reads(last)
			before := r.Channels().RedisSessions
			r.reads(next)
			if got := r.Channels().RedisSessions - before; got != l2.DefaultBuckets {
				t.Errorf("got %d sessions begun, want one for each bucket", got)
			}
		})
	}
}

func TestRound_StandsForWatermarks(t *testing.T) {
	r := newRig(fence.Config{Complete: true})
	r.heartbeat(mark(2))
	r.reads(roundAt(7, 3, l2.Incarnation{1}))
	if !r.reads(roundAt(8, 4, l2.Incarnation{1})) {
		t.Fatal("a round of the known incarnations does not stand for the watermarks")
	}
	if got := r.ChannelsAsOf().Redis; got == 0 || got != r.RoundSampledAt() {
		t.Errorf("got the as-of %d, want the sample's %d", got, r.RoundSampledAt())
	}
	before := r.ChannelsAsOf()
	r.reads(roundAt(9, 5, l2.Incarnation{1}))
	if r.reads(roundAt(10, 6, l2.Incarnation{2})) {
		t.Error("a round of other incarnations stands for the watermarks")
	}
	cluster := roundAt(11, 7, l2.Incarnation{1})
	cluster.Buckets = l2.BucketSet{}
	if r.reads(cluster) {
		t.Error("a round of a Cluster stands for the watermarks")
	}
	if got := r.ChannelsAsOf(); got.Redis <= before.Redis {
		t.Errorf("got the as-of %d, want that of round 9 to count", got.Redis)
	}
	r.BucketSession(5)
	if r.reads(roundAt(12, 8, l2.Incarnation{1})) {
		t.Error("a round stands for a bucket whose watermark has not been read in its session")
	}
}

// A bucket's own watermark stands where its last change was. A load that reads it again is not judged by less than
// before.
func TestLearn_KeepsWhatARoundShowed(t *testing.T) {
	r := newRig(fence.Config{Complete: true})
	k := keys.Key("n", "a")
	r.heartbeat(mark(2))
	r.reads(roundAt(7, 3, l2.Incarnation{1}))
	r.reads(roundAt(8, 4, l2.Incarnation{1}))
	snap := r.Begin(k)
	before := r.SnapshotAsOf(&snap)
	r.Learn(&snap, mark(2))
	if got := r.SnapshotAsOf(&snap); got != before || got == 0 {
		t.Errorf("got the as-of %d, want %d still", got, before)
	}
	var stamp fence.Stamp
	if o, _ := r.FromL2(&snap, 1, &stamp); o != fence.Serve || stamp.LoadedAsOf() != before {
		t.Errorf("got %v as of %d, want it served as of %d", o, stamp.LoadedAsOf(), before)
	}
}
