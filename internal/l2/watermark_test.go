package l2_test

import (
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/l2"
	"github.com/nearcache/nearcache-go/internal/services/servicestest"
)

// TestBatch_IsOneScript: between two, Redis can fail over to a replica that has not got the first, and the second would
// move the watermark past both.
func TestBatch_IsOneScript(t *testing.T) { // C1
	p := servicestest.StartRedis(t)
	b := newBench(t, rueidis.ClientOption{InitAddress: []string{p.Addr}}, p.Do)
	position := func(n uint64) coherence.Position { return coherence.Position{Timeline: 1, N: n} }
	w, err := b.ResetWatermark(ctx(), b.k.Bucket, l2.Watermark{}, position(5))
	if err != nil {
		t.Fatal(err)
	}
	changes := make([]l2.Change, 10_000)
	for i := range changes {
		changes[i] = l2.Change{Key: b.k, Version: 2}
	}
	apply := func(from, to uint64, changes []l2.Change) {
		t.Helper()
		w.Position = position(from)
		if _, ok, err := b.ApplyBatch(ctx(), b.k.Bucket, changes, w, position(to)); !ok || err != nil {
			t.Fatal(ok, err)
		}
	}
	apply(5, 6, changes[:1]) // Redis knows the script from now on
	b.do("CONFIG", "RESETSTAT")
	apply(6, 7, changes)
	if stats := b.do("INFO", "commandstats"); !strings.Contains(stats, "cmdstat_evalsha:calls=1,") {
		t.Errorf("not one script: %s", stats)
	}
}

func TestIncarnationAndWatermark(t *testing.T) {
	onBoth(t, func(b *bench) {
		at := func(n uint64) coherence.Position { return coherence.Position{Timeline: 1 << 63, N: n} }
		batch := func(from l2.Watermark, to coherence.Position, changes ...l2.Change) (l2.Watermark, bool) {
			t.Helper()
			now, ok, err := b.ApplyBatch(ctx(), b.k.Bucket, changes, from, to)
			if err != nil {
				t.Fatal(err)
			}
			return now, ok
		}
		v := func(n coherence.Version) l2.Change { return l2.Change{Key: b.k, Version: n} }
		if _, ok := batch(l2.Watermark{Incarnation: l2.Incarnation{1}, Position: at(0)}, at(1), v(1)); ok {
			t.Error("applied without a watermark")
		}
		b.store(1) // before there was a watermark
		l := b.lease2()
		w, err := b.ResetWatermark(ctx(), b.k.Bucket, l2.Watermark{}, at(big2))
		if err != nil || w.Position != at(big2) || w.Incarnation == (l2.Incarnation{}) {
			t.Fatalf("reset: got %+v and error %v, want the new position and an incarnation", w, err)
		}
		if again, err := b.ResetWatermark(ctx(), b.k.Bucket, l2.Watermark{}, at(9)); again != w || err != nil {
			t.Errorf("a second relay resets what stands: %+v", again)
		}
		if r := b.fill(l, 1); r != l2.IncarnationChanged {
			t.Errorf("a fill that began in the old incarnation: %v", r)
		}
		if got := b.lease(); got.Incarnation != w.Incarnation { // a record of another incarnation is not in the way
			t.Errorf("incarnation %v", got.Incarnation)
		}
		if replaced, _ := b.Set(ctx(), b.k, l2.Record{Version: 9}, time.Minute); replaced {
			t.Error("set replaced a record of another incarnation")
		}
		b.store(1)
		raw, seen, err := b.Get(ctx(), b.k, l2.ReadOptions{Watermark: true})
		if rec, e := l2.DecodeRecord(raw); err != nil || e != nil || rec.Incarnation != w.Incarnation || seen != w {
			t.Errorf("%+v under %+v, %v %v", rec, seen, err, e)
		}
		w1, ok := batch(w, at(big2+1), v(2))
		if !ok || w1.Position != at(big2+1) {
			t.Errorf("batch: got %+v and ok %v, want the next position", w1, ok)
		}
		b.want("applied", "absent")
		b.store(2)
		if now, ok := batch(w, at(big2), v(2)); !ok || now != w1 { // a zombie's batch: true for ever, and it never moves back
			t.Errorf("a zombie: %+v, %v", now, ok)
		}
		b.want("and harmless", "v2")
		ahead := l2.Watermark{Incarnation: w.Incarnation, Position: at(big2 + 2)}
		if now, ok := batch(ahead, at(big2+3), v(3)); ok || now != w1 {
			t.Errorf("a batch from beyond the watermark: %+v, %v", now, ok)
		}
		other := l2.Watermark{Incarnation: l2.Incarnation{5}, Position: w1.Position}
		if _, ok := batch(other, at(big2+3), v(3)); ok {
			t.Error("a batch of another incarnation")
		}
		b.want("refused", "v2")
		var many []l2.Change
		for range 1200 {
			many = append(many, v(2))
		}
		if now, ok := batch(w1, at(big2+9), append(many, v(3))...); !ok || now.Position != at(big2+9) {
			t.Errorf("a long batch: %+v, %v", now, ok)
		}
		b.want("the last of a long batch", "absent")
		w2 := l2.Watermark{Incarnation: w.Incarnation, Position: at(big2 + 9)}
		long := make([]l2.Change, 10_001)
		for i := range long {
			long[i] = v(4)
		}
		if now, ok := batch(w, at(big2+10), long...); ok || now != w2 {
			t.Errorf("a batch too long for a script, from another watermark: %+v, %v", now, ok)
		}
		reset, ok := batch(w2, at(big2+10), long...)
		if !ok || reset.Position != at(big2+10) || reset.Incarnation == w.Incarnation {
			t.Errorf("a batch too long for a script: %+v, %v", reset, ok)
		}
		ws, err := b.Watermarks(ctx())
		if err != nil || ws[b.k.Bucket] != reset || !ws[(b.k.Bucket+1)%l2.Buckets].IsZero() {
			t.Errorf("got watermark %+v and error %v, want that of the reset, and none for the next bucket", ws[b.k.Bucket], err)
		}
		beats, err := b.Heartbeat(ctx())
		if err != nil {
			t.Fatal(err)
		}
		for i, beat := range beats {
			if !beat.OK || beat.Watermark != ws[i] {
				t.Errorf("heartbeat of bucket %d: %+v", i, beat)
			}
		}
		b.do("SET", b.Keyspace().Watermark(b.k.Bucket), "garbage")
		if _, w, err := b.Get(ctx(), b.k, l2.ReadOptions{Watermark: true}); !w.IsZero() || err != nil {
			t.Errorf("garbage for a watermark: %+v, %v", w, err)
		}
	})
}

const big2 = uint64(1 << 53)

// lease2 acquires although there is a value.
func (b *bench) lease2() l2.Lease {
	b.t.Helper()
	l, err := b.Acquire(ctx(), b.k, l2.NewLeaseID(), time.Minute, l2.AcquireOptions{Schema: 1})
	if err != nil || l.Status != l2.Granted {
		b.t.Fatalf("acquire: %v, %v", l.Status, err)
	}
	return l
}
