package suite

import (
	"fmt"
	"strings"
	"time"

	"github.com/nearcache/nearcache-go/benchmarks/measure"
	"github.com/nearcache/nearcache-go/benchmarks/peers"
)

// reportTrials makes a table of each fault, and plots of all faults.
func reportTrials(s *measure.Section, all []fault, trials []*trial) {
	errs := measure.Plot{File: "availability-errors", Title: "Reads that failed during the fault, percent",
		Grid: &measure.Grid{Hi: 100}}
	slow := measure.Plot{File: "availability-p99", Title: "p99 of reads during the fault, ms",
		Grid: &measure.Grid{Hi: 2000, Log: true}}
	for c, f := range all {
		errs.Grid.Columns, slow.Grid.Columns = append(errs.Grid.Columns, f.name), append(slow.Grid.Columns, f.name)
		t := measure.Table{Title: f.name + ": " + f.description,
			Columns: []string{"", "failed", "failed after", "error-free", "p50", "p99", "max", "p99 before",
				"p99 after",
				"stale", "stalest", "stale after", "stalest after", "left stale", "writes failed", "p99 of writes"}}
		for _, r := range trials {
			if r.fault.name != f.name {
				continue
			}
			during := r.summarize(r.faultStart, r.faultEnd, r.counts)
			t.Rows = append(t.Rows, r.row(during))
			errs.Grid.Set(r.kind.Name, c, percent(during.failed, during.reads))
			slow.Grid.Set(r.kind.Name, c, float64(during.p99)/1e6)
			r.figures(s.Figures, percent(during.failed, during.reads))
		}
		s.Tables = append(s.Tables, t)
	}
	s.Plots = append(s.Plots, errs, slow)
}

// row is the trial as a line of its fault's table.
func (t *trial) row(during readSummary) []string {
	// A read that is under way when the fault begins belongs to neither phase.
	before := t.summarize(0, t.faultStart-100*time.Millisecond, t.counts)
	after := t.summarize(t.faultEnd, time.Hour, t.counts)
	writes, failedWrites, writesP99 := t.writes()
	return []string{t.kind.Name, fmt.Sprintf("%.2f%% of %d", percent(during.failed, during.reads), during.reads),
		fmt.Sprintf("%.2f%%", percent(after.failed, after.reads)), shortDuration(t.lastFailure(t.counts)),
		shortDuration(during.p50), shortDuration(during.p99), shortDuration(during.max), shortDuration(before.p99),
		shortDuration(after.p99), fmt.Sprintf("%.2f%%", percent(during.stale, during.reads)),
		shortDuration(during.stalest), fmt.Sprintf("%.2f%%", percent(after.stale, after.reads)),
		shortDuration(after.stalest), leftStaleCell(t.faultResult), fmt.Sprintf("%d of %d", failedWrites, writes),
		shortDuration(writesP99)}
}

// figures records what the goals ask for.
func (t *trial) figures(figures map[string]float64, failedPercent float64) {
	switch {
	case t.kind.Name == "nearcache" && t.fault.ttl == longTTL: // a fault of Redis, while the source works
		figures["redis_errors_percent"] = max(figures["redis_errors_percent"], failedPercent)
	case t.kind.Name == failSafeKind.Name:
		figures["failsafe_errors_percent"] = max(figures["failsafe_errors_percent"], failedPercent)
	}
	if strings.HasPrefix(t.kind.Name, "nearcache") {
		figures["left_stale"] += float64(t.leftStale)
	}
	if strings.HasPrefix(t.kind.Name, peers.Bounded.String()) {
		figures["over_bound"] += float64(t.olderThan(peers.Bound))
	}
}

// shortDuration formats a duration for a table, and zero as nothing.
func shortDuration(d time.Duration) string {
	if d <= 0 {
		return ""
	}
	return Nanos(float64(d))
}

// leftStaleCell formats the result of the audit.
func leftStaleCell(p faultResult) string {
	s := fmt.Sprintf("%d of %d", p.leftStale, p.audited)
	if p.leftFailing > 0 {
		s += fmt.Sprintf(", %d fail", p.leftFailing)
	}
	return s
}
