package coherence_test

import (
	"testing"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/tier"
)

func TestDoubt_NothingOfL2IsBelievedUntilTrust(t *testing.T) {
	r, k := newRig(coherence.FenceConfig{}), keys.Key("p", "a")
	other := keys.Key("p", "b")
	if other.Bucket == k.Bucket {
		t.Fatal("one bucket: this shows nothing")
	}
	r.heartbeat(mark(1))
	entry, spared := r.admitL2(t, k, 0), r.admitL2(t, other, 0)
	before := r.Begin(k)
	r.Doubt(k.Bucket)
	r.check(t, entry, coherence.Unvouched)
	r.check(t, spared, coherence.Current)
	if r.Still(&before) {
		t.Error("a reader may join a load that began before the doubt")
	}
	during := r.Begin(k)
	var s coherence.Stamp
	for name, tok := range map[string]*coherence.Token{"before": &before, "during": &during} {
		if o, ok := r.FromL2(tok, 9, &s); o != coherence.Behind || ok {
			t.Errorf("a load that began %s the doubt: %v, admitted %v", name, o, ok)
		}
	}
	r.heartbeat(mark(1)) // which tells nothing of what is in the bucket
	again := r.Begin(k)
	if o, _ := r.FromL2(&again, 9, &s); o != coherence.Behind {
		t.Errorf("after a heartbeat: %v", o)
	}
	r.Trust(k.Bucket)
	if o, _ := r.FromL2(&during, 9, &s); o != coherence.Behind {
		t.Errorf("a load that began in doubt: %v", o)
	}
	after := r.Begin(k)
	if after.Known {
		t.Error("the epoch from before the doubt still counts")
	}
	r.Learn(&after, tier.Watermark{Epoch: tier.Epoch{2}, Position: at(1)})
	if o, ok := r.FromL2(&after, 0, &s); o != coherence.Serve || !ok {
		t.Errorf("a load under the new epoch: %v, admitted %v", o, ok)
	}
}

func TestDoubt_TheEventChannelGoesOnVouching(t *testing.T) {
	r, k := newRig(coherence.FenceConfig{Complete: true}), keys.Key("p", "a")
	events(r, 1)
	tok := r.Begin(k)
	var s coherence.Stamp
	if _, ok := r.FromSource(&tok, 1, &s); !ok {
		t.Fatal("not admitted: this shows nothing")
	}
	r.Doubt(k.Bucket)
	r.check(t, &s, coherence.Current)
	r.Event(k, 2, at(5))
	r.check(t, &s, coherence.Invalidated)
}

// A client without a source starts buckets anew at no position. A relay that comes later cannot apply to one.
func TestRelay_StartsBucketsWithoutAPositionAnew(t *testing.T) {
	for name, n := range map[string]int{"one": 1, "all": tier.Buckets} {
		t.Run(name, func(t *testing.T) {
			src, l2 := newLog(), newRedisFake()
			src.add("a", 1)
			for b := range n {
				l2.marks[b] = tier.Watermark{Epoch: tier.Epoch{9, byte(b)}}
			}
			relay(t, coherence.Relay{Source: src, L2: l2})
			eventually(t, "the relay moves every bucket", func() bool { return l2.reached(1) })
			src.add("a", 2)
			eventually(t, "and goes on", func() bool { return l2.reached(2) && l2.version("a") == 2 })
		})
	}
}
