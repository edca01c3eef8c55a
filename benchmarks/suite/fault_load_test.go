package suite

import (
	"testing"
	"time"
)

func TestFaultResult_CountsAReadByItsSchedule(t *testing.T) {
	const s = time.Second
	p := faultResult{faultStart: 2 * s, faultEnd: 5 * s, operations: []operation{
		{due: 1 * s, took: 3 * s, failed: true}, // before the fault, although it ended within it
		{due: 2 * s, took: 1 * s},
		{due: 3 * s, took: 2 * s, failed: true},
		{due: 4 * s, took: 5 * s, instance: 1, stale: true, age: 2 * s},
		{due: 4 * s, took: 9 * s, failed: true, write: true},
		{due: 6 * s, took: 1 * s, failed: true},
		{due: 7 * s, took: 1 * s, instance: 1, stale: true, age: 1 * s},
	}}
	all, first := func(int) bool { return true }, func(i int) bool { return i == 0 }
	if got, want := p.summarize(p.faultStart, p.faultEnd, all),
		(readSummary{reads: 3, failed: 1, stale: 1, stalest: 2 * s, p50: 2 * s, p99: 5 * s, max: 5 * s}); got != want {
		t.Errorf("during: %+v, want %+v", got, want)
	}
	if got := p.summarize(p.faultStart, p.faultEnd, first); got.reads != 2 || got.stale != 0 {
		t.Errorf("the first instance: got %+v, want 2 reads and none stale", got)
	}
	if got := p.summarize(0, s/2, all); got != (readSummary{}) {
		t.Errorf("before the first operation: got %+v, want nothing", got)
	}
	if got := p.lastFailure(all); got != s {
		t.Errorf("error-free after %v, want 1s", got)
	}
	if n, failed, p99 := p.writes(); n != 1 || failed != 1 || p99 != 9*s {
		t.Errorf("%d of %d writes failed, want 1 of 1; p99 %v", failed, n, p99)
	}
	if got := p.olderThan(s); got != 1 {
		t.Errorf("%d reads older than a second, want 1", got)
	}
}
