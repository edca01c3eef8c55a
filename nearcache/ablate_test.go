//go:build ablate

package nearcache_test

import (
	"testing"
	"time"

	"github.com/nearcache/nearcache-go/internal/ablate"
	"github.com/nearcache/nearcache-go/nearcache"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
)

// TestAblation_ClockOnRead: the explorer has no clock, so it cannot miss this rule. Without it a bounded read judges by
// the coarse clock, which lags, and more so in a process that was stopped.
func TestAblation_ClockOnRead(t *testing.T) { // C1
	older := func() (served time.Duration) {
		inBoundedBubble(t, func(t *testing.T, b *bounded) {
			b.src.write("a", "one")
			time.Sleep(time.Second)
			b.warm(t)
			b.src.set(func() { b.src.stalled = true })
			b.src.write("a", "two")
			for range 400 {
				r, err := b.Read(t.Context(), "a", nearcache.ReadOptions{})
				if err != nil {
					t.Fatal(err)
				}
				served = max(served, r.Staleness)
				time.Sleep(time.Millisecond)
			}
		})
		return served
	}
	if got := older(); got > delta {
		t.Errorf("with the rule a value is served that is proved for %v only", got)
	}
	if err := ablate.Take(ablate.ClockOnRead); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ablate.Take("") }()
	if got := older(); got <= delta {
		t.Errorf("without the rule nothing older than %v is served", got)
	}
}

// TestAblation_WatermarkWithRecord: without the rule a watermark that was read for another key counts, and it may be of
// another server.
func TestAblation_WatermarkWithRecord(t *testing.T) { // C1
	if r := readBehind(t); r.Value != "new" {
		t.Errorf("with the rule: got %+v, want the new value", r)
	}
	if err := ablate.Take(ablate.WatermarkWithRecord); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ablate.Take("") }()
	if r := readBehind(t); r.Value != "old" {
		t.Errorf("without the rule: got %+v, want the old value", r)
	}
}

// TestAblation_LeaseEndWakes: the explorer has no waits, so it cannot miss this rule. Without it a read sleeps until
// the lease in its way would have expired.
func TestAblation_LeaseEndWakes(t *testing.T) {
	const lease, end = 2 * time.Second, 300 * time.Millisecond // the default LeaseTTL, and when the lease is evicted
	took := func() (took time.Duration) {
		inHolderBubble(t, func(_ *testing.T, r *nearcachetest.Redis, _ *holder, waited func() time.Duration) {
			r.Do("DEL", key("a").Lease)
			took = waited()
		})
		return took
	}
	if got := took(); got > end+100*time.Millisecond {
		t.Errorf("with the rule the read took %v; want about %v", got, end)
	}
	if err := ablate.Take(ablate.LeaseEndWakes); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ablate.Take("") }()
	if got := took(); got < lease-end {
		t.Errorf("without the rule the read took %v; want about %v", got, lease)
	}
}
