package l2_test

import (
	"testing"
	"time"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/l2"
)

// TestIntent_Outcomes: what a writer knows of its write decides what becomes of the value that was there.
func TestIntent_Outcomes(t *testing.T) {
	onBoth(t, func(b *bench) {
		for _, c := range []struct {
			name    string
			outcome l2.Outcome
			version coherence.Version
			want    string
		}{
			{"committed a newer version", l2.Committed, 6, "absent"},
			{"committed without a version", l2.Committed, 0, "absent"},
			{"unknown", l2.Unknown, 0, "v5?"},
			{"refused, by a writer that knows of no value", l2.Refused, 0, "v5?"},
			{"refused", l2.Restore, 0, "v5"},
		} {
			b.do("DEL", b.k.Lease)
			b.store(5)
			w := l2.NewLeaseID()
			if !b.intend(w) {
				t.Errorf("%s: no value was set aside", c.name)
			}
			b.end(w, c.outcome, c.version)
			b.want(c.name, c.want)
			status := l2.Granted
			if c.want == "v5" {
				status = l2.Present
			}
			b.wantStatus(c.name, status)
		}
	})
}

// TestIntent_RestoresOnlyWhatNoOtherWriteCanHaveChanged: a write that certainly did not happen confirms the value again
// only if no other can have happened meanwhile.
func TestIntent_RestoresOnlyWhatNoOtherWriteCanHaveChanged(t *testing.T) {
	onBoth(t, func(b *bench) {
		first, other := l2.NewLeaseID(), l2.NewLeaseID()
		for name, c := range map[string]struct {
			meanwhile func()
			want      string
		}{
			"another writer is at it": {func() {
				if b.intend(other) {
					t.Error("a second writer has set the value aside as well")
				}
			}, "v5?+lease"},
			"another writer committed": {func() {
				b.intend(other)
				b.resolve(other, 6)
			}, "absent"},
			"another writer's outcome is unknown": {func() {
				b.intend(other)
				b.end(other, l2.Unknown, 0)
			}, "v5?"},
			"another writer's outcome is unknown, and a third one's known": {func() {
				third := l2.NewLeaseID()
				b.intend(other)
				b.end(other, l2.Unknown, 0)
				b.intend(third)
				b.end(third, l2.Refused, 0)
			}, "v5?"},
			"another write was refused": {func() {
				b.intend(other)
				b.end(other, l2.Refused, 0)
			}, "v5"},
			"too many writers": {func() {
				for range 64 {
					id := l2.NewLeaseID()
					b.intend(id)
					defer b.end(id, l2.Refused, 0)
				}
			}, "v5?"},
			"a newer version was applied":         {func() { b.apply(6) }, "absent"},
			"the same version was applied":        {func() { b.apply(5) }, "v5"},
			"an unversioned change was applied":   {func() { b.apply(0) }, "absent"},
			"its intent was lost, and another is": {func() { b.do("DEL", b.k.Lease); b.intend(other) }, "v5?+lease"},
			"its intent was lost":                 {func() { b.do("DEL", b.k.Lease) }, "v5?"},
			"the bucket began another incarnation": {func() {
				to := coherence.Position{Timeline: 1, N: 1}
				if _, err := b.ResetWatermark(ctx(), b.k.Bucket, l2.Watermark{}, to); err != nil {
					t.Fatal(err)
				}
			}, "v5?"},
		} {
			b.do("DEL", b.k.Lease, b.Keyspace().Watermark(b.k.Bucket))
			b.store(5)
			if !b.intend(first) {
				t.Errorf("%s: no value was set aside", name)
			}
			c.meanwhile()
			b.end(first, l2.Restore, 0)
			b.want(name, c.want)
		}
	})
}

// TestDoubt_KeepsTheValueForFailSafe: with its TTL, out of everybody's way, until something newer comes.
func TestDoubt_KeepsTheValueForFailSafe(t *testing.T) {
	onBoth(t, func(b *bench) {
		doubt := func() {
			t.Helper()
			if err := b.ApplyMany(ctx(), []l2.Change{{Key: b.k, Unconfirmed: true}}); err != nil {
				t.Fatal(err)
			}
		}
		doubt()
		b.want("nothing", "absent")
		b.store(5)
		reader := b.leaseOver()
		doubt()
		doubt()
		b.want("twice", "v5?")
		if ttl := b.do("PTTL", b.k.Record); ttl == ":-1\r\n" {
			t.Errorf("it has no TTL any more: %q", ttl)
		}
		b.wantFill("a load that began before", reader, 5, l2.LeaseLost)
		b.apply(5)
		b.want("its own version came late", "v5?")
		b.wantSet("another writer's new value", 6, 0, false)
		b.want("a new value is not born of an old one", "absent")
		b.store(5)
		doubt()
		if l := b.lease(); b.fill(l, 5) != l2.Filled {
			t.Error("it is not replaced")
		}
		b.want("loaded again", "v5")
		b.do("SET", b.k.Record, "foreign", "PX", time.Minute.String()[:1]+"0000")
		doubt()
		b.want("foreign bytes", "absent")
	})
}
