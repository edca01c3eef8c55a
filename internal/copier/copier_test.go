package copier

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/l2"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
)

// TestRun_CopiesWhatReadersBelieve: whole records with their TTLs, and of the others none. A second run copies nothing.
func TestRun_CopiesWhatReadersBelieve(t *testing.T) {
	inCopyBubble(t, func(t *testing.T, w *world) {
		const n = 2*batchSize + 7
		for i := range n {
			w.old.fill(fmt.Sprint(i), l2.Record{Version: coherence.Version(i + 1), Schema: 3, Shape: 9, Payload: payload(i),
				Tags: []l2.Tag{{Name: "n:tag", Version: 4}}}, time.Minute)
		}
		w.old.fill("absent", l2.Record{Version: 5, Absent: true}, 30*time.Second)
		time.Sleep(10 * time.Second)
		got, err := w.copier.Run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		want := Summary{Seen: n + 1, Copied: n + 1, Skipped: map[Reason]int64{}, Failed: map[Reason]int64{}}
		if d := cmp.Diff(want, got); d != "" {
			t.Fatal(d)
		}
		for _, name := range []string{"0", fmt.Sprint(n - 1), "absent"} {
			sameRecord(w, name)
		}
		if n := w.redis.TrackedKeys(); n > 1 { // Open tries a read
			t.Errorf("Redis tracks %d keys for the copier, want none of the records", n)
		}
		again := open(t, w.copier.cfg)
		defer again.Close()
		got, err = again.Run(t.Context())
		want = Summary{Seen: n + 1, Skipped: map[Reason]int64{Present: n + 1}, Failed: map[Reason]int64{}}
		if d := cmp.Diff(want, got); d != "" || err != nil {
			t.Errorf("a second run: %v\n%s", err, d)
		}
	})
}

func sameRecord(w *world, name string) {
	w.t.Helper()
	old, fresh := w.old.has(name), w.fresh.has(name)
	if old == nil || fresh == nil {
		w.t.Fatalf("%s: got %v of the old place and %v of the new one", name, old, fresh)
	}
	old.Incarnation, old.KeyHash, fresh.Incarnation, fresh.KeyHash = l2.Incarnation{}, 0, l2.Incarnation{}, 0
	if d := cmp.Diff(old, fresh); d != "" {
		w.t.Errorf("%s: %s", name, d)
	}
	ttl := func(s *side) (ms int) {
		_, err := fmt.Sscanf(w.redis.Do("PTTL", s.key(name).Record), ":%d", &ms)
		if err != nil {
			w.t.Fatal(err)
		}
		return ms
	}
	if a, b := ttl(w.old), ttl(w.fresh); b > a || b < a-1000 {
		w.t.Errorf("%s: the copy has %d ms left, the record %d", name, b, a)
	}
}

// TestRun_CountsWhatItLeavesOut has one record of each kind.
func TestRun_CountsWhatItLeavesOut(t *testing.T) {
	inCopyBubble(t, func(t *testing.T, w *world) {
		record := func(name string) string {
			w.old.fill(name, l2.Record{Version: 2, Payload: payload(1)}, time.Minute)
			return w.old.key(name).Record
		}
		corrupt := w.old.key("corrupt").Record
		w.redis.Do("SET", corrupt, "noise", "PX", "60000")
		w.redis.Do("LPUSH", w.old.key("list").Record, "x")
		w.redis.Do("SET", w.old.key("newer").Record, "NC\x09\x00", "PX", "60000")
		w.redis.Do("RENAME", record("moved"), w.old.key("elsewhere").Record)
		w.redis.Do("PERSIST", record("endless"))
		w.redis.Do("SET", strings.Replace(record("misplaced"), "{", "{1", 1), "x", "PX", "60000")
		record("doubted")
		if err := w.old.ApplyMany(t.Context(), []l2.Change{{Key: w.old.key("doubted"), Unconfirmed: true}}); err != nil {
			t.Fatal(err)
		}
		record("loading")
		record("writing")
		for name, place := range map[string]func(k l2.Key) error{
			"loading": func(k l2.Key) error {
				_, err := w.fresh.Acquire(t.Context(), k, l2.NewLeaseID(), time.Minute, l2.AcquireOptions{})
				return err
			},
			"writing": func(k l2.Key) error {
				_, err := w.fresh.PlaceIntent(t.Context(), k, l2.NewLeaseID(), time.Minute)
				return err
			},
		} {
			if err := place(w.fresh.key(name)); err != nil {
				t.Fatal(err)
			}
		}
		w.old.fill("stale", l2.Record{Version: 2, ExpiresAt: time.Now().Add(time.Second)}, time.Minute) // for fail-safe
		time.Sleep(2 * time.Second)
		got, err := w.copier.Run(t.Context())
		want := Summary{Seen: 10, Copied: 1, // misplaced, at its own place
			Skipped: map[Reason]int64{Corrupt: 4, NewerFormat: 1, Unbelieved: 1, Loading: 1, Writing: 1, Expired: 1, Foreign: 1},
			Failed:  map[Reason]int64{}}
		if d := cmp.Diff(want, got); d != "" || err != nil {
			t.Errorf("%v\n%s", err, d)
		}
	})
}

