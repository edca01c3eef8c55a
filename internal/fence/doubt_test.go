package fence_test

import (
	"testing"

	"github.com/nearcache/nearcache-go/internal/fence"
)

// Doubted pushes prove nothing, whatever the watermark says; what vouched for the entry goes on vouching.
func TestDoubtPushes_EndsWhatTrackingProves(t *testing.T) {
	r, k := newRig(fence.Config{Complete: true}), keys.Key("p", "a")
	r.sampleAt(10, 5)
	r.heartbeat(mark(4))
	entry := r.admitL2(t, k, 1) // nothing is proved by its own load
	r.heartbeat(mark(5))
	r.proved(t, entry, 10)
	r.DoubtPushes()
	r.proved(t, entry, 0)
	if b := r.ChannelsAsOf(); b.Redis != 0 {
		t.Errorf("got %+v, want nothing proved by Redis", b)
	}
	r.sampleAt(20, 6)
	r.heartbeat(mark(6))
	r.proved(t, entry, 0)
	if got := entry.Check(r.Fence); got != fence.Current {
		t.Errorf("the entry is %v, want that it may be served without a bound", got)
	}
	r.BelievePushes()
	r.proved(t, entry, 20)
}
