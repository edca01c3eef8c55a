package l2_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/l2"
)

const big = coherence.Version(1 << 53) // beyond, doubles skip numbers

func TestApply_Table(t *testing.T) {
	onBoth(t, func(b *bench) {
		for _, c := range []struct {
			have, apply coherence.Version
			want        string
		}{{1, 2, "absent"}, {2, 2, "v2"}, {3, 2, "v3"}, {3, 0, "absent"}, {big, big + 1, "absent"}, {big + 1, big, fmt.Sprint("v", big+1)},
			{1<<63 + 1, 1 << 63, fmt.Sprint("v", uint64(1<<63+1))}, {0, 1, "absent"}, {1<<32 - 1, 1 << 32, "absent"}} {
			b.store(c.have)
			if err := b.Apply(ctx(), b.k, c.apply); err != nil {
				t.Fatal(err)
			}
			b.want(fmt.Sprintf("apply %d over %d", c.apply, c.have), c.want)
		}
		b.Apply(ctx(), b.k, 0)
		b.Apply(ctx(), b.k, 5)
		b.want("apply on an absent key", "absent")
		for name, v := range map[string]string{"empty": "", "foreign": "hello", "nearly": "NC\x01\x00 but no record"} {
			b.do("SET", b.k.Record, v)
			b.Apply(ctx(), b.k, 1)
			b.want("apply over a value that is "+name, "absent")
		}
		b.do("LPUSH", b.k.Record, "x")
		b.want("a list", "wrong type")
		b.Apply(ctx(), b.k, 1)
		b.want("apply over a list", "absent")
	})
}

func TestLateFill_IsRefused(t *testing.T) { // C2, R1
	onBoth(t, func(b *bench) {
		l := b.lease()
		b.Apply(ctx(), b.k, 2) // the key is absent, and its lease goes
		if r := b.fill(l, 1); r != l2.LeaseLost {
			t.Errorf("a fill after the invalidation: %v", r)
		}
		b.want("afterwards", "absent")
		l = b.lease()
		b.do("DEL", b.k.Lease) // Redis evicts the lease: it fails closed (R2)
		if r := b.fill(l, 1); r != l2.LeaseLost {
			t.Errorf("a fill whose lease was evicted: %v", r)
		}
		l = b.lease()
		if r := b.fill(l2.Lease{ID: l2.NewLeaseID()}, 1); r != l2.LeaseLost {
			t.Errorf("a fill of another lease: %v", r)
		}
		if r := b.fill(l, 1); r != l2.Filled {
			t.Errorf("the holder's fill: %v", r)
		}
		b.want("filled", "v1")
	})
}

func TestAcquire_Table(t *testing.T) {
	onBoth(t, func(b *bench) {
		status := func(a l2.AcquireOptions) l2.Lease {
			l, err := b.Acquire(ctx(), b.k, l2.NewLeaseID(), time.Minute, a)
			if err != nil {
				t.Fatal(err)
			}
			return l
		}
		l := b.lease()
		if got := status(l2.AcquireOptions{}); got.Status != l2.Busy || got.Left <= 0 || got.Left > time.Minute {
			t.Errorf("a second lease: %+v", got)
		}
		if held, err := b.Renew(ctx(), b.k, l.ID, time.Hour); !held || err != nil {
			t.Errorf("renew: %v, %v", held, err)
		}
		if got := status(l2.AcquireOptions{}); got.Left < time.Minute {
			t.Errorf("renewed for an hour, %v left", got.Left)
		}
		if held, _ := b.Renew(ctx(), b.k, l2.NewLeaseID(), time.Hour); held {
			t.Error("somebody else's lease was renewed")
		}
		b.fill(l, 1)
		if got := status(l2.AcquireOptions{}); got.Status != l2.Present {
			t.Errorf("with a value: %v", got.Status)
		}
		raw, _, _ := b.Get(ctx(), b.k, l2.ReadOptions{})
		if got := status(l2.AcquireOptions{Unusable: raw[:l2.HeaderSize]}); got.Status != l2.Granted {
			t.Errorf("with a value that cannot be used: %v", got.Status)
		}
		b.do("DEL", b.k.Lease)
		if got := status(l2.AcquireOptions{Schema: 1}); got.Status != l2.Granted {
			t.Errorf("with a value of an older schema: %v", got.Status)
		}
		b.Apply(ctx(), b.k, 0)
		l = b.lease()
		if _, err := b.Fill(ctx(), b.k, l.ID, l.Incarnation, l2.Record{Schema: 2}, time.Minute); err != nil {
			t.Fatal(err)
		}
		if got := status(l2.AcquireOptions{Schema: 1}); got.Status != l2.Newer {
			t.Errorf("with a value of a newer schema: %v", got.Status)
		}
		b.do("SET", b.k.Record, "NC\x02whatever comes")
		if got := status(l2.AcquireOptions{}); got.Status != l2.Newer {
			t.Errorf("with a newer format: %v", got.Status)
		}
		b.do("SET", b.k.Record, "foreign")
		if got := status(l2.AcquireOptions{}); got.Status != l2.Granted {
			t.Errorf("with foreign bytes: %v", got.Status)
		}
	})
}