// TestRun_KeepsToItsRate: 40 keys at 10 a second take four seconds.
func TestRun_KeepsToItsRate(t *testing.T) {
	inCopyBubble(t, func(t *testing.T, w *world) {
		w.copier.size = 10
		for i := range 40 {
			w.old.fill(fmt.Sprint(i), l2.Record{Version: 1}, time.Hour)
		}
		w.copier.cfg.Rate = 10
		begun := time.Now()
		if _, err := w.copier.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begun); took < 4*time.Second || took > 6*time.Second {
			t.Errorf("it took %v, want about 4 s", took)
		}
	})
}

// TestRun_Interrupted: it ends at once, and gives its leases back.
func TestRun_Interrupted(t *testing.T) {
	inCopyBubble(t, func(t *testing.T, w *world) {
		w.old.fill("k", l2.Record{Version: 1}, time.Hour)
		w.old.stop()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := w.copier.Run(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got error %v, want the context's", err)
		}
		if s, err := w.fresh.Lease(t.Context(), w.fresh.key("k")); err != nil || s.Holder != l2.HeldByNone {
			t.Errorf("the lease is held by %v, %v", s.Holder, err)
		}
	})
}

// TestRun_WithoutTheOldRelay ends with an error that says so.
func TestRun_WithoutTheOldRelay(t *testing.T) {
	inCopyBubble(t, func(t *testing.T, w *world) {
		w.copier.size = 2
		for i := range 2 * stalls {
			w.old.fill(fmt.Sprint(i), l2.Record{Version: 1}, time.Hour)
		}
		w.old.stop()
		got, err := w.copier.Run(t.Context())
		if !errors.Is(err, ErrNoRelay) || got.Copied != 0 || got.Failed[Unproved] != 2*stalls || got.Complete() {
			t.Errorf("got %+v and error %v", got, err)
		}
	})
}

// TestCheck_RefusesWhatCannotWork: a place without a relay, and places of two systems.
func TestCheck_RefusesWhatCannotWork(t *testing.T) {
	inCopyBubble(t, func(t *testing.T, w *world) {
		if err := w.copier.Check(t.Context()); err != nil {
			t.Errorf("got error %v, want none", err)
		}
		w.fresh.stop()
		if err := w.copier.Check(t.Context()); !errors.Is(err, ErrNoRelay) || !strings.Contains(err.Error(), `"nd"`) {
			t.Errorf("got error %v, want that nobody feeds the new place", err)
		}
		w.fresh.start()
		time.Sleep(time.Second)
		w.old.stop()
		if err := w.copier.Check(t.Context()); !errors.Is(err, ErrNoRelay) || !strings.Contains(err.Error(), `"nc"`) {
			t.Errorf("got error %v, want that nobody feeds the old place", err)
		}
		other := newSide(t, nearcachetest.NewSource(), l2.Config{Redis: w.redis.PipeOption(), Prefix: "ne"})
		defer other.close()
		other.start()
		time.Sleep(time.Second)
		cfg := w.copier.cfg
		cfg.To = l2.Config{Redis: w.redis.PipeOption(), Prefix: "ne"}
		c := open(t, cfg)
		defer c.Close()
		if err := c.Check(t.Context()); !errors.Is(err, ErrOtherSystem) {
			t.Errorf("got error %v, want that the systems are two", err)
		}
	})
}

// TestBatch_NewBucketWithoutAWatermark: nothing would delete a record there.
func TestBatch_NewBucketWithoutAWatermark(t *testing.T) {
	inCopyBubble(t, func(t *testing.T, w *world) {
		w.old.fill("k", l2.Record{Version: 1}, time.Hour)
		w.fresh.stop()
		w.redis.Do("DEL", w.fresh.Keyspace().Watermark(w.fresh.key("k").Bucket))
		got, err := w.copier.Run(t.Context())
		if err != nil || got.Failed[NoWatermark] != 1 || w.fresh.has("k") != nil {
			t.Errorf("got %+v and error %v", got, err)
		}
	})
}
