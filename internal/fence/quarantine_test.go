package fence_test

import (
	"testing"

	"github.com/nearcache/nearcache-go/internal/fence"
	"github.com/nearcache/nearcache-go/internal/l2"
)

func TestQuarantine_NothingOfL2IsBelievedUntilRelease(t *testing.T) {
	r, k := newRig(fence.Config{}), keys.Key("p", "a")
	other := keys.Key("p", "b")
	if other.Bucket == k.Bucket {
		t.Fatal("one bucket: this shows nothing")
	}
	r.heartbeat(mark(1))
	entry, spared := r.admitL2(t, k, 0), r.admitL2(t, other, 0)
	before := r.Begin(k)
	r.Quarantine(k.Bucket)
	r.check(t, entry, fence.Unvouched)
	r.check(t, spared, fence.Current)
	if r.StillValid(&before) {
		t.Error("a reader may join a load that began before the quarantine")
	}
	during := r.Begin(k)
	var s fence.Stamp
	for name, snap := range map[string]*fence.Snapshot{"before": &before, "during": &during} {
		if o, ok := r.FromL2(snap, 9, &s); o != fence.Behind || ok {
			t.Errorf("a load that began %s the quarantine: %v, admitted %v", name, o, ok)
		}
	}
	r.heartbeat(mark(1)) // which tells nothing of what is in the bucket
	again := r.Begin(k)
	if o, _ := r.FromL2(&again, 9, &s); o != fence.Behind {
		t.Errorf("after a heartbeat: %v", o)
	}
	r.Release(k.Bucket)
	if o, _ := r.FromL2(&during, 9, &s); o != fence.Behind {
		t.Errorf("a load that began in quarantine: %v", o)
	}
	after := r.Begin(k)
	if after.WatermarkKnown {
		t.Error("the incarnation from before the quarantine still counts")
	}
	r.Learn(&after, l2.Watermark{Incarnation: l2.Incarnation{2}, Position: at(1)})
	if o, ok := r.FromL2(&after, 0, &s); o != fence.Serve || !ok {
		t.Errorf("a load under the new incarnation: %v, admitted %v", o, ok)
	}
}

func TestQuarantine_TheEventChannelGoesOnVouching(t *testing.T) {
	r, k := newRig(fence.Config{Complete: true}), keys.Key("p", "a")
	events(r, 1)
	r.sampleAt(1, 1) // the timeline is known
	snap := r.Begin(k)
	var s fence.Stamp
	if _, ok := r.FromSource(&snap, 1, &s); !ok {
		t.Fatal("not admitted: this shows nothing")
	}
	r.Quarantine(k.Bucket)
	r.check(t, &s, fence.Current)
	r.Event(k, 2, at(5))
	r.check(t, &s, fence.Invalidated)
}
