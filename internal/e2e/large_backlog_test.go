package e2e

import (
	"context"
	"testing"
	"time"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/l2"
	"github.com/nearcache/nearcache-go/internal/testkit"
)

// TestRelay_LargeBacklog: a relay that was stopped for long carries what was written meanwhile, and writers that
// invalidate by themselves do not notice.
func TestRelay_LargeBacklog(t *testing.T) {
	const each = 1000 // changes of a transaction
	rows := max(largeRows(t), each)
	w := newWorld(t)
	relay := w.start("outbox-relay")
	g := newLarge(t, w)
	testkit.Eventually(t, "the relay has begun", func() bool { return !g.watermark().IsZero() })
	timeline := g.watermark().Timeline
	keys := g.fillSome(each)
	relay.kill()
	before := g.probe(2 * time.Second)
	var last uint64
	for range rows / each {
		last = g.commit(each)
	}
	w.redis.Do("SLOWLOG", "RESET")

	ctx, stop := context.WithCancel(t.Context())
	during := make(chan latencies)
	go func() { during <- g.probeUntil(ctx) }()
	start := time.Now()
	relay = w.start("outbox-relay")
	g.await(coherence.Position{Timeline: timeline, N: last + 1})
	took := time.Since(start)
	stop()
	meanwhile := <-during
	t.Logf("%d changes in transactions of %d: caught up %v after the relay was started, %.0f a second; memory of the "+
		"relay %d MiB at most", rows, each, took.Round(time.Millisecond), float64(rows)/took.Seconds(),
		relay.memory("VmHWM")>>20)
	g.logLatencies(before, meanwhile)
	for _, k := range keys {
		if raw, _, err := g.l2.Get(t.Context(), k, l2.ReadOptions{}); raw != nil || err != nil {
			t.Errorf("Redis still has the old record of %s (%v)", k.Name, err)
		}
	}
}
