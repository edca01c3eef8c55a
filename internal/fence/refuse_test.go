package fence_test

import (
	"testing"
	"time"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/fence"
)

const forged = coherence.Version(1795805917123)

// refusing is a fence that has seen version 4 of the key, and then a version that the source does not have.
func refusing(versions ...coherence.Version) *rig {
	r := newRig(fence.Config{Complete: true})
	r.sample(5)
	r.heartbeat(mark(5))
	r.Event(keys.Key("t", "a"), 4, at(4))
	for _, v := range versions {
		r.Event(keys.Key("t", "a"), v, coherence.Position{})
	}
	return r
}

func TestRefuseVersion_GoesBackToWhatTheSourceHas(t *testing.T) {
	k := keys.Key("t", "a")
	for _, test := range []struct {
		name            string
		refused, actual coherence.Version
		at              coherence.Position
		refuses         bool
		want            coherence.Version
	}{
		{"the source has less", forged, 4, at(6), true, 4},
		{"the source has more than was known", forged, 6, at(6), true, 6},
		{"the source has forgotten the key: what was known stands", forged, 0, at(6), true, 4},
		{"the source has it", forged, forged, at(6), false, forged},
		{"another version was meant", forged - 1, 4, at(6), false, forged},
		{"the answer is of another timeline", forged, 4, coherence.Position{Timeline: 2, N: 6}, false, forged},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := refusing(forged)
			if got := r.RefuseVersion(k, test.refused, test.actual, test.at); got != test.refuses {
				t.Errorf("refused: %v, want %v", got, test.refuses)
			}
			if got := r.MinVersion(k); got != test.want {
				t.Errorf("min version %d, want %d", got, test.want)
			}
		})
	}
}

// While the source is asked a real event comes. It is no news below the forged version, and must count afterwards.
func TestRefuseVersion_AnEventMeanwhileCounts(t *testing.T) {
	k := keys.Key("t", "a")
	r := refusing(forged)
	snap := r.Begin(k)   // of a load that reads version 4
	r.Event(k, 5, at(5)) // after the source has answered 4
	if !r.RefuseVersion(k, forged, 4, at(5)) || r.MinVersion(k) != 5 {
		t.Errorf("min version %d, want 5", r.MinVersion(k))
	}
	var s fence.Stamp
	if o, admit := r.FromL2(&snap, 4, &s); o != fence.BelowMinVersion || admit {
		t.Errorf("version 4: %v, admitted %v", o, admit)
	}
}

// A load that began before is not admitted, even if its version is the min version now.
func TestRefuseVersion_VoidsLoadsUnderWay(t *testing.T) {
	k := keys.Key("t", "a")
	r := refusing(forged)
	snap := r.Begin(k)
	r.RefuseVersion(k, forged, 4, at(5))
	var s fence.Stamp
	if o, admit := r.FromL2(&snap, 4, &s); o != fence.Serve || admit {
		t.Errorf("a load from before: %v, admitted %v", o, admit)
	}
	r.admitL2(t, k, 4)
}

// Of several forged versions each is refused in its turn.
func TestRefuseVersion_SeveralInTurn(t *testing.T) {
	k := keys.Key("t", "a")
	r := refusing(forged, forged+7, forged+3)
	for range 2 {
		if v := r.MinVersion(k); v < forged || !r.RefuseVersion(k, v, 4, at(5)) {
			t.Fatalf("min version %d is not refused", v)
		}
	}
	if v := r.MinVersion(k); v != 4 {
		t.Errorf("min version %d, want 4", v)
	}
}

// Without an answer of the source a min version can only age, and L2 must have applied what it may have stood for.
func TestForgetOldVersion_RequiresAWatermark(t *testing.T) {
	k := keys.Key("t", "a")
	r := refusing(forged)
	if r.ForgetOldVersion(k, forged) {
		t.Error("a young min version was forgotten")
	}
	r.now += int64(31 * time.Second)
	if !r.ForgetOldVersion(k, forged) || r.MinVersion(k) != 4 {
		t.Errorf("min version %d, want 4", r.MinVersion(k))
	}
	snap := r.Begin(k)
	var s fence.Stamp
	if o, _ := r.FromL2(&snap, 4, &s); o != fence.Behind {
		t.Errorf("L2 at a watermark of before: %v", o)
	}
	r.sample(6)
	r.heartbeat(mark(6))
	r.admitL2(t, k, 4)
}
