package relay_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/relay"
	"github.com/nearcache/nearcache-go/internal/l2"
	"github.com/nearcache/nearcache-go/internal/testkit"
)

// TestRelay_CarriesATruncateOnce: every bucket begins a new incarnation, once, and every partition has a copy of the
// event, also where it lies inside a transaction that takes several batches.
func TestRelay_CarriesATruncateOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, red, top := newOutbox(), newRedisFake(), testkit.NewTopic(3)
		term := func() {
			ctx, stop := context.WithCancel(t.Context())
			var wg sync.WaitGroup
			wg.Go(func() { _ = relay.Relay{Source: src, Publisher: top, Batch: 10}.RunOn(ctx, red) })
			time.Sleep(time.Minute)
			stop()
			wg.Wait()
		}
		term()
		before, resets := slices.Clone(red.watermarks), red.resets
		tx := src.Begin()
		for i := range 40 {
			if i == 25 {
				if err := tx.Truncate("n"); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := tx.Write(t.Context(), "n", string(rune('a'+i)), coherence.OpCreated); err != nil {
				t.Fatal(err)
			}
		}
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
		term()
		term() // a second relay does nothing again
		if n := red.resets - resets; n != l2.DefaultBuckets || !red.reached(1) {
			t.Errorf("%d buckets begin a new incarnation, want each of %d once; reached: %v", n, l2.DefaultBuckets,
				red.reached(1))
		}
		for b := range before {
			if before[b].Incarnation == red.watermarks[b].Incarnation {
				t.Errorf("bucket %d keeps its incarnation", b)
			}
		}
		copies, others := 0, 0
		for p := range 3 {
			for i, e := range top.Events(p) {
				if !strings.HasSuffix(e, "@"+string(rune('1'+i))) && i < 9 {
					t.Errorf("event %d of partition %d is %s", i+1, p, e)
				}
				if strings.HasPrefix(e, "@") {
					copies++
				} else {
					others++
				}
			}
		}
		if copies != 3 || others != 40 {
			t.Errorf("%d copies of the truncate and %d other events are published, want 3 and 40", copies, others)
		}
		if v, err := src.Version(t.Context(), "n", "never written"); v == 0 || err != nil {
			t.Errorf("a key that was never written has version %d, %v, want that of the truncate", v, err)
		}
	})
}
