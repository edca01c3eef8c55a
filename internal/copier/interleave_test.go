package copier

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/l2"
)

// changes are how version 2 reaches the new place while the old place's relay is behind.
var changes = map[string]func(w *world) coherence.Version{
	"by its relay": func(w *world) coherence.Version {
		w.old.stop()
		v := w.write("k")
		time.Sleep(time.Second)
		synctest.Wait()
		return v
	},
	"by the writer": func(w *world) coherence.Version {
		w.old.stop()
		w.fresh.stop()
		v := w.write("k")
		if err := w.fresh.Apply(w.t.Context(), w.fresh.key("k"), v); err != nil {
			w.t.Fatal(err)
		}
		return v
	},
}

// TestBatch_AChangeAtEachStep: a key changes between two steps of a copy. Whenever that is, the new place does not show
// the version before.
func TestBatch_AChangeAtEachStep(t *testing.T) {
	steps := []string{"acquire", "prove", "carry", "release", "nothing"}
	outcomes := map[string]Reason{"acquire": Gone, "prove": Gone, "carry": Changed, "release": copied, "nothing": copied}
	for how, change := range changes {
		for _, at := range steps {
			t.Run(how+" before "+at, func(t *testing.T) {
				inCopyBubble(t, func(t *testing.T, w *world) {
					v1 := w.write("k")
					time.Sleep(time.Second)
					w.old.fill("k", l2.Record{Version: v1, Payload: payload(1)}, time.Minute)
					b := w.copier.newBatch([]l2.Key{w.old.key("k")})
					for _, step := range steps {
						if step == at {
							change(w)
						}
						if step == "prove" && w.old.end == nil { // the proof needs a relay
							w.old.start()
						}
						do(b, step)
					}
					if rec := w.fresh.has("k"); rec != nil && rec.Version <= v1 {
						t.Errorf("the new place shows version %d, and has applied a later one", rec.Version)
					}
					if got := b.items[0].why; got != outcomes[at] {
						t.Errorf("got %q, want %q", got, outcomes[at])
					}
				})
			})
		}
	}
}

func do(b *batch, step string) {
	ctx := context.Background()
	switch step {
	case "acquire":
		b.acquire(ctx)
	case "prove":
		b.prove(ctx)
	case "carry":
		b.carry(ctx)
	case "release":
		b.release(ctx)
	}
}

// TestBatch_ALostConnectionTakesTheProofBack: the server that answers then may be another one, which went back in time.
func TestBatch_ALostConnectionTakesTheProofBack(t *testing.T) {
	inCopyBubble(t, func(t *testing.T, w *world) {
		v := w.write("k")
		time.Sleep(time.Second)
		w.old.fill("k", l2.Record{Version: v, Payload: payload(1)}, time.Minute)
		b := w.copier.newBatch([]l2.Key{w.old.key("k")})
		do(b, "acquire")
		do(b, "prove")
		w.redis.KillClients()
		time.Sleep(time.Second)
		do(b, "carry")
		do(b, "release")
		if why := b.items[0].why; why != Unproved && why != Unreachable {
			t.Errorf("got %q, want it unproved", why)
		}
		if rec := w.fresh.has("k"); rec != nil {
			t.Errorf("it was copied: %+v", rec)
		}
	})
}

// TestBatch_AnOldRelayThatStandsStill: nothing is proved then. The leases are given back, so that readers load.
func TestBatch_AnOldRelayThatStandsStill(t *testing.T) {
	inCopyBubble(t, func(t *testing.T, w *world) {
		v := w.write("k")
		time.Sleep(time.Second)
		w.old.fill("k", l2.Record{Version: v, Payload: payload(1)}, time.Minute)
		w.old.stop()
		w.write("k")
		time.Sleep(time.Second)
		b := w.copier.newBatch([]l2.Key{w.old.key("k")})
		if b.run(t.Context()) || b.items[0].why != Unproved {
			t.Errorf("got %q, want it unproved", b.items[0].why)
		}
		if rec := w.fresh.has("k"); rec != nil {
			t.Errorf("it was copied: %+v", rec)
		}
		lease, err := w.fresh.Acquire(t.Context(), w.fresh.key("k"), l2.NewLeaseID(), time.Second, l2.AcquireOptions{})
		if err != nil || lease.Status != l2.Granted {
			t.Errorf("a reader is answered %v, %v; want a lease", lease.Status, err)
		}
	})
}
