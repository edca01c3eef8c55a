package l2_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/l2"
)

const big = coherence.Version(1 << 53) // beyond, doubles skip numbers

func TestApply_RemovesWhatIsOlder(t *testing.T) {
	onBoth(t, func(b *bench) {
		for _, c := range []struct {
			have, apply coherence.Version
			want        string
		}{
			{1, 2, "absent"}, {2, 2, "v2"}, {3, 2, "v3"}, {0, 1, "absent"},
			{3, 0, "absent"}, // 0 is older than every version, and removes them all
			{big, big + 1, "absent"}, {big + 1, big, fmt.Sprint("v", big+1)},
			{1<<63 + 1, 1 << 63, fmt.Sprint("v", uint64(1<<63+1))}, {1<<32 - 1, 1 << 32, "absent"},
		} {
			b.store(c.have)
			b.apply(c.apply)
			b.want(fmt.Sprintf("apply %d over %d", c.apply, c.have), c.want)
		}
	})
}

func TestApply_DoesNotCreate(t *testing.T) {
	onBoth(t, func(b *bench) {
		b.apply(0)
		b.apply(5)
		b.want("apply on an absent key", "absent")
	})
}

func TestApply_RemovesWhatIsNoRecord(t *testing.T) {
	onBoth(t, func(b *bench) {
		for name, v := range map[string]string{"foreign": "hello", "nearly": "NC\x01\x00 but no record",
			"long": "NC\x01" + strings.Repeat("\x00", 500)} {
			b.do("SET", b.k.Record, v)
			b.apply(1)
			b.want("apply over a value that is "+name, "absent")
		}
		b.do("LPUSH", b.k.Record, "x")
		b.want("a list", "wrong type")
		b.apply(1)
		b.want("apply over a list", "absent")
	})
}

func TestFill_OfALostLeaseIsRefused(t *testing.T) { // C2, R1
	onBoth(t, func(b *bench) {
		for name, lose := range map[string]func(){
			"an invalidation came": func() { b.apply(2) }, // the key is absent, and its lease goes
			"Redis evicted it":     func() { b.do("DEL", b.k.Lease) },
		} {
			l := b.lease()
			lose()
			b.wantFill("a fill after "+name, l, 1, l2.LeaseLost)
			b.want("after "+name, "absent")
		}
	})
}

func TestFill_NeedsTheLeaseItself(t *testing.T) {
	onBoth(t, func(b *bench) {
		l := b.lease()
		b.wantFill("a fill with another lease", l2.Lease{ID: l2.NewLeaseID()}, 1, l2.LeaseLost)
		b.wantFill("the holder's fill", l, 1, l2.Filled)
		b.want("filled", "v1")
	})
}

func TestAcquire_Statuses(t *testing.T) {
	valueWithSchema := func(schema uint32) func(b *bench) {
		return func(b *bench) {
			l := b.lease()
			if _, err := b.Fill(ctx(), b.k, l.ID, l.Incarnation, l2.Record{Schema: schema}, time.Minute); err != nil {
				b.t.Fatal(err)
			}
		}
	}
	redisHas := func(value string) func(b *bench) {
		return func(b *bench) { b.do("SET", b.k.Record, value) }
	}
	onBoth(t, func(b *bench) {
		for _, c := range []struct {
			name    string
			prepare func(b *bench)
			options l2.AcquireOptions
			want    l2.LeaseStatus
		}{
			{"an absent key", func(*bench) {}, l2.AcquireOptions{}, l2.Granted},
			{"a key with a lease", func(b *bench) { b.lease() }, l2.AcquireOptions{}, l2.Busy},
			{"a value", valueWithSchema(0), l2.AcquireOptions{}, l2.Present},
			{"a value of an older schema", valueWithSchema(0), l2.AcquireOptions{Schema: 1}, l2.Granted},
			{"a value of a newer schema", valueWithSchema(2), l2.AcquireOptions{Schema: 1}, l2.Newer},
			{"a newer format", redisHas("NC\x02whatever comes"), l2.AcquireOptions{}, l2.Newer},
			{"foreign bytes", redisHas("foreign"), l2.AcquireOptions{}, l2.Granted},
			{"an empty string", redisHas(""), l2.AcquireOptions{}, l2.Granted},
		} {
			b.do("DEL", b.k.Record, b.k.Lease)
			c.prepare(b)
			l, err := b.Acquire(ctx(), b.k, l2.NewLeaseID(), time.Minute, c.options)
			if err != nil || l.Status != c.want {
				t.Errorf("%s: got the status %v and error %v, want %v", c.name, l.Status, err, c.want)
			}
		}
	})
}

func TestAcquire_GrantsALeaseForAnUnusableValue(t *testing.T) {
	onBoth(t, func(b *bench) {
		b.store(1)
		raw, _, err := b.Get(ctx(), b.k, l2.ReadOptions{})
		if err != nil {
			t.Fatal(err)
		}
		l, err := b.Acquire(ctx(), b.k, l2.NewLeaseID(), time.Minute, l2.AcquireOptions{Unusable: raw[:l2.HeaderSize]})
		if err != nil || l.Status != l2.Granted {
			t.Errorf("got the status %v and error %v, want a lease", l.Status, err)
		}
	})
}

