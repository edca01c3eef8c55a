package suite

import (
	"fmt"
	"strings"
	"time"

	"github.com/nearcache/nearcache-go/benchmarks/measure"
	"github.com/nearcache/nearcache-go/benchmarks/peers"
)

// report makes a table of each fault, and plots of all.
func reportTrials(s *measure.Section, all []fault, trials []*trial) {
	errs := measure.Plot{File: "availability-errors", Title: "Reads that failed during the fault, percent",
		Grid: &measure.Grid{Hi: 100}}
	slow := measure.Plot{File: "availability-p99", Title: "p99 of reads during the fault, ms",
		Grid: &measure.Grid{Hi: 2000, Log: true}}
	for _, f := range all {
		errs.Grid.Columns, slow.Grid.Columns = append(errs.Grid.Columns, f.name), append(slow.Grid.Columns, f.name)
	}
	for c, f := range all {
		t := measure.Table{Title: f.name + ": " + f.description,
			Columns: []string{"", "failed", "failed after", "error-free", "p50", "p99", "max", "p99 before",
				"p99 after", "stale", "stalest", "stale after", "stalest after", "left stale", "writes failed",
				"p99 of writes"}}
		for _, r := range trials {
			if r.fault.name != f.name {
				continue
			}
			// A read that is under way when the fault begins is of neither phase.
			before, during, after := r.summarize(0, r.faultStart-100*time.Millisecond, r.counts),
				r.summarize(r.faultStart, r.faultEnd, r.counts), r.summarize(r.faultEnd, time.Hour, r.counts)
			writes, unwritten, written := r.writes()
			t.Rows = append(t.Rows, []string{r.kind.Name, fmt.Sprintf("%.2f%% of %d",
				percent(during.failed, during.reads), during.reads),
				fmt.Sprintf("%.2f%%", percent(after.failed, after.reads)),
				shortDuration(r.lastFailure(r.counts)), shortDuration(during.p50), shortDuration(during.p99),
				shortDuration(during.max), shortDuration(before.p99), shortDuration(after.p99),
				fmt.Sprintf("%.2f%%", percent(during.stale, during.reads)), shortDuration(during.stalest),
				fmt.Sprintf("%.2f%%", percent(after.stale, after.reads)), shortDuration(after.stalest),
				leftStaleCell(r.faultResult), fmt.Sprintf("%d of %d", unwritten, writes), shortDuration(written)})
			errs.Grid.Set(r.kind.Name, c, percent(during.failed, during.reads))
			slow.Grid.Set(r.kind.Name, c, float64(during.p99)/1e6)
			failed := percent(during.failed, during.reads)
			switch {
			case r.kind.Name == "nearcache" && f.ttl == longTTL: // Redis or a part of it; the source is there
				s.Figures["redis_errors_percent"] = max(s.Figures["redis_errors_percent"], failed)
			case r.kind.Name == failSafeKind.Name:
				s.Figures["failsafe_errors_percent"] = max(s.Figures["failsafe_errors_percent"], failed)
			}
			if strings.HasPrefix(r.kind.Name, "nearcache") {
				s.Figures["left_stale"] += float64(r.leftStale)
			}
			if strings.HasPrefix(r.kind.Name, peers.Bounded.String()) {
				s.Figures["over_bound"] += float64(r.olderThan(peers.Bound))
			}
		}
		s.Tables = append(s.Tables, t)
	}
	s.Plots = append(s.Plots, errs, slow)
}

// brief is a duration for a table, nothing for none.
func shortDuration(d time.Duration) string {
	if d <= 0 {
		return ""
	}
	return Nanos(float64(d))
}

// left is what the audit found.
func leftStaleCell(p faultResult) string {
	s := fmt.Sprintf("%d of %d", p.leftStale, p.audited)
	if p.leftFailing > 0 {
		s += fmt.Sprintf(", %d fail", p.leftFailing)
	}
	return s
}
