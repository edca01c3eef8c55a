package l2_test

import (
	"slices"
	"strings"
	"testing"

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
		t.Errorf("got %s, want one call of a script", stats)
	}
}

// at is a position whose numbers are beyond those that a double can count.
func at(n uint64) coherence.Position { return coherence.Position{Timeline: 1 << 63, N: 1<<53 + n} }

// begin begins the first incarnation of the bucket.
func (b *bench) begin() l2.Watermark {
	b.t.Helper()
	w, err := b.ResetWatermark(ctx(), b.k.Bucket, l2.Watermark{}, at(0))
	if err != nil || w.Position != at(0) || w.Incarnation == (l2.Incarnation{}) {
		b.t.Fatalf("reset: got %+v and error %v, want the position and an incarnation", w, err)
	}
	return w
}

// batch applies changes of the key, which bring it to the versions.
func (b *bench) batch(from l2.Watermark, to coherence.Position,
	versions ...coherence.Version) (now l2.Watermark, ok bool) {
	b.t.Helper()
	changes := make([]l2.Change, len(versions))
	for i, v := range versions {
		changes[i] = l2.Change{Key: b.k, Version: v}
	}
	now, ok, err := b.ApplyBatch(ctx(), b.k.Bucket, changes, from, to)
	if err != nil {
		b.t.Fatal(err)
	}
	return now, ok
}

func (b *bench) wantBatch(what string, from l2.Watermark, to coherence.Position, v coherence.Version,
	want l2.Watermark, wantOK bool) {
	b.t.Helper()
	if now, ok := b.batch(from, to, v); now != want || ok != wantOK {
		b.t.Errorf("%s: got %+v and applied %v, want %+v and %v", what, now, ok, want, wantOK)
	}
}

func TestBatch_NeedsAWatermark(t *testing.T) {
	onBoth(t, func(b *bench) {
		from := l2.Watermark{Incarnation: l2.Incarnation{1}, Position: at(0)}
		b.wantBatch("a batch without a watermark", from, at(1), 1, l2.Watermark{}, false)
	})
}

func TestReset_HappensOnce(t *testing.T) {
	onBoth(t, func(b *bench) {
		w := b.begin()
		if again, err := b.ResetWatermark(ctx(), b.k.Bucket, l2.Watermark{}, at(9)); again != w || err != nil {
			t.Errorf("a second relay's reset: got %+v and error %v, want the first watermark", again, err)
		}
	})
}

func TestReset_VoidsRecordsAndLeases(t *testing.T) {
	onBoth(t, func(b *bench) {
		b.store(1)
		l := b.leaseOver()
		w := b.begin()
		b.wantFill("a fill that began in the old incarnation", l, 1, l2.IncarnationChanged)
		b.wantSet("set over a record of the old incarnation", 9, 0, false)
		if got := b.lease(); got.Incarnation != w.Incarnation {
			t.Errorf("a lease over a record of the old incarnation: got %v, want one of %v", got.Incarnation, w.Incarnation)
		}
	})
}

func TestFill_RecordsTheIncarnation(t *testing.T) {
	onBoth(t, func(b *bench) {
		w := b.begin()
		b.store(1)
		raw, seen, err := b.Get(ctx(), b.k, l2.ReadOptions{Watermark: true})
		if err != nil || seen != w {
			t.Fatalf("got the watermark %+v and error %v, want %+v", seen, err, w)
		}
		if rec, err := l2.DecodeRecord(raw); err != nil || rec.Incarnation != w.Incarnation {
			t.Errorf("got %+v and error %v, want a record of %v", rec, err, w.Incarnation)
		}
	})
}

func TestBatch_AppliesAndAdvances(t *testing.T) {
	onBoth(t, func(b *bench) {
		w := b.begin()
		b.store(1)
		next := l2.Watermark{Incarnation: w.Incarnation, Position: at(1)}
		b.wantBatch("the next batch", w, at(1), 2, next, true)
		b.want("after it", "absent")
	})
}

// TestBatch_OfAZombieIsHarmless: a relay that was replaced repeats a batch. Its changes are older than the records, and
// the watermark never moves back.
func TestBatch_OfAZombieIsHarmless(t *testing.T) {
	onBoth(t, func(b *bench) {
		w := b.begin()
		now, _ := b.batch(w, at(1), 2)
		b.store(2)
		b.wantBatch("a zombie's batch", w, at(0), 2, now, true)
		b.want("after it", "v2")
	})
}

func TestBatch_FromElsewhereIsRefused(t *testing.T) {
	onBoth(t, func(b *bench) {
		w := b.begin()
		b.store(2)
		for name, from := range map[string]l2.Watermark{
			"beyond the watermark": {Incarnation: w.Incarnation, Position: at(2)},
			"another incarnation":  {Incarnation: l2.Incarnation{5}, Position: w.Position},
		} {
			if now, ok := b.batch(from, at(3), 3); ok || now.Position != at(0) {
				t.Errorf("a batch from %s: got %+v and applied %v, want a refusal at %v", name, now, ok, at(0))
			}
			b.want("after a batch from "+name, "v2")
		}
	})
}