func TestRenew_ExtendsOnlyTheHoldersLease(t *testing.T) {
	onBoth(t, func(b *bench) {
		left := func() time.Duration {
			l, err := b.Acquire(ctx(), b.k, l2.NewLeaseID(), time.Minute, l2.AcquireOptions{})
			if err != nil || l.Status != l2.Busy {
				t.Fatalf("a second lease: got the status %v and error %v, want busy", l.Status, err)
			}
			return l.Left
		}
		l := b.lease()
		if got := left(); got <= 0 || got > time.Minute {
			t.Errorf("got %v left, want at most a minute", got)
		}
		if held, err := b.Renew(ctx(), b.k, l2.NewLeaseID(), time.Hour); held || err != nil {
			t.Errorf("renew with another lease: got held %v and error %v, want a refusal", held, err)
		}
		if held, err := b.Renew(ctx(), b.k, l.ID, time.Hour); !held || err != nil {
			t.Errorf("renew: got held %v and error %v, want a renewal", held, err)
		}
		if got := left(); got < time.Minute {
			t.Errorf("got %v left, want nearly an hour", got)
		}
	})
}

func TestSet_DoesNotCreate(t *testing.T) { // C5
	onBoth(t, func(b *bench) {
		b.wantSet("set on an absent key", 5, 0, false)
		b.want("set on an absent key", "absent")
	})
}

func TestSet_EndsALease(t *testing.T) {
	onBoth(t, func(b *bench) {
		l := b.lease()
		b.wantSet("set during a load", 5, 0, false)
		b.want("set during a load", "absent")
		b.wantFill("the load's fill", l, 4, l2.LeaseLost)
		b.store(5)
		l = b.leaseOver() // a newer build loads while there is a value
		b.wantSet("set over an older value", 6, 0, true)
		b.wantFill("the fill of a load that may be older", l, 5, l2.LeaseLost)
		b.want("afterwards", "v6")
	})
}

func TestSet_ReplacesOnlyWhatIsOlder(t *testing.T) {
	onBoth(t, func(b *bench) {
		for _, c := range []struct {
			name                  string
			haveSchema, setSchema uint32
			have, set             coherence.Version
			replaced              bool
			want                  string
		}{
			{name: "a newer version", have: 5, set: 6, replaced: true, want: "v6"},
			{name: "the same version", have: 6, set: 6, want: "v6"},
			{name: "an older version", have: 6, set: 5, want: "v6"},
			{name: "no version", have: 6, set: 0, want: "absent"},
			{name: "a newer schema", have: 1, set: 2, setSchema: 3, replaced: true, want: "v2"},
			{name: "an older schema only invalidates", have: 2, haveSchema: 3, set: 3, setSchema: 2, want: "absent"},
		} {
			b.apply(0)
			l := b.lease()
			have := l2.Record{Version: c.have, Schema: c.haveSchema}
			if r, err := b.Fill(ctx(), b.k, l.ID, l.Incarnation, have, time.Minute); r != l2.Filled || err != nil {
				t.Fatalf("fill: got %v and error %v, want it filled", r, err)
			}
			b.wantSet(c.name, c.set, c.setSchema, c.replaced)
			b.want(c.name, c.want)
		}
	})
}

func TestIntent_SetsTheValueAsideAndEndsLeases(t *testing.T) {
	onBoth(t, func(b *bench) {
		b.store(1)
		reader := b.leaseOver()
		b.intend(l2.NewLeaseID())
		b.want("an intent is placed", "v1?+lease")
		b.wantFill("a reader's fill during a write", reader, 1, l2.LeaseLost)
		b.wantStatus("during a write", l2.Writing)
	})
}

func TestIntent_SurvivesAnInvalidation(t *testing.T) {
	onBoth(t, func(b *bench) {
		b.intend(l2.NewLeaseID())
		b.apply(0)
		b.wantStatus("after an invalidation", l2.Writing)
	})
}

func TestIntents_AllMustBeResolved(t *testing.T) {
	onBoth(t, func(b *bench) {
		x, y := l2.NewLeaseID(), l2.NewLeaseID()
		b.intend(x)
		b.intend(y)
		for range 2 { // the second time changes nothing
			b.resolve(x, 2)
			b.wantStatus("one of two writes has ended", l2.Writing)
		}
		b.resolve(y, 0)
		b.want("both writes have ended", "absent")
		b.wantStatus("both writes have ended", l2.Granted)
	})
}

// TestIntent_LateResolveEndsALease: the intent ran out before the write ended, and a reader holds a lease.
func TestIntent_LateResolveEndsALease(t *testing.T) {
	onBoth(t, func(b *bench) {
		reader := b.lease()
		b.resolve(l2.NewLeaseID(), 3)
		b.want("a late end of a write", "absent")
		b.wantFill("the reader's fill", reader, 2, l2.LeaseLost)
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
			fills = append(fills, l2.FillRequest{Key: ks[i], ID: a.Lease.ID, Incarnation: a.Lease.Incarnation,
				Record: l2.Record{Version: coherence.Version(i)}, TTL: time.Minute})
		}
		fills[3].Record.Payload = make([]byte, l2.MaxRecordBytes)
		for i, o := range b.FillMany(ctx(), fills) {
			if want := map[bool]l2.FillResult{true: l2.TooLarge}[i == 3]; o.Err != nil || o.Result != want {
				t.Errorf("key %d: got %+v, want the result %v", i, o, want)
			}
		}
		for i, g := range b.GetMany(ctx(), ks, l2.ReadOptions{Watermark: true}) {
			if (g.Raw == nil) != (i == 3) || g.Err != nil {
				t.Errorf("key %d: got %d bytes and error %v, want a record for all keys but 3", i, len(g.Raw), g.Err)
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
