package l2_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/l2"
)

func (b *bench) applyOnce(v coherence.Version) {
	b.t.Helper()
	if err := b.ApplyOnce(ctx(), []l2.Change{{Key: b.k, Version: v}})[0]; err != nil {
		b.t.Fatal(err)
	}
}

// ApplyOnce leaves what Apply leaves.
func TestApplyOnce_RemovesWhatIsOlder(t *testing.T) {
	onBoth(t, func(b *bench) {
		for _, c := range []struct {
			have, apply coherence.Version
			want        string
		}{
			{1, 2, "absent"}, {2, 2, "v2"}, {3, 2, "v3"}, {0, 1, "absent"}, {3, 0, "absent"},
			{big, big + 1, "absent"}, {big + 1, big, fmt.Sprint("v", big+1)},
		} {
			b.store(c.have)
			b.applyOnce(c.apply)
			b.want(fmt.Sprintf("apply %d over %d", c.apply, c.have), c.want)
		}
		for name, v := range map[string]string{"foreign": "hello", "a newer format": "NC\x02 and much more than a header"} {
			b.do("SET", b.k.Record, v)
			b.applyOnce(1)
			b.want("over a value that is "+name, "absent")
		}
		b.do("LPUSH", b.k.Record, "x")
		b.applyOnce(1)
		b.want("over a list", "absent")
	})
}

// A lease stays if its holder knew of the version, and then the holder cannot fill an older record.
func TestApplyOnce_Leases(t *testing.T) {
	onBoth(t, func(b *bench) {
		for _, c := range []struct {
			known, apply, fill coherence.Version
			want               l2.FillResult
		}{
			{0, 2, 2, l2.LeaseLost}, {1, 2, 2, l2.LeaseLost}, {2, 2, 2, l2.Filled}, {3, 2, 3, l2.Filled},
			{2, 2, 1, l2.LeaseLost}, // a Loader that went back in time
			{2, 0, 2, l2.LeaseLost},
		} {
			b.do("DEL", b.k.Record)
			id := l2.NewLeaseIDKnowing(c.known)
			l, err := b.Acquire(ctx(), b.k, id, time.Minute, l2.AcquireOptions{})
			if err != nil || l.Status != l2.Granted {
				t.Fatalf("acquire: %v, %v", l.Status, err)
			}
			b.applyOnce(c.apply)
			b.wantFill(fmt.Sprintf("known %d, applied %d, filled %d", c.known, c.apply, c.fill), l, c.fill, c.want)
			b.do("DEL", b.k.Lease)
		}
	})
}
