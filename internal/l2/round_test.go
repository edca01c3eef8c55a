package l2_test

import (
	"strings"
	"testing"

	"github.com/redis/rueidis"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/l2"
	"github.com/nearcache/nearcache-go/internal/services/servicestest"
	"github.com/nearcache/nearcache-go/internal/testkit"
)

// publish publishes a round of a number and a position over the one that was seen.
func (b *bench) publish(seen l2.Round, number, n uint64, needed map[int]l2.Watermark) (l2.Round, bool) {
	b.t.Helper()
	next := l2.Round{Number: number, Head: at(n), Upto: at(n), Buckets: l2.AllBuckets(l2.DefaultBuckets), Incarnations: 7}
	ok, err := b.PublishRounds(ctx(), []l2.Publication{{Seen: seen, Next: next, Needed: needed}})
	if err != nil {
		b.t.Fatal(err)
	}
	return next, ok[0]
}

func (b *bench) beginRound() l2.Round {
	b.t.Helper()
	r, _, err := b.BeginRound(ctx(), false)
	if err != nil {
		b.t.Fatal(err)
	}
	return r
}

// lastRound is the round on the tracking connection.
func (b *bench) lastRound() l2.Round {
	b.t.Helper()
	rs, err := b.Rounds(ctx(), l2.AllBuckets(l2.DefaultBuckets))
	if err != nil || len(rs) != 1 || !rs[0].OK {
		b.t.Fatalf("got %+v and error %v, want the rounds of one server", rs, err)
	}
	return rs[0].Round
}

func TestRound_IsBegunOnceAndPublishedOnce(t *testing.T) {
	onBoth(t, func(b *bench) {
		if r := b.beginRound(); !r.IsZero() || !b.lastRound().IsZero() {
			t.Errorf("got %+v where there is no round, want none", r)
		}
		first, ok := b.publish(l2.Round{}, 1, 1, nil)
		if !ok || b.lastRound() != first {
			t.Fatalf("got %+v, published %v, want the first round", b.lastRound(), ok)
		}
		if _, ok := b.publish(l2.Round{}, 1, 9, nil); ok {
			t.Error("a first round is published where there is one")
		}
		seen := b.beginRound()
		if seen.Token == 0 || seen != b.beginRound() || b.lastRound() != seen || !seen.Follows(first) {
			t.Errorf("got %+v, and %+v in Redis, want one token for both that begin it", seen, b.lastRound())
		}
		forged := seen
		forged.Token++
		for name, over := range map[string]l2.Round{"none": {}, "one not begun": first, "another token": forged} {
			if _, ok := b.publish(over, 2, 2, nil); ok {
				t.Errorf("a round is published over %s", name)
			}
		}
		second, ok := b.publish(seen, 2, 2, nil)
		if !ok || b.lastRound() != second {
			t.Errorf("got %+v, published %v, want the second round", b.lastRound(), ok)
		}
		if _, ok := b.publish(seen, 2, 3, nil); ok || b.lastRound() != second {
			t.Error("a relay that was replaced publishes the round again")
		}
	})
}

func TestRound_IsRefusedWhereABucketIsBehind(t *testing.T) {
	onBoth(t, func(b *bench) {
		w := b.begin()
		b.publish(l2.Round{}, 1, 1, nil)
		seen := b.beginRound()
		for name, need := range map[string]l2.Watermark{
			"a position":     {Incarnation: w.Incarnation, Position: at(1)},
			"a part":         {Incarnation: w.Incarnation, Position: coherence.Position{Timeline: 1 << 63, N: at(0).N, Part: 1}},
			"an incarnation": {Incarnation: l2.Incarnation{9}, Position: at(0)},
			"a timeline":     {Incarnation: w.Incarnation, Position: coherence.Position{Timeline: 2, N: 1}},
		} {
			if _, ok := b.publish(seen, 2, 2, map[int]l2.Watermark{b.k.Bucket: need}); ok {
				t.Errorf("a round is published without %s that it needs", name)
			}
		}
		none := (b.k.Bucket + 1) % l2.DefaultBuckets
		if _, ok := b.publish(seen, 2, 2, map[int]l2.Watermark{b.k.Bucket: w, none: w}); ok {
			t.Error("a round is published that needs a bucket without a watermark")
		}
		now, _ := b.batch(w, at(3), 1)
		if _, ok := b.publish(seen, 2, 2, map[int]l2.Watermark{b.k.Bucket: w}); !ok {
			t.Errorf("a round is refused where the bucket is at %+v, and %+v is needed", now, w)
		}
	})
}

