package l2_test

import (
	"testing"
	"time"

	"github.com/nearcache/nearcache-go/internal/l2"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
)

func TestLease_SaysWhatHoldsIt(t *testing.T) {
	redis := nearcachetest.NewRedis(t)
	l, err := l2.Open(l2.Config{Redis: redis.ClientOption()})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	expect := func(k l2.Key, want l2.LeaseState) {
		t.Helper()
		got, err := l.Lease(t.Context(), k)
		if err != nil {
			t.Fatal(err)
		}
		if got.Left > time.Minute || got.Left <= 0 && want.Left > 0 {
			t.Errorf("got %v left, want up to a minute", got.Left)
		}
		if got.Left, want.Left = 0, 0; got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
	read, written, foreign, endless := l.Keyspace().Key("n", "read"), l.Keyspace().Key("n", "written"),
		l.Keyspace().Key("n", "foreign"), l.Keyspace().Key("n", "endless")
	expect(read, l2.LeaseState{})
	if _, err := l.Acquire(t.Context(), read, l2.NewLeaseIDKnowing(7), time.Minute, l2.AcquireOptions{}); err != nil {
		t.Fatal(err)
	}
	expect(read, l2.LeaseState{Holder: l2.HeldByReader, Known: 7, Left: time.Minute})
	for range 2 {
		if _, err := l.PlaceIntent(t.Context(), written, l2.NewLeaseID(), time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	expect(written, l2.LeaseState{Holder: l2.HeldByWriters, Writers: 2, Left: time.Minute})
	redis.Do("LPUSH", foreign.Lease, "x")
	expect(foreign, l2.LeaseState{Holder: l2.HeldByOthers})
	redis.Do("SET", endless.Lease, "Rxxxxxxxxxxxxxxxx")
	expect(endless, l2.LeaseState{Holder: l2.HeldByOthers})
}
