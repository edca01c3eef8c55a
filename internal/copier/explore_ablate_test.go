//go:build ablate

package copier

import (
	"testing"
	"time"

	"github.com/nearcache/nearcache-go/internal/ablate"
	"github.com/nearcache/nearcache-go/internal/explore"
	"github.com/nearcache/nearcache-go/internal/l2"
)

// TestAblations_CopyOnRedis: the scripts show it too. The old relay stands still, and the new one has applied
// version 2.
func TestAblations_CopyOnRedis(t *testing.T) {
	inCopyBubble(t, func(t *testing.T, w *world) {
		if err := ablate.Take(ablate.CopyProof); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = ablate.Take("") }()
		v := w.write("k")
		time.Sleep(time.Second)
		w.old.fill("k", l2.Record{Version: v, Payload: payload(1)}, time.Minute)
		w.old.stop()
		w.write("k")
		time.Sleep(time.Second)
		w.copier.newBatch([]l2.Key{w.old.key("k")}).run(t.Context())
		if rec := w.fresh.has("k"); rec == nil || rec.Version != v {
			t.Errorf("got %+v, want the old version: without the rule nothing breaks", rec)
		}
	})
}

// TestAblations_Copy: without any of the rules the explorer finds a stale record in the new place.
func TestAblations_Copy(t *testing.T) {
	for _, a := range []struct {
		rule  ablate.Rule
		scope copyModel
	}{
		{ablate.CopyLeaseFirst, copyModel{versions: 1}},
		{ablate.CopyProof, copyModel{versions: 1}},
		{ablate.CopyIncarnation, copyModel{versions: 2, evictions: 1}},
		{ablate.WatermarkFirst, copyModel{versions: 1, failOvers: 1}},
		{ablate.CopyVersion, copyModel{versions: 2, sets: true}},
	} {
		t.Run(string(a.rule), func(t *testing.T) {
			if r := explore.Search(&a.scope, copyLimit); r.Violation != "" {
				t.Fatalf("with the rule: %s", copyTrace(&r))
			}
			if err := ablate.Take(a.rule); err != nil {
				t.Fatal(err)
			}
			defer func() { _ = ablate.Take("") }()
			r := explore.Search(&a.scope, copyLimit)
			if r.Violation == "" {
				t.Fatalf("without it nothing breaks, in %d states", r.States)
			}
			t.Logf("without it, after %d steps and %d states: %s", len(r.Trace), r.States, r.Violation)
		})
	}
}