func TestSet_Table(t *testing.T) {
	onBoth(t, func(b *bench) {
		set := func(v coherence.Version, schema uint32) bool {
			replaced, err := b.Set(ctx(), b.k, l2.Record{Version: v, Schema: schema, Payload: []byte("set")}, time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			return replaced
		}
		if set(5, 0) {
			t.Error("a set gave birth to a value") // C5
		}
		b.want("set on an absent key", "absent")
		l := b.lease()
		set(5, 0)
		b.want("set kills a running load's lease", "absent")
		if b.fill(l, 4) != l2.LeaseLost {
			t.Error("and its fill")
		}
		b.store(5)
		l, _ = b.Acquire(ctx(), b.k, l2.NewLeaseID(), time.Minute, l2.AcquireOptions{Schema: 1}) // a newer build loads
		if !set(6, 0) {
			t.Error("an older value is not replaced")
		}
		b.want("set over an older value", "v6")
		if b.fill(l, 5) != l2.LeaseLost {
			t.Error("set over a value leaves a lease standing, whose load may be older")
		}
		for _, v := range []coherence.Version{6, 5} {
			if set(v, 0) {
				t.Errorf("version %d replaced 6", v)
			}
			b.want("set of no newer version", "v6")
		}
		set(0, 0)
		b.want("set without a version", "absent")
		b.store(1)
		set(2, 3)
		b.want("a newer schema replaces", "v2")
		if set(3, 2) {
			t.Error("an older schema replaced a newer one")
		}
		b.want("and only invalidates", "absent")
	})
}

func TestMarks_Overlap(t *testing.T) {
	onBoth(t, func(b *bench) {
		x, y := l2.NewLeaseID(), l2.NewLeaseID()
		b.store(1)
		reader, _ := b.Acquire(ctx(), b.k, l2.NewLeaseID(), time.Minute, l2.AcquireOptions{Schema: 1})
		for _, w := range []l2.LeaseID{x, y} {
			if err := b.PlaceIntent(ctx(), b.k, w, time.Minute); err != nil {
				t.Fatal(err)
			}
		}
		b.want("an intent is placed", "absent+lease")
		if r := b.fill(reader, 1); r != l2.LeaseLost {
			t.Errorf("a reader's fill during a write: %v", r)
		}
		writing := func(want l2.LeaseStatus, when string) {
			t.Helper()
			l, err := b.Acquire(ctx(), b.k, l2.NewLeaseID(), time.Minute, l2.AcquireOptions{})
			if err != nil || l.Status != want {
				t.Errorf("%s: got the status %v and error %v, want %v", when, l.Status, err, want)
			}
		}
		writing(l2.Writing, "two writers")
		b.Apply(ctx(), b.k, 0) // the relay's, or anybody's
		writing(l2.Writing, "an invalidation does not resolve an intent")
		if err := b.ResolveIntent(ctx(), b.k, x, 2); err != nil {
			t.Fatal(err)
		}
		writing(l2.Writing, "one of two is done")
		b.ResolveIntent(ctx(), b.k, x, 2)
		writing(l2.Writing, "and says so twice")
		b.ResolveIntent(ctx(), b.k, y, 0)
		b.want("both are done", "absent")
		writing(l2.Granted, "both are done")
		b.ResolveIntent(ctx(), b.k, y, 3) // late: its intent had run out, and a reader holds the lease
		b.want("a late end of a write", "absent")
	})
}

func TestMany_EachKeyItsOwn(t *testing.T) {
	onBoth(t, func(b *bench) {
		var ks []l2.Key
		var asks []l2.AcquireRequest
		for i := range 100 {
			ks = append(ks, b.Keyspace().Key("n", fmt.Sprint(i)))
			asks = append(asks, l2.AcquireRequest{Key: ks[i]})
		}
		var fills []l2.FillRequest
		for i, a := range b.AcquireMany(ctx(), asks, time.Minute) {
			if a.Err != nil || a.Lease.Status != l2.Granted {
				t.Fatalf("key %d: got %+v, want a granted lease", i, a)
			}
			fills = append(fills, l2.FillRequest{Key: ks[i], ID: a.Lease.ID, Incarnation: a.Lease.Incarnation, Record: l2.Record{Version: coherence.Version(i)}, TTL: time.Minute})
		}
		fills[3].Record.Payload = make([]byte, l2.MaxRecordBytes)
		for i, o := range b.FillMany(ctx(), fills) {
			if want := map[bool]l2.FillResult{true: l2.TooLarge}[i == 3]; o.Err != nil || o.Result != want {
				t.Errorf("key %d: got %+v, want the result %v", i, o, want)
			}
		}
		for i, g := range b.GetMany(ctx(), ks, l2.ReadOptions{Watermark: true}) {
			if (g.Raw == nil) != (i == 3) || g.Err != nil {
				t.Errorf("%d: %d bytes, %v", i, len(g.Raw), g.Err)
			}
		}
	})
}

func TestSetMany_SetsAndApplies(t *testing.T) {
	onBoth(t, func(b *bench) {
		ks := make([]l2.Key, 6)
		for i := range ks {
			ks[i] = b.Keyspace().Key("n", fmt.Sprint(i))
			b.k = ks[i]
			b.store(2)
		}
		rec := func(v coherence.Version, size int) *l2.Record {
			return &l2.Record{Version: v, Payload: make([]byte, size)}
		}
		errs := b.SetMany(ctx(), []l2.SetRequest{
			{Key: ks[0], Record: rec(3, 1), TTL: time.Minute},
			{Key: ks[1], Record: rec(1, 1), TTL: time.Minute},
			{Key: ks[2], Version: 3},
			{Key: ks[3]},
			{Key: ks[4], Record: rec(3, l2.MaxRecordBytes), TTL: time.Minute}, // applied instead
			{Key: ks[5], Record: rec(3, 1)},                                   // no TTL
		})
		for i, want := range []string{"v3", "v2", "absent", "absent", "absent", "v2"} {
			if (errs[i] != nil) != (i == 5) {
				t.Errorf("key %d: got error %v, want one for key 5 only", i, errs[i])
			}
			b.k = ks[i]
			b.want(fmt.Sprint(i), want)
		}
	})
}