func TestBatch_CanBeLong(t *testing.T) {
	onBoth(t, func(b *bench) {
		w := b.begin()
		b.store(2)
		versions := slices.Repeat([]coherence.Version{2}, 1200)
		if now, ok := b.batch(w, at(9), append(versions, 3)...); !ok || now.Position != at(9) {
			t.Errorf("got %+v and applied %v, want the position %v", now, ok, at(9))
		}
		b.want("the last change is applied", "absent")
	})
}

// inside is the position after a part of the transaction that follows at(n).
func inside(n, part uint64) coherence.Position {
	p := at(n)
	p.Part = part
	return p
}

// TestBatch_OfAPieceMovesThePart: a large transaction comes in several batches. Each of them needs the one before.
func TestBatch_OfAPieceMovesThePart(t *testing.T) {
	onBoth(t, func(b *bench) {
		w := b.begin()
		mark := func(p coherence.Position) l2.Watermark {
			return l2.Watermark{Incarnation: w.Incarnation, Position: p}
		}
		b.store(1)
		b.wantBatch("the first piece", w, inside(0, 1<<40), 2, mark(inside(0, 1<<40)), true)
		b.want("after it", "absent")
		b.wantBatch("the first piece again", w, inside(0, 1<<40), 2, mark(inside(0, 1<<40)), true)
		b.wantBatch("an earlier end", w, inside(0, 7), 2, mark(inside(0, 1<<40)), true)
		b.wantBatch("a piece after one that is not here", mark(inside(0, 1<<40+1)), inside(0, 1<<41), 2,
			mark(inside(0, 1<<40)), false)
		b.wantBatch("the last piece", mark(inside(0, 1<<40)), at(1), 3, mark(at(1)), true)
		b.wantBatch("a piece of before, late", mark(inside(0, 1)), inside(0, 9), 2, mark(at(1)), true)
	})
}

// TestBatch_AfterAFailOverNeedsEachPiece: the replica has not got the first piece, and stands where the piece began.
func TestBatch_AfterAFailOverNeedsEachPiece(t *testing.T) { // R11
	onBoth(t, func(b *bench) {
		replica := b.begin()
		first, _ := b.batch(replica, inside(0, 5), 2)
		b.do("SET", b.Keyspace().Watermark(b.k.Bucket), replica.Encode())
		b.store(1)
		b.wantBatch("the second piece", first, at(1), 1, replica, false)
		if now, ok := b.batch(replica, inside(0, 5), 2); !ok || now != first {
			t.Errorf("the first piece again: got %+v and applied %v, want %+v", now, ok, first)
		}
		b.want("after it", "absent")
	})
}

func TestHeartbeat_ReturnsEveryWatermark(t *testing.T) {
	onBoth(t, func(b *bench) {
		w := b.begin()
		all, err := b.Watermarks(ctx())
		if err != nil || all[b.k.Bucket] != w || !all[(b.k.Bucket+1)%l2.DefaultBuckets].IsZero() {
			t.Errorf("got %+v and error %v, want %+v, and none for the next bucket", all[b.k.Bucket], err, w)
		}
		beats, err := b.Heartbeat(ctx(), l2.AllBuckets(l2.DefaultBuckets))
		if err != nil {
			t.Fatal(err)
		}
		for i, beat := range beats {
			if !beat.OK || beat.Watermark != all[i] {
				t.Errorf("bucket %d: got the heartbeat %+v, want %+v", i, beat, all[i])
			}
		}
	})
}

func TestGet_TakesGarbageForNoWatermark(t *testing.T) {
	onBoth(t, func(b *bench) {
		b.begin()
		b.do("SET", b.Keyspace().Watermark(b.k.Bucket), "garbage")
		if _, w, err := b.Get(ctx(), b.k, l2.ReadOptions{Watermark: true}); !w.IsZero() || err != nil {
			t.Errorf("got %+v and error %v, want no watermark", w, err)
		}
	})
}

// TestResetBefore_IsDoneOnce: of two processes that hear of one event the second finds it done. What was loaded in
// between stays.
func TestResetBefore_IsDoneOnce(t *testing.T) {
	onBoth(t, func(b *bench) {
		w := b.begin()
		b.store(1)
		reset := func(at coherence.Position) (w l2.Watermark) {
			t.Helper()
			if _, err := b.ResetBefore(ctx(), at); err != nil {
				t.Fatal(err)
			}
			all, err := b.Watermarks(ctx())
			if err != nil {
				t.Fatal(err)
			}
			return all[b.k.Bucket]
		}
		if now := reset(at(0)); now != w {
			t.Errorf("an event that was applied before: got %+v, want %+v", now, w)
		}
		first := reset(at(7))
		if first.Incarnation == w.Incarnation || first.Position != at(7) {
			t.Errorf("the first process: got %+v, want a new incarnation at %v", first, at(7))
		}
		if second := reset(at(7)); second != first {
			t.Errorf("the second process: got %+v, want %+v", second, first)
		}
		if now := reset(coherence.Position{}); now.Incarnation == first.Incarnation || now.Position != at(7) {
			t.Errorf("an event without a position: got %+v, want a new incarnation at %v", now, at(7))
		}
	})
}