// leastRights make the user app, who has what the documents name for a use, and no more.
func leastRights(u l2.Use) []string {
	return append([]string{"ACL", "SETUSER", "app", "reset", "on", ">pw", "~nc:*"}, strings.Fields(l2.Rights(u))...)
}

func TestRound_IsBegunWithAllWatermarks(t *testing.T) {
	onBoth(t, isBegunWithAllWatermarks)
}

// A user who has the rights that the documents name has none to MGET.
func TestRound_IsBegunWithAllWatermarksWithoutMGET(t *testing.T) {
	redis := servicestest.StartRedis(t)
	redis.Do(leastRights(l2.Use{})...)
	isBegunWithAllWatermarks(newBench(t,
		rueidis.ClientOption{InitAddress: []string{redis.Addr}, Username: "app", Password: "pw"}, redis.Do))
}

func isBegunWithAllWatermarks(b *bench) {
	w := b.begin()
	b.publish(l2.Round{}, 1, 1, nil)
	none, foreign := (b.k.Bucket+1)%l2.DefaultBuckets, (b.k.Bucket+2)%l2.DefaultBuckets
	b.do("RPUSH", b.Keyspace().Watermark(foreign), "a list")
	r, marks, err := b.BeginRound(ctx(), true)
	if err != nil || r.Number != 1 || marks[b.k.Bucket] != w || !marks[none].IsZero() || !marks[foreign].IsZero() {
		b.t.Errorf("got %+v, %+v and error %v, want round 1 and the watermark %+v", r, marks[b.k.Bucket], err, w)
	}
}

// What is no round counts as none, and is replaced.
func TestRound_TakesGarbageForNone(t *testing.T) {
	onBoth(t, func(b *bench) {
		for _, garbage := range [][]string{{"SET", "garbage"}, {"RPUSH", "garbage"}} {
			b.do("DEL", b.Keyspace().Round(l2.RoundBucket))
			b.do(garbage[0], b.Keyspace().Round(l2.RoundBucket), garbage[1])
			if r := b.lastRound(); !r.IsZero() {
				t.Errorf("%v: got %+v, want none", garbage, r)
			}
			if r := b.beginRound(); !r.IsZero() {
				t.Errorf("%v: got %+v, want none", garbage, r)
			}
			if _, ok := b.publish(l2.Round{}, 1, 1, nil); !ok || b.lastRound().Number != 1 {
				t.Errorf("%v: a first round is refused", garbage)
			}
		}
	})
}

// Nobody is pushed a round: a cache that read it with GET would be told of each, twice an interval.
func TestRound_IsNotTracked(t *testing.T) {
	onBoth(t, func(b *bench) {
		b.publish(l2.Round{}, 1, 1, nil)
		b.lastRound()
		seen := b.beginRound()
		b.publish(seen, 2, 2, nil)
		b.track()
		b.do("SET", b.k.Record, "x")
		testkit.Eventually(t, "the record's change", func() bool { return b.ear.heard(b.k) > 0 })
		if b.ear.heardHash(l2.HashRecord(b.Keyspace().Round(l2.RoundBucket))) != 0 {
			t.Error("a round is pushed to everybody who has read one")
		}
	})
}

func TestReached_GoesByTheRound(t *testing.T) {
	onBoth(t, func(b *bench) {
		w := b.begin()
		marks, err := b.Watermarks(ctx())
		if err != nil {
			t.Fatal(err)
		}
		incarnations := make([]l2.Incarnation, len(marks))
		for i := range marks {
			incarnations[i] = marks[i].Incarnation
		}
		round := l2.Round{Number: 1, Upto: at(7), Buckets: l2.AllBuckets(l2.DefaultBuckets), Incarnations: 5}
		want := func(what string, n uint64) {
			t.Helper()
			got, err := b.Reached(ctx())
			if err != nil || got[b.k.Bucket] != (l2.Watermark{Incarnation: w.Incarnation, Position: at(n)}) ||
				!got[(b.k.Bucket+1)%l2.DefaultBuckets].IsZero() {
				t.Errorf("%s: got %+v and error %v, want position %v", what, got[b.k.Bucket], err, at(n))
			}
		}
		want("without a round", 0)
		if _, err := b.PublishRounds(ctx(), []l2.Publication{{Next: round}}); err != nil {
			t.Fatal(err)
		}
		want("with a round of other incarnations", 0)
		seen := b.beginRound()
		round.Number, round.Incarnations = 2, l2.DigestOf(incarnations)
		if _, err := b.PublishRounds(ctx(), []l2.Publication{{Seen: seen, Next: round}}); err != nil {
			t.Fatal(err)
		}
		want("with a round", 7)
	})
}
